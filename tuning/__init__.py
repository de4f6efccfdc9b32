"""Search: what to try next."""
