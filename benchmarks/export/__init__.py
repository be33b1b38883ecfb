"""The export job against Beam's own connectors, side by side: `python -m benchmarks.export`."""
