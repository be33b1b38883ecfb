"""Jobs: running statements and scripts."""
