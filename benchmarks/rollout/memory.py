"""What a replica remembers, measured: live samples and the prediction log.

`python -m benchmarks.rollout.memory` writes `benchmarks/results/memory.json`.
"""

import argparse
from pathlib import Path

from benchmarks.results_format import (
    RESULTS_DIR,
    BenchmarkResult,
    Metric,
    describe_machine,
    describe_versions,
    write_result,
)
from benchmarks.rollout.memory_log import measure_log
from benchmarks.rollout.memory_streaming import measure_streaming

SEED = 1
NOTES = (
    "Features: two specs (the bandwidth forecaster's 96 steps and the full set with calendar) of 60 "
    "links, 150 samples each, a tenth of the metrics missing, one sample in twenty up to 40 s late. "
    "The process that took them is killed by SIGKILL after its last acknowledgement.",
    "Rates and costs are CPU time of the process, median over repeats; the interval holds 95 % of "
    "the repeats. `on_the_event_loop` is a difference of two noisy numbers: what the call takes and "
    "what it costs that tensors live until their block is written.",
    "One sample a request is dear, because parsing and checking work on whole batches: requests "
    "that wait at the endpoint are joined, so that the rate under load is that of larger batches.",
    "Log: answers of the forecaster's shape, 96 samples in, three times five values out, through "
    "the data plane with a model that does next to nothing and no wire format.",
)


def measure(*, quick: bool = False) -> list[Metric]:
    """Return all rows."""
    return [*measure_streaming(SEED, quick=quick), *measure_log(SEED, quick=quick)]


def run(directory: Path, *, quick: bool = False) -> Path:
    """Measure and write the result."""
    return write_result(
        BenchmarkResult(
            theme="memory",
            command="python -m benchmarks.rollout.memory" + (" --quick" if quick else ""),
            seeds=(SEED,),
            data_sha256=f"generated:{SEED}",
            machine=describe_machine(),
            versions=describe_versions(("novacron-ml", "numpy", "pyarrow")),
            metrics=tuple(measure(quick=quick)),
            notes=NOTES,
        ),
        directory,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS_DIR)
    given = parser.parse_args()
    run(given.out, quick=given.quick)
