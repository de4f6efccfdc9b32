"""The library of NovaCron ML: what is true with or without a cluster.

Rooms, right to left the life of a sample: monitoring > registry > models > features > telemetry >
params > contracts > errors. Nothing here imports Ray, a web framework or a command line.
"""

__version__ = "0.1.0"
