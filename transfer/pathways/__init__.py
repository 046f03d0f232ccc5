"""Adaptive computation on one gated ResNet: SpotTune and BlockDrop."""
