"""Real TCP over an emulated link between two network namespaces: what the simulator is judged by.

Opt-in: needs Linux, root and /dev/net/tun. `python -m rl_envs.testbed check` says what is missing.
"""
