"""Query jobs with a destination table (`destinationTable`).

https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationQuery

The emulator reports success and writes nothing. Here the query fills a hidden table. Its rows are then written to the
destination while the emulator's lock is held, and a query of the destination runs under the id of the job.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import sqlglot
from sqlglot import TokenType
from sqlglot.errors import TokenError

from local_bigquery.backend.emulator import Emulator, JobResource, RestClient, TableName, hidden_job_id
from local_bigquery.errors import BigQueryError, invalid_query, not_found
from local_bigquery.run.jobs import QueryJob
from local_bigquery.run.query import QueryRunner
from local_bigquery.schema import Schema, ddl_type, legacy_type
from local_bigquery.sql import DIALECT
from local_bigquery.sql.scripts import Sql, parse_script

_QUERY_STARTS = {TokenType.SELECT, TokenType.WITH, TokenType.L_PAREN, TokenType.FROM}
_DESTINATION_FIELDS = {
    "destinationTable", "writeDisposition", "createDisposition", "schemaUpdateOptions", "timePartitioning",
    "rangePartitioning", "clustering", "destinationEncryptionConfiguration",
}  # fmt: skip
_LAYOUT = ("timePartitioning", "clustering")


@dataclass(frozen=True)
class Destination:
    """A destination table, and the query configuration that says how to write it."""

    table: TableName
    query: Mapping[str, Any]

    @classmethod
    def of(cls, job: QueryJob) -> Self | None:
        """Return the destination of a job, or None if it has none.

        Raises:
            BigQueryError: `invalid` if the configuration is incomplete or not supported.
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
        """The write disposition, which decides about existing rows."""
        return str(self.query.get("writeDisposition", "WRITE_EMPTY"))

    @property
    def may_be_created(self) -> bool:
        """True if the table is created if it does not exist."""
        return bool(self.query.get("createDisposition", "CREATE_IF_NEEDED") == "CREATE_IF_NEEDED")

    @property
    def may_add_fields(self) -> bool:
        """True if appending may add columns."""
        return "ALLOW_FIELD_ADDITION" in self.query.get("schemaUpdateOptions", [])

    @property
    def layout(self) -> dict[str, Any]:
        """The partitioning and clustering of a new table."""
        return {key: self.query[key] for key in _LAYOUT if key in self.query}

    def __str__(self) -> str:
        return f"{self.table.project}:{self.table.dataset}.{self.table.table}"


async def run_into(destination: Destination, job: QueryJob, runner: QueryRunner, emulator: Emulator) -> JobResource:
    """Run a query job, write its rows to the destination, and return the resource of the job.

    Raises:
        BigQueryError: the query failed, or the destination cannot be written.
    """
    select = _only_query(job.sql)
    plain = {key: value for key, value in job.query.items() if key not in _DESTINATION_FIELDS}
    async with runner.scratch() as scratch:
        rows = scratch.new_table()
        # The query is on lines of its own, because it may end with a comment.
        create = {**plain, "query": f"CREATE TABLE {rows.sql} AS (\n{select}\n)"}
        hidden = replace(job, job_id=hidden_job_id(), configuration={**job.configuration, "query": create})
        await runner.analyze(job)
        try:
            await runner.run(hidden, is_analysed=True)
        except BigQueryError:
            await runner.dry_run(job)  # raises an error of the query itself, without the CREATE TABLE around it
            raise
        await emulator.delete_job(job.project, hidden.job_id)
        await scratch.narrow(rows)
        columns = await scratch.declared_schema(rows)
        await emulator.exclusively(_write(emulator.unlocked, destination, rows, columns))
        read = {**plain, "query": f"SELECT * FROM {destination.table.sql}", "useLegacySql": False}
        for parameter in ("queryParameters", "parameterMode", "defaultDataset"):
            read.pop(parameter, None)
        return await emulator.insert_job(job.project, job.job_id, {**job.configuration, "query": read})


def _only_query(sql: str) -> str:
    """Return the text of a single query without a semicolon.

    Raises:
        BigQueryError: `invalidQuery` if the text is not a single query, because only a query has rows to write.
    """
    try:
        steps = parse_script(sql)
    except TokenError as error:
        raise invalid_query(f"Syntax error: {error}") from error
    match steps:
        case (Sql(text),):
            first = sqlglot.tokenize(text, read=DIALECT)[0]
        case _:
            raise invalid_query("configuration.query.destinationTable cannot be set for scripts")
    if first.token_type not in _QUERY_STARTS:
        raise invalid_query(f"Cannot set destination table in jobs with {first.text.upper()} statements")
    return text


