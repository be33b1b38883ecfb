"""The service against its alternatives, and under difficult conditions: `python -m benchmarks.serving`."""
