"""Query jobs with a destination table: `destinationTable`, and how it is written.

https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationQuery

The emulator reports success and writes nothing. Here the query fills a hidden table, which is then put into the
destination in one turn, and the job's own statement reads the destination.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import sqlglot
from sqlglot import TokenType
from sqlglot.errors import TokenError

from local_bigquery.backend.emulator import Emulator, RestClient, TableName
from local_bigquery.errors import BigQueryError, invalid_query, not_found
from local_bigquery.run.query import QueryJob, QueryRunner
from local_bigquery.run.scratch import Schema, hidden_job_id
from local_bigquery.sql.scripts import Sql, read_script
from local_bigquery.sql.statements import DIALECT

JobResource = dict[str, Any]

_QUERY_BEGINS_WITH = {TokenType.SELECT, TokenType.WITH, TokenType.L_PAREN, TokenType.FROM}
_WRITING = {
    "destinationTable", "writeDisposition", "createDisposition", "schemaUpdateOptions", "timePartitioning",
    "rangePartitioning", "clustering", "destinationEncryptionConfiguration",
}  # fmt: skip
_LAYOUT = ("timePartitioning", "clustering")
_ALIASES = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}


@dataclass(frozen=True)
class Destination:
    """A destination table and how a query job is to write it, as in the job's configuration."""

    table: TableName
    query: Mapping[str, Any]

    @classmethod
    def of(cls, job: QueryJob) -> Self | None:
        """Return the destination of a job, or None if it has none.

        Raises:
            BigQueryError: `invalid`, if something is asked for that is not supported.
        """
        reference = job.query.get("destinationTable")
        if not reference:
            return None
        for name in ("datasetId", "tableId"):
            if not reference.get(name):
                raise BigQueryError("invalid", f"Required parameter is missing: {name} of destinationTable")
        table = TableName(reference.get("projectId", job.project), reference["datasetId"], reference["tableId"])
        if "$" in table.table:
            raise BigQueryError("invalid", f"A single partition ({table.table}) as destinationTable is not supported")
        if "rangePartitioning" in job.query:
            raise BigQueryError("invalid", "rangePartitioning of a destinationTable is not supported")
        if "ALLOW_FIELD_RELAXATION" in job.query.get("schemaUpdateOptions", []):
            raise BigQueryError("invalid", "ALLOW_FIELD_RELAXATION for a destinationTable is not supported")
        return cls(table, job.query)

    @property
    def disposition(self) -> str:
        """What is to happen to rows that are there already."""
        return str(self.query.get("writeDisposition", "WRITE_EMPTY"))

    @property
    def may_be_created(self) -> bool:
        """Whether the table is created if it does not exist."""
        return bool(self.query.get("createDisposition", "CREATE_IF_NEEDED") == "CREATE_IF_NEEDED")

    @property
    def may_get_fields(self) -> bool:
        """Whether appending may add columns."""
        return "ALLOW_FIELD_ADDITION" in self.query.get("schemaUpdateOptions", [])

    @property
    def layout(self) -> dict[str, Any]:
        """How a new table is partitioned and clustered."""
        return {key: self.query[key] for key in _LAYOUT if key in self.query}

    def __str__(self) -> str:
        return f"{self.table.project}:{self.table.dataset}.{self.table.table}"


async def run_into(destination: Destination, job: QueryJob, runner: QueryRunner, emulator: Emulator) -> JobResource:
    """Run a query job and write its rows to the destination; return its resource.

    Raises:
        BigQueryError: If it fails.
    """
    select = _only_query(job.query.get("query", ""))
    plain = {key: value for key, value in job.query.items() if key not in _WRITING}
    async with runner.scratch() as scratch:
        rows = scratch.new_table()
        # On lines of its own, so that the query may end with a comment.
        create = {**plain, "query": f"CREATE TABLE {rows.sql} AS (\n{select}\n)"}
        hidden = replace(job, job_id=hidden_job_id(), configuration={**job.configuration, "query": create})
        try:
            await runner.run(hidden)
        except BigQueryError:
            await runner.dry_run(job)  # the same error, if it is the query's, without what has been put around it
            raise
        await emulator.call("DELETE", f"{job.project}/jobs/{hidden.job_id}/delete")
        await scratch.narrow(rows)
        columns = await scratch.declared_schema(rows)
        await emulator.exclusively(_write(emulator.in_turn, destination, rows, columns))
        read = {**plain, "query": f"SELECT * FROM {destination.table.sql}", "useLegacySql": False}
        for parameter in ("queryParameters", "parameterMode", "defaultDataset"):
            read.pop(parameter, None)
        return await emulator.insert_job(job.project, job.job_id, {**job.configuration, "query": read})


def _only_query(sql: str) -> str:
    """Return the text of a single query without a semicolon.

    Raises:
        BigQueryError: `invalidQuery`, if it is anything else: only a query has rows for a destination table.
    """
    try:
        steps = read_script(sql)
    except TokenError as error:
        raise invalid_query(f"Syntax error: {error}") from error
    match steps:
        case (Sql(text),):
            first = sqlglot.tokenize(text, read=DIALECT)[0]
        case _:
            raise invalid_query("configuration.query.destinationTable cannot be set for scripts")
    if first.token_type not in _QUERY_BEGINS_WITH:
        raise invalid_query(f"Cannot set destination table in jobs with {first.text.upper()} statements")
    return text


