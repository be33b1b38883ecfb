"""Delete the cells that aborted exports and rollbacks leave above a model's active version.

Usage: python -m beam_jobs.purge_stale_cells --model=M --version=V --bigtable_project=P --bigtable_instance=I
[--runner=...], where V is the version to be exported next.
"""

import logging
import sys
from collections.abc import Iterator, Sequence

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.bulk_writer import BulkWriter, Target
from beam_jobs.launch import launch
from beam_jobs.options import BigtableOptions
from beam_jobs.receipts import MarkPurged
from prediction_store.connection import channel, routing_metadata
from prediction_store.lifecycle import ModelState, RegistryError
from prediction_store.protos import ReadRowsRequest, SampleRowKeysRequest, read_rows, sample_row_keys
from prediction_store.reads import RowAssembler, stale_filter
from prediction_store.writes import purge_entry

KeyRange = tuple[bytes, bytes]
"""First row key, and the row key at which to stop (not included; empty: the table's end)."""


class SplitTable(beam.DoFn):
    """Yields the key ranges of a table's tablets."""

    def __init__(self, app_profile: str) -> None:
        """Call with `app_profile`."""
        self._app_profile = app_profile

    def process(self, table: str) -> Iterator[KeyRange]:
        """Split `table` (its full name)."""
        with channel() as opened:
            samples = sample_row_keys(opened)(
                SampleRowKeysRequest(table_name=table, app_profile_id=self._app_profile),
                metadata=(routing_metadata(table, self._app_profile),),
            )
            ends = sorted({sample.row_key for sample in samples} - {b""})
        yield from zip([b"", *ends], [*ends, b""], strict=True)


class PurgeRange(beam.DoFn):
    """Deletes the stale cells in a key range; yields the number of rows that had some."""

    def __init__(self, target: Target, model: str, active: int, version: int) -> None:
        """Purge `target` of the cells of `model` above version `active` and below `version`."""
        self._target = target
        self._model = model
        self._active = active
        self._version = version

    def setup(self) -> None:
        """Connect to Bigtable, once per worker thread."""
        self._channel: grpc.Channel = channel()

    def process(self, key_range: KeyRange) -> Iterator[int]:
        """Purge one key range: read the keys (values are stripped by the server), and delete."""
        start, end = key_range
        table, app_profile = self._target.table, self._target.app_profile
        request = ReadRowsRequest(
            table_name=table, app_profile_id=app_profile, filter=stale_filter(self._model, self._active, self._version)
        )
        row_range = request.rows.row_ranges.add(start_key_closed=start)
        if end:
            row_range.end_key_open = end
        writer = BulkWriter(self._channel, self._target)
        entry = purge_entry(self._model, self._active, self._version)
        assembler = RowAssembler()
        rows = 0
        for response in read_rows(self._channel)(request, metadata=(routing_metadata(table, app_profile),)):
            for key, _ in assembler.feed(response):
                entry.row_key = key
                writer.add(entry)
                rows += 1
        writer.flush()
        yield rows

    def teardown(self) -> None:
        """Disconnect."""
        self._channel.close()


def build(pipeline: beam.Pipeline, options: BigtableOptions, state: ModelState) -> None:
    """Add the purge's steps to a pipeline.

    Args:
        pipeline: where to add them.
        options: where to purge.
        state: the model's state in the registry, for the entity's table and the active version.
    """
    target = options.target(state.entity_type)
    active = state.active or 0
    purge = PurgeRange(target, state.model, active, options.version)
    mark = MarkPurged(options.registered_version(), active)
    (
        pipeline
        | "Table" >> beam.Create([target.table])
        | "Split by keys" >> beam.ParDo(SplitTable(options.export_app_profile))
        | "Spread ranges" >> beam.Reshuffle()
        | "Delete cells" >> beam.ParDo(purge)
        | "Add up" >> beam.CombineGlobally(sum)
        | "Mark purged" >> beam.ParDo(mark)
    )


def run(arguments: Sequence[str]) -> None:
    """Run the job, or submit it to Dataflow.

    Raises:
        RegistryError: the version is not about to be exported.
    """
    options = PipelineOptions(arguments, save_main_session=False).view_as(BigtableOptions)
    state = options.registered_version().state()
    if options.version != state.latest or options.version == state.active:
        raise RegistryError(
            f"{state.model}: version {options.version} is not about to be exported: latest is {state.latest}, active "
            f"is {state.active}; purge as part of a refresh"
        )
    pipeline = beam.Pipeline(options=options)
    build(pipeline, options, state)
    launch(pipeline)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)  # one stream: Airflow's operator blocks on two
    run(sys.argv[1:])
