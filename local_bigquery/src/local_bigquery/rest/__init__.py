"""BigQuery's REST API."""
