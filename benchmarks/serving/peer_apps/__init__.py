"""The peers' applications, as their documentation shows them; each runs in its own environment."""
