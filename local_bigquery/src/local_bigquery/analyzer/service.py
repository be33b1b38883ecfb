"""ZetaSQL's local service: Google's analyzer of GoogleSQL as the WebAssembly that the package `zetasql` carries.

No other module runs that package. `call()` calls a method; `language()` describes BigQuery's GoogleSQL.
"""

import ctypes
import re
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
from typing import Any

import tzdata
from wasmtime import Config, Engine, Linker, Module, Store, Trap, WasiConfig, WasmtimeError
from zetasql.wasi import get_wasm_path
from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service
from zetasql.wasi._pb2.zetasql.proto import options_pb2
from zetasql.wasi._pb2.zetasql.public import options_pb2 as public
from zetasql.wasi._pb2.zetasql.resolved_ast import resolved_node_kind_pb2

_NOT_BIGQUERY = (
    *("ARRAY_EQUALITY", "ARRAY_ORDERING", "DML_RETURNING", "INLINE_LAMBDA_ARGUMENT", "INSERT_ON_CONFLICT_CLAUSE"),
    *("JSON_TYPE_COMPARISON", "LATERAL_COLUMN_REFERENCES", "MAP_TYPE", "MULTIWAY_UNNEST", "UUID_TYPE"),
)
"""Features of ZetaSQL that BigQuery does not have.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types and .../functions-all
"""

_NOT_BIGQUERY_FUNCTIONS = frozenset(
    """
    ARRAY_AVG ARRAY_FILTER ARRAY_FIND_ALL ARRAY_FIRST_N ARRAY_INCLUDES ARRAY_INCLUDES_ALL ARRAY_INCLUDES_ANY
    ARRAY_LAST_N ARRAY_MAX ARRAY_MIN ARRAY_OFFSETS ARRAY_REMOVE_FIRST_N ARRAY_REMOVE_LAST_N ARRAY_SUM ARRAY_TRANSFORM
    ARRAY_ZIP DOT_PRODUCT ELEMENTWISE_AVG ELEMENTWISE_SUM FLOAT32 FLOAT32_ARRAY IFERROR ISERROR L1_NORM L2_NORM
    LAX_FLOAT32 LAX_FLOAT32_ARRAY MANHATTAN_DISTANCE NULLIFERROR PI PI_BIGNUMERIC PI_NUMERIC SAFE_TO_JSON SPLIT_SUBSTR
    ZSTD_COMPRESS ZSTD_DECOMPRESS_TO_BYTES ZSTD_DECOMPRESS_TO_STRING
    """.split()  # noqa: SIM905  a list of names
)
"""Functions of ZetaSQL that BigQuery does not have.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/functions-all
"""

_RESERVED = ("QUALIFY",)
"""Keywords that BigQuery reserves and ZetaSQL reserves on request.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#reserved_keywords
"""


