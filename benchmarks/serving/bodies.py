"""The model, its rows, and how each server is asked and answers."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.serving.load import http_request
from serve_apps.oip_binary import HEADER_LENGTH

FEATURES: Final = 24
TREES: Final = 300
DISTINCT_ROWS: Final = 1_000
SEED: Final = 7

Floats = NDArray[np.float64]


def make_model(path: Path, *, trees: int = TREES, n_rows: int = 20_000) -> lightgbm.Booster:
    """Fit the model, 300 trees over 24 features, and write it as text."""
    rng = np.random.default_rng(SEED)
    x_NF = rng.standard_normal((n_rows, FEATURES))
    y_N = np.sin(x_NF[:, 0]) + x_NF[:, 1] * x_NF[:, 2] + 0.1 * rng.standard_normal(len(x_NF))
    settings = {"verbose": -1, "num_threads": 1, "seed": SEED, "deterministic": True}
    booster = lightgbm.train(settings, lightgbm.Dataset(x_NF, y_N), trees)
    path.parent.mkdir(parents=True, exist_ok=True)
    booster.save_model(path)
    return lightgbm.Booster(model_file=path)


def make_rows() -> Floats:
    """Return the rows that requests rotate over."""
    return np.random.default_rng(SEED + 1).standard_normal((DISTINCT_ROWS, FEATURES))


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """How one server is asked: a request of rows, and the answers in a reply."""

    path: str
    request: Callable[[Floats], tuple[dict[str, str], bytes]]
    answers: Callable[[dict[str, str], bytes], Floats]

    def bodies(self, rows: Floats, *, n_rows: int, host: str) -> list[bytes]:
        """Return requests of so many rows each, over all the rows in turn."""
        starts = range(len(rows)) if n_rows == 1 else range(20)
        parts = (np.roll(rows, -50 * start, axis=0)[:n_rows] if n_rows > 1
                 else rows[start : start + 1] for start in starts)  # fmt: skip
        return [http_request(host, self.path, *self.request(part)) for part in parts]


_JSON: Final = {"Content-Type": "application/json"}


def _plain(key: str) -> Callable[[Floats], tuple[dict[str, str], bytes]]:
    return lambda rows: (_JSON, json.dumps({key: rows.tolist()}).encode())


def _listed(*keys: str) -> Callable[[dict[str, str], bytes], Floats]:
    def read(_: dict[str, str], body: bytes) -> Floats:
        found: Any = json.loads(body)
        for key in keys:
            found = found[int(key)] if key.isdigit() else found[key]
        return np.array(found, dtype=np.float64).ravel()

    return read


def _oip_json(rows: Floats) -> tuple[dict[str, str], bytes]:
    tensor = {
        "name": "input",
        "shape": list(rows.shape),
        "datatype": "FP64",
        "data": rows.ravel().tolist(),
    }
    return _JSON, orjson.dumps({"inputs": [tensor]})


def _oip_binary(rows: Floats) -> tuple[dict[str, str], bytes]:
    tensor = {
        "name": "input",
        "shape": list(rows.shape),
        "datatype": "FP64",
        "parameters": {"binary_data_size": rows.nbytes},
    }
    head = orjson.dumps({"parameters": {"binary_data_output": True}, "inputs": [tensor]})
    headers = {HEADER_LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
    return headers, head + rows.tobytes()


def _read_binary(headers: dict[str, str], body: bytes) -> Floats:
    return np.frombuffer(body[int(headers[HEADER_LENGTH]) :], dtype="<f8")


PLAIN: Final = Form(path="/predict", request=_plain("rows"), answers=_listed("predictions"))
BENTO: Final = Form(path="/predict", request=_plain("rows"), answers=_listed())
MLFLOW: Final = Form(path="/invocations", request=_plain("inputs"), answers=_listed("predictions"))
OIP_JSON: Final = Form(
    path="/v2/models/lgb/infer", request=_oip_json, answers=_listed("outputs", "0", "data")
)
OIP_BINARY: Final = Form(path="/v2/models/lgb/infer", request=_oip_binary, answers=_read_binary)


def check_answers(got: Sequence[Floats], wanted: Floats) -> None:
    """Compare answers with the model's own, before anything is timed.

    Raises:
        AssertionError: They differ: a benchmark of wrong answers is worth nothing.
    """
    np.testing.assert_allclose(np.concatenate(got), wanted, rtol=1e-6, atol=1e-9)
