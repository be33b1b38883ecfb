"""The tables of docs/scale.md, by name."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from functools import cache
from typing import Any

from benchmarks.scale.givens import Givens
from benchmarks.scale.model import (
    GIB,
    KB,
    Limit,
    Load,
    Plan,
    cells,
    cells_at_most,
    cost,
    extra_node_hours,
    kept_nodes,
    monthly_cost,
    nodes_for,
    plan,
    process_rate,
    ramp,
    stored_gib,
    stream_rate,
    write_rate,
)
from benchmarks.scale.simulation import simulate

GIVENS = Givens()
ENTITIES = (1e6, 1e8, 1e10)
CHANGED = (0.01, 0.05, 1.0)
LOADS = tuple(Load(entities, changed) for entities in ENTITIES for changed in CHANGED)
LARGEST = LOADS[-1]
CROWDED = plan(GIVENS, LOADS[-2])
HOURS_A_MONTH = 730
CENTS_BELOW = 100
MINUTES_FROM = 120

Row = Sequence[str]


def givens() -> str:
    """Every number that the model is given."""
    rows = [
        (part.name, field.name, f"{getattr(getattr(GIVENS, part.name), field.name):,}", *_described(field))
        for part in fields(GIVENS)
        for field in fields(getattr(GIVENS, part.name))
    ]
    return _table(("of", "name", "value", "meaning", "source"), rows)


def exports() -> str:
    """Nodes, workers and minutes of each export."""
    head = ("entities", "changed", "rows", "nodes kept + extra", "workers", "rows/s", "writing", "in all", "bound by")
    rows = [
        (
            *_load(load),
            f"{planned.kept_nodes} + {planned.extra_nodes}",
            str(planned.workers),
            _short(planned.rate),
            _time(planned.write_seconds),
            _time(planned.seconds),
            planned.bound_by,
        )
        for load, planned in _plans()
    ]
    return _table(head, rows)


def costs() -> str:
    """Dollars of each export, by part."""
    head = ("entities", "changed", "Dataflow", "read", "diff", "extra nodes", "one refresh", "30 a month")
    rows = []
    for load, planned in _plans():
        once = cost(GIVENS, planned)
        parts = (once.dataflow, once.read, once.diff, once.extra_nodes, once.total, monthly_cost(GIVENS, planned))
        rows.append((*_load(load)[:2], *map(_dollars, parts)))
    return _table(head, rows)


def connectors() -> str:
    """The same exports with Beam's own connectors."""
    head = ("entities", "changed", "CPU-seconds", "stock", "workers", "stock", "worker-hours", "stock", "saved a month")
    rows = []
    for load, ours in _plans():
        stock = plan(GIVENS, load, "stock")
        saved = (cost(GIVENS, stock).dataflow - cost(GIVENS, ours).dataflow) * GIVENS.chosen.refreshes_a_month
        rows.append(
            (
                *_load(load)[:2],
                _short(load.rows / process_rate(GIVENS, "ours")),
                _short(load.rows / process_rate(GIVENS, "stock")),
                str(ours.workers),
                str(stock.workers),
                _short(ours.worker_hours),
                _short(stock.worker_hours),
                _dollars(saved),
            )
        )
    return _table(head, rows)


def windows() -> str:
    """The largest export, in more or less time."""
    head = ("to be written in", "nodes kept + extra", "workers", "extra node-hours", "extra nodes", "30 a month")
    rows = []
    for minutes in (30, 60, 120, 240, 330):
        within = replace(GIVENS, chosen=replace(GIVENS.chosen, target_minutes=minutes))
        planned = plan(within, LARGEST)
        rows.append(
            (
                f"{minutes} min",
                f"{planned.kept_nodes} + {planned.extra_nodes}",
                str(planned.workers),
                _short(extra_node_hours(within, planned)),
                _dollars(cost(within, planned).extra_nodes),
                _dollars(monthly_cost(within, planned)),
            )
        )
    return _table(head, rows)


def cells_kept() -> str:
    """Mean cells a row, by the share that changes."""
    head = ("changed", "after 30 refreshes", "after 365", "at most")
    rows = [
        (
            f"{changed * 100:g} %",
            *(f"{cells(GIVENS, changed, refreshes):.1f}" for refreshes in (30, 365)),
            f"{cells_at_most(GIVENS):.0f}",
        )
        for changed in CHANGED
    ]
    return _table(head, rows)


