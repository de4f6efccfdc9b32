"""BentoML with its adaptive batching on: `MODEL=... bentoml serve bentoml_app:Forest`."""

import os

import bentoml
import lightgbm
import numpy as np
import numpy.typing


@bentoml.service(workers=1, traffic={"timeout": 60})
class Forest:
    """Joins the rows of requests into one call."""

    def __init__(self) -> None:
        self.booster = lightgbm.Booster(model_file=os.environ["MODEL"])

    @bentoml.api(batchable=True, max_batch_size=8192, max_latency_ms=1000)
    def predict(self, rows: np.typing.NDArray[np.float64]) -> np.typing.NDArray[np.float64]:
        """Answer every row."""
        return self.booster.predict(rows, num_threads=1)
