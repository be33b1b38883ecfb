"""Running a pipeline on this machine, or submitting it to Dataflow."""

import logging
import re
import sys
import uuid
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import DebugOptions, GoogleCloudOptions, SetupOptions, WorkerOptions
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from apache_beam.runners.dataflow.internal import apiclient
from apache_beam.runners.runner import PipelineResult

from beam_jobs.options import BigtableOptions
from beam_jobs.worker_package import build_wheel

HARNESS_THREADS = 4
"""Threads of a worker process on Dataflow, unless the options say otherwise.

Each thread reads a stream and has a limited number of rows in flight. Four keep the process busy, and need a third of
the memory of Dataflow's default of twelve.
"""

# Messages with which Beam logs a job in a thousand lines. Airflow shows each line as a warning.
_DUMPS = ("sdk_pipeline_options: %s", "Create job: %s")
_LONGEST_NAME = 63
_LONGEST_LABEL = 63

_log = logging.getLogger(__name__)


def launch(pipeline: beam.Pipeline, job: str) -> None:
    """Run a pipeline to its end and log its counters, or submit it to Dataflow without waiting for its end.

    Args:
        pipeline: the pipeline, with the options of its job.
        job: the job's kind, "export" or "purge". It is also the namespace of the counters.

    Raises:
        SystemExit: the workers' image has another version of Python.
    """
    if isinstance(pipeline.runner, DataflowRunner):
        _submit(pipeline, job)
        return
    result = pipeline.run()
    result.wait_until_finish()
    counts = ", ".join(f"{name} {value:,}" for name, value in sorted(_counters(result, job).items()))
    _log.info("%s done: %s", job, counts or "nothing to count")


def job_name(job: str, model: str, version: int) -> str:
    """A name for a Dataflow job: lower-case letters, digits and hyphens, different from all running jobs.

    It has a random end, because the job of a task's first attempt may still run when the task is tried again.
    """
    end = f"-{version}-{uuid.uuid4().hex[:8]}"
    start = re.sub(r"[^a-z0-9]+", "-", f"{job}-{model}".lower())
    return start[: _LONGEST_NAME - len(end)].strip("-") + end


def _submit(pipeline: beam.Pipeline, job: str) -> None:
    logging.getLogger(apiclient.__name__).addFilter(lambda record: record.msg not in _DUMPS)
    options = pipeline.options.view_as(BigtableOptions)
    cloud = options.view_as(GoogleCloudOptions)
    cloud.job_name = cloud.job_name or job_name(job, options.model, options.version)
    cloud.labels = [*(cloud.labels or []), f"model={_label(options.model)}"]  # the job's name has the version
    debug = options.view_as(DebugOptions)
    debug.number_of_worker_harness_threads = debug.number_of_worker_harness_threads or HARNESS_THREADS
    with TemporaryDirectory() as folder:
        if options.view_as(WorkerOptions).sdk_container_image:  # an image has the packages
            _require_python_of_image(options.image_python)
        else:
            setup = options.view_as(SetupOptions)
            setup.extra_packages = [*(setup.extra_packages or []), str(build_wheel(Path(folder)))]
        result: Any = pipeline.run()  # copies the wheel to the staging location
    if result.has_job:  # False for a template
        _log.info(
            "Dataflow runs job %s (%s). It does not need this process any more. Follow or cancel it at "
            "https://console.cloud.google.com/dataflow/jobs/%s/%s?project=%s",
            cloud.job_name,
            result.job_id(),
            cloud.region,
            result.job_id(),
            cloud.project,
        )


def _require_python_of_image(python: str) -> None:
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if here != python:  # pickled steps load in no other
        sys.exit(
            f"Python {here} submits the job, but the workers' image has {python}: let FORESERVE_PYTHON name an "
            "interpreter of that version, or build beam_jobs/Dockerfile with another PYTHON_VERSION"
        )


def _label(value: str) -> str:
    """A value as Dataflow accepts it for a label: lower-case letters, digits, hyphens and underscores."""
    return re.sub(r"[^a-z0-9_-]", "-", value.lower())[:_LONGEST_LABEL]


def _counters(result: PipelineResult, namespace: str) -> Counter[str]:
    """The counters of a namespace, each summed over all steps."""
    counters: Counter[str] = Counter()
    for metric in result.metrics().query(MetricsFilter().with_namespace(namespace))["counters"]:
        counters[metric.key.metric.name] += metric.result
    return counters
