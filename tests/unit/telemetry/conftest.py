"""Fixtures of the telemetry room: tiny files in the formats of the publishers, and the real ones."""

import os
from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture
def publish(tmp_path):
    """Return a function that writes one native Parquet file and returns the data folder."""

    def write(file: str, columns: dict) -> Path:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(columns).to_parquet(path)
        return tmp_path

    return write


@pytest.fixture
def real_data_dir() -> Path:
    folder = os.environ.get("NOVACRON_DATA_DIR")
    if not folder:
        pytest.skip("NOVACRON_DATA_DIR names no folder with the public data sets")
    return Path(folder)
