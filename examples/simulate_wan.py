"""Play one bulk transfer over a simulated wide-area path, and compare with the shipped settings."""

from rl_envs.rollout import fixed_policy, simulate

policy = fixed_policy("amst_transport", {"streams": 1, "transport_chunk_bytes": 262_144})
print("step  throughput Mbit/s (shipped)   chunk ms (shipped)   loss   USD/GB   gain")
for row in simulate("amst_transport", policy, scenario="wan", seed=3):
    now, shipped = row.metrics, row.default_metrics
    print(
        f"{row.step:4d}  {now['throughput_mbps']:9.1f} ({shipped['throughput_mbps']:9.1f})   "
        f"{now['latency_ms']:9.1f} ({shipped['latency_ms']:9.1f})  {now['loss_ratio']:6.3f}  "
        f"{now['cost_usd_per_gb']:6.4f}  {row.reward:+.3f}"
    )
