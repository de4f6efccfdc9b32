"""The laws of the simulated WAN: pure numpy, one law per file, no randomness inside.

Every function takes and returns float64 arrays with the batch on axis 0 (scalars broadcast), units
are in the names, and each law names its source.
"""
