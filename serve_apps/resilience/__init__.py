"""What keeps callers answered when a model version does not: breaker, stand-ins, answer cache."""
