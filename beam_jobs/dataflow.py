"""Submitting a pipeline to Dataflow: its name, its labels, and the packages that its workers import."""

import logging
import re
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import DebugOptions, GoogleCloudOptions, SetupOptions, WorkerOptions
from apache_beam.runners.dataflow.internal import apiclient

from beam_jobs.options import BigtableOptions
from beam_jobs.worker_package import build_wheel

HARNESS_THREADS = 4
"""Threads of a worker process, unless the options say otherwise.

Each reads a stream and has a bounded amount in flight: enough to keep the process busy, and a third of the memory that
Dataflow's own twelve would take.
"""

# What Beam logs of a job in a thousand lines, each of which Airflow shows as a warning.
_DUMPS = ("sdk_pipeline_options: %s", "Create job: %s")
_LONGEST_NAME = 63
_LONGEST_LABEL = 63

_log = logging.getLogger(__name__)


def submit(pipeline: beam.Pipeline, job: str) -> None:
    """Submit a pipeline, and leave: the job goes on without this process.

    Args:
        pipeline: the pipeline, with the options of its job.
        job: what the job does, "export" or "purge".
    """
    logging.getLogger(apiclient.__name__).addFilter(lambda record: record.msg not in _DUMPS)
    options = pipeline.options.view_as(BigtableOptions)
    cloud = options.view_as(GoogleCloudOptions)
    cloud.job_name = cloud.job_name or job_name(job, options.model, options.version)
    cloud.labels = [*(cloud.labels or []), f"model={_label(options.model)}", f"version={options.version}"]
    debug = options.view_as(DebugOptions)
    debug.number_of_worker_harness_threads = debug.number_of_worker_harness_threads or HARNESS_THREADS
    with TemporaryDirectory() as folder:
        if not options.view_as(WorkerOptions).sdk_container_image:  # else the image has the packages
            setup = options.view_as(SetupOptions)
            setup.extra_packages = [*(setup.extra_packages or []), str(build_wheel(Path(folder)))]
        result: Any = pipeline.run()  # copies the wheel to the staging location
    if result.has_job:  # as opposed to a template
        _log.info(
            "Dataflow runs job %s (%s) now, whatever becomes of this process. Follow it, or cancel it, at "
            "https://console.cloud.google.com/dataflow/jobs/%s/%s?project=%s",
            *(cloud.job_name, result.job_id(), cloud.region, result.job_id(), cloud.project),
        )


def job_name(job: str, model: str, version: int) -> str:
    """A name for a Dataflow job: lower-case letters, digits and hyphens, and no other running job has it.

    It ends at random, because a task that is tried again may find the job of its first try still running.
    """
    end = f"-{version}-{uuid.uuid4().hex[:8]}"
    start = re.sub(r"[^a-z0-9]+", "-", f"{job}-{model}".lower())
    return start[: _LONGEST_NAME - len(end)].strip("-") + end


def _label(value: str) -> str:
    """The value as a label may have it: lower-case letters, digits, hyphens and underscores."""
    return re.sub(r"[^a-z0-9_-]", "-", value.lower())[:_LONGEST_LABEL]
