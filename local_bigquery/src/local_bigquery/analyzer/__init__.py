"""Google's own analyzer of GoogleSQL.

`parse()` finds the statements and the calls of functions in a text, `tables_of()` the tables. `analyze()` resolves one
statement against a catalog, with types, and raises BigQuery's own messages. `ml` has the columns that the functions of
BigQuery ML return.
"""

from local_bigquery.analyzer.analysis import Analysis, analyze, type_of
from local_bigquery.analyzer.catalog import Catalog, Function, Output
from local_bigquery.analyzer.messages import GoogleSqlError, UnknownOutputError, position
from local_bigquery.analyzer.syntax import Statement, TableFunctionCall, parse, tables_of
from local_bigquery.analyzer.types import Type

__all__ = [
    "Analysis",
    "Catalog",
    "Function",
    "GoogleSqlError",
    "Output",
    "Statement",
    "TableFunctionCall",
    "Type",
    "UnknownOutputError",
    "analyze",
    "parse",
    "position",
    "tables_of",
    "type_of",
]
