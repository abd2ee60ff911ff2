"""IO managers and provenance, over what `core` reads and writes."""
