"""Networks: the registry, one module a kind, their weights, and passes that do not learn."""
