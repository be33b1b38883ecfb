"""What a request names: a model, a version of it, an entity."""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Path
from pydantic import JsonValue
from starlette.convertors import Convertor, register_url_convertor
from starlette.datastructures import QueryParams
from starlette.types import Scope

from prediction_store.layout import MAX_ENTITY_ID_BYTES, RowKeyFormat, row_key
from serving_api.access.callers import Caller
from serving_api.http.problems import RETRY, ProblemError, invalid
from serving_api.store.catalog import Catalog, Model, ModelVersion, Snapshot

MODEL = "the name of a model"
ENTITY_ID = "the id of an entity, percent-encoded; a slash in it may be sent as it is, or as %2F"
ENTITY_ID_LENGTH: dict[str, JsonValue] = {"minLength": 1, "maxLength": MAX_ENTITY_ID_BYTES}
"""For OpenAPI, which counts characters. What is checked is the number of bytes."""

VERSION = "a version to read other than the active one, in milliseconds since the epoch"

ModelName = Annotated[str, Path(description=MODEL)]
EntityId = Annotated[str, Path(description=ENTITY_ID, json_schema_extra=ENTITY_ID_LENGTH)]

_REPLACEMENT_CHARACTER = "\ufffd"


class _EntityIdConvertor(Convertor[str]):
    """An entity id in a path: anything, with slashes and line ends."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("entity_id", _EntityIdConvertor())


def known_models(catalog: Catalog) -> Snapshot:
    """What the registry last said.

    Raises:
        ProblemError: it was never read.
    """
    if catalog.snapshot is None:
        raise ProblemError(
            503,
            "Registry unavailable",
            "The registry has not been read yet, so the models are not known; try again, and see /readyz.",
            RETRY,
        )
    return catalog.snapshot


def named_model(snapshot: Snapshot, name: str, caller: Caller) -> Model:
    """The model of that name, which the caller may read.

    Raises:
        ProblemError: there is none, or its registry document was never understood.
    """
    model = snapshot.models.get(name)
    if model is not None:
        return model
    if name in snapshot.broken:
        raise ProblemError(503, "Model unavailable", f"The registry's document of {name} is broken.", model=name)
    known = ", ".join(sorted(filter(caller.may_read, snapshot.models))) or "none"
    raise ProblemError(404, "Unknown model", f"The registry has no model {name!r}; it has: {known}.", model=name)


def readable_version(model: Model, version: int | None, caller: Caller) -> ModelVersion:
    """The version of that number; the active one if it is None.

    Raises:
        ProblemError: it cannot be read, or not by this caller.
    """
    name = model.state.model
    if version is None:
        if model.active is None:
            raise ProblemError(
                404,
                "No active version",
                f"No version of {name} has been promoted yet; see /v1/models/{name}.",
                model=name,
            )
        return model.active
    if version != model.state.active:
        caller.require_preview(name, version)
    if version in model.readable:
        return model.readable[version]
    status = f"is {model.state.versions[version].status}" if version in model.state.versions else "is not known"
    readable = ", ".join(map(str, sorted(model.readable, reverse=True))) or "none"
    raise ProblemError(
        404,
        "Unknown version",
        f"Version {version} of {name} {status} and cannot be read; versions that can: {readable}.",
        model=name,
        version=version,
    )


def queried_version(scope: Scope) -> int | None:
    """The value of the query parameter `version`, the only one there is.

    Raises:
        ProblemError: it is not a number, or there is another parameter.
    """
    if not scope["query_string"]:
        return None
    parameters = dict(QueryParams(scope["query_string"]))
    version = parameters.pop("version", None)
    if parameters:
        raise invalid(next(iter(parameters)), "no such parameter; the only one is version")
    try:
        return int(version or "")
    except ValueError:
        raise invalid("version", f"must be a number of milliseconds since the epoch, not {version!r}") from None


def entity_row_key(scope: Scope, entity_id: str, row_keys: RowKeyFormat) -> bytes:
    """The row key of the entity id in the path of a request.

    Raises:
        ProblemError: there cannot be such an id.
    """
    if _REPLACEMENT_CHARACTER in entity_id:  # which the server puts in place of bytes that are not UTF-8
        try:
            unquote(scope["raw_path"].decode("ascii"), errors="strict")
        except UnicodeDecodeError:
            raise invalid("entity_id", "its percent-encoding is not UTF-8; encode the id as UTF-8 first") from None
    try:
        return row_key(entity_id, row_keys)
    except ValueError as error:
        raise invalid("entity_id", str(error)) from None
