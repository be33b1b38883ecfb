"""SQL text and syntax trees; nothing here runs SQL."""

DIALECT = "bigquery"
"""The name of BigQuery's SQL in sqlglot."""
