"""Workload patterns: the type of a window of usage, its period, and how sure that is."""
