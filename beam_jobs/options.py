"""Command-line options of the jobs, beside Beam's own."""

import math
import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions, _BeamArgumentParser

from beam_jobs.bulk_writer import Target
from beam_jobs.registered_version import RegisteredVersion
from prediction_store.layout import Instance


def parse(arguments: Sequence[str]) -> PipelineOptions:
    """Beam's options and the jobs' own. Beam alone would only warn of options that do not exist.

    Raises:
        SystemExit: an option is unknown, missing or wrong; standard error has which.
    """
    parser = _BeamArgumentParser(allow_abbrev=False)
    for options in {str(options): options for options in PipelineOptions.__subclasses__()}.values():
        options._add_argparse_args(parser)  # noqa: SLF001  as Beam itself does
    parser.parse_args(list(arguments))
    return PipelineOptions(arguments, save_main_session=False)


class BigtableOptions(PipelineOptions):
    """Where the predictions and the registry are."""

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        parser.add_argument("--bigtable_project", required=True, help="project of the Bigtable instance")
        parser.add_argument("--bigtable_instance", required=True, help="id of the Bigtable instance")
        parser.add_argument("--export_app_profile", default="", help="app profile for reads and writes of predictions")
        parser.add_argument("--registry_app_profile", default="", help="app profile for the registry: single cluster")
        parser.add_argument("--model", required=True, help="name of the model in the registry")
        parser.add_argument("--version", required=True, type=int, help="version that is being exported")
        parser.add_argument(
            "--write_deadline_seconds", type=_positive, default=300, help="how long a failing write is tried again"
        )
        parser.add_argument(
            "--max_rows_per_second",
            type=_positive,
            help="cap on what one worker process writes; by default only the limit that Bigtable asks for",
        )

    def instance(self) -> Instance:
        """The Bigtable instance."""
        return Instance(self.bigtable_project, self.bigtable_instance)

    def registered_version(self) -> RegisteredVersion:
        """The version that is being exported."""
        return RegisteredVersion(self.instance(), self.registry_app_profile, self.model, self.version)

    def target(self, table: str) -> Target:
        """How to write to a table of the instance."""
        return Target(
            self.instance().table(table),
            self.export_app_profile,
            self.write_deadline_seconds,
            self.max_rows_per_second or math.inf,
        )


class ExportOptions(PipelineOptions):
    """What to export."""

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--source_table",
            type=_table,
            help="BigQuery table PROJECT.DATASET.TABLE with the columns entity_id STRING and payload STRING (NULL: the "
            "entity has no prediction any more)",
        )
        parser.add_argument(
            "--connectors",
            choices=("native", "beam"),
            default="native",
            help="beam: read and write with Beam's own BigQueryIO and BigtableIO, as a reference. They leave the same "
            "cells, but many times slower; writes use the instance's default app profile, are tried again for ten "
            "minutes whatever --write_deadline_seconds says, and are slowed down neither by Bigtable nor by "
            "--max_rows_per_second; counters are Beam's own; a refused write names neither rows nor reasons",
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
