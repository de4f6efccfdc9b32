"""Anomaly detection: causal surprises of every metric, grouped into alerts on a budget."""
