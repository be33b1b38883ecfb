"""Hidden temporary tables: how rows get out of the emulator for a model, and results back in.

Rows travel as Parquet files, through extract and load jobs, so that neither side copies row by row. BigQuery hides
datasets whose name begins with an underscore, and so does the gateway.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from local_bigquery.backend.emulator import Emulator, TableName
from local_bigquery.errors import invalid_query

DATASET = "_bigquery_ml"
HIDDEN_JOB = "bigquery_ml_"

Field = dict[str, Any]  # TableFieldSchema as the REST API writes it
Schema = list[Field]
Result = tuple[Schema, list[list[Any]]]  # the columns and rows of a query, values as the REST API writes them

_ALL_ROWS = 2**31
_KEPT = ("defaultDataset", "parameterMode", "queryParameters", "connectionProperties")


class Scratch:
    """The temporary tables and functions of one query job; all are dropped when it ends, however it ends."""

    def __init__(self, emulator: Emulator, project: str, directory: Path, *, with_rows: bool = True) -> None:
        self._emulator = emulator
        self._project = project
        self._directory = directory
        self._with_rows = with_rows
        self._tables: list[TableName] = []
        self._routines: list[TableName] = []

    @property
    def absent_table(self) -> TableName:
        """A table that does not exist, for a statement that does nothing."""
        return TableName(self._project, DATASET, "absent")

    @classmethod
    @asynccontextmanager
    async def open(
        cls, emulator: Emulator, project: str, directory: Path, *, with_rows: bool = True
    ) -> AsyncIterator[Self]:
        """Make temporary tables possible while the context is open.

        Args:
            emulator: Holds the tables.
            project: The project of the tables.
            directory: For the files that rows travel in.
            with_rows: Whether tables created from a query get its rows, or only its columns.
        """
        scratch = cls(emulator, project, directory, with_rows=with_rows)
        try:
            yield scratch
        finally:
            dataset = f"/bigquery/v2/projects/{project}/datasets/{DATASET}"
            for table in scratch._tables:
                await emulator.request("DELETE", f"{dataset}/tables/{table.table}")
            for routine in scratch._routines:
                await emulator.request("DELETE", f"{dataset}/routines/{routine.table}")

    async def create(self, select: str, project: str, query: Mapping[str, Any]) -> TableName:
        """Create a table from a query.

        Args:
            select: The query.
            project: The project of the job, which unqualified names belong to.
            query: The job's query configuration: its parameters and default dataset apply to `select`, too.
        """
        table = self.new_table()
        if not self._with_rows:
            select = f"SELECT * FROM ({select}) LIMIT 0"
        await self._run(project, _query(f"CREATE TABLE {table.sql} AS {select}", query))
        await self.narrow(table)
        return table

    async def narrow(self, table: TableName) -> None:
        """Make INT64 what the emulator keeps in a wider type in a new table, such as a SUM, and calls NUMERIC."""
        columns = zip(await self.schema(table), await self.declared_schema(table), strict=True)
        wide = [column["name"] for column, declared in columns if column["type"] == "INTEGER" != declared["type"]]
        if wide:
            casts = ", ".join(f"CAST(`{name}` AS INT64) AS `{name}`" for name in wide)
            narrow = f"CREATE OR REPLACE TABLE {table.sql} AS SELECT * REPLACE ({casts}) FROM {table.sql}"
            await self._run(table.project, _query(narrow, {}))

    async def rows(self, select: str, project: str, query: Mapping[str, Any]) -> Result:
        """Return the columns and rows of a query; the arguments are those of `create`."""
        job_id = hidden_job_id()
        await self._emulator.insert_job(project, job_id, _query(select, query))
        answer = await self._emulator.call("GET", f"{project}/queries/{job_id}", params={"maxResults": _ALL_ROWS})
        await self._emulator.call("DELETE", f"{project}/jobs/{job_id}/delete")
        return answer["schema"]["fields"], [[cell["v"] for cell in row["f"]] for row in answer.get("rows", [])]

    async def schema(self, table: TableName) -> Schema:
        """Return a table's columns with the types that a query of the table has."""
        columns, _ = await self.rows(f"SELECT * FROM {table.sql} LIMIT 0", table.project, {})
        return columns

    async def declared_schema(self, table: TableName) -> Schema:
        """Return a table's columns as its resource has them: as strings, for example, what are JSON and INTERVAL."""
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
        table = self.new_table()
        by_name = {field["name"]: field for field in known}
        fields = [_field(field, by_name.get(field.name)) for field in rows.schema]
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
        job_id = hidden_job_id()
        await self._emulator.insert_job(project, job_id, configuration)
        await self._emulator.call("DELETE", f"{project}/jobs/{job_id}/delete")

    def new_table(self) -> TableName:
        """Return the name of a table that nobody has created yet."""
        table = TableName(self._project, DATASET, f"t_{uuid.uuid4().hex}")
        self._tables.append(table)
        return table

    def new_routine(self) -> TableName:
        """Return the name of a routine that nobody has created yet."""
        routine = TableName(self._project, DATASET, f"f_{uuid.uuid4().hex}")
        self._routines.append(routine)
        return routine


def _query(sql: str, query: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a job that runs other SQL with the parameters and default dataset of a query."""
    kept = {key: query[key] for key in _KEPT if key in query}
    return {"query": {**kept, "query": sql, "useLegacySql": False}}


def hidden_job_id() -> str:
    """Return an id for a job that no client is to know of."""
    return f"{HIDDEN_JOB}{uuid.uuid4().hex}"


async def recreate_dataset(emulator: Emulator, project: str) -> None:
    """Create the hidden dataset anew, without what an earlier process may have left in it."""
    path = f"/bigquery/v2/projects/{project}/datasets"
    await emulator.request("DELETE", f"{path}/{DATASET}", params={"deleteContents": "true"})
    body = {"datasetReference": {"projectId": project, "datasetId": DATASET}}
    await emulator.call("POST", f"{project}/datasets", json=body)


def _field(field: pa.Field, known: Field | None) -> Field:
    """Return a column as a load job takes it."""
    return table_field(field) if known is None else _loadable(known, field.name)


def _loadable(field: Field, column: str) -> Field:
    """Return a field of a column as the emulator can load it from an extract."""
    if field["type"] == "INTERVAL":  # extracted as mere bytes
        raise invalid_query(f"Column {column!r} holds an INTERVAL: CAST it to pass it through a BigQuery ML function")
    kind = "NUMERIC" if field["type"] == "BIGNUMERIC" else field["type"]  # it can load no wider numbers
    inner = {"fields": [_loadable(part, column) for part in field["fields"]]} if "fields" in field else {}
    return {**field, "type": kind, **inner}


def table_field(field: pa.Field) -> dict[str, Any]:
    """Return a column as the REST API writes it."""
    if pa.types.is_list(field.type):
        return {**table_field(pa.field(field.name, field.type.value_type)), "mode": "REPEATED"}
    if pa.types.is_struct(field.type):
        fields = [table_field(inner) for inner in field.type]
        return {"name": field.name, "type": "RECORD", "mode": "NULLABLE", "fields": fields}
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
