"""Finds and reads the native files of a data set, and says what is missing where."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from novacron.errors import DatasetNotFoundError, SchemaError, UnreadableInputError

DATA_DIR_VARIABLE: Final = "NOVACRON_DATA_DIR"


def require_data_dir(path: str | os.PathLike[str] | None) -> Path:
    """Return the data folder, or say how to name one.

    Args:
        path: What the edge read from its configuration or from the environment; may be empty.

    Raises:
        DatasetNotFoundError: No folder is named, or it is not there.
    """
    if not path:
        raise DatasetNotFoundError(
            "No data folder is named.",
            remedy=f"Set {DATA_DIR_VARIABLE} to a folder that holds one sub-folder per data set, "
            "for example net_tput_traces/fcc.parquet; `novacron data` lists them all.",
        )
    folder = Path(path)
    if not folder.is_dir():
        raise DatasetNotFoundError(
            f"The data folder {folder} does not exist.",
            remedy=f"Point {DATA_DIR_VARIABLE} at the folder that holds one sub-folder per data "
            "set, for example net_tput_traces/fcc.parquet.",
        )
    return folder


def read_native(data_dir: Path, file: str, columns: Sequence[str]) -> pd.DataFrame:
    """Read the named columns of one native Parquet file.

    Raises:
        DatasetNotFoundError: The file is not there.
        UnreadableInputError: It is not a Parquet file.
        SchemaError: A column is missing.
    """
    path = data_dir / file
    if not path.is_file():
        raise DatasetNotFoundError(
            f"{file} is not in {data_dir}.",
            remedy=f"Point {DATA_DIR_VARIABLE} at a folder that holds {file}.",
        )
    try:
        present = pq.read_schema(path).names
        missing = [name for name in columns if name not in present]
        if missing:
            raise SchemaError(
                field=f"{file}: {missing[0]}",
                got=f"columns {', '.join(present)}",
                expected=f"columns {', '.join(columns)}",
            )
        frame: pd.DataFrame = pq.read_table(path, columns=list(columns)).to_pandas()
    except pa.ArrowException as cause:
        raise UnreadableInputError(
            field=file, got=str(cause), expected="a Parquet file", remedy="Fetch the file again."
        ) from cause
    return frame
