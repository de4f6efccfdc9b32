"""The numbers of the TCP law that no closed form gives, fitted on measured cells."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class TcpCoefficients:
    """Names and meaning; the numbers are `DEFAULT_COEFFICIENTS`.

    >>> 0.9 < DEFAULT_COEFFICIENTS.bbr_utilisation_ratio < 1.0
    True
    """

    probe_rounds: float
    """Round trips that a lost tail costs, with the probe that finds it (RFC 8985)."""
    ack_delay_ratio: float
    """Part of a round trip by which a window's odd last packet is acknowledged late (RFC 5681)."""
    burst_damage: float
    """Loss events that a burst adds, over its share of the window."""
    slow_start_end_ratio: float
    """Window at which random loss ends slow start, in packets between losses."""
    overflow_window_ratio: float
    """Window at which slow start overflows a short buffer, in buffers: a doubling queues half of
    the window, and the loss is seen a round trip later."""
    synchronised_fill_ratio: float
    """How far losses of few flows together lower the sum of their windows, in back-offs."""
    bbr_utilisation_ratio: float
    """Share of the bottleneck that one bbr flow keeps over its probing cycle (Cardwell 2016)."""
    bbr_overestimate_per_ln_stream: float
    """Growth of the summed bandwidth estimates of n bbr flows with ln n (Hock 2017, figure 6)."""
    bbr_overestimate_pkts: float
    """Growth of those estimates, over a stream's part of the pipe, where that is a few packets."""
    bbr_probe_loss_ratio: float
    """Loss of the 1.25 pacing phase, one round trip in eight, when there is no buffer."""
    bbr_single_queue_ratio: float
    """Share of its queue bound that a single bbr flow fills."""
    loss_based_odds: float
    """Odds of one loss-based flow against one bbr stream at a buffer of a BDP."""
    loss_based_floor_odds: float
    """The same against any number of bbr streams."""
    loss_based_deep_odds: float
    """Odds that a BDP of buffer beyond the first adds for all loss-based flows."""
    saturation_power: float
    """Sharpness of the corner between lossy and full links, and with which own loss sets in."""


FIRST_ESTIMATES = TcpCoefficients(
    probe_rounds=4.0,
    ack_delay_ratio=0.6,
    burst_damage=5.0,
    slow_start_end_ratio=1.4,
    overflow_window_ratio=4.0,
    synchronised_fill_ratio=0.45,
    bbr_utilisation_ratio=0.975,
    bbr_overestimate_per_ln_stream=0.047,
    bbr_overestimate_pkts=0.4,
    bbr_probe_loss_ratio=0.03,
    bbr_single_queue_ratio=0.1,
    loss_based_odds=0.1,
    loss_based_floor_odds=0.004,
    loss_based_deep_odds=1.0,
    saturation_power=20.0,
)
"""Read off the sources and a few cells by hand; the fit starts here and is drawn towards them."""

DEFAULT_COEFFICIENTS = TcpCoefficients(
    probe_rounds=4.44,
    ack_delay_ratio=0.456,
    burst_damage=3.74,
    slow_start_end_ratio=1.88,
    overflow_window_ratio=3.42,
    synchronised_fill_ratio=0.39,
    bbr_utilisation_ratio=0.969,
    bbr_overestimate_per_ln_stream=0.0427,
    bbr_overestimate_pkts=0.39,
    bbr_probe_loss_ratio=0.0291,
    bbr_single_queue_ratio=0.0935,
    loss_based_odds=0.0867,
    loss_based_floor_odds=0.00429,
    loss_based_deep_odds=1.24,
    saturation_power=15.7,
)
"""Fitted by `python -m rl_envs.testbed fit` on the half `fit` of the shipped table."""
