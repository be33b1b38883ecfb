"""What the model is given: each number with its unit and where it comes from. Nothing here is computed.

After a new measurement, change `Measured` and run `python -m benchmarks.scale --write docs/scale.md`.
"""

from dataclasses import dataclass, field
from typing import Any

MEMORY = "from memory, check"

_BEAM_PRICES = (
    "Beam 2.77's `apache_beam/testing/load_tests/dataflow_cost_consts.py` (us-central1), which names "
    "https://cloud.google.com/dataflow/pricing"
)
_BIGTABLE_PRICES = "https://cloud.google.com/bigtable/pricing, as others quote it (us-central1); check"
_BIGQUERY_PRICES = "https://cloud.google.com/bigquery/pricing, as others quote it (US); check"
_JAVA_CLIENT = "as Google's Java client, https://github.com/googleapis/java-bigtable/pull/2243 (2024-05)"


def _given(value: float, meaning: str, source: str) -> Any:
    return field(default=value, metadata={"meaning": meaning, "source": source})


@dataclass(frozen=True, slots=True)
class Measured:
    """Measured on this repository's emulators, over loopback."""

    rows_per_cpu_second: float = _given(
        860_000, "rows a worker CPU-second reads, encodes and writes", "`benchmarks/export`"
    )
    wire_bytes: float = _given(160, "bytes of a row in MutateRows; also taken as stored", "`benchmarks/export`")
    logical_bytes: float = _given(124, "bytes of a row in BigQuery: two STRINGs", "`benchmarks/export`")
    stock_rows_per_cpu_second: float = _given(16_700, "the same with Beam's own connectors", "`benchmarks/export`")


@dataclass(frozen=True, slots=True)
class Job:
    """How the export works."""

    rows_per_request: float = _given(2_000, "rows a request", "`beam_jobs/bulk_writer.py`")
    requests_in_flight: float = _given(4, "requests in flight a stream", "`beam_jobs/bulk_writer.py`")
    request_bytes: float = _given(8 * 2**20, "bytes a request", "`beam_jobs/bulk_writer.py`")
    request_timeout: float = _given(60, "seconds until a request is given up", "`beam_jobs/bulk_writer.py`")
    first_rate: float = _given(20_000, "rows/s a process that flow control starts from", "`beam_jobs/flow_control.py`")
    slowest_rate: float = _given(200, "rows/s a process that it goes down to", "`beam_jobs/flow_control.py`")
    smallest_factor: float = _given(0.7, "smallest change of that rate", _JAVA_CLIENT)
    largest_factor: float = _given(1.3, "largest change of that rate", _JAVA_CLIENT)


@dataclass(frozen=True, slots=True)
class Bigtable:
    """One cluster of SSD nodes, Enterprise edition."""

    reads_per_node: float = _given(
        17_000, "rows/s a node reads, rows of 1 KB", "https://docs.cloud.google.com/bigtable/docs/performance"
    )
    writes_per_node: float = _given(
        14_000, "or rows/s a node writes, rows of 1 KB", "https://docs.cloud.google.com/bigtable/docs/performance"
    )
    recommended_cpu: float = _given(
        0.7,
        "recommended maximum of average CPU, single-cluster routing",
        "https://cloud.google.com/bigtable/docs/monitoring-instance",
    )
    rebalance_minutes: float = _given(
        20,
        "until added nodes help, under load (up to)",
        "https://docs.cloud.google.com/bigtable/docs/scaling",
    )
    shrink_share: float = _given(
        0.1,
        "of its nodes that a cluster should lose in 10 minutes, at most",
        "https://cloud.google.com/bigtable/docs/scaling",
    )
    storage_gib_per_node: float = _given(
        2_560,
        "GiB a node that the autoscaler aims at (limit: 5,120)",
        "https://cloud.google.com/php/docs/reference/cloud-bigtable/latest/Admin.V2.AutoscalingTargets",
    )
    mutations_per_request: float = _given(
        100_000, "mutations a MutateRows request, at most", "`MutateRowsRequest` in google-cloud-bigtable 2.50.2"
    )
    node_quota: float = _given(
        30, "nodes a zone and project without asking for more", "https://cloud.google.com/bigtable/quota, an old copy"
    )
    flow_control_seconds: float = _given(10, "seconds between changes of the rate (the server says)", MEMORY)
    node_hour: float = _given(0.65, "$ a node and hour, each begun hour", _BIGTABLE_PRICES)
    gib_month: float = _given(0.17, "$ a GiB and month", _BIGTABLE_PRICES)