def storage() -> str:
    """What is stored at most, and the nodes that stay."""
    wire = f"{GIVENS.measured.wire_bytes:.0f} bytes"
    head = ("entities", f"cells of {wire}", "nodes for it", "of 1 KB: nodes", "a month", "nodes kept", "a month")
    larger = replace(GIVENS, measured=replace(GIVENS.measured, wire_bytes=KB))
    rows = []
    for entities in ENTITIES:
        gib, larger_gib = (stored_gib(given, entities, cells_at_most(given)) for given in (GIVENS, larger))
        kept = kept_nodes(GIVENS, entities)
        rows.append(
            (
                _short(entities),
                f"{_short(gib)} GiB",
                *(_short(stored / GIVENS.bigtable.storage_gib_per_node) for stored in (gib, larger_gib)),
                _dollars(gib * GIVENS.bigtable.gib_month),
                str(kept),
                _dollars(kept * GIVENS.bigtable.node_hour * HOURS_A_MONTH),
            )
        )
    return _table(head, rows)


def simulated() -> str:
    """The model beside the simulation."""
    head = ("entities", "changed", "writing: model", "simulated, fixed pace", "simulated, flow control")
    rows = []
    for load, planned in _plans():
        runs = (simulate(GIVENS, planned, "fixed"), simulate(GIVENS, planned, "flow control"))
        rows.append(
            (
                *_load(load)[:2],
                _time(planned.write_seconds),
                *(f"{_time(run.seconds)} (x {run.seconds / planned.write_seconds:.2f})" for run in runs),
            )
        )
    return _table(head, rows)


def ramps() -> str:
    """How long flow control takes to let a process go at full speed."""
    head = ("nodes a process writes to", "rows/s a process", "ramp", "rows written in it", "simulated", "without ramp")
    rows = []
    for nodes in (1, 2, 5, 10, 20, 36):
        rate = min(nodes * _writes_per_node(), process_rate(GIVENS, "ours"))
        seconds, written = ramp(GIVENS, rate)
        alone = _one_process(written, nodes_for(GIVENS, rate))
        run = _time(simulate(GIVENS, alone, "flow control").seconds) if written else "-"
        rows.append((str(nodes), _short(rate), _time(seconds), _short(written), run, _time(written / rate)))
    return _table(head, rows)


def crowds() -> str:
    """More workers than the nodes can take."""
    head = ("workers", "rows/s at the start", "CPU above 90 %", "longest queue", "writing")
    rows = []
    for workers in (1, 2, 5, 10, 20):
        processes = int(min(workers * GIVENS.dataflow.vcpus, CROWDED.streams))
        run = simulate(GIVENS, replace(CROWDED, workers=workers, processes=processes), "flow control")
        start = _short(processes * GIVENS.job.first_rate)
        rows.append((str(workers), start, *map(_time, (run.overload_seconds, run.longest_queue, run.seconds))))
    return _table(head, rows)


