"""Airflow operators that turn a BigQuery ML model into served predictions."""
