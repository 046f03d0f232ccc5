"""Transfer stage: a backbone and a downstream task in, scores out."""
