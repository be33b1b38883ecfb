"""BigQuery ML."""
