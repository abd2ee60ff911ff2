"""Tissue mask, grid, tile quality, sampling and shards."""
