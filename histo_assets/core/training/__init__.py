"""Data sets, the training loop, checkpoints, and the network that serves."""
