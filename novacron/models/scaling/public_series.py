"""The public series that scaling is trained and measured on, with where training ends in each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from novacron.models.scaling.config import DAY_S
from novacron.models.scaling.demand import Demand, to_demand
from novacron.telemetry.datasets.catalogue import dataset

TEST_RATIO: Final = 1 / 3
"""Newest share of a series that training and calibration never see."""
CALIBRATION_RATIO: Final = 1 / 5
"""Newest share of what is before the test part: margins and weights are chosen on it."""
LONGEST_CALIBRATION_DAYS: Final = 7
FLEETS: Final = ("azure", "google", "alibaba")
PUBLIC_FILES: Final = (
    *(f"vm_dc_aggregate/{name}.parquet" for name in ("azure_v2_300s", "google2019_300s")),
    "vm_dc_aggregate/alibaba2018_300s.parquet",
    "vm_bitbrains/fleet_5min.parquet",
    "vm_bitbrains/vm_5min.parquet",
    "vm_bitbrains/vm_summary_julaug.parquet",
    "scale_genai2026/requests_10min.parquet",
)
PUBLIC_SETS: Final = (
    "real series: fleets of Azure 2019, Google 2019, Alibaba 2018 and Bitbrains, Bitbrains VMs, "
    "requests of a generative service"
)
_VMS: Final = 2
_LEAST_VM_MEAN_RATIO: Final = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One series and the steps at which its calibration and its test part begin."""

    name: str
    demand: Demand
    calibration_from: int
    test_from: int


def split(name: str, demand: Demand) -> Series:
    """Cut a series by time into training, calibration and test."""
    test_from = round(len(demand) * (1 - TEST_RATIO))
    held = min(round(test_from * CALIBRATION_RATIO), LONGEST_CALIBRATION_DAYS * demand.day_steps)
    return Series(name=name, demand=demand, calibration_from=test_from - held, test_from=test_from)


def public_series(data_dir: Path) -> dict[str, Series]:
    """Return the fleets, the busiest Bitbrains VMs and the request rates, by name.

    Raises:
        DatasetNotFoundError: A file is not in the folder.
    """
    found = dict(_fleets(data_dir))
    found["bitbrains"] = _bitbrains_fleet(data_dir)
    found |= _bitbrains_vms(data_dir)
    requests = dataset("scale_genai2026").load(data_dir, "requests").table.to_pandas()
    rate = requests.set_index("local_ts").requests_per_10min.astype(np.float64)
    found["requests"] = to_demand(rate, name="requests_per_10min")
    return {name: split(name, demand) for name, demand in found.items()}


def _fleets(data_dir: Path) -> Mapping[str, Demand]:
    columns = {
        "azure": ("azure_v2_300s", "cpu_usage_sum"),
        "google": ("google2019_300s", "cpu_ratio"),
        "alibaba": ("alibaba2018_300s", "cpu_ratio"),
    }
    tables = dataset("vm_dc_aggregate")
    demands = {}
    for name, (table, column) in columns.items():
        frame = tables.load(data_dir, table).table.to_pandas().set_index("ts")
        demands[name] = to_demand(frame[column], name=column)
    return demands


def _bitbrains_fleet(data_dir: Path) -> Demand:
    frame = dataset("vm_bitbrains").load(data_dir, "fleet").table.to_pandas().set_index("ts")
    return to_demand(frame.cpu_mhz_per_vm, name="cpu_mhz_per_vm")


def _bitbrains_vms(data_dir: Path) -> dict[str, Demand]:
    table = dataset("vm_bitbrains").load(data_dir, "nodes").table.to_pandas()
    # Which VMs are busy is told by the first half of their samples: the part that is trained on.
    first = table[table.ts < table.ts.min() + (table.ts.max() - table.ts.min()) / 2]
    mean = first.groupby("node_id").cpu_ratio.mean().sort_values(ascending=False)
    counts = table.groupby("node_id").size()
    days = (table.ts.max() - table.ts.min()) / pd.Timedelta(seconds=DAY_S)
    whole = counts.index[counts > 0.8 * days * DAY_S / 300]
    busy = [name for name in mean.index if name in whole and mean[name] >= _LEAST_VM_MEAN_RATIO]
    rows = table.groupby("node_id")
    return {
        name.replace("bitbrains-", "vm"): to_demand(
            rows.get_group(name).set_index("ts").cpu_ratio, name="cpu_ratio"
        )
        for name in busy[:_VMS]
    }
