"""A causal generator of telemetry with known truth: the default when no data is named.

Latent causes come first (how busy a site is, capacity, cross traffic, faults), laws of queues and
transport turn them into what would be measured, and every fault has a label. See `links.py` and
`nodes.py` for the equations, `config.py` for what can be asked, `traces.py` for single paths.
"""
