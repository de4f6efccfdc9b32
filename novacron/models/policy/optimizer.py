"""`AutoOptimizer`: asks a policy for better knobs, and says what it knows and how it knows it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from novacron.errors import ArtifactError, ConfigError, OutOfRangeError
from novacron.models.bundles import load_bundle
from novacron.models.policy.advice import Advised, advise
from novacron.models.policy.canary import Measure, check_cost_increase, run_canaries
from novacron.models.policy.config import Constraints, GuardConfig, check_constraints
from novacron.models.policy.decide import (
    Settled,
    defaults_because,
    expected_of,
    fallback_name,
    from_guard,
    improvement,
    obstacle,
)
from novacron.models.policy.frames import Given, frames_from_mappings, shipped_numbers
from novacron.models.policy.guard import Decision, Guard
from novacron.models.policy.model import OptimizerModel
from novacron.models.policy.part import TargetPart
from novacron.params.encode import Float64, ObservationSpec, values_of
from novacron.params.observations import observation_spec
from novacron.params.spec import ParameterValue

SHIPPED_BUNDLE: Final = Path(__file__).parent / "shipped"
"""Policies that come with the library, trained on the simulated WAN."""
MAX_PROBES: Final = 100
LIVE_AFTER: Final = 3
"""Measured intervals of a setting from which its own gain is told instead of the expected one."""
_CANARY_SD_NATS: Final = 0.05
"""Least standard deviation that one canary's gain is taken to have."""

