"""The list of public data sets: what each is for, where it came from, and how to load its tables.

None of the data ships with this project. A folder named by `NOVACRON_DATA_DIR` holds one
sub-folder per data set.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Final, Literal

from novacron.errors import DatasetNotFoundError
from novacron.telemetry.datasets import (
    anomaly,
    broadband,
    capacity,
    cellular,
    compression,
    placement,
    throughput,
    vm,
    wan_priors,
)
from novacron.telemetry.datasets.adapted import Adapted
from novacron.telemetry.datasets.files import DATA_DIR_VARIABLE
from novacron.telemetry.digest import data_sha256

TableSchema = Literal["link", "node", "own"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TableEntry:
    """One table of a data set. `schema` is `own` where it is neither link nor node telemetry."""

    doc: str
    schema: TableSchema
    files: tuple[str, ...]
    adapt: Callable[[Path], Adapted]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """One public data set: a folder of native files and the tables they become."""

    name: str
    purpose: str
    source: str
    licence: str
    tables: Mapping[str, TableEntry]

    @property
    def files(self) -> tuple[str, ...]:
        """The native files, relative to the data folder, each once."""
        return tuple(dict.fromkeys(file for t in self.tables.values() for file in t.files))

    def missing_files(self, data_dir: Path) -> tuple[str, ...]:
        """Return those of `files` that are not in the folder."""
        return tuple(file for file in self.files if not (data_dir / file).is_file())

    def load(self, data_dir: Path, table: str) -> Adapted:
        """Return one table in canonical units, with what was rejected on the way.

        Raises:
            DatasetNotFoundError: No such table, or its files are not in the folder.
            SchemaError: A native column is missing.
            UnreadableInputError: A file is not what its name says.
        """
        if table not in self.tables:
            raise DatasetNotFoundError(
                f"{self.name} has no table {table!r}.",
                remedy=f"Its tables: {', '.join(self.tables)}.",
            )
        return self.tables[table].adapt(data_dir)

    def sha256(self, data_dir: Path) -> str:
        """Return the digest of its native files."""
        return data_sha256(data_dir / file for file in self.files)


def _link(doc: str, file: str, adapt: Callable[[Path], Adapted]) -> TableEntry:
    return TableEntry(doc=doc, schema="link", files=(file,), adapt=adapt)


def _node(doc: str, adapt: Callable[[Path], Adapted], *files: str) -> TableEntry:
    return TableEntry(doc=doc, schema="node", files=files, adapt=adapt)


def _own(doc: str, adapt: Callable[[Path], Adapted], *files: str) -> TableEntry:
    return TableEntry(doc=doc, schema="own", files=files, adapt=adapt)


def _throughput_table(name: str) -> TableEntry:
    adapt = partial(throughput.adapt_throughput, set_name=name)
    return _link(f"{name} sessions, one link each", throughput.FILES[name], adapt)


def _centre_file(centre: str) -> str:
    return f"{vm.CENTRES_FOLDER}/{centre}.parquet"


def _alibaba_tables(centre: str) -> dict[str, TableEntry]:
    file = _centre_file(centre)
    load = partial(vm.adapt_alibaba_centre, centre=centre)
    network = partial(vm.adapt_alibaba_network, centre=centre)
    return {
        centre: _node("fleet means as one node", load, file),
        f"{centre}_network": _own("network, 0..100 of an unknown rate", network, file),
    }


_CLUSTERDATA_LICENCE: Final = "none stated at the root; its readme asks for citation"

_ANOMALY: Final = (
    DataSet(
        name="anom_donut",
        purpose="anomaly: labelled server series",
        source="NetManAIOps/donut @ c8a44d91; Xu et al., WWW 2018",
        licence="none stated",
        tables={
            "series": _own(
                "normalised values with point labels", anomaly.adapt_donut, anomaly.DONUT_FILE
            )
        },
    ),
    DataSet(
        name="anom_nab",
        purpose="anomaly: univariate series with labelled windows",
        source="numenta/NAB @ ea702d75; Lavin and Ahmad, ICMLA 2015",
        licence="MIT",
        tables={
            "series": _own("values, native units", anomaly.adapt_nab, anomaly.NAB_SERIES_FILE),
            "windows": _own(
                "labelled windows", anomaly.adapt_nab_windows, anomaly.NAB_WINDOWS_FILE
            ),
        },
    ),
    DataSet(
        name="anom_nezha",
        purpose="anomaly: multivariate, with injected faults",
        source="IntelligentDDS/Nezha @ d8140101; Yu et al., FSE 2023",
        licence="MIT",
        tables={
            "nodes": _node("pods, one a minute", anomaly.adapt_nezha, anomaly.NEZHA_METRICS_FILE),
            "pods": _own(
                "other pod metrics", anomaly.adapt_nezha_pods, anomaly.NEZHA_METRICS_FILE
            ),
            "faults": _own(
                "injected faults", anomaly.adapt_nezha_faults, anomaly.NEZHA_FAULTS_FILE
            ),
        },
    ),
)

_CAPACITY: Final = (
    DataSet(
        name="bytes_compress",
        purpose="compression: measured zstd and lz4 curves",
        source="own measurement; logs of logpai/loghub dd61d095",
        licence="derived numbers only",
        tables={
            "curves": _own(
                "ratio and speed by level", compression.adapt_curves, compression.CURVES_FILE
            ),
        },
    ),
    DataSet(
        name="cap_energy",
        purpose="capacity: check of methods, not IT capacity",
        source="skforecast/skforecast-datasets @ f8c3d7fe; AEMO by tsibbledata",
        licence="BSD-3; upstream GPL-3",
        tables={"demand": _own("hourly demand", capacity.adapt_energy, capacity.ENERGY_FILE)},
    ),
    DataSet(
        name="cap_wikipedia",
        purpose="capacity: daily demand with spikes",
        source="facebook/prophet and business-science/timetk @ 181f4479",
        licence="MIT, GPL-3; page views CC0",
        tables={
            "views": _own("daily page views", capacity.adapt_wikipedia, capacity.WIKIPEDIA_FILE)
        },
    ),
    DataSet(
        name="scale_genai2026",
        purpose="scaling: request rates of a small service",
        source="alibaba/clusterdata cluster-trace-v2026-GenAI @ 7a6c496e",
        licence=_CLUSTERDATA_LICENCE,
        tables={
            "requests": _own(
                "requests in 10 minutes", capacity.adapt_requests, capacity.REQUESTS_FILE
            )
        },
    ),
)

_NETWORK: Final = (
    DataSet(
        name="net_5g_ucc",
        purpose="bandwidth: rate with round trip and loss; simulator",
        source="uccmisl/5Gdataset @ 306d92eb; Raca et al., MMSys 2020",
        licence="GPL-3.0",
        tables={
            "download": _link("phones, app Download", cellular.FIVE_G_FILE, cellular.adapt_five_g)
        },
    ),
    DataSet(
        name="net_mahimahi",
        purpose="bandwidth and simulator: true capacity of LTE and UMTS links",
        source="ravinet/mahimahi @ ae477d43; Winstein et al., NSDI 2013",
        licence="GPL-3.0",
        tables={"lte": _link("capacity, 1 s means", cellular.LTE_FILE, cellular.adapt_lte)},
    ),
    DataSet(
        name="net_skyplane",
        purpose="simulator priors and placement cost by region pair",
        source="skyplane-project/skyplane",
        licence="Apache-2.0",
        tables={
            "throughput": _link(
                "iperf3 tests", wan_priors.THROUGHPUT_FILE, wan_priors.adapt_region_throughput
            ),
            "latency": _own(
                "pings between regions", wan_priors.adapt_region_latency, wan_priors.LATENCY_FILE
            ),
            "pairs": _own(
                "medians by pair of regions",
                wan_priors.adapt_region_pairs,
                wan_priors.THROUGHPUT_FILE,
                wan_priors.LATENCY_FILE,
            ),
        },
    ),
    DataSet(
        name="net_speedtest_telstra",
        purpose="bandwidth at half-hour steps; drift by level shifts",
        source="WizardTim/speedtest-data",
        licence="CC-BY-4.0",
        tables={"line": _link("one home line", broadband.TELSTRA_FILE, broadband.adapt_telstra)},
    ),
    DataSet(
        name="net_tput_traces",
        purpose="bandwidth: throughput sessions; simulator capacity",
        source="confiwent/Real-world-bandwidth-traces @ d28c4fd4",
        licence="MIT; upstream FCC public domain, the others cite their papers",
        tables={name: _throughput_table(name) for name in throughput.FILES},
    ),
)

_PLACEMENT: Final = (
    DataSet(
        name="place_alibaba_dlrm2025",
        purpose="placement: requests for four resources with anti-affinity",
        source="alibaba/clusterdata @ 7a6c496e",
        licence=_CLUSTERDATA_LICENCE,
        tables={
            "instances": _own(
                "what instances asked for", placement.adapt_dlrm, placement.DLRM_FILE
            )
        },
    ),
    DataSet(
        name="place_alibaba_gpu2023",
        purpose="placement: real nodes and pods",
        source="alibaba/clusterdata @ 7a6c496e",
        licence=_CLUSTERDATA_LICENCE,
        tables={
            "nodes": _own("what nodes hold", placement.adapt_gpu_nodes, placement.GPU_NODES_FILE),
            "pods": _own("what pods asked for", placement.adapt_gpu_pods, placement.GPU_PODS_FILE),
        },
    ),
    DataSet(
        name="place_azure_v1",
        purpose="placement: real VM arrivals and, in part, lifetimes",
        source="huaweicloud/trace_generation_rnn @ fa856db0; Cortez et al., SOSP 2017",
        licence="CC-BY-4.0",
        tables={
            "arrivals": _own("VM arrivals", placement.adapt_azure_v1, placement.AZURE_V1_FILE)
        },
    ),
)

_MACHINES: Final = (
    DataSet(
        name="vm_azure_noise",
        purpose="simulator: noise of a host; drift",
        source="Azure/AzurePublicDataset @ b469a113",
        licence="CC-BY-4.0",
        tables={"scores": _own("benchmark scores", vm.adapt_azure_noise, vm.NOISE_FILE)},
    ),
    DataSet(
        name="vm_bitbrains",
        purpose="VM telemetry: features, anomaly, scaling, placement demand, capacity",
        source="GWA-T-12 Bitbrains; Shen, van Beek, Iosup, CCGrid 2015",
        licence="free for research with citation",
        tables={
            "nodes": _node(
                "VMs", vm.adapt_bitbrains, vm.BITBRAINS_VM_FILE, vm.BITBRAINS_CAPACITY_FILE
            ),
            "io": _own("disk and network rates", vm.adapt_bitbrains_io, vm.BITBRAINS_VM_FILE),
            "fleet": _own("fleet means per VM", vm.adapt_bitbrains_fleet, vm.BITBRAINS_FLEET_FILE),
            "capacity": _own(
                "what each VM was given", vm.adapt_bitbrains_capacity, vm.BITBRAINS_CAPACITY_FILE
            ),
        },
    ),
    DataSet(
        name="vm_dc_aggregate",
        purpose="scaling and short capacity: whole fleets",
        source="alejandrofdez-us/DataCenter-Traces-Datasets @ 003bb8e7",
        licence="MIT; upstream Azure and Google CC-BY-4.0, Alibaba none stated",
        tables=_alibaba_tables("alibaba2018_300s")
        | _alibaba_tables("alibaba2018_30s")
        | {
            "azure_v2_300s": _own(
                "sums over VMs", vm.adapt_azure_centre, _centre_file("azure_v2_300s")
            ),
            "google2019_300s": _node(
                "fleet means as one node", vm.adapt_google_centre, _centre_file("google2019_300s")
            ),
        },
    ),
)

DATASETS: Final[Mapping[str, DataSet]] = {
    entry.name: entry for entry in (*_ANOMALY, *_CAPACITY, *_NETWORK, *_PLACEMENT, *_MACHINES)
}


def dataset(name: str) -> DataSet:
    """Return the data set of that name.

    Raises:
        DatasetNotFoundError: No such data set; the message names the nearest and lists all.
    """
    if name not in DATASETS:
        near = get_close_matches(name, DATASETS, n=1, cutoff=0.4)
        guess = f"Did you mean {near[0]!r}? " if near else ""
        raise DatasetNotFoundError(
            f"There is no data set {name!r}.",
            remedy=f"{guess}Known: {', '.join(DATASETS)}. "
            f"Their files are read from the folder that {DATA_DIR_VARIABLE} names.",
        )
    return DATASETS[name]
