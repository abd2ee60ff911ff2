"""A new slide against a finished study."""
