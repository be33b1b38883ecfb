"""Access: callers, their API keys and tokens, their rights and their rate limits."""
