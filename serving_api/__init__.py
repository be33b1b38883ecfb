"""The service: it answers lookups of predictions over HTTP from Bigtable. It never writes."""
