"""Training stage: shards in, a backbone out."""
