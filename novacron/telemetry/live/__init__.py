"""Samples that arrive one by one: bounded rings, an append-only log, the store that joins them."""
