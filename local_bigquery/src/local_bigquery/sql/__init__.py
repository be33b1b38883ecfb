"""SQL text and syntax trees."""
