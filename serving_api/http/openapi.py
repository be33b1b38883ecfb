"""The OpenAPI document: FastAPI's document of the routes, completed by problems, headers and access."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from serving_api.http import parameters, problems
from serving_api.http.middleware import limits
from serving_api.http.middleware.authentication import open_paths
from serving_api.http.problems import ProblemError
from serving_api.settings import Settings
from serving_api.store.errors import DeadlineError, OverloadedError, UnavailableError

Responses = dict[int | str, dict[str, Any]]

# Examples. Problems are made by the functions that make the answers.

MODEL = "repeat_purchase"
ENTITY_TYPE = "customer"
ENTITY_ID = "00003"
VERSION = 1795462342077
VERSION_MEMBERS = {"version": VERSION, "created_at": "2026-11-23T19:32:22.077Z"}
PREDICTION = {"probability": 0.48, "buys_again": False, "purchases": 6}

UNAUTHORIZED = problems.missing_credential(("authorization", "x-api-key"))
FORBIDDEN = problems.forbidden("shop", "read the model 'churn'", model="churn")
TOO_MANY = problems.too_many_requests("shop", 50, 1)
UNKNOWN_MODEL = problems.unknown_model("churn", [MODEL])
UNKNOWN_VERSION = problems.unknown_version(MODEL, 1, None, [VERSION])
UNKNOWN_ENTITY_TYPE = problems.unknown_entity_type("product", [ENTITY_TYPE])
NO_PREDICTION = problems.no_prediction(MODEL, VERSION, ENTITY_ID)
INVALID = parameters.invalid_version("new")
UNKNOWN_PARAMETER = parameters.unknown_parameter("limit", "this route has none")
NOT_READY = problems.not_ready(registry_age_seconds=12.3)

_FAILED = problems.internal_error()
_REGISTRY_UNAVAILABLE = problems.registry_unavailable()
_STORE_PROBLEMS = tuple(map(problems.as_problem, (OverloadedError(), UnavailableError("UNAVAILABLE"), DeadlineError())))

READ_PROBLEMS = (UNAUTHORIZED, FORBIDDEN, TOO_MANY, UNKNOWN_PARAMETER, _FAILED, _REGISTRY_UNAVAILABLE)
"""The problems of every route that reads models."""

LOOKUP_PROBLEMS = (*READ_PROBLEMS, NO_PREDICTION, INVALID, *_STORE_PROBLEMS)
"""The problems of every route that looks predictions up."""

BODY_PROBLEMS = (
    problems.unreadable_body("POST", f"/v1/models/{MODEL}/predictions:batchGet"),
    problems.late_body(10.0),
    problems.long_body(limits.MAX_BODY_BYTES),
)
"""The problems of every route with a request body."""


class FieldError(BaseModel):
    """The reason why a field of a request is invalid."""

    field: str
    message: str


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(json_schema_extra={"format": "uri-reference"})
    title: str
    status: int
    detail: str
    model: str = Field("", description="model that the problem is about, if it is about one")
    errors: list[FieldError] = Field([], description="invalid fields, if the request is invalid")


_HEADERS = {
    "ETag": "Tag of the answer. It changes with the active version. A preview has none.",
    "Cache-Control": "Time for which the answer may be kept.",
    "Server-Timing": "Duration of the request and of its Bigtable read, in milliseconds.",
    "X-Request-Id": "Id of the request in the service's log: that of the request if it has one, else a new one.",
    "Retry-After": "Number of seconds after which to try again.",
    "WWW-Authenticate": "Scheme by which to authenticate.",
}
_CACHING = ("ETag", "Cache-Control")
_ALWAYS = ("Server-Timing", "X-Request-Id")

_VALIDATION_SCHEMAS = ("HTTPValidationError", "ValidationError")
"""The schemas of FastAPI's answer to an invalid request. The service answers with a problem instead."""


