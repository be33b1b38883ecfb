"""The OpenAPI document: what FastAPI makes of the routes, and what it cannot know of them.

That is what goes wrong, in which headers; and by what a request is let in.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from serving_api.http.deadlines import HEADER as DEADLINE_HEADER
from serving_api.http.middleware.authentication import open_paths
from serving_api.http.problems import MEDIA_TYPE, RETRY, ProblemError, invalid
from serving_api.settings import Settings

Responses = dict[int | str, dict[str, Any]]

_VERSION = 1795462342077


class FieldError(BaseModel):
    """What is wrong with a field of a request."""

    field: str
    message: str


class Problem(BaseModel):
    """What went wrong, as a problem document (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(json_schema_extra={"format": "uri-reference"})
    title: str
    status: int
    detail: str
    model: str = Field("", description="the model that the problem is about, if it is about one")
    errors: list[FieldError] = Field([], description="what is wrong with the request, field by field, if that is it")


BAD_BODY = ProblemError(400, "Bad Request", "POST /v1/models/repeat_purchase/predictions:batchGet: not UTF-8.")
UNAUTHORIZED = ProblemError(
    401,
    "Unauthorized",
    "This needs an API key or token in the header authorization or x-api-key; /docs tells how.",
    {"WWW-Authenticate": "what is missing"},
)
FORBIDDEN = ProblemError(
    403,
    "Forbidden",
    "shop may not read the model 'churn'; whoever runs the service can allow it in the callers file.",
    model="churn",
)
UNKNOWN_MODEL = ProblemError(
    404, "Unknown model", "The registry has no model 'churn'; it has: repeat_purchase.", model="churn"
)
UNKNOWN_VERSION = ProblemError(
    404,
    "Unknown version",
    f"Version 1 of repeat_purchase is not known and cannot be read; versions that can: {_VERSION}.",
    model="repeat_purchase",
    version=1,
)
UNKNOWN_ENTITY_TYPE = ProblemError(
    404, "Unknown entity type", "No model serves 'product'; entity types with models: customer."
)
NO_PREDICTION = ProblemError(
    404,
    "No prediction",
    f"Version {_VERSION} of repeat_purchase has no prediction for this entity.",
    model="repeat_purchase",
    version=_VERSION,
    entity_id="00003",
)
LATE_BODY = ProblemError(
    408,
    "Request Timeout",
    "the body did not come within 10 s; send it faster, or smaller batches; /docs has the routes.",
)
LONG_BODY = ProblemError(
    413, HTTPStatus(413).phrase, "the body is longer than 8388608 bytes; send smaller batches; /docs has the routes."
)
INVALID = invalid("version", "must be a number of milliseconds since the epoch, not 'new'")
TOO_MANY = ProblemError(
    429,
    "Too many requests",
    "shop may send 50 requests a second to each process; wait, or ask for a higher rate.",
    {"Retry-After": "seconds until the next request is admitted"},
)
FAILED = ProblemError(500, "Internal error", "The service failed; its log says why.")
OVERLOADED = ProblemError(
    503, "Overloaded", "Too many lookups are in flight; try again in a second, or ask another replica.", RETRY
)
STORE_UNAVAILABLE = ProblemError(503, "Store unavailable", "Bigtable answered UNAVAILABLE; try again.", RETRY)
REGISTRY_UNAVAILABLE = ProblemError(
    503,
    "Registry unavailable",
    "The registry has not been read yet, so the models are not known; try again, and see /readyz.",
    RETRY,
)
NOT_READY = ProblemError(503, "Not ready", "The registry was last read 12.3 s ago; limit: 10.0 s.")
LATE = ProblemError(504, "Deadline exceeded", "Bigtable did not answer within the deadline; try again.")

READ_PROBLEMS = (UNAUTHORIZED, FORBIDDEN, TOO_MANY, FAILED, REGISTRY_UNAVAILABLE)
"""What may go wrong wherever models are read."""

LOOKUP_PROBLEMS = (*READ_PROBLEMS, NO_PREDICTION, INVALID, OVERLOADED, STORE_UNAVAILABLE, LATE)
"""What may go wrong besides where predictions are."""

BODY_PROBLEMS = (BAD_BODY, LATE_BODY, LONG_BODY)
"""What may go wrong besides where a request has a body."""

_HEADERS = {
    "ETag": "Tag of the answer, which is another one once another version is served.",
    "Cache-Control": "For how long the answer may be kept.",
    "Server-Timing": "How long it took, in milliseconds.",
    "X-Request-Id": "The id of the request in the service's log: the one that it came with, if it came with one.",
    "Retry-After": "In how many seconds to try again.",
    "WWW-Authenticate": "How to say who you are.",
}
_OF_FASTAPI = ("HTTPValidationError", "ValidationError")
"""What FastAPI says that a request is answered with that does not fit its parameters. Here, that is a problem."""

_DEADLINE = {
    "name": DEADLINE_HEADER,
    "in": "header",
    "description": "for how many milliseconds the answer is of use, if that is less than the service allows",
    "schema": {"type": "integer", "minimum": 1},
}
_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "the ETag of an answer that is there already",
    "schema": {"type": "string"},
}
_CACHING = ("ETag", "Cache-Control")
_ALWAYS = ("Server-Timing", "X-Request-Id")

BATCH_EXTRA = {"parameters": [_DEADLINE]}
LOOKUP_EXTRA = {"parameters": [_DEADLINE, _IF_NONE_MATCH]}
"""Headers of requests, which the routes read for themselves."""


def answers(model: type[BaseModel], example: object, *problems: ProblemError, cached: bool = False) -> Responses:
    """The answers of a route: one that is right, with an example, and those that are problems.

    Args:
        model: of the right one.
        example: of the right one.
        problems: an example of each.
        cached: whether clients may keep the right one, and ask whether it still holds.
    """
    right: dict[str, Any] = {"model": model, "content": {"application/json": {"example": example}}}
    responses: Responses = {200: right}
    if cached:
        right["headers"] = _headers(_CACHING)
        responses[304] = {"description": "The answer that is there already still holds.", "headers": _headers(_CACHING)}
    return responses | problem_answers(*problems)


def problem_answers(*problems: ProblemError) -> Responses:
    """The answers that are problems, with an example of each."""
    responses: Responses = {}
    for problem in sorted(problems, key=lambda each: each.status):
        response = responses.setdefault(
            problem.status,
            {
                "description": HTTPStatus(problem.status).phrase,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
            },
        )
        name = problem.title.lower().replace(" ", "_")
        response["content"][MEDIA_TYPE]["examples"][name] = {"value": problem.document()}
        if problem.headers:
            response["headers"] = _headers(problem.headers)
    return responses


def complete(document: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Add to FastAPI's document what all routes share: problems, headers, and who is let in."""
    schemas = document["components"]["schemas"]
    for name in _OF_FASTAPI:
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs") | {"Problem": problem}
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


def _complete_answers(responses: dict[str, Any]) -> None:
    if _OF_FASTAPI[0] in str(responses.get("422")):
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
