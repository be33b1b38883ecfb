"""Runs one query job: statements with BigQuery ML in steps, everything else on the emulator as it is.

Whatever a statement is, its last step is a statement that the emulator runs under the job's own id, so that results,
job resource and errors are the emulator's.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlglot import exp

from local_stack.bigquery.catalog import ModelCatalog
from local_stack.bigquery.emulator import Emulator
from local_stack.bigquery.errors import BigQueryError, invalid_query, not_found
from local_stack.bigquery.functions import call_function, check_function
from local_stack.bigquery.models import Model, model_type_of
from local_stack.bigquery.plan import next_call, put_table, source_query
from local_stack.bigquery.scratch import Scratch
from local_stack.bigquery.statements import (
    DIALECT,
    CreateModel,
    DropModel,
    MLCall,
    ModelPath,
    OtherStatement,
    Statement,
    constant,
    model_path,
    parse,
)

JobResource = dict[str, Any]

_LASTING_KINDS = {"VIEW", "FUNCTION", "PROCEDURE"}


@dataclass(frozen=True)
class QueryJob:
    """A query job to run: its id and its configuration as the client sent it."""

    project: str
    job_id: str
    configuration: Mapping[str, Any]

    @property
    def query(self) -> Mapping[str, Any]:
        """The part of the configuration that describes the query."""
        query: Mapping[str, Any] = self.configuration["query"]
        return query

    @property
    def default_dataset(self) -> str | None:
        """The dataset that unqualified names belong to."""
        dataset: str | None = self.query.get("defaultDataset", {}).get("datasetId")
        return dataset

    def statements(self) -> list[Statement] | None:
        """Return the statements, or None if they hold nothing of BigQuery ML.

        Raises:
            BigQueryError: `invalidQuery`, if they do and cannot be parsed.
        """
        return None if self.query.get("useLegacySql") else parse(self.query.get("query", ""))


class QueryRunner:
    """Runs query jobs.

    Args:
        emulator: Runs the SQL.
        catalog: Holds the trained models.
        project: The project of the temporary tables.
        directory: For the files that rows travel in.
    """

    def __init__(self, emulator: Emulator, catalog: ModelCatalog, project: str, directory: Path) -> None:
        self._emulator = emulator
        self._catalog = catalog
        self._project = project
        self._directory = directory

    async def run(self, job: QueryJob) -> JobResource:
        """Run a job and return its resource as the emulator describes it.

        Raises:
            BigQueryError: If it fails.
        """
        statements = job.statements()
        if statements is None:
            return await self._emulator.insert_job(job.project, job.job_id, job.configuration)
        if not statements:
            raise invalid_query("The query holds no statement")
        resource: JobResource = {}
        for number, statement in enumerate(statements, start=1):
            is_last = number == len(statements)
            job_id = job.job_id if is_last else f"{job.job_id}_{number}_{uuid.uuid4().hex[:8]}"
            async with Scratch.open(self._emulator, self._project, self._directory) as scratch:
                step = QueryJob(job.project, job_id, job.configuration)
                resource = await _StatementRun(self._emulator, self._catalog, scratch, step).run(statement)
        return resource


class _StatementRun:
    """One statement of a job under way."""

    def __init__(self, emulator: Emulator, catalog: ModelCatalog, scratch: Scratch, job: QueryJob) -> None:
        self._emulator = emulator
        self._catalog = catalog
        self._scratch = scratch
        self._job = job

    async def run(self, statement: Statement) -> JobResource:
        match statement:
            case CreateModel():
                return await self._create_model(statement)
            case DropModel():
                return await self._drop_model(statement)
            case OtherStatement(tree):
                if isinstance(tree, exp.Create) and tree.kind in _LASTING_KINDS and tree.find(MLCall):
                    raise invalid_query(f"BigQuery ML functions inside CREATE {tree.kind} are not supported locally")
                await self._run_calls(tree)
                return await self._finish(tree.sql(DIALECT))

    async def _create_model(self, statement: CreateModel) -> JobResource:
        path = self._path(statement.path)
        model_type, options = model_type_of(statement.options)
        await self._emulator.call("GET", f"{path.project}/datasets/{path.dataset}")
        create = "CREATE OR REPLACE MODEL" if statement.replace else "CREATE MODEL"
        if statement.if_not_exists:
            create += " IF NOT EXISTS"
        declaration = f"{create} {path.sql} OPTIONS(model_type={_quoted(model_type.rest_name)}"
        if not statement.replace and await self._exists(path):
            return await self._finish(f"{declaration}) AS SELECT 1 AS label")

        await self._run_calls(statement.query)
        table = await self._scratch.create(statement.query.sql(DIALECT), self._job.project, self._job.query)
        rows = await self._scratch.read(table)
        model = await asyncio.to_thread(model_type.train, rows, options)
        staged = await asyncio.to_thread(self._catalog.stage, path, model)
        label = f", input_label_cols=[{_quoted(model.label)}]"
        resource = await self._finish(f"{declaration}{label}) AS SELECT * FROM {table.sql}")
        self._catalog.publish(path, staged)
        return resource

    async def _drop_model(self, statement: DropModel) -> JobResource:
        path = self._path(statement.path)
        exists = await self._exists(path)
        if not exists and not statement.if_exists:
            raise not_found("Model", str(path))
        if exists:
            await self._emulator.call("DELETE", _rest_path(path))
            self._catalog.remove(path)
        resource = await self._finish(f"DROP TABLE IF EXISTS {self._scratch.absent_table.sql}")
        resource["statistics"]["query"] |= {
            "statementType": "DROP_MODEL",
            "ddlOperationPerformed": "DROP" if exists else "SKIP",
        }
        return resource

    async def _run_calls(self, tree: exp.Expr) -> None:
        """Run the BigQuery ML functions of a syntax tree, and put tables with their results in their place."""
        if next_call(tree) is not None and self._job.query.get("parameterMode", "").upper() == "POSITIONAL":
            raise invalid_query(
                "Positional parameters (?) cannot be used with BigQuery ML functions locally: name them"
            )
        while (call := next_call(tree)) is not None:
            await self._run_call(call)

    async def _run_call(self, call: MLCall) -> None:
        function = call.args["function"]
        source = source_query(call)
        check_function(function, has_input=source is not None)
        model = await self._model(self._path(call.this))
        settings = self._settings(call)
        rows, schema = None, []
        if source is not None:
            table = await self._scratch.create(source.sql(DIALECT), self._job.project, self._job.query)
            schema = await self._scratch.schema(table)
            rows = await self._scratch.read(table)
        result = await asyncio.to_thread(call_function, function, model, rows, settings)
        written = await self._scratch.write(result, schema)
        put_table(call, written.project, written.dataset, written.table)

    async def _model(self, path: ModelPath) -> Model:
        model = await asyncio.to_thread(self._catalog.load, path) if await self._exists(path) else None
        if model is None:
            raise not_found("Model", str(path))
        return model

    async def _exists(self, path: ModelPath) -> bool:
        try:
            await self._emulator.call("GET", _rest_path(path))
        except BigQueryError as error:
            if error.reason != "notFound":
                raise
            return False
        return True

    async def _finish(self, sql: str) -> JobResource:
        """Run the last step under the job's own id."""
        query = {**self._job.query, "query": sql}
        return await self._emulator.insert_job(
            self._job.project, self._job.job_id, {**self._job.configuration, "query": query}
        )

    def _path(self, table: exp.Table) -> ModelPath:
        return model_path(table, self._job.project, self._job.default_dataset)

    def _settings(self, call: MLCall) -> dict[str, Any]:
        """Return the settings of a call: constants, or values of query parameters."""
        what = f"A setting of ML.{call.args['function']}"
        settings = {}
        struct = call.args.get("settings")
        for item in struct.expressions if struct is not None else []:
            if not isinstance(item, exp.PropertyEQ):
                raise invalid_query(f"{what} must have a name: STRUCT(value AS name)")
            value = item.expression
            name = item.this.name.lower()
            settings[name] = self._parameter(value) if isinstance(value, exp.Parameter) else constant(value, what)
        return settings

    def _parameter(self, node: exp.Parameter) -> Any:
        for parameter in self._job.query.get("queryParameters", []):
            if parameter.get("name", "").lower() == node.name.lower():
                value = parameter["parameterValue"].get("value")
                match parameter["parameterType"]["type"]:
                    case "INT64":
                        return int(value)
                    case "FLOAT64" | "NUMERIC" | "BIGNUMERIC":
                        return float(value)
                    case "BOOL":
                        return str(value).lower() == "true"
                return value
        raise invalid_query(f"Query parameter {node.name!r} not found")


def _rest_path(path: ModelPath) -> str:
    return f"{path.project}/datasets/{path.dataset}/models/{path.model}"


def _quoted(text: str) -> str:
    return exp.Literal.string(text).sql(DIALECT)
