"""Runs one query job: statements with BigQuery ML in steps, everything else on the emulator as it is.

Whatever a statement is, its last step is a statement that the emulator runs under the job's own id, so that results,
job resource and errors are the emulator's.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from local_bigquery.backend.emulator import Emulator, TableName
from local_bigquery.errors import BigQueryError, invalid_query, not_found
from local_bigquery.ml.functions import call_function, check_function, keeps_input
from local_bigquery.ml.model_types import TrainedModel, model_type_of
from local_bigquery.ml.registry import ModelRegistry
from local_bigquery.ml.resource import describe, ml_statistics, transform_columns
from local_bigquery.run import transformation
from local_bigquery.run.jobs import Report
from local_bigquery.run.parameters import Parameter, constant_value, with_more, with_names
from local_bigquery.run.routing import own_steps
from local_bigquery.run.scratch import Result, Schema, Scratch, hidden_job_id
from local_bigquery.run.script import ScriptRun
from local_bigquery.sql.generator import is_misread, to_sql
from local_bigquery.sql.ml_calls import next_call, put_table, source_query
from local_bigquery.sql.rewrites import rewrite
from local_bigquery.sql.rewrites.information_schema import models_view
from local_bigquery.sql.scripts import Assert, Sql, Steps, pieces, read_script
from local_bigquery.sql.statements import (
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

_LASTING_KINDS = {"VIEW", "FUNCTION"}


@dataclass(frozen=True)
class QueryJob:
    """A query job to run: its id, its configuration as the client sent it, and who hears how far it has come."""

    project: str
    job_id: str
    configuration: Mapping[str, Any]
    report: Report = lambda _: None

    @property
    def query(self) -> Mapping[str, Any]:
        """The part of the configuration that describes the query."""
        query: Mapping[str, Any] = self.configuration["query"]
        return query

    def with_query(self, query: Mapping[str, Any]) -> Self:
        """Return the same job with something else to do."""
        return replace(self, configuration={**self.configuration, "query": query})

    @property
    def default_dataset(self) -> str | None:
        """The dataset that unqualified names belong to."""
        dataset: str | None = self.query.get("defaultDataset", {}).get("datasetId")
        return dataset

    def script(self) -> Steps | None:
        """Return the statements, or None if all of them can be left to the emulator.

        Raises:
            BigQueryError: `invalidQuery`, if they hold BigQuery ML and cannot be run.
        """
        return None if self.query.get("useLegacySql") else own_steps(self.query.get("query", ""))


class QueryRunner:
    """Runs query jobs.

    Args:
        emulator: Runs the SQL.
        models: The trained models.
        project: The project of the temporary tables.
        directory: For the files that rows travel in.
    """

    def __init__(self, emulator: Emulator, models: ModelRegistry, project: str, directory: Path) -> None:
        self._emulator = emulator
        self._models = models
        self._project = project
        self._directory = directory

    async def run(self, job: QueryJob) -> JobResource:
        """Run a job and return its resource as the emulator describes it.

        Raises:
            BigQueryError: If it fails.
        """
        steps = job.script()
        if steps is None:
            return await self._emulator.insert_job(job.project, job.job_id, job.configuration)
        if not steps:
            raise invalid_query("The query holds no statement")
        job = job.with_query(with_names(job.query))
        async with self.scratch() as scratch:
            statements = _JobStatements(self, job)
            return await ScriptRun(statements, scratch).run(read_script(job.query["query"]))

    async def dry_run(self, job: QueryJob) -> dict[str, Any]:
        """Return what `statistics.query` says of a job that is examined but not run.

        Raises:
            BigQueryError: If it would fail.
        """
        kind = None if job.query.get("useLegacySql") else _kind_of_script(job.query.get("query", ""))
        if kind is not None:
            return {"statementType": kind}
        if job.script() is None:
            return await _dry_run(self._emulator, job)
        job = job.with_query(with_names(job.query))
        (text,) = pieces(read_script(job.query["query"]))
        try:
            return await self._dry_run_statement(job, parse(text), with_rows=False)
        except BigQueryError:  # of the statement, or of a function that cannot do without rows
            return await self._dry_run_statement(job, parse(text), with_rows=True)

    async def _dry_run_statement(self, job: QueryJob, statement: Statement, *, with_rows: bool) -> dict[str, Any]:
        async with self.scratch(with_rows=with_rows) as scratch:
            return await self.statement_run(job, scratch).dry_run(statement)

    def statement_run(self, job: QueryJob, scratch: Scratch) -> "_StatementRun":
        """Return what runs the statements of a job, with these temporary tables."""
        return _StatementRun(self._emulator, self._models, scratch, job)

    def scratch(self, *, with_rows: bool = True) -> AbstractAsyncContextManager[Scratch]:
        """Make temporary tables possible while the context is open (see `Scratch.open`)."""
        return Scratch.open(self._emulator, self._project, self._directory, with_rows=with_rows)


async def _dry_run(emulator: Emulator, job: QueryJob) -> dict[str, Any]:
    """Return what the emulator says of a job; it forgets the job at once.

    It does not look into CREATE TABLE AS and INSERT, so the query in them is examined by itself.
    """
    statistics: dict[str, Any] = {}
    for sql in (_inner_query(job.query["query"]), job.query["query"]):
        if sql is None:
            continue
        job_id = hidden_job_id()
        configuration = {**job.configuration, "dryRun": True, "query": {**job.query, "query": sql}}
        resource = await emulator.insert_job(job.project, job_id, configuration)
        await emulator.call("DELETE", f"{job.project}/jobs/{job_id}/delete")
        query = resource["statistics"]["query"]
        statistics = {**query, "schema": query["schema"] if query["schema"]["fields"] else statistics.get("schema")}
    return {name: value for name, value in statistics.items() if value is not None}


def _kind_of_script(sql: str) -> str | None:
    """Return the statement type of a text, or None if it is one statement and nothing of the procedural language."""
    try:
        steps = read_script(sql)
    except SqlglotError:
        return None  # the emulator says what is wrong with it
    match steps:
        case (Sql(),):
            return None
        case (Assert(),):
            return "ASSERT"
    return "SCRIPT"


def _inner_query(sql: str) -> str | None:
    """Return the query of a CREATE TABLE AS or INSERT, or None if a text is anything else."""
    try:
        tree = sqlglot.parse_one(sql, read=DIALECT)
    except SqlglotError:
        return None
    inner = tree.expression if isinstance(tree, exp.Create | exp.Insert) else None
    return to_sql(inner) if isinstance(inner, exp.Query) else None


class _JobStatements:
    """The statements of a script, as parts of a job."""

    def __init__(self, runner: QueryRunner, job: QueryJob) -> None:
        self._runner = runner
        self._job = job

    async def run(self, statement: Statement, parameters: Sequence[Parameter]) -> JobResource:
        async with self._runner.scratch() as scratch:
            return await self._run(scratch, parameters).run(statement)

    async def run_nothing(self) -> JobResource:
        async with self._runner.scratch() as scratch:
            return await self._run(scratch, ()).run_nothing()

    async def rows(self, statement: OtherStatement, parameters: Sequence[Parameter]) -> Result:
        async with self._runner.scratch() as scratch:
            return await self._run(scratch, parameters).rows(statement)

    def _run(self, scratch: Scratch, parameters: Sequence[Parameter]) -> "_StatementRun":
        return self._runner.statement_run(self._job.with_query(with_more(self._job.query, parameters)), scratch)


class _StatementRun:
    """One statement of a job under way; the surroundings of its rewrites."""

    def __init__(self, emulator: Emulator, models: ModelRegistry, scratch: Scratch, job: QueryJob) -> None:
        self._emulator = emulator
        self._models = models
        self._scratch = scratch
        self._job = job
        self._loaded: dict[ModelPath, TrainedModel] = {}

    async def run(self, statement: Statement) -> JobResource:
        match statement:
            case CreateModel():
                return await self._create_model(statement)
            case DropModel():
                return await self._drop_model(statement)
            case OtherStatement():
                return await self._finish(await self._plain(statement))

    async def run_nothing(self) -> JobResource:
        """Run something without effect or result under the job's own id."""
        return await self._finish(f"DROP TABLE IF EXISTS {self._scratch.absent_table.sql}")

    async def rows(self, statement: OtherStatement) -> Result:
        """Run a query and return its rows."""
        return await self._scratch.rows(await self._plain(statement), self._job.project, self._job.query)

    async def dry_run(self, statement: Statement) -> dict[str, Any]:
        match statement:
            case CreateModel():
                _, options = model_type_of(statement.options)
                operation = await self._creation(statement)
                if operation != "SKIP":
                    await self._run_calls(statement.query)
                    table = await self._scratch.create(to_sql(statement.query), self._job.project, self._job.query)
                    if statement.transform:
                        transformation.parse(statement.transform, await self._scratch.schema(table), options)
                return {"statementType": "CREATE_MODEL", "ddlOperationPerformed": operation}
            case DropModel():
                return {"statementType": "DROP_MODEL", "ddlOperationPerformed": await self._removal(statement)}
            case OtherStatement():
                _, _, configuration = self._last_step(await self._plain(statement))
                return await _dry_run(self._emulator, replace(self._job, configuration=configuration))

    async def _plain(self, statement: OtherStatement) -> str:
        """Return a statement as the emulator can run it; if it can do so anyway, this is the text as it came."""
        tree = statement.tree
        if tree is None:
            return statement.text
        if isinstance(tree, exp.Create) and tree.kind in _LASTING_KINDS and tree.find(MLCall):
            raise invalid_query(f"BigQuery ML functions inside CREATE {tree.kind} are not supported locally")
        before = parse(statement.text)
        await self._run_calls(tree)
        is_as_before = before == OtherStatement(statement.text, tree)
        return statement.text if is_as_before and not is_misread(statement.text) else to_sql(tree)

    async def _creation(self, statement: CreateModel) -> str:
        """Return what a CREATE MODEL is to do, as `ddlOperationPerformed` says it.

        Raises:
            BigQueryError: `notFound`, if there is no such dataset; `duplicate`.
        """
        path = self._path(statement.path)
        await self._emulator.call("GET", f"{path.project}/datasets/{path.dataset}")
        if not await self._models.exists(path):
            return "CREATE"
        if not statement.replace and not statement.if_not_exists:
            raise BigQueryError("duplicate", f"Already Exists: Model {path}")
        return "REPLACE" if statement.replace else "SKIP"

    async def _removal(self, statement: DropModel) -> str:
        """Return what a DROP MODEL is to do, as `ddlOperationPerformed` says it.

        Raises:
            BigQueryError: `notFound`.
        """
        path = self._path(statement.path)
        if await self._models.exists(path):
            return "DROP"
        if not statement.if_exists:
            raise not_found("Model", str(path))
        return "SKIP"

    async def _create_model(self, statement: CreateModel) -> JobResource:
        path = self._path(statement.path)
        self._job.report({"statementType": "CREATE_MODEL"})
        model_type, options = model_type_of(statement.options)
        create = "CREATE OR REPLACE MODEL" if statement.replace else "CREATE MODEL"
        if statement.if_not_exists:
            create += " IF NOT EXISTS"
        declaration = f"{create} {path.sql} OPTIONS(model_type={_quoted(model_type.rest_name)}"
        if await self._creation(statement) == "SKIP":
            return await self._finish(f"{declaration}) AS SELECT 1 AS label")

        await self._run_calls(statement.query)
        table = await self._scratch.create(to_sql(statement.query), self._job.project, self._job.query)
        columns = await self._scratch.schema(table)
        started = time.time()
        progress = {"statementType": "CREATE_MODEL", "mlStatistics": ml_statistics(model_type.rest_name, options)}
        self._job.report(progress)
        if statement.transform:
            clause = transformation.parse(statement.transform, columns, options)
            transform, rows, inputs = await transformation.learn(clause, table, columns, self._scratch)
            model = await asyncio.to_thread(model_type.train, rows, options)
            trained = TrainedModel.transformed(model, transform, inputs)
            extra = {"transformColumns": transform_columns(transform, rows)}
        else:
            rows = await self._scratch.read(table)
            trained = TrainedModel(await asyncio.to_thread(model_type.train, rows, options))
            extra = {}
        description = await asyncio.to_thread(describe, trained.model, options, columns, started) | extra
        register = self._last_step(f"{declaration}) AS SELECT * FROM {table.sql}")
        resource = await self._models.create(path, trained, description, register)
        resource["statistics"]["query"]["mlStatistics"] = ml_statistics(model_type.rest_name, options, description)
        return resource

    async def _drop_model(self, statement: DropModel) -> JobResource:
        operation = await self._removal(statement)
        if operation == "DROP":
            await self._models.delete(self._path(statement.path))
        resource = await self.run_nothing()
        resource["statistics"]["query"] |= {"statementType": "DROP_MODEL", "ddlOperationPerformed": operation}
        return resource

    async def _run_calls(self, tree: exp.Expr) -> None:
        """Put tables with their results in the place of a syntax tree's BigQuery ML functions, and rewrite the rest."""
        while (call := next_call(tree)) is not None:
            await self._run_call(call)
        await rewrite(tree, self)

    async def schema(self, query: exp.Query) -> Schema | None:
        try:
            columns, _ = await self._scratch.rows(to_sql(query), self._job.project, self._job.query)
        except BigQueryError:
            return None
        return columns

    async def models_table(self, project: str | None, dataset: str) -> TableName:
        project = project or self._job.project
        datasets = [dataset]
        if dataset.lower().startswith("region-"):
            answer = await self._emulator.call("GET", f"{project}/datasets")
            datasets = [item["datasetReference"]["datasetId"] for item in answer.get("datasets", [])]
        resources = [resource for name in datasets for resource in await self._models.of_dataset(project, name)]
        return await self._scratch.write(models_view(resources), [])

    async def _run_call(self, call: MLCall) -> None:
        function = call.args["function"]
        source = source_query(call)
        check_function(function, has_input=source is not None)
        trained = await self._model(self._path(call.this))
        settings = self._settings(call)
        kept, rows, schema = None, None, []
        if source is not None:
            await rewrite(source, self)
            table = await self._scratch.create(to_sql(source), self._job.project, self._job.query)
            schema = await self._scratch.schema(table)
            if trained.transform is None:
                rows = await self._scratch.read(table)
            else:
                kept, rows = await transformation.apply(trained.transform, table, schema, self._scratch)
        result = await asyncio.to_thread(call_function, function, trained.model, rows, settings, kept)
        written = await self._scratch.write(result, schema if keeps_input(function) else [])
        put_table(call, written.project, written.dataset, written.table)

    async def _model(self, path: ModelPath) -> TrainedModel:
        """Return a model; whoever replaces it meanwhile, all of the statement uses the same one."""
        if path not in self._loaded:
            self._loaded[path] = await self._models.load(path)
        return self._loaded[path]

    async def _finish(self, sql: str) -> JobResource:
        """Run the last step under the job's own id."""
        return await self._emulator.insert_job(*self._last_step(sql))

    def _last_step(self, sql: str) -> tuple[str, str, Mapping[str, Any]]:
        query = {**self._job.query, "query": sql}
        return self._job.project, self._job.job_id, {**self._job.configuration, "query": query}

    def _path(self, table: exp.Table) -> ModelPath:
        return model_path(table, self._job.project, self._job.default_dataset)

    def _settings(self, call: MLCall) -> dict[str, Any]:
        """Return the settings of a call: constants, or values of query parameters."""
        what = f"A setting of ML.{call.args['function']}"
        settings: dict[str, Any] = {}
        thresholds = call.args.get("thresholds")
        if thresholds is not None:
            settings["thresholds"] = constant(thresholds, what)
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
                return constant_value(parameter)
        raise invalid_query(f"Query parameter {node.name!r} not found")


def _quoted(text: str) -> str:
    return exp.Literal.string(text).sql(DIALECT)
