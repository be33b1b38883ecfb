"""Running a pipeline, here or on Dataflow."""

import apache_beam as beam
from apache_beam.options.pipeline_options import StandardOptions


def launch(pipeline: beam.Pipeline) -> None:
    """Run a pipeline to its end; on Dataflow, only submit it: who launched it awaits the job by its id."""
    result = pipeline.run()
    if pipeline.options.view_as(StandardOptions).runner != "DataflowRunner":
        result.wait_until_finish()
