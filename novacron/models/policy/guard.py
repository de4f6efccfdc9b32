"""Stands between a policy and the knobs; the same code in the simulator and in production.

One guard watches one path: it holds what is in force, what was last known to be good, and how long
to wait after trouble. Every answer carries its reason. Legend: D knobs.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from novacron.errors import ConfigError
from novacron.models.policy.config import GuardConfig
from novacron.params.encode import Float64, decode_unit, encode_values
from novacron.params.spec import ParameterGroup

log = logging.getLogger(__name__)

Action = Literal["apply", "canary", "hold", "default", "revert"]

HISTORY: Final = 256
"""Decisions a guard remembers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """What a policy proposes and what is known about it."""

    values_D: Float64
    """Proposed numbers of the knobs; they need not be in range."""
    gain_lo_nats: float
    gain_nats: float
    """Expected gain over the defaults and the lower end of its interval."""
    is_unfamiliar: bool = False
    """Telemetry unlike what the policy was trained on."""
    return_gain_nats: float = 0.0
    """Expected gain of going back to the defaults now, over having kept them: what is in force has
    moved the path's state, e.g. page versions were given up, and going back may lose."""
    broken_limits: tuple[str, ...] = ()
    """Limits of the operator that the setting is expected to break."""
    cost_log_ratio: float = 0.0
    """Expected log of the cost of a gigabyte over that under the defaults, by the model alone."""
    max_cost_increase_ratio: float = np.inf
    """The operator's limit that costs are held to where they are measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What to do in the next interval, and why.

    `values_D` is what most traffic gets. With `canary`, `canary_D` is what a small share gets
    first; `Guard.judge` then decides about the rest.
    """

    action: Action
    reason: str
    values_D: Float64
    canary_D: Float64 | None = None


