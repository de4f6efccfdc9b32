"""Benchmarks: every number in the docs comes from one of these commands and its result file."""
