"""BigQuery's REST API, as the gateway serves it."""
