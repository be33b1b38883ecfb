"""Analyses statements before they run, so that what BigQuery refuses is refused with its text and position.

The catalog of a statement has the tables, views, functions and models that exist, as far as the statement names them.
Statements that Google's analyzer does not know run without an analysis. They have a message that matches `_UNKNOWN`, a
function of unknown type, or a view of INFORMATION_SCHEMA that is not in `_VIEWS`, or they are nested too deep.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bqemulator.sql.rewriter import information_schema

from local_bigquery.analyzer import (
    Catalog,
    Function,
    GoogleSqlError,
    Output,
    Statement,
    TableFunctionCall,
    Type,
    UnknownOutputError,
    analyze,
    parse,
    position,
    tables_of,
    type_of,
)
from local_bigquery.analyzer.analysis import PARTITIONS
from local_bigquery.analyzer.ml import FUNCTIONS, Model
from local_bigquery.backend.emulator import Emulator, TableName
from local_bigquery.errors import BigQueryError, invalid_query, not_found
from local_bigquery.ml.model_types import MODEL_TYPES
from local_bigquery.ml.registry import ModelRegistry
from local_bigquery.ml.resource import option_name
from local_bigquery.run.jobs import QueryJob
from local_bigquery.schema import arrow_field, ddl_type, element, is_repeated, standard_type
from local_bigquery.sql.rewrites.information_schema import MODELS_COLUMNS
from local_bigquery.sql.statements import ModelPath

Columns = Mapping[str, Type]

_ANALYSED = frozenset(
    (
        *("QUERY", "INSERT", "UPDATE", "DELETE", "MERGE", "EXPORT_DATA", "CREATE_FUNCTION", "CREATE_MODEL"),
        *("CREATE_TABLE", "CREATE_TABLE_FUNCTION", "CREATE_VIEW", "CREATE_MATERIALIZED_VIEW"),
    )
)
"""The kinds of statements that are analysed. Of others only the syntax is checked."""

_KEEPS_TABLES = ("QUERY", "INSERT", "UPDATE", "DELETE", "MERGE")
"""The kinds of statements that change no columns."""

_UNKNOWN = re.compile(
    r".*is not supported|.*[Nn]ot implemented|Unsupported|Analytic function cannot be an argument of another analytic"
)
"""Messages about SQL that ZetaSQL lacks, nested functions of a TRANSFORM clause among them."""

_TABLE_NOT_FOUND = re.compile(r"Table not found: (\S+?)(?:;|$)")

_VIEWS = {
    "MODELS": {field.name: Type(standard_type(arrow_field(field))) for field in MODELS_COLUMNS},
    **{
        view: {name: Type(standard_type({"type": kind})) for name, kind in columns}
        for view in ("SCHEMATA", "TABLES", "COLUMNS", "TABLE_OPTIONS", "VIEWS", "PARTITIONS")
        for columns in [getattr(information_schema, f"_{view}_COLUMN_TYPES")]
    },
}
"""The views of INFORMATION_SCHEMA that are analysed, with the columns that the emulator gives them."""

_MODEL_TYPES = {model_type.rest_name: model_type.name for model_type in MODEL_TYPES.values()}
"""The names in SQL of the model types of the REST API."""

_MODEL_OPTIONS = ("feedback_type", "item_col", "time_series_id_col", "user_col")
"""The options that change the columns of ML functions."""


@dataclass(frozen=True)
class Names:
    """The names of a script at a statement: variables, and temporary tables and functions."""

    variables: Mapping[str, Type] = field(default_factory=dict)
    tables: Mapping[str, TableName] = field(default_factory=dict)
    functions: Mapping[str, TableName] = field(default_factory=dict)


class StatementAnalyzer:
    """Analyses statements against what exists.

    Args:
        emulator: knows tables, views and functions.
        models: the trained models.
    """

    def __init__(self, emulator: Emulator, models: ModelRegistry) -> None:
        self._emulator = emulator
        self._models = models
        self._columns: dict[TableName, Columns] = {}
        self._generation = 0

    def forget(self) -> None:
        """Forget the columns of all tables: one of them may have changed."""
        self._columns.clear()
        self._generation += 1

    async def check_syntax(self, sql: str) -> None:
        """Check the syntax of a script.

        Raises:
            BigQueryError: `invalidQuery` with BigQuery's text.
        """
        try:
            await asyncio.to_thread(parse, sql)
        except GoogleSqlError as error:
            raise _invalid(error, sql) from error
        except UnknownOutputError:
            return

    async def check(
        self, sql: str, job: QueryJob, names: Names | None = None, *, place: tuple[str, int] | None = None
    ) -> bool:
        """Check a statement; return True if it may change tables.

        Args:
            sql: the statement.
            job: the job that it is part of.
            names: the names of the script that it is part of; None for a job of one statement.
            place: the script, and the offset in it of the statement's first character; None without a script.

        Raises:
            BigQueryError: `invalidQuery` or `notFound` with BigQuery's text.
        """
        whole, begin = place or (sql, 0)
        try:
            statements = await asyncio.to_thread(parse, sql)
            if len(statements) != 1:
                return True
            (statement,) = statements
            if statement.kind == "CREATE_MODEL":
                job.report({"statementType": statement.kind})
            if statement.kind in _ANALYSED:
                catalog = await self._catalog(sql, statement, job, names or Names())
                await asyncio.to_thread(analyze, sql, catalog)
        except UnknownOutputError:
            return True
        except GoogleSqlError as error:
            if _UNKNOWN.match(error.message):
                return True
            await self._refuse_missing(error, job)
            raise _invalid(error, whole, begin) from error
        return statement.kind not in _KEEPS_TABLES

    async def _refuse_missing(self, error: GoogleSqlError, job: QueryJob) -> None:
        """Refuse a statement whose table does not exist, as BigQuery does."""
        found = _TABLE_NOT_FOUND.match(error.message)
        if found is None:
            return
        name = found[1].replace("`", "")
        table = _table_name(name, job)
        if table is None:
            raise invalid_query(f'Table "{name}" must be qualified with a dataset (e.g. dataset.table).')
        dataset = f"{table.project}:{table.dataset}"
        try:
            await self._emulator.call("GET", f"{table.project}/datasets/{table.dataset}")
        except BigQueryError:
            raise not_found("Dataset", f"{dataset} was not found in location US") from error
        raise not_found("Table", f"{dataset}.{table.table} was not found in location US") from error

    async def _catalog(self, sql: str, statement: Statement, job: QueryJob, names: Names) -> Catalog:
        tables: dict[str, Columns] = {}
        for name in await asyncio.to_thread(tables_of, sql):
            temporary = names.tables.get(name.lower().removeprefix("_session."))
            table = temporary or _table_name(name, job)
            columns = await self._columns_of(table) if table else None
            if table is None or columns is None:
                continue
            pseudo_columns = PARTITIONS if "_PARTITION" in sql.upper() else {}
            tables[name if temporary else ".".join(_parts(table))] = {**columns, **pseudo_columns}
        routines = {}
        for name in statement.functions:
            function = names.functions.get(name.lower()) or _routine_name(name, job)
            if function is not None and (found := await self._function(function, job)) is not None:
                routines[name if name.lower() in names.functions else ".".join(_parts(function))] = found
        outputs = {call.path + call.model: await self._output(call, job) for call in statement.calls}
        return Catalog(
            tables=tables,
            default_project=job.project,
            output=lambda call: _columns_of_call(outputs[call.path + call.model], call),
            functions=FUNCTIONS,
            default_dataset=job.default_dataset,
            routines=routines,
            variables=names.variables,
            parameters=_parameters(job),
        )

    # tables

    async def _columns_of(self, table: TableName) -> Columns | None:
        """Return the columns of a table or view; None if it does not exist."""
        if "INFORMATION_SCHEMA" in f"{table.dataset}.{table.table}".upper():
            view = table.table.rpartition(".")[2].upper()
            if view not in _VIEWS:
                raise UnknownOutputError(view)
            return _VIEWS[view]
        if table in self._columns:
            return self._columns[table]
        generation = self._generation
        columns = await self._read_columns(table)
        if columns is not None and generation == self._generation:
            self._columns[table] = columns
        return columns

    async def _read_columns(self, table: TableName) -> Columns | None:
        """Return the columns of a table; None if it does not exist.

        Raises:
            UnknownOutputError: a type is not known.
        """
        try:
            fields, _ = await self._emulator.rows(table.project, _query(f"SELECT * FROM {table.sql} LIMIT 0"))
            # The emulator says BYTES of GEOGRAPHY, also inside of STRUCTs.
            bytes_ = [each["name"] for each in fields if "BYTES" in ddl_type(each)]
            kinds = {}
            if bytes_:
                items = ", ".join(f"typeof(ANY_VALUE(`{name}`)) AS `{name}`" for name in bytes_)
                _, (row,) = await self._emulator.rows(table.project, _query(f"SELECT {items} FROM {table.sql}"))
                kinds = dict(zip(bytes_, row, strict=True))
        except BigQueryError as error:
            if error.reason in ("notFound", "accessDenied") or "not found" in error.message.lower():
                return None
            raise UnknownOutputError(str(table)) from error
        columns = {each["name"]: _type(each, kinds.get(each["name"], "")) for each in fields}
        return {**columns, "_TABLE_SUFFIX": Type("STRING")} if table.table.endswith("*") else columns

    # functions

    async def _routine(self, name: TableName) -> dict[str, Any] | None:
        try:
            path = f"{name.project}/datasets/{name.dataset}/routines/{name.table}"
            return await self._emulator.call("GET", path)
        except BigQueryError:
            return None

    async def _function(self, name: TableName, job: QueryJob) -> Function | None:
        """Return the signature of a function; None if it does not exist.

        Raises:
            UnknownOutputError: the types are not known.
        """
        routine = await self._routine(name)
        if routine is None:
            return None
        arguments = _arguments(routine)
        if "returnType" in routine:
            returned = _standard_type(routine["returnType"])
        else:
            (column,) = await self._body(f"SELECT ({routine['definitionBody']}\n) AS f", arguments, job)
            returned = column[1]
        return Function(tuple(arguments.values()), returned)

    async def _body(self, sql: str, arguments: Columns, job: QueryJob) -> Iterable[tuple[str, Type]]:
        """Return the columns of the body of a function."""
        try:
            (statement,) = await asyncio.to_thread(parse, sql)
            catalog = await self._catalog(sql, statement, job, Names(arguments))
            return (await asyncio.to_thread(analyze, sql, catalog)).columns
        except GoogleSqlError as error:
            raise UnknownOutputError(sql) from error

    async def _output(self, call: TableFunctionCall, job: QueryJob) -> Model | Output | None:
        """Return the model, or the columns, of a call; None if they are not known."""
        if not call.model:
            name = _routine_name(".".join(call.path), job)
            routine = await self._routine(name) if name is not None else None
            if routine is None or routine.get("routineType") != "TABLE_VALUED_FUNCTION":
                return None
            return Output(dict(await self._body(routine["definitionBody"], _arguments(routine), job)))
        if (name := _table_name(".".join(call.model), job)) is None:
            return None
        try:
            resource = await self._models.get(ModelPath(name.project, name.dataset, name.table))
        except BigQueryError:
            return None
        given = resource["trainingRuns"][-1]["trainingOptions"]
        options = {option: given[key] for option in _MODEL_OPTIONS if (key := option_name(option)) in given}
        if "numPrincipalComponents" in given:
            options["num_principal_components"] = int(given["numPrincipalComponents"])
        labels = {each["name"]: _standard_type(each["type"]) for each in resource.get("labelColumns", ())}
        options["rating_col"] = next(iter(labels), "rating")  # the label of MATRIX_FACTORIZATION
        return Model(
            name=call.model,
            type=_MODEL_TYPES[resource["modelType"]],
            options=options,
            features={each["name"]: _standard_type(each["type"]) for each in resource.get("featureColumns", ())},
            labels=labels,
        )


def _columns_of_call(known: Model | Output | None, call: TableFunctionCall) -> Output | None:
    """Return the columns of a call; None if they are not known, or BigQuery ML refuses the call itself."""
    try:
        return known.output(call) if isinstance(known, Model) else known
    except GoogleSqlError:
        return None


def _invalid(error: GoogleSqlError, sql: str, begin: int = 0) -> BigQueryError:
    line, column = position(sql, max(begin + error.offset, 0))
    return invalid_query(f"{error.message} at [{line}:{column}]")


def _query(sql: str) -> dict[str, Any]:
    return {"query": sql, "useLegacySql": False}


def _parts(name: TableName) -> tuple[str, str, str]:
    return name.project, name.dataset, name.table


def _table_name(name: str, job: QueryJob) -> TableName | None:
    """Return the full name of a table, a model or a view; None if it lacks a dataset and the job has none."""
    *path, table = name.split(".")
    dataset = job.default_dataset
    match path:
        case [project, dataset, view] if view.upper() == "INFORMATION_SCHEMA":
            return TableName(project, dataset, f"{view}.{table}")
        case [first, view] if view.upper() == "INFORMATION_SCHEMA":
            return TableName(job.project, first, f"{view}.{table}")
        case [view] if view.upper() == "INFORMATION_SCHEMA":
            return TableName(job.project, view, table)
        case [*projects, first, second]:
            return TableName(".".join([*projects, first]), second, table)
        case [first]:
            return TableName(job.project, first, table)
    return TableName(job.project, dataset, table) if dataset else None


def _routine_name(name: str, job: QueryJob) -> TableName | None:
    """Return the full name of a function of a dataset; None for a function of GoogleSQL."""
    parts = name.split(".")
    if parts[0].upper() == "SAFE":
        parts = parts[1:]
    match parts:
        case [dataset, function]:
            return TableName(job.project, dataset, function)
        case [*projects, dataset, function] if projects:
            return TableName(".".join(projects), dataset, function)
    return None


def _parameters(job: QueryJob) -> Mapping[str, Type] | tuple[Type, ...] | None:
    """Return the types of the query parameters; None if one of them is not known."""
    given = job.query.get("queryParameters") or []
    try:
        if job.query.get("parameterMode", "").upper() == "POSITIONAL":
            return tuple(parameter_type(each["parameterType"]) for each in given)
        return {each["name"]: parameter_type(each["parameterType"]) for each in given}
    except (KeyError, GoogleSqlError):
        return None


def parameter_type(kind: Mapping[str, Any]) -> Type:
    """Return the type of a QueryParameterType.

    Raises:
        GoogleSqlError: there is no such type.

    https://cloud.google.com/bigquery/docs/reference/rest/v2/QueryParameter#QueryParameterType
    """
    match kind["type"].upper():
        case "ARRAY":
            return Type.array(parameter_type(kind["arrayType"]))
        case "STRUCT":
            return Type(
                "STRUCT", tuple((each.get("name", ""), parameter_type(each["type"])) for each in kind["structTypes"])
            )
        case name:
            return type_of(standard_type({"type": name}))


def _arguments(routine: Mapping[str, Any]) -> dict[str, Type]:
    """Return the types of a routine's arguments.

    Raises:
        UnknownOutputError: an argument has any type.
    """
    given = routine.get("arguments", ())
    if any("dataType" not in each for each in given):
        raise UnknownOutputError("ANY TYPE")
    return {each["name"]: _standard_type(each["dataType"]) for each in given}


def _standard_type(kind: Mapping[str, Any]) -> Type:
    """Return the type of a StandardSqlDataType.

    https://cloud.google.com/bigquery/docs/reference/rest/v2/StandardSqlDataType
    """
    match kind["typeKind"]:
        case "ARRAY":
            return Type.array(_standard_type(kind["arrayElementType"]))
        case "STRUCT":
            fields = kind["structType"]["fields"]
            return Type("STRUCT", tuple((each.get("name", ""), _standard_type(each["type"])) for each in fields))
        case name:
            return Type(name)


def _type(column: Mapping[str, Any], duckdb_type: str) -> Type:
    """Return the type of a column.

    Args:
        column: the field of the REST API.
        duckdb_type: DuckDB's name of the type, which tells GEOGRAPHY from BYTES; empty if there is no doubt.
    """
    if is_repeated(column):
        return Type.array(_type(element(column), duckdb_type.removesuffix("[]")))
    if "fields" in column:
        if "GEOMETRY" in duckdb_type:
            raise UnknownOutputError(column["name"])
        return Type("STRUCT", tuple((each["name"], _type(each, "")) for each in column["fields"]))
    kind = standard_type(column)
    if kind == "RANGE":
        return Type("RANGE", element=Type(column["rangeElementType"]["type"]))
    return Type("GEOGRAPHY" if duckdb_type == "GEOMETRY" else kind)
