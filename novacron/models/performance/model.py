"""The predictor as it is served: own and peers' scores in, calibrated quantiles out.

Legend: N rows, T own samples (newest last), M samples of peers (newest last), Q = 3 levels.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import ClassVar, Final, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from novacron.errors import InvalidInputError, OutOfRangeError, SchemaError
from novacron.models.base import Dependence, Tensors, TensorSpec
from novacron.models.performance.bundle_files import write_core
from novacron.models.performance.config import PerformanceConfig
from novacron.models.performance.context import Context, Floats, Ints, blank
from novacron.models.performance.core import Answers, Core
from novacron.models.performance.medians import row_median
from novacron.models.performance.names import numbers
from novacron.models.performance.scores_table import ScoreTable, contexts_of
from novacron.models.tensor_checks import check_tensors
from novacron.models.tensor_specs import count, flag, number, text

Mask = NDArray[np.bool_]

LONGEST_REQUEST: Final = 65_536
_YEARS_S: Final = 1e9

INPUTS: Final[tuple[TensorSpec, ...]] = (
    text("benchmark", "what is measured; its unit is that of every score of the row"),
    text("vm_size", "size of the VM, as in the training", required=False),
    text("region", "region of the VM, as in the training", required=False),
    number("score", "benchmark's", "own scores, oldest first", -1, low=0, required=False),
    number("age_s", "s", "time since each own score began", -1, low=0, high=_YEARS_S, required=False),
    flag("is_present", "false where an own score is missing", -1, required=False),
    number(
        "peer_score", "benchmark's", "scores of other VMs of that benchmark, size and region, "
        "oldest first", -1, low=0, required=False,
    ),
    count("peer_vm", "number", "which VM each peer score is from, any numbers", -1, required=False),
    number("peer_age_s", "s", "time since each peer score", -1, low=0, high=_YEARS_S, required=False),
    flag("peer_is_present", "false where a peer score is missing", -1, required=False),
    number("idle_s", "s", "time since the VM began any benchmark", low=0, high=_YEARS_S, required=False),
    text("previous_benchmark", "the benchmark it began then", required=False),
    number("asked_at_s", "s", "Unix time of the run that is forecast", low=0, high=1e11, required=False),
)  # fmt: skip


def output_specs(config: PerformanceConfig) -> tuple[TensorSpec, ...]:
    """Return the tensors of an answer."""
    unit, worse = "benchmark's", config.degradation
    return (
        number("value", unit, "median of the next score"),
        number("lower", unit, "80 % interval"),
        number("upper", unit, "80 % interval"),
        number("quantiles", unit, "quantiles .1, .5, .9", 3),
        number("level", unit, "level by hierarchy: own averages, peers, training"),
        number(
            "degradation_probability", "0..1",
            f"that one of the next {worse.horizon_samples} scores is {worse.worse} than the level by "
            f"more than {worse.drop_ratio:g} of it", low=0, high=1,
        ),
        number("attention", "0..1", "of the newest own samples, sums to 1", config.lstm.steps),
        count("own_samples", "samples", "own scores that were read"),
        number("horizon_s", "s", "from asking to the run that is forecast: it is the next one", low=0),
        number("valid_s", "s", "usual time between own scores, after which to ask again; 0: unknown"),
        text("fallback", "what the answer leans on in place of the VM's own past, or empty"),
    )  # fmt: skip


class PerformanceModel:
    """A fitted predictor of the next benchmark score of a VM; implements `ServableModel`."""

    kind: str = "performance"
    depends_on: ClassVar[Dependence] = "request"
    target: ClassVar[str] = "score"

    def __init__(self, core: Core) -> None:
        self.core = core
        self.config = core.config
        self.features_hash = core.features_hash
        self.inputs = INPUTS
        self.outputs = output_specs(core.config)

    def prepare(self, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
        """Check one request and bring it to contexts; see `ServableModel.prepare`.

        Raises:
            SchemaError: Also where tensors that belong together differ in shape.
            OutOfRangeError: Also for a score far outside of what its benchmark can be, which is
                one in another unit, and for clocks that repeat or run backwards.
            InvalidInputError: Nothing is known of a row: no own score, no peer, unknown benchmark.
        """
        rows = check_tensors(tensors, self.inputs)
        names, config = self.core.names, self.config
        context = replace(
            blank(rows, history=config.history, peers=config.peers),
            benchmark_N=numbers(tensors["benchmark"], names.benchmarks),
            size_N=_named(tensors, "vm_size", rows, names.sizes),
            region_N=_named(tensors, "region", rows, names.regions),
            previous_N=_named(tensors, "previous_benchmark", rows, names.benchmarks),
            idle_N=_numbers(tensors, "idle_s", rows),
            asked_N=_numbers(tensors, "asked_at_s", rows),
        )
        own_NT = _scores(tensors, "score", "is_present", config.history, rows)
        own_age_NT = _ages(tensors, "age_s", "score", own_NT)
        peer_NM = _scores(tensors, "peer_score", "peer_is_present", config.peers, rows)
        peer_age_NM = _ages(tensors, "peer_age_s", "peer_score", peer_NM)
        for name, values in (("score", own_NT), ("peer_score", peer_NM)):
            self._check_unit(name, values, context.benchmark_N)
        _check_clock(own_age_NT)
        context = replace(
            context,
            own_NT=own_NT,
            own_age_NT=own_age_NT,
            peer_NM=peer_NM,
            peer_age_NM=peer_age_NM,
            peer_vm_NM=_peer_vms(tensors, peer_NM),
        )
        self._check_known(context, tensors["benchmark"])
        return {f.name: getattr(context, f.name) for f in fields(Context)}

    def _check_unit(self, name: str, values_NT: Floats, benchmark_N: Ints) -> None:
        for benchmark in np.unique(benchmark_N[benchmark_N >= 0]):
            low, high = self.core.level.priors.bounds(int(benchmark))
            wrong = (benchmark_N == benchmark)[:, None] & ((values_NT < low) | (values_NT > high))
            if wrong.any():
                row, place = (int(axis[0]) for axis in np.nonzero(wrong))
                raise OutOfRangeError(
                    field=f"{name} of row {row}",
                    got=float(values_NT[row, place]),
                    expected=f"a score of {self.core.names.benchmarks[benchmark]} in "
                    f"[{low:.4g}, {high:.4g}]",
                    remedy="Use the unit of the training, or train it again with such scores.",
                )

    def _check_known(self, context: Context, benchmark_N: NDArray[np.generic]) -> None:
        some_N = (context.counts > 0) | np.isfinite(context.peer_NM).any(axis=1)
        alone = np.flatnonzero(~some_N)
        if len(alone) == 0:
            return
        typical_N = self.core.level.priors.of_sizes(context.take(alone))
        lost = alone[~np.isfinite(typical_N)]
        if len(lost):
            raise InvalidInputError(
                field=f"benchmark of row {int(lost[0])}",
                got=str(benchmark_N[lost[0]])[:80],
                expected="own scores, scores of peers, or a benchmark and size of the training",
                remedy=f"Known benchmarks: {len(self.core.names.benchmarks)}, sizes: "
                f"{', '.join(self.core.names.sizes)}.",
            )

    def predict(self, rows: Tensors) -> dict[str, NDArray[np.generic]]:
        """Answer prepared rows; see `ServableModel.predict`."""
        context = Context(**{f.name: cast(Floats, rows[f.name]) for f in fields(Context)})  # type: ignore[arg-type]
        return as_tensors(self.core.answer(context)) | {
            "horizon_s": np.zeros(len(context)),
            "valid_s": _usual_gap(context.own_age_NT),
        }

    def replay(self, frame: pd.DataFrame) -> tuple[ScoreTable, Context]:
        """Return a table of scores with what was known just before each row, VMs being new.

        Args:
            frame: See `ScoreTable.from_frame`; the rows of the answer are those of the table.

        Returns:
            The table, and the context of each of its rows: `core.answer(context)` forecasts all.
        """
        table = ScoreTable.from_frame(frame).renumbered(self.core.names)
        rows = np.arange(len(table))
        return table, contexts_of(table, rows, self.config, knows_vms=False)

    def save(self, directory: Path) -> None:
        """Write the bundle into an empty or missing directory; see `bundle_files`."""
        write_core(self.core, directory, {"kind": self.kind})


def as_tensors(answers: Answers) -> dict[str, NDArray[np.generic]]:
    """Return answers under the names of the outputs."""
    q_NQ = answers.q_NQ
    return {
        "value": q_NQ[:, 1].copy(),
        "lower": q_NQ[:, 0].copy(),
        "upper": q_NQ[:, 2].copy(),
        "quantiles": q_NQ,
        "level": answers.level_N,
        "degradation_probability": answers.degradation_N,
        "attention": answers.attention_NT.astype(np.float64),
        "own_samples": answers.count_N,
        "fallback": answers.fallback_N,
    }


def _usual_gap(age_NT: Floats) -> Floats:
    return np.nan_to_num(row_median(-np.diff(age_NT, axis=1)))


def _named(tensors: Tensors, name: str, rows: int, known: tuple[str, ...]) -> Ints:
    if name in tensors:
        return numbers(tensors[name], known)
    return np.full(rows, -1, dtype=np.int64)


def _numbers(tensors: Mapping[str, NDArray[np.generic]], name: str, rows: int) -> Floats:
    if name in tensors:
        return np.asarray(tensors[name], dtype=np.float64)
    return np.full(rows, np.nan)


def _scores(tensors: Tensors, name: str, mask: str, width: int, rows: int) -> Floats:
    """Return the newest samples, left-padded; missing ones are closed up, order is kept."""
    out_NT = np.full((rows, width), np.nan)
    if name not in tensors:
        if mask in tensors:
            raise SchemaError(field=mask, got="given", expected=f"it with {name} alone")
        return out_NT
    given_NT = cast(Floats, tensors[name])
    if given_NT.shape[1] > LONGEST_REQUEST:
        raise SchemaError(
            field=name, got=f"{given_NT.shape[1]} samples", expected=f"at most {LONGEST_REQUEST}"
        )
    present_NT = _mask(tensors, name, mask)
    wrong = present_NT & (given_NT <= 0)
    if wrong.any():
        row, place = (int(axis[0]) for axis in np.nonzero(wrong))
        raise OutOfRangeError(
            field=f"{name}[{row}, {place}]",
            got=float(given_NT[row, place]),
            expected="a positive score",
            remedy=f"Set {mask} to false where a score is missing.",
        )
    _fill(out_NT, given_NT, present_NT)
    return out_NT


def _mask(tensors: Tensors, name: str, mask: str) -> Mask:
    shape = tensors[name].shape
    if mask not in tensors:
        return np.ones(shape, dtype=np.bool_)
    if tensors[mask].shape != shape:
        raise SchemaError(
            field=mask,
            got=list(tensors[mask].shape),
            expected=f"the shape of {name}, {list(shape)}",
        )
    return cast(Mask, tensors[mask])


def _fill(out_NT: NDArray[np.generic], given_NT: NDArray[np.generic], present_NT: Mask) -> None:
    width = out_NT.shape[1]
    for row in range(len(out_NT)):
        kept = given_NT[row][present_NT[row]][-width:]
        if len(kept):
            out_NT[row, width - len(kept) :] = kept


def _ages(tensors: Tensors, name: str, of: str, scores_NT: Floats) -> Floats:
    out_NT = np.full(scores_NT.shape, np.nan)
    if name not in tensors:
        return out_NT
    _same_shape(tensors, name, of)
    mask = "is_present" if of == "score" else "peer_is_present"
    _fill(out_NT, tensors[name], _mask(tensors, of, mask))
    return out_NT


def _peer_vms(tensors: Tensors, peer_NM: Floats) -> Ints:
    out_NM = np.full(peer_NM.shape, -1, dtype=np.int64)
    if "peer_vm" not in tensors:
        return np.where(np.isfinite(peer_NM), 0, out_NM)
    _same_shape(tensors, "peer_vm", "peer_score")
    _fill(out_NM, tensors["peer_vm"], _mask(tensors, "peer_score", "peer_is_present"))
    return out_NM


def _same_shape(tensors: Tensors, name: str, of: str) -> None:
    if of not in tensors or tensors[name].shape != tensors[of].shape:
        wanted = list(tensors[of].shape) if of in tensors else "absent"
        raise SchemaError(
            field=name, got=list(tensors[name].shape), expected=f"the shape of {of}, {wanted}"
        )


def _check_clock(age_NT: Floats) -> None:
    with np.errstate(invalid="ignore"):
        wrong = np.diff(age_NT, axis=1) >= 0
    if wrong.any():
        row, place = (int(axis[0]) for axis in np.nonzero(wrong))
        raise OutOfRangeError(
            field=f"age_s of row {row}",
            got=(float(age_NT[row, place]), float(age_NT[row, place + 1])),
            expected="ages that fall from each sample to the next: oldest first, no time twice",
            remedy="Sort the samples by time and drop repeated ones.",
        )
