"""Records the answers of Google's evaluator to `expressions`.

Usage, with `pip install zetasql==0.1.5` (not needed to compare):

    python tests/googlesql/record.py

ZetaSQL is GoogleSQL's own analyzer and reference evaluator, here as WebAssembly. It takes two minutes.
"""

import base64
import gzip
import json
from datetime import date, timedelta
from decimal import Decimal, getcontext
from pathlib import Path
from typing import Any

from expressions import expressions
from zetasql.api import CatalogBuilder, PreparedQuery
from zetasql.core import ServerError
from zetasql.types import AnalyzerOptions, LanguageOptions, ProductMode, ZetaSQLBuiltinFunctionOptions

ANSWERS = Path(__file__).with_name("answers.json.gz")
# The package loses the values of these types.
_CONVERTED = {"TIMESTAMP": ("UNIX_MICROS({})", "int64_value"), "INTERVAL": ("CAST({} AS STRING)", "string_value")}
_SCALES = {"NUMERIC": 9, "BIGNUMERIC": 38}


def main() -> None:
    """Evaluate all expressions and write the answers."""
    getcontext().prec = 100
    language = LanguageOptions.maximum_features()
    language.product_mode = ProductMode.PRODUCT_EXTERNAL
    options = AnalyzerOptions(language_options=language, default_timezone="UTC")
    functions = ZetaSQLBuiltinFunctionOptions(language_options=language)
    catalog = CatalogBuilder("catalog").with_builtin_functions(functions).build()
    answers = [[name, sql, *_answer(sql, options, catalog)] for name, sql in expressions()]
    answers = [answer for answer in answers if not _is_unsupported(answer[3])]
    lines = ",\n".join(json.dumps(answer, ensure_ascii=False) for answer in answers)
    ANSWERS.write_bytes(gzip.compress(f"[\n{lines}\n]\n".encode(), mtime=0))
    print(f"{len(answers)} answers recorded")


def _is_unsupported(value: Any) -> bool:
    """Return True if the evaluator lacks the function, which BigQuery has."""
    return isinstance(value, str) and value.startswith(("[UNIMPLEMENTED]", "[INVALID_ARGUMENT] Function not found"))


def _answer(sql: str, options: AnalyzerOptions, catalog: Any) -> tuple[str, Any]:
    """Return the type and the value of an expression, or `error` and the message."""
    try:
        kind, cell = _evaluate(sql, options, catalog)
        if _type(kind) in _CONVERTED:
            conversion, attribute = _CONVERTED[_type(kind)]
            return _type(kind), getattr(_evaluate(conversion.format(sql), options, catalog)[1], attribute)
        return _type(kind), _value(cell, kind)
    except ServerError as error:
        return "error", str(error)


def _evaluate(sql: str, options: AnalyzerOptions, catalog: Any) -> tuple[Any, Any]:
    query = PreparedQuery.builder().set_sql(f"SELECT {sql}").set_analyzer_options(options).set_catalog(catalog)
    with query.prepare() as prepared:
        return prepared.columns[0].type, prepared.execute().content.table_data.row[0].cell[0]


def _type(kind: Any) -> str:
    name = kind.type_kind.name.removeprefix("TYPE_").replace("DOUBLE", "FLOAT64")
    if name == "ARRAY":
        return f"ARRAY<{_type(kind.array_type.element_type)}>"
    if name == "STRUCT":
        fields = (f"{field.field_name} {_type(field.field_type)}".strip() for field in kind.struct_type.field)
        return f"STRUCT<{', '.join(fields)}>"
    return name


def _value(cell: Any, kind: Any) -> Any:  # noqa: C901, PLR0911  one case a type
    name = kind.type_kind.name.removeprefix("TYPE_")
    if name == "ARRAY":
        if cell.array_value is None:
            return None
        return [_value(item, kind.array_type.element_type) for item in cell.array_value.element]
    if name == "STRUCT":
        if cell.struct_value is None:
            return None
        return [_value(i, f.field_type) for i, f in zip(cell.struct_value.field, kind.struct_type.field, strict=True)]
    value = getattr(cell, f"{name.lower()}_value")
    if value is None:
        return None
    match name:
        case "DOUBLE":
            return repr(float(value))
        case "BYTES":
            return base64.b64encode(value).decode()
        case "NUMERIC" | "BIGNUMERIC":
            scaled = Decimal(int.from_bytes(value, "little", signed=True))
            return str(scaled.scaleb(-_SCALES[name]).normalize().__format__("f"))
        case "DATE":
            return (date(1970, 1, 1) + timedelta(days=value)).isoformat()
        case "DATETIME":
            return _datetime(value.bit_field_datetime_seconds, value.nanos)
        case "TIME":
            seconds = value >> 30
            return _time(seconds >> 12, seconds >> 6 & 63, seconds & 63, value & (1 << 30) - 1)
    return value


def _datetime(bits: int, nanos: int) -> str:
    day = f"{bits >> 26:04}-{bits >> 22 & 15:02}-{bits >> 17 & 31:02}"
    return f"{day}T{_time(bits >> 12 & 31, bits >> 6 & 63, bits & 63, nanos)}"


def _time(hour: int, minute: int, second: int, nanos: int) -> str:
    fraction = f".{nanos // 1000:06}" if nanos else ""
    return f"{hour:02}:{minute:02}:{second:02}{fraction}"


if __name__ == "__main__":
    main()
