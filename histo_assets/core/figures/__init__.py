"""Every picture, as functions from tables to figures."""
