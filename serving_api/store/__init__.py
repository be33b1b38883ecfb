"""Predictions and versions, read from Bigtable."""
