"""Inference and pooling."""
