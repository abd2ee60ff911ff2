"""Dagster assets from whole-slide histology and bulk RNA-seq to predicted genes."""

__version__ = "0.1.0"
