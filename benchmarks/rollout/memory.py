"""What a replica remembers, measured: live samples and the prediction log.

`python -m benchmarks.rollout --only live_samples,prediction_log` measures these parts alone; they need
no cluster.
"""

from typing import Final

from benchmarks.rollout.memory_log import measure_log
from benchmarks.rollout.memory_streaming import measure_streaming
from benchmarks.rollout.parts import Bench, PartResult

SEED: Final = 1
SAMPLES_NOTES: Final = (
    "Two feature specs (the bandwidth forecaster's 96 steps and the full set with calendar) of 60 "
    "links, 150 samples each, a tenth of the metrics missing, one sample in twenty up to 40 s late. "
    "The process that took them is killed by SIGKILL after its last acknowledgement.",
    "Rates are CPU time of the process, median over repeats; the interval holds 95 % of the repeats.",
    "One sample a request is dear, because parsing and checking work on whole batches: requests "
    "that wait at the endpoint are joined, so that the rate under load is that of larger batches.",
)
LOG_NOTES: Final = (
    "Answers of the forecaster's shape, 96 samples in, three times five values out, through the "
    "data plane with a model that does next to nothing and no wire format. Costs are medians over "
    "pairs of a hundred answers with and without a log, in turns; the interval resamples the pairs. "
    "`on_the_event_loop` is what the call takes, and what it costs that tensors live until their "
    "block is written.",
    "`log_cpu_ratio` adds the loop's share and that of the log's own thread to the same answers "
    "without a log: it is high because there is so little work in them.",
)


def measure_samples(bench: Bench) -> PartResult:
    """Measure all rows about live samples."""
    rows = measure_streaming(SEED, quick=bench.quick)
    return PartResult(metrics=tuple(rows), notes=SAMPLES_NOTES)


def measure_predictions(bench: Bench) -> PartResult:
    """Measure all rows about the prediction log."""
    return PartResult(metrics=tuple(measure_log(SEED, quick=bench.quick)), notes=LOG_NOTES)
