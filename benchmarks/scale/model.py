"""From the givens to nodes, workers, minutes and cost of an export."""

from dataclasses import dataclass
from math import ceil, comb, log
from typing import Literal

from benchmarks.scale.givens import Givens

GIB = 2**30
TIB = 2**40
KB = 1_000

Connectors = Literal["ours", "stock"]
Limit = Literal["start-up", "Bigtable nodes", "worker CPU", "worker network", "streams"]


@dataclass(frozen=True, slots=True)
class Load:
    """A table of predictions, and the share of it that a refresh changes."""

    entities: float
    changed: float

    @property
    def rows(self) -> float:
        """Rows to export."""
        return self.entities * self.changed


@dataclass(frozen=True, slots=True)
class Plan:
    """How an export runs. Rates are in rows/s."""

    load: Load
    kept_nodes: int
    extra_nodes: int
    workers: int
    processes: int
    streams: int
    rates: dict[Limit, float]
    startup_seconds: float

    @property
    def nodes(self) -> int:
        """Bigtable nodes during the export."""
        return self.kept_nodes + self.extra_nodes

    @property
    def rate(self) -> float:
        """Rows/s that the export writes."""
        return min(self.rates.values())

    @property
    def write_seconds(self) -> float:
        """From the first row to the last."""
        return self.load.rows / self.rate

    @property
    def seconds(self) -> float:
        """From submission to the end."""
        return self.startup_seconds + self.write_seconds

    @property
    def worker_hours(self) -> float:
        """Worker-hours that are paid for."""
        return self.workers * self.seconds / 3600

    @property
    def bound_by(self) -> Limit:
        """What decides how long the export takes."""
        if self.startup_seconds >= self.write_seconds:
            return "start-up"
        return min(self.rates, key=lambda limit: self.rates[limit])


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one refresh's export, in dollars."""

    dataflow: float
    read: float
    diff: float
    extra_nodes: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.dataflow + self.read + self.diff + self.extra_nodes


def plan(givens: Givens, load: Load, connectors: Connectors = "ours") -> Plan:
    """Plan an export: nodes are added only where those kept would miss the target, workers only as far as they help."""
    dataflow = givens.dataflow
    kept = kept_nodes(givens, load.entities)
    wanted = load.rows / (givens.chosen.target_minutes * 60)
    nodes = max(kept, nodes_for(givens, wanted))
    bigtable_rate = max(wanted, write_rate(givens, kept))

    cpu_rate = process_rate(givens, connectors)
    network_rate = dataflow.network_bytes / givens.measured.wire_bytes
    per_stream = min(stream_rate(givens), cpu_rate)
    streams = stream_count(givens, load.rows)
    per_worker = min(dataflow.vcpus * cpu_rate, network_rate, dataflow.vcpus * dataflow.threads * per_stream)
    workers = int(min(max(ceil(bigtable_rate / per_worker), 1), streams, dataflow.max_workers))
    processes = int(min(workers * dataflow.vcpus, streams))
    rates: dict[Limit, float] = {
        "Bigtable nodes": bigtable_rate,
        "worker CPU": workers * dataflow.vcpus * cpu_rate,
        "worker network": workers * network_rate,
        "streams": min(streams, processes * dataflow.threads) * per_stream,
    }
    return Plan(load, kept, nodes - kept, workers, processes, streams, rates, dataflow.startup_seconds)


def nodes_for(givens: Givens, rate: float) -> int:
    """Nodes that write `rate` rows/s and serve the live reads at the recommended CPU."""
    bigtable = givens.bigtable
    busy = rate / _writes_per_node(givens) + givens.chosen.live_reads / bigtable.reads_per_node
    return ceil(busy / bigtable.recommended_cpu)


def write_rate(givens: Givens, nodes: float, cpu: float | None = None) -> float:
    """Rows/s that `nodes` write beside the live reads, at the recommended CPU or at `cpu`."""
    bigtable = givens.bigtable
    busy = nodes * (cpu or bigtable.recommended_cpu) - givens.chosen.live_reads / bigtable.reads_per_node
    return max(busy, 0) * _writes_per_node(givens)


def _writes_per_node(givens: Givens) -> float:
    # Published for rows of 1 KB. Larger rows: as many bytes. Smaller rows: no more rows, as nothing is published.
    return givens.bigtable.writes_per_node / max(1, givens.measured.wire_bytes / KB)


