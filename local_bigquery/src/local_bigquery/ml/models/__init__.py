"""Model types."""
