"""Hidden temporary tables: how rows get out of the emulator for a model, and results back in.

Rows travel as Parquet files, through extract and load jobs, so that neither side copies row by row. BigQuery hides
datasets whose name begins with an underscore, and so does the gateway.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from local_stack.bigquery.emulator import Emulator, TableName
from local_stack.bigquery.errors import invalid_query

DATASET = "_bigquery_ml"

Schema = list[dict[str, Any]]  # TableFieldSchema as the REST API writes it


class Scratch:
    """The temporary tables of one query job; all are dropped when it ends, however it ends."""

    def __init__(self, emulator: Emulator, project: str, directory: Path) -> None:
        self._emulator = emulator
        self._project = project
        self._directory = directory
        self._tables: list[TableName] = []

    @property
    def absent_table(self) -> TableName:
        """A table that does not exist, for a statement that does nothing."""
        return TableName(self._project, DATASET, "absent")

    @classmethod
    @asynccontextmanager
    async def open(cls, emulator: Emulator, project: str, directory: Path) -> AsyncIterator[Scratch]:
        """Make temporary tables possible while the context is open."""
        scratch = cls(emulator, project, directory)
        try:
            yield scratch
        finally:
            for table in scratch._tables:
                await emulator.request(
                    "DELETE", f"/bigquery/v2/projects/{project}/datasets/{DATASET}/tables/{table.table}"
                )

    async def create(self, select: str, project: str, query: Mapping[str, Any]) -> TableName:
        """Create a table from a query.

        Args:
            select: The query.
            project: The project of the job, which unqualified names belong to.
            query: The job's query configuration: its parameters and default dataset apply to `select`, too.
        """
        table = self._new_table()
        kept = ("defaultDataset", "parameterMode", "queryParameters", "connectionProperties")
        configuration = {key: query[key] for key in kept if key in query}
        configuration |= {"query": f"CREATE TABLE {table.sql} AS {select}", "useLegacySql": False}
        await self._run(project, {"query": configuration})
        return table

    async def schema(self, table: TableName) -> Schema:
        """Return a table's columns."""
        resource = await self._emulator.call("GET", f"{table.project}/datasets/{table.dataset}/tables/{table.table}")
        fields: Schema = resource["schema"]["fields"]
        return fields

    async def read(self, table: TableName) -> pa.Table:
        """Return a table's rows."""
        file = self._directory / f"{uuid.uuid4().hex}.parquet"
        extract = {
            "sourceTable": table.reference,
            "destinationUris": [f"file://{file}"],
            "destinationFormat": "PARQUET",
        }
        try:
            await self._run(table.project, {"extract": extract})
            return await asyncio.to_thread(pq.read_table, file)
        finally:
            file.unlink(missing_ok=True)

    async def write(self, rows: pa.Table, known: Schema) -> TableName:
        """Create a table with these rows.

        Args:
            rows: The rows.
            known: Columns whose type is known better than Arrow's type tells, by name.
        """
        table = self._new_table()
        by_name = {field["name"]: field for field in known}
        fields = [by_name.get(field.name) or _field(field) for field in rows.schema]
        file = self._directory / f"{table.table}.parquet"
        load = {
            "destinationTable": table.reference,
            "sourceUris": [f"file://{file}"],
            "sourceFormat": "PARQUET",
            "schema": {"fields": fields},
        }
        try:
            await asyncio.to_thread(pq.write_table, rows, file)
            await self._run(table.project, {"load": load})
        finally:
            file.unlink(missing_ok=True)
        return table

    async def _run(self, project: str, configuration: Mapping[str, Any]) -> None:
        """Run a job that nobody else knows, and let the emulator forget it."""
        job_id = f"bigquery_ml_{uuid.uuid4().hex}"
        await self._emulator.insert_job(project, job_id, configuration)
        await self._emulator.call("DELETE", f"{project}/jobs/{job_id}/delete")

    def _new_table(self) -> TableName:
        table = TableName(self._project, DATASET, f"t_{uuid.uuid4().hex}")
        self._tables.append(table)
        return table


async def recreate_dataset(emulator: Emulator, project: str) -> None:
    """Create the hidden dataset anew, without what an earlier process may have left in it."""
    path = f"/bigquery/v2/projects/{project}/datasets"
    await emulator.request("DELETE", f"{path}/{DATASET}", params={"deleteContents": "true"})
    body = {"datasetReference": {"projectId": project, "datasetId": DATASET}}
    await emulator.call("POST", f"{project}/datasets", json=body)


def _field(field: pa.Field) -> dict[str, Any]:
    """Return a column as the REST API writes it."""
    if pa.types.is_list(field.type):
        return {**_field(pa.field(field.name, field.type.value_type)), "mode": "REPEATED"}
    if pa.types.is_struct(field.type):
        return {"name": field.name, "type": "RECORD", "mode": "NULLABLE", "fields": [_field(f) for f in field.type]}
    for is_type, name in _TYPE_NAMES:
        if is_type(field.type):
            return {"name": field.name, "type": name, "mode": "NULLABLE"}
    raise invalid_query(f"Column {field.name!r} of type {field.type} cannot be returned by a BigQuery ML function")


_TYPE_NAMES = (
    (pa.types.is_boolean, "BOOLEAN"),
    (pa.types.is_integer, "INTEGER"),
    (pa.types.is_floating, "FLOAT"),
    (pa.types.is_decimal, "NUMERIC"),
    (pa.types.is_string, "STRING"),
    (pa.types.is_binary, "BYTES"),
    (pa.types.is_date, "DATE"),
    (pa.types.is_time, "TIME"),
    (lambda column_type: pa.types.is_timestamp(column_type) and column_type.tz is None, "DATETIME"),
    (pa.types.is_timestamp, "TIMESTAMP"),
)
