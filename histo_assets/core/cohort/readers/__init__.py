"""Readers of a cohort's manifest, a file each."""
