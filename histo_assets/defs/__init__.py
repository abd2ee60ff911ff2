"""What Dagster sees: thin assets over `core`, with metadata and checks."""
