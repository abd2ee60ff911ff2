"""A synthetic cohort whose truth is known, and its scorer."""
