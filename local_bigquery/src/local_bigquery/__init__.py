"""BigQuery with BigQuery ML on one machine."""

__version__ = "0.1.0"
