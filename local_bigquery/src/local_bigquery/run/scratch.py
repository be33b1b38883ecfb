"""Hidden temporary tables: rows leave the emulator for a model, and results return, through them.

Rows travel in Parquet files of extract and load jobs, so that neither side copies row by row. BigQuery and the gateway
hide datasets whose names begin with an underscore.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from local_bigquery.backend.emulator import Emulator, Result, TableName
from local_bigquery.errors import invalid_query
from local_bigquery.schema import Field, Schema, arrow_field

_DATASET = "_bigquery_ml"
_INHERITED = ("defaultDataset", "parameterMode", "queryParameters", "connectionProperties")


class Scratch:
    """The temporary tables and functions of one job. All are dropped when it ends, however it ends."""

    def __init__(self, emulator: Emulator, project: str, directory: Path, *, with_rows: bool = True) -> None:
        self._emulator = emulator
        self._project = project
        self._directory = directory
        self._with_rows = with_rows
        self._tables: list[TableName] = []
        self._routines: list[TableName] = []

    @property
    def absent_table(self) -> TableName:
        """A table that does not exist, for a statement without effect."""
        return TableName(self._project, _DATASET, "absent")

    @classmethod
    @asynccontextmanager
    async def open(
        cls, emulator: Emulator, project: str, directory: Path, *, with_rows: bool = True
    ) -> AsyncIterator[Self]:
        """Open a context whose end drops all temporary tables and functions.

        Args:
            emulator: the emulator with the tables.
            project: the project of the tables.
            directory: a directory for files with rows.
            with_rows: whether tables created from a query have its rows, or only its columns.
        """
        scratch = cls(emulator, project, directory, with_rows=with_rows)
        try:
            yield scratch
        finally:
            dataset = f"/bigquery/v2/projects/{project}/datasets/{_DATASET}"
            for table in scratch._tables:
                await emulator.request("DELETE", f"{dataset}/tables/{table.table}")
            for routine in scratch._routines:
                await emulator.request("DELETE", f"{dataset}/routines/{routine.table}")

    async def create(self, select: str, project: str, query: Mapping[str, Any]) -> TableName:
        """Create a table from a query.

        Args:
            select: the SQL of the query.
            project: the project of the job, which names without a project belong to.
            query: the query configuration of the job, whose parameters and default dataset apply to `select`, too.
        """
        table = self.new_table()
        if not self._with_rows:
            select = f"SELECT * FROM ({select}) LIMIT 0"
        await self._emulator.run_hidden_job(project, _query_job(f"CREATE TABLE {table.sql} AS {select}", query))
        await self.narrow(table)
        return table

    async def narrow(self, table: TableName) -> None:
        """Change columns of a new table to INT64 if the emulator keeps them in a wider type.

        A SUM of INT64, for example, is declared as NUMERIC, although a query returns INT64.
        """
        columns = zip(await self.schema(table), await self.declared_schema(table), strict=True)
        wide = [column["name"] for column, declared in columns if column["type"] == "INTEGER" != declared["type"]]
        if wide:
            casts = ", ".join(f"CAST(`{name}` AS INT64) AS `{name}`" for name in wide)
            narrow = f"CREATE OR REPLACE TABLE {table.sql} AS SELECT * REPLACE ({casts}) FROM {table.sql}"
            await self._emulator.run_hidden_job(table.project, _query_job(narrow, {}))

    async def rows(self, select: str, project: str, query: Mapping[str, Any]) -> Result:
        """Return the columns and rows of a query; the arguments are those of `create`."""
        return await self._emulator.rows(project, _query_job(select, query)["query"])

    async def schema(self, table: TableName) -> Schema:
        """Return the columns of a table with the types that a query of the table returns."""
        columns, _ = await self.rows(f"SELECT * FROM {table.sql} LIMIT 0", table.project, {})
        return columns

    async def declared_schema(self, table: TableName) -> Schema:
        """Return the columns of a table's resource. The emulator declares some types differently: JSON as STRING."""
        resource = await self._emulator.call("GET", table.rest_path)
        fields: Schema = resource["schema"]["fields"]
        return fields

    async def read(self, table: TableName) -> pa.Table:
        """Return the rows of a table."""
        file = self._directory / f"{uuid.uuid4().hex}.parquet"
        extract = {
            "sourceTable": table.reference,
            "destinationUris": [f"file://{file}"],
            "destinationFormat": "PARQUET",
        }
        try:
            await self._emulator.run_hidden_job(table.project, {"extract": extract})
            return await asyncio.to_thread(pq.read_table, file)
        finally:
            file.unlink(missing_ok=True)

    async def write(self, rows: pa.Table, known: Schema) -> TableName:
        """Create a table with some rows.

        Args:
            rows: the rows.
            known: the columns whose BigQuery type is known; the types of others follow from their Arrow types.
        """
        table = self.new_table()
        by_name = {field["name"]: field for field in known}
        fields = [
            _loadable(by_name[field.name], field.name) if field.name in by_name else arrow_field(field)
            for field in rows.schema
        ]
        file = self._directory / f"{table.table}.parquet"
        load = {
            "destinationTable": table.reference,
            "sourceUris": [f"file://{file}"],
            "sourceFormat": "PARQUET",
            "schema": {"fields": fields},
        }
        try:
            await asyncio.to_thread(pq.write_table, rows, file)
            await self._emulator.run_hidden_job(table.project, {"load": load})
        finally:
            file.unlink(missing_ok=True)
        return table

    def new_table(self) -> TableName:
        """Return an unused name for a table, which is dropped at the end."""
        table = TableName(self._project, _DATASET, f"t_{uuid.uuid4().hex}")
        self._tables.append(table)
        return table

    def new_routine(self) -> TableName:
        """Return an unused name for a routine, which is dropped at the end."""
        routine = TableName(self._project, _DATASET, f"f_{uuid.uuid4().hex}")
        self._routines.append(routine)
        return routine


async def recreate_dataset(emulator: Emulator, project: str) -> None:
    """Create the hidden dataset, without tables that an earlier process may have left in it."""
    path = f"/bigquery/v2/projects/{project}/datasets"
    await emulator.request("DELETE", f"{path}/{_DATASET}", params={"deleteContents": "true"})
    body = {"datasetReference": {"projectId": project, "datasetId": _DATASET}}
    await emulator.call("POST", f"{project}/datasets", json=body)


def _query_job(sql: str, query: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a job that runs other SQL with the parameters and default dataset of a query."""
    inherited = {key: query[key] for key in _INHERITED if key in query}
    return {"query": {**inherited, "query": sql, "useLegacySql": False}}


def _loadable(field: Field, column: str) -> Field:
    """Return a field of a column with a type that the emulator can load from its own extract."""
    if field["type"] == "INTERVAL":  # the extract contains bytes without a meaning
        raise invalid_query(f"Column {column!r} holds an INTERVAL: CAST it to pass it through a BigQuery ML function")
    kind = "NUMERIC" if field["type"] == "BIGNUMERIC" else field["type"]  # the emulator cannot load wider numbers
    inner = {"fields": [_loadable(part, column) for part in field["fields"]]} if "fields" in field else {}
    return {**field, "type": kind, **inner}