async def _write(rest: RestClient, destination: Destination, rows: TableName, columns: Schema) -> None:
    """Put the rows of a table into the destination."""
    existing = await _resource(rest, destination.table)
    if existing is None:
        if not destination.may_be_created:
            raise not_found("Table", str(destination))
        await _create(rest, destination.table, rows, destination.layout)
    elif destination.disposition == "WRITE_TRUNCATE":
        await rest.call("DELETE", _rest_path(destination.table))
        await _create(rest, destination.table, rows, _layout_that_fits(existing, columns) | destination.layout)
    elif destination.disposition == "WRITE_EMPTY" and await _has_rows(rest, destination.table):
        raise BigQueryError("duplicate", f"Already Exists: Table {destination}")
    else:
        await _fit(rest, destination, columns, existing)
        names = ", ".join(f"`{column['name']}`" for column in columns)
        insert = f"INSERT INTO {destination.table.sql} ({names}) SELECT {names} FROM {rows.sql}"
        await _run(rest, destination.table.project, {"query": {"query": insert, "useLegacySql": False}})


async def _create(rest: RestClient, table: TableName, rows: TableName, layout: Mapping[str, Any]) -> None:
    """Create the destination as a copy; the emulator copies partitioning and clustering, too."""
    if layout:
        await rest.call("PATCH", _rest_path(rows), json=layout)
    copy = {"sourceTable": rows.reference, "destinationTable": table.reference}
    await _run(rest, table.project, {"copy": copy})


def _layout_that_fits(existing: Mapping[str, Any], columns: Schema) -> dict[str, Any]:
    """Return the partitioning and clustering of a table, as far as there are still the columns for it."""
    names = {column["name"] for column in columns}
    layout = {}
    partitioning, clustering = existing.get("timePartitioning"), existing.get("clustering")
    if partitioning and partitioning.get("field") in {*names, None}:
        layout["timePartitioning"] = partitioning
    if clustering and names.issuperset(clustering["fields"]):
        layout["clustering"] = clustering
    return layout


async def _fit(rest: RestClient, destination: Destination, columns: Schema, existing: Mapping[str, Any]) -> None:
    """Add columns that the destination lacks, if that is allowed.

    Raises:
        BigQueryError: `invalid`, if the rows do not fit into the destination.
    """
    mismatch = f"Provided Schema does not match Table {destination}."
    present = {column["name"].lower(): column for column in existing["schema"]["fields"]}
    added = []
    for column in columns:
        other = present.pop(column["name"].lower(), None)
        if other is None and not destination.may_get_fields:
            raise BigQueryError("invalid", f"{mismatch} Cannot add fields (field: {column['name']})")
        if other is None:
            added.append(column)
        elif _type(other) != _type(column):
            change = f"has changed type from {_type(other)} to {_type(column)}"
            raise BigQueryError("invalid", f"{mismatch} Field {column['name']} {change}")
    for column in present.values():
        if column.get("mode") == "REQUIRED":
            raise BigQueryError("invalid", f"{mismatch} Field {column['name']} is missing in new schema")
    for column in added:
        alter = f"ALTER TABLE {destination.table.sql} ADD COLUMN `{column['name']}` {_ddl(column)}"
        await _run(rest, destination.table.project, {"query": {"query": alter, "useLegacySql": False}})
    if added:  # the emulator's ALTER TABLE leaves the table's resource as it was
        fields = [*existing["schema"]["fields"], *added]
        await rest.call("PATCH", _rest_path(destination.table), json={"schema": {"fields": fields}})


def _type(column: Mapping[str, Any]) -> str:
    name = _ALIASES.get(column["type"], column["type"])
    return f"ARRAY<{name}>" if column.get("mode") == "REPEATED" else str(name)


def _ddl(column: Mapping[str, Any]) -> str:
    """Return the type of a column as DDL writes it."""
    if column.get("mode") == "REPEATED":
        return f"ARRAY<{_ddl({**column, 'mode': 'NULLABLE'})}>"
    if "fields" in column:
        return "STRUCT<" + ", ".join(f"`{field['name']}` {_ddl(field)}" for field in column["fields"]) + ">"
    return {alias: name for name, alias in _ALIASES.items()}.get(column["type"], str(column["type"]))


async def _resource(rest: RestClient, table: TableName) -> dict[str, Any] | None:
    try:
        return await rest.call("GET", _rest_path(table))
    except BigQueryError as error:
        if error.reason != "notFound":
            raise
        return None


async def _has_rows(rest: RestClient, table: TableName) -> bool:
    answer = await rest.call("GET", f"{_rest_path(table)}/data", params={"maxResults": 1})
    return bool(answer.get("rows"))


async def _run(rest: RestClient, project: str, configuration: Mapping[str, Any]) -> None:
    """Run a job that the emulator forgets."""
    job_id = hidden_job_id()
    await rest.insert_job(project, job_id, configuration)
    await rest.call("DELETE", f"{project}/jobs/{job_id}/delete")


def _rest_path(table: TableName) -> str:
    return f"{table.project}/datasets/{table.dataset}/tables/{table.table}"