def limits() -> str:
    """Where each limit begins to bind."""
    job, bigtable, dataflow, bigquery = GIVENS.job, GIVENS.bigtable, GIVENS.dataflow, GIVENS.bigquery
    measured, chosen = GIVENS.measured, GIVENS.chosen
    kept = max(int(chosen.least_nodes), nodes_for(GIVENS, 0))
    spare = write_rate(GIVENS, kept)
    per_node = _writes_per_node()
    process = process_rate(GIVENS, "ours")
    worker = dataflow.vcpus * process
    session = bigquery.session_hours * 3600
    largest = plan(GIVENS, LARGEST)
    stock = plan(GIVENS, LARGEST, "stock")
    burst = write_rate(GIVENS, kept, cpu=1)
    rows_a_stream = bigquery.bytes_per_stream / measured.logical_bytes
    storage_bytes = kept * bigtable.storage_gib_per_node * GIB / cells_at_most(GIVENS)
    rows = (
        ("start-up of the job", f"up to {_short(spare * dataflow.startup_seconds)} rows on {kept} kept nodes"),
        (
            "spare capacity of the kept nodes",
            f"{_short(spare)} rows/s: beyond {_short(spare * chosen.target_minutes * 60)} rows nodes are added",
        ),
        (
            "life of the read session",
            (
                f"beyond {_short(spare * session)} rows on the kept nodes; {_short(LARGEST.rows)} rows need "
                f"{nodes_for(GIVENS, LARGEST.rows / session)} nodes at least"
            ),
        ),
        (
            "Bigtable nodes",
            (
                f"from the first row: one worker keeps {_short(worker / per_node)} nodes busy, one vCPU "
                f"{_short(process / per_node)}"
            ),
        ),
        (
            "node quota",
            (
                f"{bigtable.node_quota:.0f} nodes: {_short(write_rate(GIVENS, bigtable.node_quota))} rows/s, "
                f"{_short(write_rate(GIVENS, bigtable.node_quota) * chosen.target_minutes * 60)} rows in "
                f"{chosen.target_minutes:.0f} min"
            ),
        ),
        (
            "bytes instead of rows, nodes",
            f"rows above {KB:,} bytes: {bigtable.writes_per_node * KB / 1e6:.0f} MB/s a node",
        ),
        ("bytes instead of rows, workers", f"rows above {_short(dataflow.network_bytes / worker)} bytes"),
        (
            "bytes instead of rows, requests",
            (
                f"rows above {_short(job.request_bytes / job.rows_per_request)} bytes: fewer than "
                f"{_short(job.rows_per_request)} rows a request"
            ),
        ),
        (
            "requests in flight",
            (
                f"a stream gives at most {_short(stream_rate(GIVENS))} rows/s, so fewer streams than "
                f"{process / stream_rate(GIVENS):.1f} a process leave CPU idle"
            ),
        ),
        (
            "number of streams",
            (
                f"a stream of {_short(rows_a_stream)} rows takes {_time(rows_a_stream / stream_rate(GIVENS))}: no "
                f"export of more rows is shorter; beyond {_short(rows_a_stream * bigquery.max_streams)} rows streams "
                "grow"
            ),
        ),
        (
            "concurrent reads",
            (
                f"{_short(LARGEST.rows)} rows in {chosen.target_minutes:.0f} min take {largest.workers} workers, which "
                f"read {_reading(largest)} streams at a time; with the stock connectors {stock.workers} workers read "
                f"{_reading(stock)}; the quota is {bigquery.concurrent_reads:.0f}"
            ),
        ),
        (
            "time-out of a request",
            (
                f"more than {_short(burst * job.request_timeout / (job.requests_in_flight * job.rows_per_request))} "
                f"streams read at a time onto {kept} kept nodes: what is in flight takes {job.request_timeout:.0f} s"
            ),
        ),
        (
            "flow control, start too low",
            (
                f"a process that may write above {_short(job.first_rate)} rows/s, so above "
                f"{job.first_rate / per_node:.1f} nodes a process; "
                f"at full speed of a process the ramp takes {_time(ramp(GIVENS, process)[0])} and "
                f"{_short(ramp(GIVENS, process)[1])} rows, and decides about shorter exports"
            ),
        ),
        (
            "flow control, start too high",
            (
                f"{job.first_rate * dataflow.vcpus:,.0f} rows/s of one worker's processes against "
                f"{_short(spare)} that {kept} kept nodes have to spare ({_short(burst)} at all): overload "
                f"until the factor has been applied"
            ),
        ),
        (
            "storage",
            (
                f"{_short(storage_bytes / measured.wire_bytes)} entities, or {_short(LARGEST.entities)} entities "
                f"with cells above {_short(storage_bytes / LARGEST.entities)} bytes, on {kept} kept nodes"
            ),
        ),
    )
    return _table(("limit", "binds"), rows)


TABLES: dict[str, Callable[[], str]] = {
    table.__name__: table
    for table in (
        *(exports, costs, connectors, windows, cells_kept, storage),
        *(limits, simulated, ramps, crowds, givens),
    )
}


@cache
def _plans() -> tuple[tuple[Load, Plan], ...]:
    return tuple((load, plan(GIVENS, load)) for load in LOADS)


def _one_process(rows: float, nodes: int) -> Plan:
    """An export by one process, whatever the nodes can take."""
    rates: dict[Limit, float] = {"Bigtable nodes": write_rate(GIVENS, nodes)}
    streams = int(GIVENS.dataflow.threads)
    return Plan(Load(rows, 1), nodes, 0, 1, 1, streams, rates, GIVENS.dataflow.startup_seconds)


def _writes_per_node() -> float:
    return GIVENS.bigtable.recommended_cpu * GIVENS.bigtable.writes_per_node


def _reading(planned: Plan) -> int:
    return int(min(planned.streams, planned.processes * GIVENS.dataflow.threads))


def _described(field: Any) -> tuple[str, str]:
    return field.metadata["meaning"], field.metadata["source"]


def _load(load: Load) -> tuple[str, str, str]:
    return _short(load.entities), f"{load.changed * 100:g} %", _short(load.rows)


def _short(number: float) -> str:
    rounded = float(f"{number:.3g}")
    for size, unit in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if rounded >= size:
            return f"{rounded / size:.3g}{unit}"
    return f"{rounded:g}"


def _dollars(amount: float) -> str:
    return f"${amount:,.0f}" if amount >= CENTS_BELOW else f"${amount:.2f}"


def _time(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= MINUTES_FROM else f"{seconds:.0f} s"


def _table(head: Row, rows: Iterable[Row]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))
