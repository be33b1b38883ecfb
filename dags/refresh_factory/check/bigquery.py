"""A running BigQuery, the local one or Google's: schemas of tables, and dry runs of a pipeline's SQL."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from google.api_core.exceptions import BadRequest, ClientError, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from foreserve.refresh import Refresh
from local_bigquery.analyzer import GoogleSqlError, parse, tables_of
from prediction_store.local_environment import use_local_stack
from prediction_store.warehouse import version_of
from refresh_factory.checks import DATASET, PROJECT, checked_refresh, models_of_files
from refresh_factory.pipeline import Pipeline, Problem
from refresh_factory.templates import Rendered, Templates

Where = Literal["local", "cloud"]

_LOCAL_PROJECT = "demo"
_WITHOUT_STACK = "http://127.0.0.1:9050"
"""The address of `make bigquery`."""

_TYPES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}
"""The names that the REST API has for types, and GoogleSQL's.

Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema
"""


class RunningBigQuery:
    """BigQuery, and the pipelines' SQL on it."""

    def __init__(self, where: Where) -> None:
        """Use the local BigQuery, or Google's with this machine's default credentials."""
        if where == "cloud":
            self._client = bigquery.Client(os.environ.get("FORESERVE_PROJECT"))
            return
        if "BIGQUERY_EMULATOR_HOST" not in os.environ and not use_local_stack(Path.cwd()):
            os.environ["BIGQUERY_EMULATOR_HOST"] = _WITHOUT_STACK
        project = os.environ.get("FORESERVE_PROJECT", _LOCAL_PROJECT)
        self._client = bigquery.Client(project, credentials=AnonymousCredentials())

    def schemas(self, folder: Path, pipeline: Pipeline) -> tuple[dict[str, dict[str, str]], list[Problem]]:
        """Return the columns of the tables that a pipeline's SQL reads, by table, and the problems.

        Tables of the project of the refreshes are named DATASET.TABLE, others PROJECT.DATASET.TABLE.
        """
        names: dict[str, tuple[Path, int]] = {}
        problems: list[Problem] = []
        # The project of checks, not the client's: SQL that spells out the client's project is checked with that name.
        for text in _render(Templates(folder, pipeline, PROJECT), checked_refresh(pipeline)).values():
            if isinstance(text, Problem):
                problems.append(text)
                continue
            try:
                found = tables_of(text.sql)
            except GoogleSqlError as error:
                problems.append(Problem(*text.place(error.offset), error.message))
                continue
            for name in found:
                names.setdefault(name, text.place(max(text.sql.find(name.rpartition(".")[2]), 0)))
        tables: dict[str, dict[str, str]] = {}
        for name, place in names.items():
            is_array = any(name.startswith(f"{other}.") for other in names)  # as in FROM d.t, d.t.numbers
            if is_array or "INFORMATION_SCHEMA" in name.upper():
                continue
            recorded = name.removeprefix(f"{PROJECT}.")
            try:
                tables[recorded] = self._columns(self._real_name(recorded))
            except ClientError as error:
                problems.append(Problem(*place, _message(error)))
        return tables, problems

    def _real_name(self, recorded: str) -> str:
        """The table of a recorded name. The dataset of the refreshes has another name where the environment says so."""
        dataset, _, table = recorded.partition(".")
        if "." in table:
            return recorded
        return f"{self._dataset}.{table}" if dataset == DATASET else f"{self._client.project}.{recorded}"

    @property
    def _dataset(self) -> str:
        return f"{self._client.project}.{os.environ.get('FORESERVE_DATASET', DATASET)}"

    def dry_run(self, folder: Path, pipeline: Pipeline) -> list[Problem]:
        """Return the errors that BigQuery finds in a pipeline's SQL; not of predict.sql until a model was trained."""
        problems: list[Problem] = []
        for text in self._rendered(folder, pipeline):
            if isinstance(text, Problem):
                problems.append(text)
                continue
            config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
            try:
                self._client.query(text.sql, job_config=config)
            except (BadRequest, NotFound) as error:
                problems.append(_problem(text, _message(error)))
        return problems

    def _rendered(self, folder: Path, pipeline: Pipeline) -> list[Rendered | Problem]:
        """The statements of a pipeline for the client's project and now."""
        version = self._latest_model(pipeline.model)
        refresh = Refresh(pipeline.model, version or 1, self._dataset, cutoff=datetime.now(UTC).isoformat())
        rendered = _render(Templates(folder, pipeline, self._client.project), refresh)
        text = rendered["predict.sql"]
        if version is None and isinstance(text, Rendered) and _uses_model(text.sql):
            del rendered["predict.sql"]
        return list(rendered.values())

    def _latest_model(self, model: str) -> int | None:
        try:
            names = [found.model_id for found in self._client.list_models(self._dataset)]
        except NotFound:
            return None
        return max((version for name in names if (version := version_of(name, model))), default=None)

    def _columns(self, name: str) -> dict[str, str]:
        extra: dict[str, str] = {}
        if name.endswith("*"):
            # https://cloud.google.com/bigquery/docs/querying-wildcard-tables: the schema is that of the newest table
            dataset, _, prefix = name.rstrip("*").rpartition(".")
            tables = [table for table in self._client.list_tables(dataset) if table.table_id.startswith(prefix)]
            if not tables:
                raise NotFound(f"no table is named {name}")
            name = f"{dataset}.{max(tables, key=lambda table: table.created).table_id}"
            extra["_TABLE_SUFFIX"] = "STRING"
        table = self._client.get_table(name)
        if table.time_partitioning and not table.time_partitioning.field:
            extra |= {"_PARTITIONTIME": "TIMESTAMP", "_PARTITIONDATE": "DATE"}
        return {column.name: _type(column) for column in table.schema} | extra


def _render(templates: Templates, refresh: Refresh) -> dict[str, Rendered | Problem]:
    return {name: templates.render(name, refresh, model) for name, model in models_of_files(templates, refresh).items()}


def _uses_model(sql: str) -> bool:
    try:
        return any(call.model for statement in parse(sql) for call in statement.calls)
    except GoogleSqlError:
        return False


def _message(error: ClientError) -> str:
    """The first line of BigQuery's message, without the request."""
    said = error.errors[0].get("message", "") if error.errors else ""
    return str(said or error.message).split("\n", 1)[0]


def _type(column: bigquery.SchemaField) -> str:
    kind = _TYPES.get(column.field_type, column.field_type)
    if kind == "STRUCT":
        kind = f"STRUCT<{', '.join(f'{field.name} {_type(field)}' for field in column.fields)}>"
    elif kind == "RANGE":
        kind = f"RANGE<{column.range_element_type.element_type}>"
    return f"ARRAY<{kind}>" if column.mode == "REPEATED" else kind


def _problem(text: Rendered, message: str) -> Problem:
    """The problem of a statement, at the line that BigQuery names, such as `Unrecognized name: x at [3:8]`."""
    found = re.search(r" at \[(\d+):(\d+)\]", message)
    line, column = (int(found[1]), int(found[2])) if found else (1, 1)
    offset = sum(len(each) for each in text.sql.splitlines(keepends=True)[: line - 1]) + column - 1
    return Problem(*text.place(offset), f"BigQuery: {message.replace(found[0], '') if found else message}")
