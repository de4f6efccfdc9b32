"""Capacity: demand forecasts 30 days ahead, when a threshold is reached, and what to buy."""