@dataclass(kw_only=True, slots=True)
class Guard:
    """Decides about proposals for one path, one after another.

    Args:
        group: The knobs.
        shipped_D: Numbers of the shipped defaults on this path.
        config: Its margins.
        needs_canary: Whether a canary can be run for what is too uncertain to be applied at once.
        account_nats: Gains over the defaults measured on this path, summed, losses taken off; None
            where nothing was measured yet: then a setting is applied only when the whole interval
            of its expected gain is above the margin of a gain worth trying.
        dearer_nats: By how much settings were measured to cost more than expected on this path, in
            log, the latest counting half; None where no cost was measured yet.
    """

    group: ParameterGroup
    shipped_D: Float64
    config: GuardConfig = field(default_factory=GuardConfig)
    needs_canary: bool = True
    account_nats: float | None = None
    dearer_nats: float | None = None
    in_force_D: Float64 = field(init=False)
    good_D: Float64 = field(init=False)
    waiting: int = field(init=False, default=0)
    history: list[Decision] = field(init=False, default_factory=list)
    _seen_under_default: dict[str, float] = field(init=False, default_factory=dict)
    _canary_D: Float64 | None = field(init=False, default=None)
    _last_gain_nats: float | None = field(init=False, default=None)
    _return_gain_nats: float = field(init=False, default=0.0)
    _max_cost_increase_ratio: float = field(init=False, default=np.inf)
    _canary_cost: float = field(init=False, default=0.0)
    _in_force_cost: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        """Start from what ships."""
        self.in_force_D = self.shipped_D.copy()
        self.good_D = self.shipped_D.copy()

    @property
    def extra_cost_nats(self) -> float:
        """What to add to the log of an expected cost on this path before it is held to a limit."""
        return max(self.dearer_nats or 0.0, 0.0)

    # --- proposals ------------------------------------------------------------------------

    def propose(
        self, advice: Advice, smaller: Sequence[Advice] = (), *, trial_first: bool = False
    ) -> Decision:
        """Decide about one proposal.

        Args:
            advice: What the policy wants.
            smaller: Steps from the defaults toward it, the longest first.
            trial_first: Whether even what is sure has to be tried on a small share.
        """
        self._canary_D = None
        self._return_gain_nats = min(advice.return_gain_nats, 0.0)
        self._max_cost_increase_ratio = advice.max_cost_increase_ratio
        if advice.is_unfamiliar:
            return self._stay("telemetry is unlike what the policy was trained on", proven=True)
        if advice.broken_limits:
            return self._stay("would break: " + ", ".join(advice.broken_limits))
        if not np.isfinite(advice.values_D).all():
            return self._fall_back("the policy answered with a number that is not finite")
        if self.waiting > 0:
            self.waiting -= 1
            return self._decided("hold", "cooling down", self.in_force_D)
        if advice.gain_nats < self.config.min_gain_nats:
            return self._stay("no gain over the defaults is expected")
        for each in () if trial_first else (advice, *smaller):
            if each.gain_nats >= self.config.min_gain_nats and self._is_sure(each):
                return self._untried(each)
        candidate_D = self._slewed(self._in_range(advice.values_D))
        if np.array_equal(candidate_D, self.in_force_D):
            return self._decided("hold", "already in force", self.in_force_D)
        if not self.needs_canary:
            return self._fall_back("the expected gain is too uncertain to go without a canary")
        self._canary_D, self._canary_cost = candidate_D, advice.cost_log_ratio
        return self._decided(
            "canary", "tried on a small share first", self.in_force_D, canary_D=candidate_D
        )

    def _is_sure(self, advice: Advice) -> bool:
        """Say whether the least gain to be expected, and what was gained so far, cover the risk.

        After conservative bandits (Wu et al. 2016): what was measured to be gained on a path pays
        for what may be lost there.
        """
        if self.account_nats is None:
            return advice.gain_lo_nats >= self.config.min_gain_nats
        return advice.gain_lo_nats + self.account_nats >= self.config.sure_gain_nats

    def _untried(self, advice: Advice) -> Decision:
        candidate_D = self._slewed(self._in_range(advice.values_D))
        if np.array_equal(candidate_D, self.in_force_D):
            return self._decided("hold", "already in force", self.in_force_D)
        self.in_force_D, self._in_force_cost = candidate_D, advice.cost_log_ratio
        return self._decided("apply", "the least gain expected is sure enough", candidate_D)

    def judge(
        self,
        canary_gain_nats: float,
        in_force_gain_nats: float = 0.0,
        *,
        cost_increase_ratio: float | None = None,
    ) -> Decision:
        """Decide about the canary.

        Args:
            canary_gain_nats: Its gain over the defaults, measured side by side.
            in_force_gain_nats: The same of what is in force.
            cost_increase_ratio: Cost of a gigabyte under the canary over that under the defaults,
                less one, where it was measured.

        Raises:
            ConfigError: No canary is running.
        """
        if self._canary_D is None:
            raise ConfigError(field="canary", got="none running", expected="propose() first")
        candidate_D, self._canary_D = self._canary_D, None
        is_shipped = np.array_equal(self.in_force_D, self.shipped_D)
        needed = self.config.canary_margin_nats if is_shipped else in_force_gain_nats
        dear = self._too_dear(cost_increase_ratio, self._canary_cost)
        if dear or not canary_gain_nats > max(needed, self.config.canary_margin_nats):
            lost = self._is_loss(in_force_gain_nats, self.config.trip_loss_nats)
            if lost and not is_shipped:
                return self._take_back(f"measured {in_force_gain_nats:.3f} nats beside a canary")
            waits = is_shipped and not dear
            self.waiting = self.config.cool_down_decisions if waits else 0
            reason = f"the canary {dear}" if dear else "the canary did not gain enough"
            return self._decided("hold", reason, self.in_force_D)
        self.in_force_D, self._in_force_cost = candidate_D, self._canary_cost
        return self._decided("apply", "the canary gained enough", candidate_D)

    # --- watching -------------------------------------------------------------------------

    def watch(
        self,
        telemetry: Mapping[str, float],
        gain_nats: float | None = None,
        *,
        cost_increase_ratio: float | None = None,
    ) -> Decision:
        """Look at an interval that ran with what is in force; take it back if it went wrong.

        Args:
            telemetry: Channels of the interval, by name; those not known are not judged.
            gain_nats: Gain over a control group on the defaults, where one was kept.
            cost_increase_ratio: Increase of the cost of a gigabyte over that group's.
        """
        if np.array_equal(self.in_force_D, self.shipped_D):
            self._seen_under_default = dict(telemetry)
            return self._decided("hold", "the defaults are in force", self.in_force_D)
        if gain_nats is not None:
            # The account outlives the setting: what is lost under one is lost on the path.
            total = (self.account_nats or 0.0) + gain_nats
            self.account_nats = min(total, self.config.account_cap_nats)
        self._last_gain_nats = gain_nats
        dear = self._too_dear(cost_increase_ratio, self._in_force_cost)
        trouble = dear or self._trouble(telemetry, gain_nats)
        if not trouble:
            self.good_D = self.in_force_D
            return self._decided("hold", "went well", self.in_force_D)
        return self._take_back(trouble, waits=not dear)

    def check_early(
        self, gain_nats: float, exposure: float, *, cost_increase_ratio: float | None = None
    ) -> Decision:
        """Look at the start of an interval, for a canary's time: a large loss or cost ends it.

        Args:
            gain_nats: Gain of what is in force over a control group on the defaults.
            exposure: Share of the interval that this took.
            cost_increase_ratio: Increase of the cost of a gigabyte over that group's.
        """
        if np.array_equal(self.in_force_D, self.shipped_D):
            return self._decided("hold", "the defaults are in force", self.in_force_D)
        dear = self._too_dear(
            cost_increase_ratio, self._in_force_cost, self.config.early_trip_cost_over_limit
        )
        trouble = dear
        if not dear and self._is_loss(gain_nats, self.config.early_trip_loss_nats):
            trouble = f"measured {gain_nats:.3f} nats"
        if trouble:
            if self.account_nats is not None:
                self.account_nats += exposure * min(gain_nats, 0.0)
            return self._take_back(f"{trouble} early in the interval", waits=not dear)
        return self._decided("hold", "starts well", self.in_force_D)

    def _is_loss(self, gain_nats: float, allowed_nats: float) -> bool:
        """Say whether a measured loss is large enough to act on, and going back loses less."""
        return gain_nats < self._return_gain_nats - allowed_nats

    def _too_dear(
        self, cost_increase_ratio: float | None, expected_log: float, over: float = 0.0
    ) -> str:
        """Learn from a measured cost, and say by how much it breaks the limit, if it does."""
        if cost_increase_ratio is None:
            return ""
        missed = float(np.log1p(cost_increase_ratio)) - expected_log
        known = self.dearer_nats
        self.dearer_nats = missed if known is None else 0.5 * (known + missed)
        allowed = self._max_cost_increase_ratio + over
        if not cost_increase_ratio > allowed:
            return ""
        return f"measured a cost increase of {cost_increase_ratio:.3f}, allowed {allowed:.3f}"

    def _take_back(self, trouble: str, *, waits: bool = True) -> Decision:
        known = self.good_D if not np.array_equal(self.good_D, self.in_force_D) else self.shipped_D
        # What was good before the present trouble may be its cause: the next step is the default.
        self.good_D = self.shipped_D.copy()
        self.in_force_D = known.copy()
        # What is known to cost too much is proposed smaller next time; other trouble needs time.
        self.waiting = self.config.cool_down_decisions if waits else 0
        return self._decided("revert", trouble, self.in_force_D)

    def _trouble(self, telemetry: Mapping[str, float], gain_nats: float | None) -> str:
        config, before = self.config, self._seen_under_default
        if gain_nats is not None and self._is_loss(gain_nats, config.trip_loss_nats):
            return f"measured {gain_nats:.3f} nats against the defaults"
        again = telemetry.get("retransmit_ratio", 0.0)
        allowed = before.get("retransmit_ratio", 0.0) + config.trip_retransmit_over_default
        if again > allowed:
            return f"retransmits {again:.3f}, allowed {allowed:.3f}"
        stretch = telemetry.get("srtt_over_min_ratio", 1.0)
        longest = max(config.trip_srtt_over_min, 1.1 * before.get("srtt_over_min_ratio", 1.0))
        if stretch > longest:
            return f"round trip {stretch:.2f} times the least, allowed {longest:.2f}"
        busy = telemetry.get("cpu_busy_ratio", 0.0)
        if busy > max(config.trip_cpu_ratio, before.get("cpu_busy_ratio", 0.0)):
            return f"processors busy {busy:.2f}"
        return ""

    # --- parts ----------------------------------------------------------------------------

    def _in_range(self, values_D: Float64) -> Float64:
        """Clip to the table's bounds and round to values that exist."""
        low = np.array([knob.low for knob in self.group])
        high = np.array([knob.high for knob in self.group])
        clipped = np.clip(values_D, low, high)
        cube = encode_values(self.group, clipped[None, :])
        existing: Float64 = decode_unit(self.group, np.clip(cube, -1.0, 1.0))[0]
        return existing

    def _slewed(self, values_D: Float64) -> Float64:
        """Bring a setting within reach of what is in force; choices may change at once."""
        limited = values_D.copy()
        for column, knob in enumerate(self.group):
            now = self.in_force_D[column]
            if knob.kind == "log2":
                factor = 2.0**self.config.slew_octaves
                limited[column] = np.clip(values_D[column], now / factor, now * factor)
            elif knob.kind != "enum":
                reach = self.config.slew_share * (knob.high - knob.low)
                limited[column] = np.clip(values_D[column], now - reach, now + reach)
        return self._in_range(limited)

    def _stay(self, reason: str, *, proven: bool = False) -> Decision:
        """Refuse a proposal; what was accepted on this path stays in force, trip wires watch it.

        Going back to the defaults for every poor proposal costs more than it saves: a change of
        codec drains the pipeline, and page versions are gone.

        Args:
            reason: Why it is refused.
            proven: Whether only what gained in its last interval may stay.
        """
        is_shipped = np.array_equal(self.in_force_D, self.shipped_D)
        accepted = self.needs_canary or self.account_nats is not None
        if proven:
            accepted = self._last_gain_nats is not None and self._last_gain_nats > 0.0
        if accepted and not is_shipped:
            return self._decided("hold", reason, self.in_force_D)
        return self._fall_back(reason)

    def _fall_back(self, reason: str) -> Decision:
        self.in_force_D = self.shipped_D.copy()
        return self._decided("default", reason, self.in_force_D)

    def _decided(
        self, action: Action, reason: str, values_D: Float64, canary_D: Float64 | None = None
    ) -> Decision:
        decision = Decision(
            action=action, reason=reason, values_D=values_D.copy(), canary_D=canary_D
        )
        self.history.append(decision)
        del self.history[:-HISTORY]
        log.debug("%s: %s, %s", self.group.name, action, reason)
        return decision
