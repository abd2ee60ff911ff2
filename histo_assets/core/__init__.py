"""The science: arrays, tables and paths. Imports no Dagster."""