class ServiceError(Exception):
    """An error of the service: its message, and its line and column from 1 on; 0 if it has none."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


class TooDeepError(Exception):
    """The statement is nested too deep for the service."""


_lock = Lock()


class _Wasm:
    """The WebAssembly program."""

    def __init__(self) -> None:
        config = Config()
        config.shared_memory = True
        engine = Engine(config)
        wasi = WasiConfig()
        wasi.preopen_dir(str(Path(tzdata.__file__).parent / "zoneinfo"), "/usr/share/zoneinfo")
        self._store = Store(engine)
        self._store.set_wasi(wasi)
        linker = Linker(engine)
        linker.define_wasi()
        exports: Any = linker.instantiate(self._store, _module(engine)).exports(self._store)
        self._exports = exports
        if "_initialize" in self._exports:
            self._exports["_initialize"](self._store)

    def call(self, method: str, request: bytes) -> bytes | str:
        """Return the response of a method, or the text of its error."""
        pointer = self._run("wasm_malloc", len(request))
        size = self._run("wasm_malloc", 4)
        ctypes.memmove(self._address(pointer), request, len(request))
        response = self._run(f"ZetaSqlLocalService_{method}", pointer, len(request), size)
        if response:
            answer: bytes | str = self._read(response, int.from_bytes(self._read(size, 4), "little"))
            self._run("wasm_free", response)
        else:
            answer = self._read(self._run("wasm_get_last_error"), self._run("wasm_get_last_error_size")).decode()
        self._run("wasm_free", pointer)
        self._run("wasm_free", size)
        return answer

    def _run(self, name: str, *arguments: int) -> Any:
        return self._exports[name](self._store, *arguments) or 0

    def _address(self, pointer: int) -> int:
        return ctypes.addressof(self._exports["memory"].data_ptr().contents) + pointer

    def _read(self, pointer: int, length: int) -> bytes:
        return ctypes.string_at(self._address(pointer), length)


def _module(engine: Engine) -> Module:
    """Return the compiled program. It is compiled once (20 s), then loaded from a file of the environment (10 ms)."""
    versions = "-".join(f"{name}-{version(name)}" for name in ("zetasql", "wasmtime"))
    compiled = Path(sys.prefix) / f"{versions}.cwasm"
    with suppress(WasmtimeError):  # it is not there, or was compiled on a machine of another kind
        return Module.deserialize_file(engine, str(compiled))
    module = Module.from_file(engine, str(get_wasm_path()))
    with suppress(OSError), NamedTemporaryFile(dir=compiled.parent, delete=False) as file:
        file.write(module.serialize())
        Path(file.name).replace(compiled)
    return module


@cache
def _wasm() -> _Wasm:
    return _Wasm()


def prepare() -> None:
    """Load the program; compile it (20 s) if no earlier process has done so in this environment."""
    with _lock:
        _wasm()


def call(method: str, request: Any, response: Any) -> Any:
    """Call a method of the service; return its response. One call runs at a time.

    Raises:
        ServiceError: the service answers with an error.
        TooDeepError: the statement fills the program's stack.
    """
    with _lock:
        try:
            answer = _wasm().call(method, request.SerializeToString())
        except Trap:  # what is left of the program cannot be used again
            _wasm.cache_clear()
            raise TooDeepError from None
    if isinstance(answer, bytes):
        return response.FromString(answer)
    found = re.fullmatch(r"(?:Code: \d+, Message: )?(.*?)(?: \[at (\d+):(\d+)\])?\s*", answer, re.DOTALL)
    message, line, column = found.groups() if found else (answer, None, None)
    raise ServiceError(re.sub(r" \[at \d+:\d+\]", "", message), int(line or 0), int(column or 0))


@cache
def language() -> options_pb2.LanguageOptionsProto:
    """Return the options of BigQuery's GoogleSQL."""
    request = service.LanguageOptionsRequest(maximum_features=True)
    language = call("GetLanguageOptions", request, options_pb2.LanguageOptionsProto)
    names = {public.LanguageFeature.Name(number) for number in language.enabled_language_features}
    left = [name for name in names if not name.endswith(_NOT_BIGQUERY)]
    del language.enabled_language_features[:]
    language.enabled_language_features.extend(public.LanguageFeature.Value(name) for name in sorted(left))
    language.product_mode = public.PRODUCT_EXTERNAL
    language.reserved_keywords.extend(_RESERVED)
    statements = [number for name, number in resolved_node_kind_pb2.ResolvedNodeKind.items() if name.endswith("_STMT")]
    language.supported_statement_kinds.extend(statements)
    return language


@cache
def functions_of_bigquery() -> options_pb2.ZetaSQLBuiltinFunctionOptionsProto:
    """Return the options that select BigQuery's functions among ZetaSQL's."""
    options = options_pb2.ZetaSQLBuiltinFunctionOptionsProto(language_options=language())
    known = call("GetBuiltinFunctions", options, service.GetBuiltinFunctionsResponse)
    options.exclude_function_ids.extend(
        signature.context_id
        for function in known.function
        if ".".join(function.name_path).upper() in _NOT_BIGQUERY_FUNCTIONS
        for signature in function.signature
    )
    return options
