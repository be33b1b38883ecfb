"""The export job against Beam's own connectors: `python -m benchmarks.export`."""
