"""Rollouts inside a replica: traffic is split, counted, compared, and the decisions are followed."""
