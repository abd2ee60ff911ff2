"""Reading expression files, units and gene filters."""
