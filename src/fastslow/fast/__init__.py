"""The fast tier: memories written per token or chunk, which leave by decay."""