async def _write(rest: RestClient, destination: Destination, rows: TableName, columns: Schema) -> None:
    """Write the rows of a table to the destination."""
    existing = await _existing(rest, destination.table)
    if existing is None:
        if not destination.may_be_created:
            raise not_found("Table", str(destination))
        await _create(rest, destination.table, rows, destination.layout)
    elif destination.disposition == "WRITE_TRUNCATE":
        await rest.call("DELETE", destination.table.rest_path)
        await _create(rest, destination.table, rows, _applicable_layout(existing, columns) | destination.layout)
    elif destination.disposition == "WRITE_EMPTY" and await _has_rows(rest, destination.table):
        raise BigQueryError("duplicate", f"Already Exists: Table {destination}")
    else:
        await _check_and_extend(rest, destination, columns, existing)
        names = ", ".join(f"`{column['name']}`" for column in columns)
        insert = f"INSERT INTO {destination.table.sql} ({names}) SELECT {names} FROM {rows.sql}"
        await rest.run_hidden_job(destination.table.project, {"query": {"query": insert, "useLegacySql": False}})


async def _create(rest: RestClient, table: TableName, rows: TableName, layout: Mapping[str, Any]) -> None:
    """Create the destination as a copy of a table; the emulator also copies partitioning and clustering."""
    if layout:
        await rest.call("PATCH", rows.rest_path, json=layout)
    copy = {"sourceTable": rows.reference, "destinationTable": table.reference}
    await rest.run_hidden_job(table.project, {"copy": copy})


def _applicable_layout(existing: Mapping[str, Any], columns: Schema) -> dict[str, Any]:
    """Return the partitioning and clustering of a table, unless their columns no longer exist."""
    names = {column["name"] for column in columns}
    layout = {}
    partitioning, clustering = existing.get("timePartitioning"), existing.get("clustering")
    if partitioning and partitioning.get("field") in {*names, None}:
        layout["timePartitioning"] = partitioning
    if clustering and names.issuperset(clustering["fields"]):
        layout["clustering"] = clustering
    return layout


async def _check_and_extend(
    rest: RestClient, destination: Destination, columns: Schema, existing: Mapping[str, Any]
) -> None:
    """Check that the columns fit the destination, and add missing ones to it if that is allowed.

    Raises:
        BigQueryError: `invalid` if the columns do not fit.
    """
    mismatch = f"Provided Schema does not match Table {destination}."
    present = {column["name"].lower(): column for column in existing["schema"]["fields"]}
    added = []
    for column in columns:
        other = present.pop(column["name"].lower(), None)
        if other is None and not destination.may_add_fields:
            raise BigQueryError("invalid", f"{mismatch} Cannot add fields (field: {column['name']})")
        if other is None:
            added.append(column)
        elif legacy_type(other) != legacy_type(column):
            change = f"has changed type from {legacy_type(other)} to {legacy_type(column)}"
            raise BigQueryError("invalid", f"{mismatch} Field {column['name']} {change}")
    for column in present.values():
        if column.get("mode") == "REQUIRED":
            raise BigQueryError("invalid", f"{mismatch} Field {column['name']} is missing in new schema")
    for column in added:
        alter = f"ALTER TABLE {destination.table.sql} ADD COLUMN `{column['name']}` {ddl_type(column)}"
        await rest.run_hidden_job(destination.table.project, {"query": {"query": alter, "useLegacySql": False}})
    if added:  # the emulator's ALTER TABLE does not update the resource of the table
        fields = [*existing["schema"]["fields"], *added]
        await rest.call("PATCH", destination.table.rest_path, json={"schema": {"fields": fields}})


async def _existing(rest: RestClient, table: TableName) -> dict[str, Any] | None:
    try:
        return await rest.call("GET", table.rest_path)
    except BigQueryError as error:
        if error.reason != "notFound":
            raise
        return None


async def _has_rows(rest: RestClient, table: TableName) -> bool:
    answer = await rest.call("GET", f"{table.rest_path}/data", params={"maxResults": 1})
    return bool(answer.get("rows"))
