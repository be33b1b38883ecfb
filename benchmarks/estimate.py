"""Estimate size and cost: prints the tables of docs/size-and-cost.md.

Usage: python -m benchmarks.estimate [--write FILE], which replaces the tables in FILE.

Nothing here was measured in Google Cloud. Prices are in dollars, without discounts and taxes.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from benchmarks.document import filled, markdown_table
from prediction_store.lifecycle import ModelState

# Inputs. The comment above each group has its source. Some of Google's price pages show their numbers only in a
# browser: "quoted" numbers are from third parties that cite such a page.

# Measured by benchmarks/export: ids such as customer-000123456, and about 100 bytes of JSON.
ROWS_PER_CPU_SECOND = 860_000
CELL_BYTES = 160  # of a row in MutateRows; also taken as stored
TABLE_ROW_BYTES = 124  # of two STRINGs in BigQuery
# Measured by benchmarks/serving, see docs/performance.md: lookups of one id. The largest of several measurements.
LOOKUP_CPU_SECONDS = 58e-6
# Assumptions. A vCPU is half a core, and the measurements had neither TLS nor a network.
EFFICIENCY = 0.3  # share of the measured rates that a vCPU reaches
SERVICE_LOAD = 0.8  # share of a vCPU that is used at the peak
STARTUP_SECONDS = 180  # from the submission of a Dataflow job until its workers read
REQUEST_LOG_BYTES = 1_000  # per lookup
# Cells per row with the default of keep_versions.
CELLS = ModelState("churn", "customer").cells_per_row
# Scans of tables of predictions by a refresh: `measure` one, `changes` two, smoke test one.
OWN_SCANS = 4
# Chosen for the table of exports.
TARGET_SECONDS = 3_600
LEAST_NODES = 3
LOOKUPS_MEANWHILE = 20_000  # per second

# https://docs.cloud.google.com/bigtable/docs/performance: rows of 1 KB per second, one SSD node.
READS_PER_NODE = 17_000
WRITES_PER_NODE = 14_000
# https://cloud.google.com/bigtable/docs/monitoring-instance: with single-cluster routing.
RECOMMENDED_CPU = 0.7
# https://docs.cloud.google.com/bigtable/docs/scaling: added nodes help after up to 20 minutes. A cluster should lose at
# most 10 % of its nodes in 10 minutes.
REBALANCE_SECONDS = 1_200
SHRINK_SHARE = 0.1
# https://cloud.google.com/php/docs/reference/cloud-bigtable/latest/Admin.V2.AutoscalingTargets
STORAGE_GIB_PER_NODE = 2_560
# https://cloud.google.com/bigtable/quota, an old copy of the page.
NODE_QUOTA = 30
# https://cloud.google.com/bigtable/pricing, quoted for us-central1. A begun hour is paid.
NODE_HOUR = 0.65
CELL_GIB_MONTH = 0.17

# Dataflow workers of type e2-standard-2. Disk: https://docs.cloud.google.com/dataflow/docs/shuffle-for-batch.
WORKER_VCPUS = 2
WORKER_MEMORY_GIB = 8
WORKER_DISK_GIB = 25
# Beam 2.77, apache_beam/testing/load_tests/dataflow_cost_consts.py, for us-central1.
WORKER_VCPU_HOUR = 0.056
WORKER_MEMORY_HOUR = 0.003557
WORKER_DISK_HOUR = 0.000054

# https://github.com/googleapis/java-bigquerystorage/commit/fff5c89738187bc4a34ce649ccf9c725a76282f7
READ_SESSION_SECONDS = 21_600
# https://cloud.google.com/bigquery/pricing, quoted for the US, on demand.
QUERY_TIB = 6.25
FREE_QUERY_TIB = 1
TRAINING_TIB = 312.5  # CREATE MODEL of a built-in type
READ_TIB = 1.10  # Storage Read API
FREE_READ_TIB = 300

# https://cloud.google.com/composer/pricing: Composer 3.
DCU_HOUR = 0.06
# https://cloud.google.com/run/pricing: instance-based billing, a tier 1 region.
VCPU_SECOND = 0.000018
FREE_VCPU_SECONDS = 240_000
GIB_SECOND = 0.000002
FREE_GIB_SECONDS = 450_000
# https://cloud.google.com/products/observability/pricing, quoted.
LOG_GIB = 0.5
FREE_LOG_GIB = 50

GIB, TIB = 2**30, 2**40
MONTH_HOURS = 730
MONTH_SECONDS = MONTH_HOURS * 3_600

# Rows per second that a Dataflow worker writes, and that a node takes at the recommended CPU. Nothing is published for
# rows below 1 KB, so nodes are taken to write no more of them.
WORKER_RATE = WORKER_VCPUS * ROWS_PER_CPU_SECOND * EFFICIENCY
NODE_RATE = WRITES_PER_NODE * RECOMMENDED_CPU


@dataclass(frozen=True, slots=True)
class Deployment:
    """One model in production, by default a small one. Numbers of a month, or at any time."""

    entities: float = 1e5
    changed: float = 0.05  # share of the entities whose prediction a refresh changes
    refreshes: float = 30
    trainings: float = 30
    training_gib: float = 1  # that train.sql scans
    evaluation_gib: float = 1  # that evaluate.sql scans
    prediction_gib: float = 1  # that predict.sql scans
    nodes: float = 1  # of each cluster
    clusters: float = 1
    dcus: float = 8  # of Composer; an assumption: one and a half for each vCPU of its workloads
    instances: float = 1  # of the service
    vcpus: float = 2  # of each: one answers lookups, one collects metrics
    memory_gib: float = 1.5
    lookups: float = 10  # per second, on average
    peak_lookups: float = 100
    logs_requests: bool = False


SMALL = Deployment()
LARGE = Deployment(
    entities=2e7,
    refreshes=730,
    training_gib=50,
    evaluation_gib=20,
    prediction_gib=20,
    nodes=2,
    clusters=2,
    dcus=16,
    instances=2,
    lookups=2_000,
    peak_lookups=6_000,
)


@dataclass(frozen=True, slots=True)
class Export:
    """The export of one refresh. `diff_dollars` is the price of the query for the changes."""

    rows: float
    kept_nodes: int
    extra_nodes: int
    workers: int
    write_seconds: float
    dollars: float
    diff_dollars: float
    read_tib: float

    @property
    def minutes(self) -> float:
        """The time from submission to the end."""
        return (STARTUP_SECONDS + self.write_seconds) / 60

    @property
    def limit(self) -> str:
        """The limit that decides about the time: the start of the job, or the write rate of the nodes."""
        return "start" if self.write_seconds <= STARTUP_SECONDS else "nodes"


def export(entities: float, changed: float, least_nodes: float, lookups: float) -> Export:
    """Plan an export. Nodes are added only to meet the target; there are as many workers as the nodes can use.

    Args:
        entities: the number of entities.
        changed: the share of them whose prediction changed.
        least_nodes: the nodes that are kept at least.
        lookups: the lookups per second that the nodes serve at the same time.
    """
    rows = entities * changed
    wanted_rate = rows / TARGET_SECONDS
    for_storage = ceil(stored_gib(entities) / STORAGE_GIB_PER_NODE)
    kept = max(int(least_nodes), nodes_for(lookups), for_storage)
    extra = max(0, nodes_for(lookups, wanted_rate) - kept)
    rate = max(wanted_rate, spare_rate(kept, lookups))
    workers = ceil(rate / WORKER_RATE)
    hours = (STARTUP_SECONDS + rows / rate) / 3_600
    worker_hour = WORKER_VCPUS * WORKER_VCPU_HOUR + WORKER_MEMORY_GIB * WORKER_MEMORY_HOUR
    worker_hour += WORKER_DISK_GIB * WORKER_DISK_HOUR

    # Extra nodes are added ahead and given back slowly.
    node_hours = float(extra * ceil(REBALANCE_SECONDS / 3_600 + hours))
    nodes = float(kept + extra)
    while (nodes := nodes * (1 - SHRINK_SHARE) ** 6) > kept + 1:
        node_hours += nodes - kept
    return Export(
        rows=rows,
        kept_nodes=kept,
        extra_nodes=extra,
        workers=workers,
        write_seconds=rows / rate,
        dollars=workers * hours * worker_hour + node_hours * NODE_HOUR,
        diff_dollars=2 * entities * TABLE_ROW_BYTES / TIB * QUERY_TIB,
        read_tib=rows * TABLE_ROW_BYTES / TIB,
    )


def nodes_for(lookups: float, rows: float = 0) -> int:
    """Nodes that serve lookups and write rows, both per second, at the recommended CPU."""
    return ceil((lookups / READS_PER_NODE + rows / WRITES_PER_NODE) / RECOMMENDED_CPU)


def spare_rate(nodes: float, lookups: float) -> float:
    """Rows per second that nodes write beside lookups per second, at the recommended CPU."""
    return max(0, nodes * RECOMMENDED_CPU - lookups / READS_PER_NODE) * WRITES_PER_NODE


def stored_gib(entities: float) -> float:
    """GiB of cells that garbage collection leaves at most, before compression."""
    return entities * CELLS * CELL_BYTES / GIB


def deployed_export(d: Deployment) -> Export:
    """The export of one refresh of a deployment, at the time of most lookups."""
    return export(d.entities, d.changed, d.nodes, d.peak_lookups)


def bill(d: Deployment) -> Mapping[str, float]:
    """The dollars of a month, by item."""
    planned = deployed_export(d)
    own_gib = OWN_SCANS * d.entities * TABLE_ROW_BYTES / GIB
    scanned_gib = d.refreshes * (d.prediction_gib + own_gib) + d.trainings * 2 * d.evaluation_gib
    vcpu_seconds = d.instances * d.vcpus * MONTH_SECONDS
    gib_seconds = d.instances * d.memory_gib * MONTH_SECONDS
    log_gib = d.logs_requests * d.lookups * MONTH_SECONDS * REQUEST_LOG_BYTES / GIB
    return {
        "Bigtable, nodes": d.nodes * d.clusters * MONTH_HOURS * NODE_HOUR,
        "Bigtable, storage": d.clusters * stored_gib(d.entities) * CELL_GIB_MONTH,
        "Composer": d.dcus * MONTH_HOURS * DCU_HOUR,
        "service": max(0, vcpu_seconds - FREE_VCPU_SECONDS) * VCPU_SECOND
        + max(0, gib_seconds - FREE_GIB_SECONDS) * GIB_SECOND,
        "BigQuery, training": d.trainings * d.training_gib / 1_024 * TRAINING_TIB,
        "BigQuery, queries": max(0, scanned_gib / 1_024 - FREE_QUERY_TIB) * QUERY_TIB,
        "export": d.refreshes * planned.dollars + max(0, d.refreshes * planned.read_tib - FREE_READ_TIB) * READ_TIB,
        "request log": max(0, log_gib - FREE_LOG_GIB) * LOG_GIB,
    }


def exports() -> str:
    """Exports of several sizes."""
    rows = []
    for entities, changed in ((1e6, 1), (1e8, 0.05), (1e8, 1), (1e10, 0.05), (1e10, 1)):
        planned = export(entities, changed, LEAST_NODES, LOOKUPS_MEANWHILE)
        dollars = planned.dollars + planned.diff_dollars + planned.read_tib * READ_TIB
        size = (_short(entities), f"{changed:.0%}", _short(planned.rows))
        nodes = f"{planned.kept_nodes}+{planned.extra_nodes}"
        result = (f"{planned.minutes:.0f}", planned.limit, _dollars(dollars))
        rows.append((*size, nodes, str(planned.workers), *result))
    return markdown_table(("entities", "changed", "rows", "nodes", "workers", "minutes", "limit", "price"), rows)


def limits() -> str:
    """The limits that decide."""
    spare = spare_rate(LEAST_NODES, LOOKUPS_MEANWHILE)
    quota = spare_rate(NODE_QUOTA, LOOKUPS_MEANWHILE) * TARGET_SECONDS
    fewest = nodes_for(LOOKUPS_MEANWHILE, 1e10 / READ_SESSION_SECONDS)
    entities = LEAST_NODES * STORAGE_GIB_PER_NODE / stored_gib(1)
    rows = (
        ("a node", f"{_short(READS_PER_NODE * RECOMMENDED_CPU)} lookups/s or {_short(NODE_RATE)} rows/s"),
        ("a vCPU of the service", f"{_short(EFFICIENCY * SERVICE_LOAD / LOOKUP_CPU_SECONDS)} lookups/s"),
        ("a Dataflow worker", f"keeps {WORKER_RATE / NODE_RATE:.0f} nodes busy"),
        ("start of the job", f"takes longer than writing {_short(spare * STARTUP_SECONDS)} rows"),
        ("spare capacity", f"{_short(spare)} rows/s: above {_short(spare * TARGET_SECONDS)} rows, add nodes"),
        ("node quota", f"{NODE_QUOTA} nodes: {_short(quota)} rows in {TARGET_SECONDS / 60:.0f} minutes"),
        ("read session", f"ends after {READ_SESSION_SECONDS / 3_600:.0f} hours: 10B rows need {fewest} nodes"),
        ("storage", f"{_short(entities)} entities with {CELLS} cells each"),
    )
    return markdown_table(("limit", "value"), rows)


def bills() -> str:
    """The bill of a month."""
    small, large = bill(SMALL), bill(LARGE)
    rows = [(item, _dollars(small[item]), _dollars(large[item])) for item in small if large[item]]
    total = ("total", _dollars(sum(small.values())), _dollars(sum(large.values())))
    return markdown_table(("a month", "small", "large"), [*rows, total])


def levers() -> str:
    """Changes of the large deployment."""
    changes = {
        "a training in every refresh": replace(LARGE, trainings=LARGE.refreshes),
        "Cloud Run's request log": replace(LARGE, logs_requests=True),
        "one cluster": replace(LARGE, clusters=1),
        "every prediction changed": replace(LARGE, changed=1),
    }
    rows = []
    for change, deployment in changes.items():
        more = sum(bill(deployment).values()) - sum(bill(LARGE).values())
        minutes = deployed_export(deployment).minutes
        rows.append((change, f"{'+' if more > 0 else '-'}{_dollars(abs(more))}", f"{minutes:.0f}"))
    return markdown_table(("large, but with", "a month", "minutes of an export"), rows)


TABLES: Mapping[str, Callable[[], str]] = {"exports": exports, "limits": limits, "bills": bills, "levers": levers}


def main() -> None:
    """Print the tables, or write them into a document."""
    parser = ArgumentParser(prog="python -m benchmarks.estimate", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="document whose marked tables are replaced")
    tables = {name: table() for name, table in TABLES.items()}
    if document := parser.parse_args().write:
        document.write_text(filled(document.read_text(), "estimate", tables))
    else:
        sys.stdout.write("\n\n".join(f"{TABLES[name].__doc__}\n\n{table}" for name, table in tables.items()) + "\n")


def _short(number: float) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def _dollars(amount: float) -> str:
    return f"${amount:,.0f}" if amount >= 10 else f"${amount:.2f}"  # noqa: PLR2004  cents matter below


if __name__ == "__main__":
    main()
