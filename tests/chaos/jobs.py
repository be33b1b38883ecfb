"""The export and the purge, as functions for processes that may be killed: the jobs of `beam_jobs`, run by Beam.

The changes come from the caller instead of BigQuery. Write leases and the tolerance for clocks are shorter than in
production, so that a purge after a killed export does not wait for 40 seconds.
"""

import functools
import logging
import os

import apache_beam as beam
import pyarrow as pa

from beam_jobs import bigtable_sink, export_predictions, purge_stale_cells, registered_version
from beam_jobs.bulk_writer import Target
from beam_jobs.receipts import AddReceipts, MarkPurged, WriteReceipt
from beam_jobs.registered_version import RegisteredVersion
from beam_jobs.stale_cells import DeleteStaleCells, FindStaleRows, SplitTable
from prediction_store import lifecycle
from tests.servers import INSTANCE

WRITE_LEASE = 1_500
CLOCK_TOLERANCE = 500

ROWS_PER_SECOND = 150

bigtable_sink.WriteLease = functools.partial(registered_version.WriteLease, milliseconds=WRITE_LEASE)
lifecycle.WRITE_LEASE, lifecycle.CLOCK_TOLERANCE = WRITE_LEASE, CLOCK_TOLERANCE


def export(model, version, changes, skew, log, by_beam):
    """Export {entity id: payload or None}, with a clock that is `skew` milliseconds wrong."""
    _begin(skew, log)
    batch = pa.record_batch({"entity_id": pa.array(changes.keys()), "payload": pa.array(changes.values(), pa.string())})
    parts = [batch.slice(start, 20) for start in range(0, batch.num_rows, 20)]
    if by_beam:
        export_predictions.ReadTables = lambda *_: beam.Create(parts)
        export_predictions.run(
            [*_arguments(model, version), "--source_table=chaos.in.memory", f"--max_rows_per_second={ROWS_PER_SECOND}"]
        )
        return
    registered = RegisteredVersion(INSTANCE, "", model, version)
    state = registered.state()
    state.require_exporting(version)
    step = bigtable_sink.WritePredictions(_target(state), registered, state.row_keys)
    receipts = _run(step, parts)
    WriteReceipt(registered).process(AddReceipts().merge_accumulators(receipts))


def purge(model, version, active, skew, log, by_beam):
    """Purge the cells of stale versions, by a scan of the whole table."""
    _begin(skew, log)
    if by_beam:
        purge_stale_cells.run([*_arguments(model, version), f"--active={active}"])
        return
    registered = RegisteredVersion(INSTANCE, "", model, version)
    state = registered.state()
    assert (version, active) == (state.latest, state.active or 0)
    registered.wait_for_stale_writes(state)
    began, active = purge_stale_cells.now_ms(), state.active or 0
    stale = (_target(state), model, active, version)
    ranges = _run(SplitTable(INSTANCE, ""), [state.entity_type])
    keys = _run(FindStaleRows(*stale), ranges)
    rows = _run(DeleteStaleCells(*stale), keys)
    MarkPurged(registered, active, began).process(sum(rows))


def _run(step, elements):
    """Run a step of a pipeline as one bundle, without Beam, which takes seconds; return its output."""
    step.setup()
    step.start_bundle()
    output = [result for element in elements for result in step.process(element)]
    step.finish_bundle()
    step.teardown()
    return output


def _target(state):
    return Target(INSTANCE.table(state.entity_type), "", 5, ROWS_PER_SECOND)


def _arguments(model, version):
    options = {
        "runner": "FnApiRunner",
        "bigtable_project": INSTANCE.project,
        "bigtable_instance": INSTANCE.instance,
        "model": model,
        "version": version,
        "write_deadline_seconds": 5,
    }
    return [f"--{name}={value}" for name, value in options.items()]


def _begin(skew, log):
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    logging.basicConfig(level=logging.WARNING, force=True)

    def now_ms():
        return lifecycle.now_ms() + skew

    registered_version.now_ms = purge_stale_cells.now_ms = now_ms
