"""Delete the cells that aborted exports and rollbacks leave above a model's active version.

Usage: python -m beam_jobs.purge_stale_cells --model=M --version=V --bigtable_project=P --bigtable_instance=I
[--runner=...], where V is the version to be exported next.
"""

import logging
import sys
from collections.abc import Sequence

import apache_beam as beam

from beam_jobs.launch import launch
from beam_jobs.options import BigtableOptions, parse
from beam_jobs.receipts import MarkPurged
from beam_jobs.stale_cells import DeleteStaleCells, SplitTable
from prediction_store.lifecycle import ModelState, RegistryError, now_ms


def build(pipeline: beam.Pipeline, options: BigtableOptions, state: ModelState) -> None:
    """Add the purge's steps to a pipeline that is run at once: what is written after now may escape it.

    Args:
        pipeline: where to add them.
        options: where to purge.
        state: the model's state in the registry, for the entity's table and the active version.
    """
    target = options.target(state.entity_type)
    active = state.active or 0
    delete = DeleteStaleCells(target, state.model, active, options.version)
    mark = MarkPurged(options.registered_version(), active, began=now_ms())
    (
        pipeline
        | "Table" >> beam.Create([state.entity_type])
        | "Split by keys" >> beam.ParDo(SplitTable(options.instance(), options.export_app_profile))
        | "Spread ranges" >> beam.Reshuffle()
        | "Delete cells" >> beam.ParDo(delete)
        | "Add up" >> beam.CombineGlobally(sum)
        | "Mark purged" >> beam.ParDo(mark)
    )


def run(arguments: Sequence[str]) -> None:
    """Run the job, or submit it to Dataflow.

    Raises:
        RegistryError: the version is not about to be exported.
        SystemExit: an option is unknown, missing or wrong.
    """
    options = parse(arguments).view_as(BigtableOptions)
    version = options.registered_version()
    state = version.state()
    if options.version != state.latest or options.version == state.active:
        raise RegistryError(
            f"{state.model}: version {options.version} is not about to be exported: latest is {state.latest}, active "
            f"is {state.active}; purge as part of a refresh"
        )
    version.wait_until_quiet(state)
    pipeline = beam.Pipeline(options=options)
    build(pipeline, options, state)
    launch(pipeline, "purge")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)  # one stream: Airflow's operator blocks on two
    run(sys.argv[1:])
