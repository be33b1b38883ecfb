"""The lookup service: predictions out of Bigtable over HTTP. It reads, and never writes."""
