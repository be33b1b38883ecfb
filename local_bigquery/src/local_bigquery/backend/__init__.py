"""The emulator that runs SQL and keeps tables."""
