"""Runs one statement of a query job.

The functions of BigQuery ML in it run first, and tables with their results replace them. What remains is plain SQL,
which the emulator runs.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from local_bigquery.backend.emulator import Emulator, JobResource, Result, TableName
from local_bigquery.errors import BigQueryError, invalid_query, not_found
from local_bigquery.ml.functions import call_function, check_function, keeps_input
from local_bigquery.ml.model import ModelType, TrainedModel
from local_bigquery.ml.model_types import model_type_of
from local_bigquery.ml.registry import ModelRegistry
from local_bigquery.ml.resource import describe, ml_statistics, transform_columns
from local_bigquery.run import transformation
from local_bigquery.run.jobs import QueryJob
from local_bigquery.run.scratch import Scratch
from local_bigquery.schema import Schema
from local_bigquery.sql import DIALECT
from local_bigquery.sql.generator import is_refused_text, to_sql
from local_bigquery.sql.ml_calls import next_call, replace_call, source_query
from local_bigquery.sql.parameters import python_value
from local_bigquery.sql.rewrites import rewrite
from local_bigquery.sql.rewrites.information_schema import models_rows
from local_bigquery.sql.statements import (
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

_PERSISTENT_KINDS = {"VIEW", "FUNCTION"}


class StatementRun:
    """The run of one statement of a job; also the `Catalog` of its rewrites.

    Args:
        emulator: runs the SQL.
        models: the trained models.
        scratch: makes temporary tables.
        job: the job.
    """

    def __init__(self, emulator: Emulator, models: ModelRegistry, scratch: Scratch, job: QueryJob) -> None:
        self._emulator = emulator
        self._models = models
        self._scratch = scratch
        self._job = job
        self._loaded: dict[ModelPath, TrainedModel] = {}

    async def run(self, statement: Statement) -> JobResource:
        """Run the statement under the id of the job.

        Raises:
            BigQueryError: the statement failed.
        """
        match statement:
            case CreateModel():
                return await self._create_model(statement)
            case DropModel():
                return await self._drop_model(statement)
            case OtherStatement():
                return await self._run_under_job_id(await self._emulator_sql(statement))

    async def run_nothing(self) -> JobResource:
        """Run a statement without effect or result under the id of the job."""
        return await self._run_under_job_id(f"DROP TABLE IF EXISTS {self._scratch.absent_table.sql}")

    async def rows(self, statement: OtherStatement) -> Result:
        """Run a query and return its rows.

        Raises:
            BigQueryError: the query failed.
        """
        return await self._scratch.rows(await self._emulator_sql(statement), self._job.project, self._job.query)

    async def dry_run(self, statement: Statement) -> dict[str, Any]:
        """Return the `statistics.query` of the statement without running it.

        Raises:
            BigQueryError: the statement would fail.
        """
        match statement:
            case CreateModel():
                _, options = self._model_type(statement)
                operation = await self._create_operation(statement)
                if operation != "SKIP":
                    table = await self._training_rows(statement)
                    if statement.transform:
                        transformation.parse(statement.transform, await self._scratch.schema(table), options)
                return {"statementType": "CREATE_MODEL", "ddlOperationPerformed": operation}
            case DropModel():
                operation = await self._drop_operation(statement)
                return {"statementType": "DROP_MODEL", "ddlOperationPerformed": operation}
            case OtherStatement():
                _, _, configuration = self._job_with_sql(await self._emulator_sql(statement))
                return await dry_run_on_emulator(self._emulator, replace(self._job, configuration=configuration))

    # CREATE MODEL and DROP MODEL

    @staticmethod
    def _model_type(statement: CreateModel) -> tuple[ModelType, dict[str, Any]]:
        """Return the model type of a CREATE MODEL, and its complete options.

        Raises:
            BigQueryError: `invalidQuery` if the options are invalid, or the type takes no TRANSFORM clause.
        """
        model_type, options = model_type_of(statement.options)
        if statement.transform and not model_type.takes_transform:
            raise invalid_query(f"TRANSFORM is not supported for models of type {model_type.name}")
        return model_type, options

    async def _create_operation(self, statement: CreateModel) -> str:
        """Return the `ddlOperationPerformed` of a CREATE MODEL.

        Raises:
            BigQueryError: `notFound` if the dataset does not exist; `duplicate` if the model exists.
        """
        path = self._path(statement.path)
        await self._emulator.call("GET", f"{path.project}/datasets/{path.dataset}")
        if not await self._models.exists(path):
            return "CREATE"
        if not statement.replace and not statement.if_not_exists:
            raise BigQueryError("duplicate", f"Already Exists: Model {path}")
        return "REPLACE" if statement.replace else "SKIP"

    async def _drop_operation(self, statement: DropModel) -> str:
        """Return the `ddlOperationPerformed` of a DROP MODEL.

        Raises:
            BigQueryError: `notFound` if the model does not exist.
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
        model_type, options = self._model_type(statement)
        create = "CREATE OR REPLACE MODEL" if statement.replace else "CREATE MODEL"
        if statement.if_not_exists:
            create += " IF NOT EXISTS"
        type_literal = exp.Literal.string(model_type.rest_name).sql(DIALECT)
        declaration = f"{create} {path.sql} OPTIONS(model_type={type_literal})"
        if await self._create_operation(statement) == "SKIP":
            return await self._run_under_job_id(f"{declaration} AS SELECT 1 AS label")

        table = await self._training_rows(statement)
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
        record = self._job_with_sql(f"{declaration} AS SELECT * FROM {table.sql}")
        resource = await self._models.create(path, trained, description, record)
        resource["statistics"]["query"]["mlStatistics"] = ml_statistics(model_type.rest_name, options, description)
        return resource

    async def _training_rows(self, statement: CreateModel) -> TableName:
        """Return a table with the rows of the training query."""
        await self._replace_calls(statement.query)
        return await self._scratch.create(to_sql(statement.query), self._job.project, self._job.query)

    async def _drop_model(self, statement: DropModel) -> JobResource:
        operation = await self._drop_operation(statement)
        if operation == "DROP":
            await self._models.delete(self._path(statement.path))
        resource = await self.run_nothing()
        resource["statistics"]["query"] |= {"statementType": "DROP_MODEL", "ddlOperationPerformed": operation}
        return resource

    # functions of BigQuery ML, and rewrites

    async def _emulator_sql(self, statement: OtherStatement) -> str:
        """Return SQL that the emulator can run; the text as it came, if nothing in it needs to change."""
        tree = statement.tree
        if tree is None:
            return statement.text
        if isinstance(tree, exp.Create) and tree.kind in _PERSISTENT_KINDS and tree.find(MLCall):
            raise invalid_query(f"BigQuery ML functions inside CREATE {tree.kind} are not supported locally")
        original = parse(statement.text)
        await self._replace_calls(tree)
        is_unchanged = original == OtherStatement(statement.text, tree)
        return statement.text if is_unchanged and not is_refused_text(statement.text) else to_sql(tree)

    async def _replace_calls(self, tree: exp.Expr) -> None:
        """Replace the BigQuery ML functions of a syntax tree by tables with their results, and rewrite the rest."""
        while (call := next_call(tree)) is not None:
            await self._replace_call(call)
        await rewrite(tree, self)

    async def _replace_call(self, call: MLCall) -> None:
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
        replace_call(call, written.project, written.dataset, written.table)

    async def _model(self, path: ModelPath) -> TrainedModel:
        """Return a model. The whole statement uses the same one, even if it is replaced in the meantime."""
        if path not in self._loaded:
            self._loaded[path] = await self._models.load(path)
        return self._loaded[path]

    def _settings(self, call: MLCall) -> dict[str, Any]:
        """Return the settings of a call: constants, or values of query parameters."""
        subject = f"A setting of ML.{call.args['function']}"
        settings: dict[str, Any] = {}
        thresholds = call.args.get("thresholds")
        if thresholds is not None:
            settings["thresholds"] = constant(thresholds, subject)
        struct = call.args.get("settings")
        for item in struct.expressions if struct is not None else []:
            if not isinstance(item, exp.PropertyEQ):
                raise invalid_query(f"{subject} must have a name: STRUCT(value AS name)")
            value = item.expression
            name = item.this.name.lower()
            is_parameter = isinstance(value, exp.Parameter)
            settings[name] = self._parameter_value(value) if is_parameter else constant(value, subject)
        return settings

    def _parameter_value(self, node: exp.Parameter) -> Any:
        for parameter in self._job.query.get("queryParameters", []):
            if parameter.get("name", "").lower() == node.name.lower():
                return python_value(parameter)
        raise invalid_query(f"Query parameter {node.name!r} not found")

    # the catalog of rewrites

    async def schema(self, query: exp.Query) -> Schema | None:
        """Return the columns of a query; see `Catalog`."""
        try:
            columns, _ = await self._scratch.rows(to_sql(query), self._job.project, self._job.query)
        except BigQueryError:
            return None
        return columns

    async def models_table(self, project: str | None, dataset: str) -> TableName:
        """Return a table with the models of a dataset or region; see `Catalog`."""
        project = project or self._job.project
        datasets = [dataset]
        if dataset.lower().startswith("region-"):
            answer = await self._emulator.call("GET", f"{project}/datasets")
            datasets = [item["datasetReference"]["datasetId"] for item in answer.get("datasets", [])]
        resources = [resource for name in datasets for resource in await self._models.of_dataset(project, name)]
        return await self._scratch.write(models_rows(resources), [])

    # the job

    async def _run_under_job_id(self, sql: str) -> JobResource:
        return await self._emulator.insert_job(*self._job_with_sql(sql))

    def _job_with_sql(self, sql: str) -> tuple[str, str, Mapping[str, Any]]:
        """Return project, id and configuration of the job with other SQL."""
        query = {**self._job.query, "query": sql}
        return self._job.project, self._job.job_id, {**self._job.configuration, "query": query}

    def _path(self, table: exp.Table) -> ModelPath:
        return model_path(table, self._job.project, self._job.default_dataset)


async def dry_run_on_emulator(emulator: Emulator, job: QueryJob) -> dict[str, Any]:
    """Return the `statistics.query` of a dry run on the emulator.

    The emulator does not check the query of a CREATE TABLE AS or INSERT, so that query is checked by itself first.

    Raises:
        BigQueryError: the job would fail.
    """
    statistics: dict[str, Any] = {}
    for sql in (_inner_query(job.sql), job.sql):
        if sql is None:
            continue
        configuration = {**job.configuration, "dryRun": True, "query": {**job.query, "query": sql}}
        resource = await emulator.run_hidden_job(job.project, configuration)
        query = resource["statistics"]["query"]
        statistics = {**query, "schema": query["schema"] if query["schema"]["fields"] else statistics.get("schema")}
    return {name: value for name, value in statistics.items() if value is not None}


def _inner_query(sql: str) -> str | None:
    """Return the query of a CREATE TABLE AS or INSERT; None for any other text."""
    try:
        tree = sqlglot.parse_one(sql, read=DIALECT)
    except SqlglotError:
        return None
    inner = tree.expression if isinstance(tree, exp.Create | exp.Insert) else None
    return to_sql(inner) if isinstance(inner, exp.Query) else None
