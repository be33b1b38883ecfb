"""Jobs and their work: queries, scripts, single statements, destination tables."""
