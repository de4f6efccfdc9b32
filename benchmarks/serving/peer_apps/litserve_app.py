"""LitServe with its batching on: `MODEL=... python litserve_app.py PORT`."""

import os
import sys
from typing import Any

import lightgbm
import litserve
import numpy as np


class Forest(litserve.LitAPI):
    """Joins the rows of requests into one call."""

    def setup(self, device: str) -> None:
        """Load the model."""
        del device
        self.booster = lightgbm.Booster(model_file=os.environ["MODEL"])

    def decode_request(self, request: dict[str, Any]) -> Any:
        """Read one request."""
        return np.array(request["rows"])

    def batch(self, inputs: list[Any]) -> Any:
        """Join requests, and remember how many rows each had."""
        return [len(rows) for rows in inputs], np.concatenate(inputs)

    def predict(self, joined: Any) -> Any:
        """Answer all rows of a batch, or of one request where it is alone."""
        if isinstance(joined, np.ndarray):
            return self.booster.predict(joined, num_threads=1)
        lengths, rows = joined
        return np.split(self.booster.predict(rows, num_threads=1), np.cumsum(lengths)[:-1])

    def unbatch(self, output: Any) -> Any:
        """Part the answers by request."""
        return output

    def encode_response(self, output: Any) -> dict[str, list[float]]:
        """Write one answer."""
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Forest(max_batch_size=64, batch_timeout=0.002), accelerator="cpu")
    server.run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False)
