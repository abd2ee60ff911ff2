"""How good a classifier is: predictions, baselines, look-alikes, experiments side by side."""