def kept_nodes(givens: Givens, entities: float) -> int:
    """Nodes that stay: for the live reads, for the stored cells, and the least that is kept."""
    bigtable = givens.bigtable
    for_storage = ceil(stored_gib(givens, entities, cells_at_most(givens)) / bigtable.storage_gib_per_node)
    return max(int(givens.chosen.least_nodes), nodes_for(givens, 0), for_storage)


def process_rate(givens: Givens, connectors: Connectors) -> float:
    """Rows/s of one process on one vCPU. The stock connectors are not discounted."""
    if connectors == "stock":
        return givens.measured.stock_rows_per_cpu_second
    return givens.measured.rows_per_cpu_second * givens.chosen.efficiency


def stream_rate(givens: Givens) -> float:
    """Rows/s of one stream: what is in flight, over the time of a request."""
    job = givens.job
    rows = min(job.rows_per_request, max(1, job.request_bytes // givens.measured.wire_bytes))
    return job.requests_in_flight * rows / givens.chosen.request_seconds


def stream_count(givens: Givens, rows: float) -> int:
    """Streams that BigQuery makes of a table."""
    wanted = ceil(rows * givens.measured.logical_bytes / givens.bigquery.bytes_per_stream)
    return int(min(max(wanted, 1), givens.bigquery.max_streams))


def ramp(givens: Givens, rate: float) -> tuple[float, float]:
    """Seconds until flow control lets one process write `rate` rows/s, and the rows written until then."""
    job, period = givens.job, givens.bigtable.flow_control_seconds
    growth = job.largest_factor
    steps = max(0, ceil(log(rate / job.first_rate) / log(growth)))
    return steps * period, job.first_rate * period * (growth**steps - 1) / (growth - 1)


def cost(givens: Givens, planned: Plan) -> Cost:
    """What the export of one refresh costs, before anything that is free of charge each month."""
    dataflow, bigquery = givens.dataflow, givens.bigquery
    worker_hour = (
        dataflow.vcpus * dataflow.vcpu_hour
        + dataflow.memory_gib * dataflow.memory_hour
        + dataflow.disk_gib * dataflow.disk_hour
    )
    return Cost(
        dataflow=planned.worker_hours * worker_hour,
        read=read_tib(givens, planned.load) * bigquery.read_tib,
        diff=2 * planned.load.entities * givens.measured.logical_bytes / TIB * bigquery.query_tib,
        extra_nodes=extra_node_hours(givens, planned) * givens.bigtable.node_hour,
    )


def read_tib(givens: Givens, load: Load) -> float:
    """TiB that an export reads from BigQuery."""
    return load.rows * givens.measured.logical_bytes / TIB


def extra_node_hours(givens: Givens, planned: Plan) -> float:
    """Node-hours beyond the kept nodes: added ahead, used, and given back slowly; each begun hour is paid."""
    bigtable = givens.bigtable
    hours = ceil((bigtable.rebalance_minutes * 60 + planned.seconds) / 3600)
    total = float(planned.extra_nodes * hours)
    nodes = planned.nodes * (1 - bigtable.shrink_share) ** 6  # an hour later
    while nodes > planned.kept_nodes + 1:
        total += nodes - planned.kept_nodes
        nodes *= (1 - bigtable.shrink_share) ** 6
    return total


def monthly_cost(givens: Givens, planned: Plan) -> float:
    """What the exports of a month cost; what may be read free of charge is not used by anything else."""
    refreshes = givens.chosen.refreshes_a_month
    once = cost(givens, planned)
    paid_tib = max(0, refreshes * read_tib(givens, planned.load) - givens.bigquery.free_read_tib)
    return refreshes * (once.total - once.read) + paid_tib * givens.bigquery.read_tib


def cells_at_most(givens: Givens) -> float:
    """Cells a row that garbage collection leaves."""
    return givens.chosen.keep_versions + 1


def cells(givens: Givens, changed: float, refreshes: int) -> float:
    """Mean cells a row after a number of refreshes, each of which changes rows independently with chance `changed`."""
    kept = int(givens.chosen.keep_versions)
    chances = [comb(refreshes, k) * changed**k * (1 - changed) ** (refreshes - k) for k in range(min(kept, refreshes))]
    return 1 + sum(1 - sum(chances[:k]) for k in range(1, len(chances) + 1))


def stored_gib(givens: Givens, entities: float, cells_a_row: float) -> float:
    """GiB of cells, not compressed."""
    return entities * cells_a_row * givens.measured.wire_bytes / GIB
