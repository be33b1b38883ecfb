"""Export a version's changed predictions from BigQuery to Bigtable.

Usage: python -m beam_jobs.export_predictions --model=M --version=V --source_table=P.D.T --bigtable_project=P
--bigtable_instance=I [--runner=...]
"""

import logging
import sys
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.bigquery_source import ReadTable
from beam_jobs.bigtable_sink import WritePredictions
from beam_jobs.launch import launch
from beam_jobs.options import BigtableOptions, ExportOptions, parse
from beam_jobs.receipts import AddReceipts, WriteReceipt
from beam_jobs.stock_connectors import ExportByStockConnectors
from prediction_store.lifecycle import ModelState


def build(pipeline: beam.Pipeline, options: PipelineOptions, state: ModelState) -> None:
    """Add the export's steps to a pipeline.

    Args:
        pipeline: where to add them.
        options: what to export, and where to.
        state: the model's state in the registry, for the entity's table and row keys.
    """
    what, where = options.view_as(ExportOptions), options.view_as(BigtableOptions)
    version = where.registered_version()
    if what.connectors == "beam":
        receipts = pipeline | "Stock connectors" >> ExportByStockConnectors(
            what.source_table, state.entity_type, version, state.row_keys
        )
    else:
        receipts = (
            pipeline
            | "Read changes" >> ReadTable(what.source_table, ["entity_id", "payload"])
            | "Write cells" >> beam.ParDo(WritePredictions(where.target(state.entity_type), version, state.row_keys))
        )
    receipts | "Add up" >> beam.CombineGlobally(AddReceipts()) | "Write receipt" >> beam.ParDo(WriteReceipt(version))


def run(arguments: Sequence[str]) -> None:
    """Run the job, or submit it to Dataflow.

    Raises:
        RegistryError: the registry does not expect an export of this version.
        SystemExit: an option is unknown, missing or wrong.
    """
    options = parse(arguments)
    if options.view_as(ExportOptions).source_table is None:
        sys.exit("--source_table is missing; give the table of changes as PROJECT.DATASET.TABLE")
    version = options.view_as(BigtableOptions).registered_version()
    state = version.state()
    state.require_exporting(version.version)
    pipeline = beam.Pipeline(options=options)
    build(pipeline, options, state)
    launch(pipeline, "export")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)  # one stream: Airflow's operator blocks on two
    run(sys.argv[1:])
