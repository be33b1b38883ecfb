"""Measurements of speed, and an estimate of size and cost. README.md has the commands."""
