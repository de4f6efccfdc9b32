"""Learns policies on the batched environments without Ray: PPO and regression on labels."""
