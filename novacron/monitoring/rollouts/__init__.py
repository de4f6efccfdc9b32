"""Rollouts of model versions: pure decisions from counts, and the folder that remembers them."""