def parameter(name: str, place: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter of an operation. `place` is "path", "query" or "header"; path parameters are required."""
    required = {"required": True} if place == "path" else {}
    return {"name": name, "in": place, "description": description, **required, "schema": dict(schema)}


DEADLINE = parameter(
    parameters.DEADLINE_HEADER,
    "header",
    "time in milliseconds that the client waits, if it is less than the service allows",
    {"type": "integer", "minimum": 1, "maximum": parameters.MAX_MILLISECONDS},
)
IF_NONE_MATCH = parameter("If-None-Match", "header", "ETag of an answer that the client has", {"type": "string"})


def answers(model: type[BaseModel], example: object, *errors: ProblemError, cached: bool = False) -> Responses:
    """The answers of a route, with examples.

    Args:
        model: the class of the answer with status 200.
        example: an example of it.
        errors: an example of each problem.
        cached: True if the route answers conditional requests.
    """
    success: dict[str, Any] = {"model": model, "content": {"application/json": {"example": example}}}
    responses: Responses = {200: success}
    if cached:
        success["headers"] = _headers(_CACHING)
        responses[304] = {"description": "The answer that the client has is valid.", "headers": _headers(_CACHING)}
    return responses | problem_answers(*errors)


def problem_answers(*errors: ProblemError) -> Responses:
    """The answers of a route that are problems, with an example of each."""
    responses: Responses = {}
    for problem in sorted(errors, key=lambda each: each.status_code):
        response = responses.setdefault(
            problem.status_code,
            {
                "description": HTTPStatus(problem.status_code).phrase,
                "content": {problems.MEDIA_TYPE: {"schema": _reference("Problem"), "examples": {}}},
            },
        )
        name = problem.title.lower().replace(" ", "_")
        response["content"][problems.MEDIA_TYPE]["examples"][name] = {"value": problem.document()}
        if problem.headers:
            response["headers"] = _headers(problem.headers)
    return responses


def complete(
    document: dict[str, Any], other_paths: Mapping[str, dict[str, dict[str, Any]]], settings: Settings
) -> dict[str, Any]:
    """Complete FastAPI's document.

    Args:
        document: FastAPI's document, which is changed.
        other_paths: operations that FastAPI does not know, by path and method. Their answers are those of `answers`.
        settings: settings of the service, which decide who may call what.
    """
    schemas = document["components"]["schemas"]
    for name in _VALIDATION_SCHEMAS:
        schemas.pop(name, None)
    _add_schema(schemas, Problem)
    paths = {
        path: {method: _as_fastapi_does(operation, schemas) for method, operation in operations.items()}
        for path, operations in other_paths.items()
    }
    document["paths"] = paths | document["paths"]
    schemes = _security_schemes(settings)
    if schemes:
        document["components"]["securitySchemes"] = schemes
    open_to_all = open_paths(metrics_open=settings.metrics_open)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _complete_answers(operation["responses"])
            if schemes and path not in open_to_all:
                operation["security"] = [{scheme: []} for scheme in schemes]
    return document


def _as_fastapi_does(operation: Mapping[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """An operation with the classes of its answers replaced by references to their schemas."""
    responses: dict[str, dict[str, Any]] = {}
    for status, answer in operation["responses"].items():
        completed = responses[str(status)] = {"description": "Successful Response", **answer}
        if model := completed.pop("model", None):
            _add_schema(schemas, model)
            content = completed["content"]["application/json"]
            completed["content"] = {"application/json": {**content, "schema": _reference(model.__name__)}}
    return {**operation, "responses": responses}


def _add_schema(schemas: dict[str, Any], model: type[BaseModel]) -> None:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= schema.pop("$defs", {}) | {model.__name__: schema}


def _reference(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _complete_answers(responses: dict[str, Any]) -> None:
    if _VALIDATION_SCHEMAS[0] in str(responses.get("422")):
        del responses["422"]
    for response in responses.values():
        response["headers"] = response.get("headers", {}) | _headers(_ALWAYS)


def _security_schemes(settings: Settings) -> dict[str, Any]:
    if settings.auth == "none":
        return {}
    bearer = {"type": "http", "scheme": "bearer", "description": "an API key, or a signed token"}
    if settings.auth == "jwt":
        return {"bearer": bearer}
    return {"bearer": bearer, "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in names}
