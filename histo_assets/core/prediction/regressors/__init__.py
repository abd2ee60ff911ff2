"""Regressors of genes, a file each: its settings, how it learns, what it has learned and the files of that."""