Telemetry = Mapping[str, Any] | Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizationResult:
    """An answer. Improvements are shares by which the objective's costs fall: 0.2 is 20 % lower.

    `evidence` says where the improvement comes from: `simulated` (expected by a model that was
    trained and calibrated in the simulator), `canary` (measured on a share of the traffic), `live`
    (measured over intervals in force), `none` (the defaults are returned: nothing is claimed).
    `fallback` is empty where the policy's setting is returned, else it names why not.
    """

    target: str
    params: dict[str, ParameterValue]
    default_params: dict[str, ParameterValue]
    expected_improvement: float
    improvement_interval: tuple[float, float]
    """Ends of the 90 % interval."""
    evidence: str
    fallback: str
    reason: str
    policy_version: str
    expected_effects: dict[str, float] = field(default_factory=dict)
    """Relative changes against the defaults that the model expects, each quantity for itself."""

    @property
    def is_improvement(self) -> bool:
        """Whether something else than the defaults is advised."""
        return self.params != self.default_params

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON-able values."""
        return asdict(self) | {"is_improvement": self.is_improvement}


class AutoOptimizer:
    """Advises the knobs of a target from telemetry, behind a guard; never needs Ray or a simulator.

    A path is watched under its `key`: what is in force there, what was good, what went wrong.

    Args:
        model: Policies, e.g. `store.load("optimizer").model`; by default those that come with the
            library. None are needed: a target without one gets its defaults, flagged.
        measure: Runs canaries; needed for `probes`.
        guard: Margins, instead of those that the model brings.

    Example:
        >>> from novacron import AutoOptimizer
        >>> AutoOptimizer().optimize("hde_compression").fallback
        'telemetry_missing'
    """

    def __init__(
        self,
        model: OptimizerModel | None = None,
        *,
        measure: Measure | None = None,
        guard: GuardConfig | None = None,
    ) -> None:
        self.model = model or shipped_model()
        self._measure = measure
        self._config = guard or self.model.guard
        self._guards: dict[tuple[str, str], Guard] = {}
        self._live: dict[tuple[str, str], list[float]] = {}

    @classmethod
    def load(cls, directory: Path, *, measure: Measure | None = None) -> Self:
        """Return an optimizer with the policies of a bundle.

        Raises:
            ArtifactError: It is damaged, or a bundle of another kind.
        """
        return cls(_policies(directory), measure=measure)

    def optimize(
        self,
        target: str,
        telemetry: Telemetry | None = None,
        constraints: Constraints | Mapping[str, Any] | None = None,
        probes: int = 0,
        *,
        key: str = "",
        mode: str = "internet",
    ) -> OptimizationResult:
        """Advise the next setting of a target on one path.

        Args:
            target: The group of knobs, e.g. `hde_compression`.
            telemetry: One interval by channel name, or up to four, oldest first; knobs in force
                may stand among the channels. See `novacron.params.observations`.
            constraints: The operator's limits; by default processors below 85 %, memory below
                80 %, cost increase below 10 %.
            probes: Canaries to run before the answer; 0 answers from the model alone.
            key: Names the path where one optimizer serves several.
            mode: Which defaults ship there: `internet` or `datacenter`.

        Raises:
            UnknownNameError: No such target.
            OutOfRangeError: Telemetry, a limit, `probes` or `mode` is not possible.
            SchemaError: Telemetry has an unknown name, or too many intervals.
            ConfigError: A limit is unknown, or canaries are asked for and cannot be run.
        """
        spec = observation_spec(target)
        limits = check_constraints(constraints)
        self._check_probes(probes)
        shipped_D = shipped_numbers(spec.group, mode)
        part = self.model.parts.get(target)
        guard = self._guard(target, key, spec, shipped_D)
        given = None
        if telemetry is not None:
            given = frames_from_mappings(spec, telemetry, guard.in_force_D)
        stop = _obstacle(target, part, given, is_stale=target in self.model.stale)
        if stop is not None or part is None or given is None:
            name, reason = stop or ("no_policy", "")
            return _result(spec, target, defaults_because(name, reason, shipped_D))
        extra_cost_N = np.array([guard.extra_cost_nats])
        [advised] = advise(part, given.observation_O[None], shipped_D[None], limits, extra_cost_N)
        guard.needs_canary = probes > 0
        if probes == 0:
            return _result(
                spec, target, self._with_live(target, key, from_guard(part, advised, guard))
            )
        return _result(spec, target, self._with_canary(target, part, advised, guard, probes))

    def observe(
        self,
        target: str,
        telemetry: Mapping[str, float],
        gain_nats: float | None = None,
        *,
        cost_increase_ratio: float | None = None,
        key: str = "",
    ) -> Decision:
        """Report an interval that ran with the last advice; trip wires may take it back.

        Args:
            target: The group of knobs.
            telemetry: Channels of that interval.
            gain_nats: Gain over a control group on the defaults, where one was kept.
            cost_increase_ratio: Increase of the cost of a gigabyte over that group's, measured;
                beyond the limit of the last `optimize` the setting is taken back.
            key: Names the path.

        Raises:
            ConfigError: Nothing was advised there yet.
            OutOfRangeError: The increase of the cost is not possible.
        """
        check_cost_increase(cost_increase_ratio, "observe()")
        guard = self._guards.get((target, key))
        if guard is None:
            raise ConfigError(
                field="key", got=(target, key), expected="a path that optimize() was asked about"
            )
        decision = guard.watch(telemetry, gain_nats, cost_increase_ratio=cost_increase_ratio)
        seen = self._live.setdefault((target, key), [])
        if decision.action == "revert":
            seen.clear()
        elif gain_nats is not None:
            seen.append(gain_nats)
        return decision

    def decisions(self, target: str, *, key: str = "") -> list[Decision]:
        """Return what the guard of a path has decided lately, with the reasons."""
        guard = self._guards.get((target, key))
        return [] if guard is None else list(guard.history)

    def gain_nats(
        self, target: str, costs: Mapping[str, float], default_costs: Mapping[str, float]
    ) -> float:
        """Return the gain of measured costs over those of the defaults, as the objective weighs them.

        Args:
            target: The group of knobs.
            costs: Physical quantities by the names of the objective's weights, all positive, lower
                is better, e.g. seconds, dollars per gigabyte.
            default_costs: The same under the defaults, measured side by side.

        Raises:
            ConfigError: There is no policy for the target, whose weights could be taken.
            OutOfRangeError: A cost is missing, or not positive.
        """
        part = self.model.parts.get(target)
        if part is None:
            raise ConfigError(field="target", got=target, expected="one with a policy")
        total = 0.0
        for name, weight in part.card.weights.items():
            for lane, given in (("costs", costs), ("default_costs", default_costs)):
                if not given.get(name, 0.0) > 0.0:
                    raise OutOfRangeError(
                        field=f"{lane}.{name}", got=given.get(name), expected="a positive number"
                    )
            total += weight * float(np.log(default_costs[name] / costs[name]))
        return total

    # --- parts ----------------------------------------------------------------------------

    def _check_probes(self, probes: int) -> None:
        if (
            isinstance(probes, bool)
            or not isinstance(probes, int)
            or not 0 <= probes <= MAX_PROBES
        ):
            raise OutOfRangeError(
                field="probes", got=probes, expected=f"a whole number in [0, {MAX_PROBES}]"
            )
        if probes > 0 and self._measure is None:
            raise ConfigError(
                field="probes", got=probes, expected="0 without a way to measure",
                remedy="Give AutoOptimizer(measure=...) a function that runs a canary.",
            )  # fmt: skip

    def _guard(self, target: str, key: str, spec: ObservationSpec, shipped_D: Float64) -> Guard:
        known = self._guards.get((target, key))
        if known is None or not np.array_equal(known.shipped_D, shipped_D):
            part = self.model.parts.get(target)
            config = self._config or (GuardConfig() if part is None else part.card.guard)
            known = Guard(group=spec.group, shipped_D=shipped_D, config=config)
            self._guards[target, key] = known
        return known

    def _with_live(self, target: str, key: str, settled: Settled) -> Settled:
        """Tell what was measured instead of what was expected, once there is enough of it."""
        seen = self._live.get((target, key), [])
        guard = self._guards[target, key]
        if guard.history[-1].action != "hold":
            # Another setting than the one that was measured is in force from here on.
            seen.clear()
        if settled.fallback or len(seen) < LIVE_AFTER:
            return settled
        return _measured(settled, seen, "live")

    def _with_canary(
        self, target: str, part: TargetPart, advised: Advised, guard: Guard, probes: int
    ) -> Settled:
        decision = guard.propose(advised.advice, trial_first=True)
        version = part.card.version
        if decision.canary_D is None:
            if np.array_equal(decision.values_D, guard.shipped_D):
                return defaults_because(
                    fallback_name(advised), decision.reason, guard.shipped_D, version
                )
            return expected_of(part, advised, guard, decision)
        if self._measure is None:
            raise AssertionError("checked before")
        values = values_of(guard.group, decision.canary_D)
        others = values_of(guard.group, guard.in_force_D)
        tried = run_canaries(self._measure, target, values, others, probes)
        before = None
        if _differs(guard):
            before = run_canaries(self._measure, target, others, others, 1)
        verdict = guard.judge(
            tried.gain_nats,
            0.0 if before is None else before.gain_nats,
            cost_increase_ratio=tried.cost_increase_ratio,
        )
        if verdict.action != "apply" and not _differs(guard):
            return defaults_because("canary_failed", verdict.reason, guard.shipped_D, version)
        if verdict.action != "apply":
            return expected_of(part, advised, guard, verdict)
        return _measured(expected_of(part, advised, guard, verdict), tried.gains_nats, "canary")


def shipped_model() -> OptimizerModel:
    """Return the policies that come with the library; none where its data files were left out."""
    if not (SHIPPED_BUNDLE / "bundle.json").is_file():
        return OptimizerModel({})
    return _policies(SHIPPED_BUNDLE)


def _policies(directory: Path) -> OptimizerModel:
    model = load_bundle(directory)
    if not isinstance(model, OptimizerModel):
        raise ArtifactError(
            f"The bundle is of kind {model.kind!r}, not 'policy'.", remedy="Name another one."
        )
    return model


def _obstacle(
    target: str, part: TargetPart | None, given: Given | None, *, is_stale: bool
) -> tuple[str, str] | None:
    missing = ", ".join(given.missing) if given is not None else ""
    stop = obstacle(target, part, is_stale=is_stale, missing=missing)
    if stop is None and given is None:
        return "telemetry_missing", "a setting depends on telemetry, and none was given"
    return stop


def _differs(guard: Guard) -> bool:
    return not np.array_equal(guard.in_force_D, guard.shipped_D)


def _measured(settled: Settled, gains: Sequence[float], evidence: str) -> Settled:
    """Replace the expected gain by a measured one, with a normal 90 % interval."""
    mean = float(np.mean(gains))
    sd = max(_CANARY_SD_NATS, float(np.std(gains, ddof=1)) if len(gains) > 1 else 0.0)
    reach = 1.645 * sd / len(gains) ** 0.5
    return Settled(
        values_D=settled.values_D,
        shipped_D=settled.shipped_D,
        improvement_ratio=improvement(mean),
        improvement_lower_ratio=improvement(mean - reach),
        improvement_upper_ratio=improvement(mean + reach),
        reason=settled.reason,
        evidence=evidence,
        policy_version=settled.policy_version,
        expected=settled.expected,
    )


def _result(spec: ObservationSpec, target: str, settled: Settled) -> OptimizationResult:
    return OptimizationResult(
        target=target,
        params=values_of(spec.group, settled.values_D),
        default_params=values_of(spec.group, settled.shipped_D),
        expected_improvement=settled.improvement_ratio,
        improvement_interval=(settled.improvement_lower_ratio, settled.improvement_upper_ratio),
        evidence=settled.evidence,
        fallback=settled.fallback,
        reason=settled.reason,
        policy_version=settled.policy_version,
        expected_effects=_effects(settled.expected),
    )


def _effects(expected: Mapping[str, float]) -> dict[str, float]:
    """Return the expected changes for people; what a target does not have is left out."""
    told = {
        "throughput_change_ratio": "throughput_log_ratio",
        "latency_change_ratio": "latency_log_ratio",
        "cost_change_ratio": "cost_log_ratio",
    }
    effects = {
        name: float(np.expm1(expected[source]))
        for name, source in told.items()
        if np.isfinite(expected.get(source, np.nan))
    }
    plain = {name: expected.get(name, np.nan) for name in ("loss_difference", "cpu_busy_ratio")}
    return effects | {name: value for name, value in plain.items() if np.isfinite(value)}
