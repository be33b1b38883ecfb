"""Export a version's changed predictions from BigQuery to Bigtable.

Usage: python -m beam_jobs.export_predictions --model=M --version=V --source_table=P.D.T --bigtable_project=P
--bigtable_instance=I [--runner=...]
"""

import logging
import sys
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.bigquery_source import ReadTables
from beam_jobs.bigtable_sink import WritePredictions
from beam_jobs.launch import launch
from beam_jobs.options import BigtableOptions, ExportOptions, parse
from beam_jobs.receipts import AddReceipts, WriteReceipt
from beam_jobs.registered_version import RegisteredVersion
from prediction_store.lifecycle import ModelState


def build(pipeline: beam.Pipeline, options: PipelineOptions, version: RegisteredVersion, state: ModelState) -> None:
    """Add the steps of the export to a pipeline.

    Args:
        pipeline: the pipeline.
        options: the options of the job.
        version: the version to export.
        state: the model's state in the registry. It has the entity type and the format of row keys.
    """
    source_table = options.view_as(ExportOptions).source_table
    target = options.view_as(BigtableOptions).target(state.entity_type)
    (
        pipeline
        | "Read changes" >> ReadTables([source_table], ["entity_id", "payload"], "export")
        | "Write cells" >> beam.ParDo(WritePredictions(target, version, state.row_keys))
        | "Add up" >> beam.CombineGlobally(AddReceipts())
        | "Write receipt" >> beam.ParDo(WriteReceipt(version))
    )


def run(arguments: Sequence[str]) -> None:
    """Run the job on this machine, or submit it to Dataflow.

    Raises:
        RegistryError: the registry does not expect an export of this version.
        SystemExit: an option is unknown, missing or invalid.
    """
    options = parse(arguments)
    if options.view_as(ExportOptions).source_table is None:
        sys.exit("--source_table is missing; give the table of changes as PROJECT.DATASET.TABLE")
    version = options.view_as(BigtableOptions).registered_version()
    state = version.state()
    state.require_exporting(version.version)
    pipeline = beam.Pipeline(options=options)
    build(pipeline, options, version, state)
    launch(pipeline, "export")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)  # one stream: Airflow's operator blocks on two
    run(sys.argv[1:])
