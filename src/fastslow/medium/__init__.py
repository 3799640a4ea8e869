"""The medium tier: memories written per episode."""
