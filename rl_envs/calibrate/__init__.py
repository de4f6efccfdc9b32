"""Measures on this host what the simulator's tables hold. Run as `python -m rl_envs.calibrate`."""
