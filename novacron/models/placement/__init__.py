"""Placement: which node a workload should run on, why, and which ones it must not run on."""
