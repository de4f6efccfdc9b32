"""What a replica remembers, measured: live samples and the prediction log.

`python -m benchmarks.rollout --only memory` measures this part alone; it needs no cluster.
"""

from benchmarks.rollout.memory_log import measure_log
from benchmarks.rollout.memory_streaming import measure_streaming
from benchmarks.rollout.parts import Bench, PartResult

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


def measure(bench: Bench) -> PartResult:
    """Measure all rows of this part."""
    streaming = measure_streaming(SEED, quick=bench.quick)
    bench.say(f"live samples: {len(streaming)} rows")
    log = measure_log(SEED, quick=bench.quick)
    bench.say(f"prediction log: {len(log)} rows")
    return PartResult(metrics=(*streaming, *log), notes=NOTES)