@dataclass(frozen=True, slots=True)
class Dataflow:
    """Batch workers, `e2-standard-2`."""

    vcpus: float = _given(2, "vCPUs a worker: as many Python processes", MEMORY)
    memory_gib: float = _given(8, "GiB of memory a worker", MEMORY)
    disk_gib: float = _given(25, "GiB of disk a worker, with Dataflow Shuffle", MEMORY)
    threads: float = _given(4, "threads a process: streams that it reads at a time", "`beam_jobs/dataflow.py`")
    network_bytes: float = _given(500_000_000, "bytes/s a worker sends (4 Gbit/s)", MEMORY)
    max_workers: float = _given(
        2_000,
        "workers a job (4,000 with Dataflow Shuffle and no zone set)",
        "https://docs.cloud.google.com/dataflow/quotas",
    )
    startup_seconds: float = _given(180, "from submission until workers read; billed here", MEMORY)
    vcpu_hour: float = _given(0.056, "$ a vCPU and hour", _BEAM_PRICES)
    memory_hour: float = _given(0.003557, "$ a GiB of memory and hour", _BEAM_PRICES)
    disk_hour: float = _given(0.000054, "$ a GiB of disk and hour", _BEAM_PRICES)


@dataclass(frozen=True, slots=True)
class BigQuery:
    """The Storage Read API, and queries on demand."""

    max_streams: float = _given(
        1_000,
        "streams a session",
        "https://docs.cloud.google.com/ruby/docs/reference/google-cloud-bigquery-storage-v1/latest/"
        "Google-Cloud-Bigquery-Storage-V1-CreateReadSessionRequest.md.txt",
    )
    bytes_per_stream: float = _given(
        1_040_000_000,
        "bytes a stream where the server chooses: 26 GB made 25",
        "https://github.com/googleapis/java-bigquerystorage/issues/531 (2020-10)",
    )
    session_hours: float = _given(
        6,
        "hours that a session lives",
        "https://github.com/googleapis/java-bigquerystorage/commit/fff5c89738187bc4a34ce649ccf9c725a76282f7",
    )
    concurrent_reads: float = _given(
        400,
        "ReadRows calls at a time outside the US and EU multi-regions (there: 2,000)",
        f"{MEMORY}; that there is a quota: "
        "https://github.com/GoogleCloudDataproc/spark-bigquery-connector/issues/671 (2022-06)",
    )
    read_tib: float = _given(1.10, "$ a TiB read", _BIGQUERY_PRICES)
    free_read_tib: float = _given(300, "TiB a month read free of charge", _BIGQUERY_PRICES)
    query_tib: float = _given(6.25, "$ a TiB scanned by a query on demand", _BIGQUERY_PRICES)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Chosen for the tables below: the load, the policy, and what is discounted."""

    efficiency: float = _given(
        0.3, "of the measured rows per CPU-second is counted on: TLS, a real network, half a core a vCPU", "assumption"
    )
    request_seconds: float = _given(0.05, "from sending a request to its answer, unloaded", "assumption")
    live_reads: float = _given(20_000, "lookups/s that the instance serves meanwhile", "chosen")
    least_nodes: float = _given(3, "nodes kept, at least", "chosen")
    target_minutes: float = _given(60, "minutes within which rows are to be written", "chosen")
    keep_versions: float = _given(4, "versions kept, of one model", "`keep_versions`, its default")
    refreshes_a_month: float = _given(30, "refreshes a month", "chosen")


@dataclass(frozen=True, slots=True)
class Givens:
    """All of them."""

    measured: Measured = field(default_factory=Measured)
    job: Job = field(default_factory=Job)
    bigtable: Bigtable = field(default_factory=Bigtable)
    dataflow: Dataflow = field(default_factory=Dataflow)
    bigquery: BigQuery = field(default_factory=BigQuery)
    chosen: Chosen = field(default_factory=Chosen)
