"""Gene regressors, clusters and metrics."""
