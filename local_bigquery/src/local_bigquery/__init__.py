"""BigQuery with BigQuery ML on one machine: a gateway in front of the emulator `bqemulator`."""

__version__ = "0.1.0"
