"""bqemulator with GoogleSQL's functions: `python -m local_bigquery.googlesql.process start ...`.

A byte on standard input stops the running statement.

The macros are temporary, because DuckDB's files do not store all of them; each start creates them.
"""

import os
import re
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from importlib import resources
from typing import Any

import duckdb
import pyarrow as pa
import sqlglot
from bqemulator.cli import main
from bqemulator.domain.errors import InvalidQueryError, NotFoundError
from bqemulator.jobs import executor
from bqemulator.sql import inner_query
from bqemulator.sql.translator import SQLTranslator
from bqemulator.storage import arrow_bridge
from bqemulator.storage.engine import DuckDBEngine
from sqlglot import exp
from sqlglot.errors import SqlglotError

from local_bigquery.errors import BigQueryError
from local_bigquery.googlesql import arrays, json_text, udfs
from local_bigquery.googlesql.kinds import Tables
from local_bigquery.googlesql.rewrite import rewrite
from local_bigquery.schema import Field, ddl_type

# The tables of the statement that is translated next; None for the body of a function.
_tables: ContextVar[Tables | None] = ContextVar("_tables", default=None)
_MACROS = resources.files("local_bigquery.googlesql").joinpath("macros.sql").read_text()


# The error of `gsql_unless`, and of a function in Python.
_MESSAGE = re.compile(r"Could not convert string '(.*)' to BOOL|Python exception .*?: \w+: (.*?)\n", re.DOTALL)


def install() -> None:
    """Make the emulator rewrite each statement, and create the macros when its database opens."""
    engine_class: Any = DuckDBEngine
    translator_class: Any = SQLTranslator
    queries: Any = inner_query
    bridge: Any = arrow_bridge
    start, execute, translate = engine_class.start, engine_class.execute, translator_class.translate
    fetch, schema = engine_class.fetch_arrow, queries.build_catalog_schema

    def execute_with_message(engine: DuckDBEngine, sql: str, *arguments: Any) -> Any:
        try:
            return execute(engine, arrays.checked_write(engine.connection, sql, *arguments), *arguments)
        except duckdb.Error as error:
            match = _MESSAGE.search(str(error))
            if match is None:
                raise
            raise InvalidQueryError(match[1] or match[2]) from error

    def fetch_checked(engine: DuckDBEngine, sql: str, *arguments: Any) -> pa.Table:
        return arrays.result(fetch(engine, sql, *arguments))

    async def start_with_macros(engine: DuckDBEngine) -> None:
        await start(engine)
        json_text.register(engine.connection)
        udfs.register(engine.connection)
        engine.execute(_MACROS)
        threading.Thread(target=_interrupt_on_input, args=(engine.connection,), daemon=True).start()

    def translate_rewritten(translator: SQLTranslator, bq_sql: str, **arguments: Any) -> Any:
        tables = _tables.get()
        _tables.set(None)
        try:
            rewritten = rewrite(bq_sql, tables)
        except BigQueryError as error:
            raise InvalidQueryError(error.message) from error
        # With its own schema, which lacks STRUCT columns, the emulator would drop them from `*`.
        return translate(translator, rewritten, **(arguments | {"schema": None}))

    def schema_with_types(bq_sql: str, *, project_id: str, catalog: Any) -> Any:
        _tables.set(_tables_of(bq_sql, project_id, catalog))
        return schema(bq_sql, project_id=project_id, catalog=catalog)

    loaders: Any = executor._LOAD_FORMAT_HANDLERS  # noqa: SLF001  no other place tells how a file is loaded
    loaders["PARQUET"] = _checked_load(loaders["PARQUET"])
    loaders["JSON"] = loaders["NEWLINE_DELIMITED_JSON"] = _checked_load(_load_json)
    bridge.format_bq_interval = udfs.interval_text
    engine_class.start = start_with_macros
    engine_class.execute = execute_with_message
    engine_class.fetch_arrow = fetch_checked
    queries.build_catalog_schema = schema_with_types
    # `rewrite` does it for each scope; the emulator subtracts 1 from every column of that name.
    queries.rewrite_unnest_offset = lambda bq_sql: bq_sql
    translator_class.translate = translate_rewritten


def _load_json(path: str, table: str, context: Any) -> None:
    """Load JSON through a temporary table, because only an INSERT is checked."""
    context.engine.execute(f"CREATE OR REPLACE TEMP TABLE _loaded AS SELECT * FROM {table} LIMIT 0")
    context.engine.execute("COPY _loaded FROM ? (FORMAT JSON)", [path])
    context.engine.execute(f"INSERT INTO {table} SELECT * FROM _loaded")
    context.engine.execute("DROP TABLE _loaded")


def _checked_load(load: Callable[[str, str, Any], None]) -> Callable[[str, str, Any], None]:
    """Return a loader after whose check the job fails. An InvalidQueryError would fail the request."""

    def checked(path: str, table: str, context: Any) -> None:
        try:
            load(path, table, context)
        except InvalidQueryError as error:
            raise ValueError(error.message) from error

    return checked


def _interrupt_on_input(connection: duckdb.DuckDBPyConnection) -> None:
    """Stop the running statement at each byte of standard input: the event loop is busy while a statement runs."""
    while os.read(sys.stdin.fileno(), 1):  # not buffered: a reader of the buffer would block the exit
        connection.interrupt()


def _tables_of(bq_sql: str, project: str, catalog: Any) -> Tables:
    """Return the columns of the tables in a statement."""
    try:
        found = list(sqlglot.parse_one(bq_sql, read="bigquery").find_all(exp.Table))
    except SqlglotError:
        return {}
    tables = {}
    for table in found:
        key = (table.catalog or project, table.db, table.name)
        try:
            resource = catalog.get_table(*key) if all(key) else None
        except NotFoundError:
            resource = None
        if resource is not None:
            tables[key] = {field.name: ddl_type(_field(field)) for field in resource.schema_.fields}
    return tables


def _field(field: Any) -> Field:
    fields = {"fields": [_field(inner) for inner in field.fields]} if field.fields else {}
    return {"name": field.name, "type": str(field.type), "mode": str(field.mode), **fields}


if __name__ == "__main__":
    install()
    main()
