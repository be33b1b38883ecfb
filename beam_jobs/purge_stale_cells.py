"""Delete the cells that aborted exports and rollbacks leave above a model's active version.

Usage: python -m beam_jobs.purge_stale_cells --model=M --version=V --bigtable_project=P --bigtable_instance=I
[--changes_table=P.D.T ... --active=A] [--runner=...], where V is the version to be exported next.
"""

import logging
import sys
from collections.abc import Sequence

import apache_beam as beam

from beam_jobs.bigquery_source import ReadTables
from beam_jobs.launch import launch
from beam_jobs.options import BigtableOptions, PurgeOptions, parse
from beam_jobs.receipts import MarkPurged
from beam_jobs.registered_version import RegisteredVersion
from beam_jobs.stale_cells import DeleteStaleCells, FindStaleRows, RowKeys, SplitTable
from prediction_store.lifecycle import ModelState, RegistryError, now_ms


def build(pipeline: beam.Pipeline, options: BigtableOptions, version: RegisteredVersion, state: ModelState) -> None:
    """Add the steps of the purge to a pipeline. Run it at once: cells that are written from now on may escape it.

    Args:
        pipeline: the pipeline.
        options: the options of the job.
        version: the version to be exported next.
        state: the model's state in the registry. It has the entity type and the active version.
    """
    active = state.active or 0
    stale = (options.target(state.entity_type), state.model, active, version.version)
    if tables := options.view_as(PurgeOptions).changes_tables:
        rows = (
            pipeline
            | "Read changes" >> ReadTables(tables, ["entity_id"], "purge")
            | "Make row keys" >> beam.ParDo(RowKeys(state.row_keys))
        )
    else:
        rows = (
            pipeline
            | "Table" >> beam.Create([state.entity_type])
            | "Split by keys" >> beam.ParDo(SplitTable(options.instance(), options.export_app_profile))
            | "Spread ranges" >> beam.Reshuffle()
            | "Find rows" >> beam.ParDo(FindStaleRows(*stale))
        )
    (
        rows
        | "Delete cells" >> beam.ParDo(DeleteStaleCells(*stale))
        | "Add up" >> beam.CombineGlobally(sum)
        | "Mark purged" >> beam.ParDo(MarkPurged(version, active, began=now_ms()))
    )


def run(arguments: Sequence[str]) -> None:
    """Run the job on this machine, or submit it to Dataflow.

    Raises:
        RegistryError: the version is not the one to be exported next, or readers were rolled back since the purge was
            started.
        SystemExit: an option is unknown, missing or invalid.
    """
    options = parse(arguments).view_as(BigtableOptions)
    version = options.registered_version()
    state = version.state()
    if version.version != state.latest or state.was_promoted(version.version):
        raise RegistryError(
            f"{state.model}: version {version.version} is not about to be exported: latest is {state.latest}, active "
            f"is {state.active}; purge as part of a refresh"
        )
    purge_options = options.view_as(PurgeOptions)
    must_agree = purge_options.active is not None or purge_options.changes_tables
    if must_agree and purge_options.active != (state.active or 0):
        raise RegistryError(
            f"{state.model}: the purge was started above {purge_options.active} (--active), but {state.active} is "
            "active now; purge again"
        )
    version.wait_for_stale_writes(state)
    pipeline = beam.Pipeline(options=options)
    build(pipeline, options, version, state)
    launch(pipeline, "purge")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)  # one stream: Airflow's operator blocks on two
    run(sys.argv[1:])
