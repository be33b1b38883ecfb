"""Parameters of requests: model, version, entity id and deadline."""

import asyncio
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import unquote

from fastapi import Path, Request
from pydantic import JsonValue
from starlette.convertors import Convertor, register_url_convertor
from starlette.datastructures import QueryParams
from starlette.types import Scope

from prediction_store.layout import MAX_ENTITY_ID_BYTES, RowKeyFormat, row_key
from serving_api.access.callers import Caller
from serving_api.http import problems
from serving_api.store.catalog import Catalog, Model, ModelVersion, Snapshot

MODEL = "name of a model"
ENTITY_ID = "id of an entity, percent-encoded; a slash in it may be sent as it is, or as %2F"
ENTITY_ID_LENGTH: dict[str, JsonValue] = {"minLength": 1, "maxLength": MAX_ENTITY_ID_BYTES}
"""The length for the OpenAPI document, which counts characters. The service checks the number of bytes."""

VERSION = "version to read instead of the active one, in milliseconds since the epoch"

ModelName = Annotated[str, Path(description=MODEL)]
EntityId = Annotated[str, Path(description=ENTITY_ID, json_schema_extra=ENTITY_ID_LENGTH)]

MAX_MILLISECONDS = 10**15 - 1
"""The largest number of milliseconds that is accepted. As a version, it is in the year 33658."""

VERSION_SCHEMA: dict[str, JsonValue] = {"type": "integer", "minimum": 0, "maximum": MAX_MILLISECONDS}

DEADLINE_HEADER = "X-Deadline-Ms"

_DEADLINE = DEADLINE_HEADER.lower().encode()
_MAX_DIGITS = len(str(MAX_MILLISECONDS))
_REPLACEMENT_CHARACTER = "\ufffd"


class _EntityIdConvertor(Convertor[str]):
    """An entity id in a path: any characters, including slashes and line ends."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("entity_id", _EntityIdConvertor())


def current_snapshot(catalog: Catalog) -> Snapshot:
    """The last snapshot of the registry.

    Raises:
        ProblemError: the registry has not been read yet.
    """
    if catalog.snapshot is None:
        raise problems.registry_unavailable()
    return catalog.snapshot


def find_model(snapshot: Snapshot, name: str, caller: Caller) -> Model:
    """The model of that name. The caller must have the right to read it.

    Raises:
        ProblemError: the registry does not have it, or its document has never been valid.
    """
    model = snapshot.models.get(name)
    if model is not None:
        return model
    if name in snapshot.broken:
        raise problems.model_unavailable(name)
    raise problems.unknown_model(name, filter(caller.may_read, snapshot.models))


def find_version(model: Model, version: int | None, caller: Caller) -> ModelVersion:
    """The version of that number, or the active one if it is None.

    Raises:
        ProblemError: the version cannot be read, or the caller may not preview it.
    """
    state = model.state
    if version is None:
        if model.active is None:
            raise problems.no_active_version(state.model)
        return model.active
    if version != state.active:
        caller.require_preview(state.model, version)
    if version in model.readable:
        return model.readable[version]
    status = state.versions[version].status if version in state.versions else None
    raise problems.unknown_version(state.model, version, status, model.readable)


def version_parameter(scope: Scope) -> int | None:
    """The value of the query parameter `version`; None if the request does not have it.

    Raises:
        ProblemError: the value is not a number, is given twice, or the request has another query parameter.
    """
    if not scope["query_string"]:
        return None
    parameters = QueryParams(scope["query_string"]).multi_items()
    for name, _ in parameters:
        if name != "version":
            raise unknown_parameter(name, "the only one is version")
    if len(parameters) > 1:
        raise problems.invalid_field("version", "is given more than once")
    value = parameters[0][1] if parameters else None
    if value is None or not _is_whole_number(value):
        raise invalid_version(value)
    return int(value)


def no_parameters(request: Request) -> None:
    """Check that a request has no query parameters.

    Raises:
        ProblemError: it has one, which the route would ignore.
    """
    if name := next(iter(request.query_params), None):
        body = request.method == "POST" and name == "version"
        raise unknown_parameter(name, "send it in the body" if body else "this route has none")


def unknown_parameter(name: str, hint: str) -> problems.ProblemError:
    """The problem of a query parameter that a route does not have."""
    return problems.invalid_field(problems.shortened(name), f"no such query parameter; {hint}")


def invalid_version(value: str | None) -> problems.ProblemError:
    """The problem of a query parameter `version` that is not a number."""
    return problems.invalid_field(
        "version", f"must be a number of milliseconds since the epoch, not {problems.shortened(value or '')!r}"
    )


def _is_whole_number(value: str | bytes) -> bool:
    """Return True if a value is a whole number up to `MAX_MILLISECONDS`, in digits."""
    return len(value) <= _MAX_DIGITS and value.isascii() and value.isdigit()


def entity_row_key(scope: Scope, entity_id: str, row_keys: RowKeyFormat) -> bytes:
    """The row key of the entity id in the path of a request.

    Raises:
        ProblemError: the entity id is invalid.
    """
    # The server replaces bytes that are not UTF-8. An id may also have that character.
    if _REPLACEMENT_CHARACTER in entity_id:
        try:
            unquote(scope["raw_path"].decode("ascii"), errors="strict")
        except UnicodeDecodeError:
            message = "its percent-encoding is not UTF-8; encode the id as UTF-8 first"
            raise problems.invalid_field("entity_id", message) from None
    try:
        return row_key(entity_id, row_keys)
    except ValueError as error:
        raise problems.invalid_field("entity_id", str(error)) from None


def deadline(headers: Mapping[bytes, bytes], max_seconds: float) -> float:
    """The event-loop time by which a request that has just arrived must be answered.

    Args:
        headers: headers of the request. `X-Deadline-Ms` is the time that the client waits, in milliseconds.
        max_seconds: the time that the operator allows.

    Raises:
        ProblemError: the header is not a positive number.
    """
    now = asyncio.get_running_loop().time()
    value = headers.get(_DEADLINE)
    if value is None:
        return now + max_seconds
    seconds = int(value) / 1000 if _is_whole_number(value) else 0
    if seconds <= 0:
        message = f"must be a whole number of milliseconds above 0, not {problems.shortened(value.decode('latin-1'))!r}"
        raise problems.invalid_field(DEADLINE_HEADER, message)
    return now + min(seconds, max_seconds)
