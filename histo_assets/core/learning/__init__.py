"""Backbones, data sets, training and evaluation."""
