"""Reads predictions and the registry from Bigtable: batching, hedging, limits and a cache."""
