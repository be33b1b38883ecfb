"""Who may ask for what: API keys, signed tokens, and what each caller may read."""
