"""Predictive scaling: demand of the next hour, how much capacity to order, and what to do for it."""
