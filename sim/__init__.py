"""Blender stage: simulation parameters in, WebDataset shards out."""
