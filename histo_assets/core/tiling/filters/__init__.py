"""Tile filters, a file each: what is measured, by which threshold, and what a rejected tile is called."""
