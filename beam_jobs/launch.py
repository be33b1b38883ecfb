"""Running a pipeline, here or on Dataflow."""

import logging
from collections import Counter

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from apache_beam.runners.runner import PipelineResult

from beam_jobs.dataflow import submit

_log = logging.getLogger(__name__)


def launch(pipeline: beam.Pipeline, job: str) -> None:
    """Run a pipeline to its end, and log its counters; on Dataflow, only submit it: who launched it awaits the job.

    Args:
        pipeline: the pipeline, with the options of its job.
        job: what it does, "export" or "purge"; also the namespace of its counters.
    """
    if isinstance(pipeline.runner, DataflowRunner):
        submit(pipeline, job)
        return
    result = pipeline.run()
    result.wait_until_finish()
    counts = ", ".join(f"{name} {value:,}" for name, value in sorted(_counters(result, job).items()))
    _log.info("%s done: %s", job, counts or "nothing to count")


def _counters(result: PipelineResult, namespace: str) -> Counter[str]:
    """Beam's counters of a namespace, each added up over all steps."""
    counters: Counter[str] = Counter()
    for metric in result.metrics().query(MetricsFilter().with_namespace(namespace))["counters"]:
        counters[metric.key.metric.name] += metric.result
    return counters
