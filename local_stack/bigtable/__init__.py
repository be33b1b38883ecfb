"""Bigtable on one machine: the official emulator where it is installed, an embedded one elsewhere."""
