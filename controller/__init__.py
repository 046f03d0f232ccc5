"""Reinforcement-learning arithmetic only: scores in, simulation parameters out; no files, no GPU."""
