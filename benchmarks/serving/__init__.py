"""The lookup service against its alternatives, and under what it must stand: `python -m benchmarks.serving`."""
