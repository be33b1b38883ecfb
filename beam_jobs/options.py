"""Command-line options of the jobs, besides Beam's own."""

import math
import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions, _BeamArgumentParser

from beam_jobs.bulk_writer import Target
from beam_jobs.registered_version import RegisteredVersion
from prediction_store.layout import Instance

IMAGE_PYTHON = "3.11"
"""Python of the workers' image, unless `--image_python` is another; the default of `beam_jobs/Dockerfile`."""


def parse(arguments: Sequence[str]) -> PipelineOptions:
    """Parse the options of Beam and of the jobs. Beam itself only warns about unknown options.

    Raises:
        SystemExit: an option is unknown, missing or invalid. Standard error names it.
    """
    parser = _BeamArgumentParser(allow_abbrev=False)
    for options in {str(options): options for options in PipelineOptions.__subclasses__()}.values():
        options._add_argparse_args(parser)  # noqa: SLF001  as Beam itself does
    parser.parse_args(list(arguments))
    return PipelineOptions(arguments, save_main_session=False)


class BigtableOptions(PipelineOptions):
    """Options of all jobs: the Bigtable instance, the version, and the limits of writing."""

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        parser.add_argument("--bigtable_project", required=True, help="project of the Bigtable instance")
        parser.add_argument("--bigtable_instance", required=True, help="id of the Bigtable instance")
        parser.add_argument("--export_app_profile", default="", help="app profile for reads and writes of predictions")
        parser.add_argument("--registry_app_profile", default="", help="app profile for the registry: single cluster")
        parser.add_argument("--model", required=True, help="name of the model in the registry")
        parser.add_argument("--version", required=True, type=int, help="version to export, or to be exported next")
        parser.add_argument("--image_python", default=IMAGE_PYTHON, help="of the workers' image (default %(default)s)")
        parser.add_argument(
            "--write_deadline_seconds",
            type=_positive,
            default=300,
            help="time for which a failing write is tried again (default %(default)s)",
        )
        parser.add_argument(
            "--max_rows_per_second",
            type=_positive,
            help="largest rate of one worker process; without it, only Bigtable limits the rate",
        )

    def instance(self) -> Instance:
        """The Bigtable instance."""
        return Instance(self.bigtable_project, self.bigtable_instance)

    def registered_version(self) -> RegisteredVersion:
        """The version that the job works on."""
        return RegisteredVersion(self.instance(), self.registry_app_profile, self.model, self.version)

    def target(self, table: str) -> Target:
        """A table of the instance, with the limits of writing."""
        return Target(
            self.instance().table(table),
            self.export_app_profile,
            self.write_deadline_seconds,
            self.max_rows_per_second or math.inf,
        )


class ExportOptions(PipelineOptions):
    """Options of the export."""

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--source_table",
            type=_table,
            help="BigQuery table PROJECT.DATASET.TABLE with the columns entity_id STRING and payload STRING; a NULL "
            "payload means that the entity has no prediction any more",
        )


class PurgeOptions(PipelineOptions):
    """Options of the purge."""

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--changes_table",
            dest="changes_tables",
            type=_table,
            action="append",
            help="BigQuery table PROJECT.DATASET.TABLE that an export of a stale version read; give the table of every "
            "stale version, or none: then the whole Bigtable table is scanned",
        )
        parser.add_argument(
            "--active",
            type=int,
            help="the active version when the purge was started, or 0; required with --changes_table; after a "
            "rollback, other versions are stale, and services may still read them",
        )


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise ArgumentTypeError(f"{text} is not greater than 0")
    return number


def _table(text: str) -> str:
    if not re.fullmatch(r"[^`\s]+\.\w+\.[^`.]+", text):
        raise ArgumentTypeError(f"{text!r} is not a table's full name; write PROJECT.DATASET.TABLE")
    return text
