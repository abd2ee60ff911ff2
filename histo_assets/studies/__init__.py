"""Studies: one file is one whole protocol."""
