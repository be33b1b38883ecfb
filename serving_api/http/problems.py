"""Error answers as problem documents (RFC 9457). The text of each problem is written once, in this module.

The examples of the OpenAPI document are made by the same functions as the answers.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from prediction_store.lifecycle import Status
from serving_api.store.errors import DeadlineError, OverloadedError, StoreError, UnavailableError

MEDIA_TYPE = "application/problem+json"

PROBLEM_TITLE = "foreserve.problem"
"""The key of the ASGI scope that holds the title of the problem that the request was answered with."""

_RETRY = {"Retry-After": "1"}
"""The headers of a problem that passes by itself."""

_MAX_ECHO = 60


class ProblemError(HTTPException):
    """A request that is answered with a problem document.

    It is an HTTPException, because FastAPI lets no other exception pass while it reads the body of a request.
    """

    def __init__(
        self, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        """Describe a problem.

        Args:
            status: the HTTP status.
            title: the kind of problem in a few words that do not vary. The type of the problem is made of them.
            detail: the reason for this request, and what to do about it.
            headers: headers of the answer.
            members: further members of the document.
        """
        super().__init__(status, detail, headers)
        self.title = title
        self.members = members

    def document(self) -> dict[str, Any]:
        """The problem document."""
        return {
            "type": f"/problems/{self.title.lower().replace(' ', '-')}",
            "title": self.title,
            "status": self.status_code,
            "detail": self.detail,
            **self.members,
        }

    def response(self) -> Response:
        """The answer with the problem document."""
        return Response(json.dumps(self.document()), self.status_code, self.headers, MEDIA_TYPE)

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of ASGI with the problem, and note its title in the scope."""
        scope[PROBLEM_TITLE] = self.title
        await self.response()(scope, receive, send)


# Problems of the request.


def http_error(
    status: int, method: str, path: str, reason: str, headers: Mapping[str, str] | None = None
) -> ProblemError:
    """The problem of an error that the HTTP framework found, such as 404 for a path without a route."""
    detail = f"{method} {path}: {reason}; /docs has the routes."
    return ProblemError(status, HTTPStatus(status).phrase, detail, headers)


def method_not_allowed(method: str, path: str, allowed: str) -> ProblemError:
    """The problem of a path that has no route for the method of the request. `allowed` has the methods without HEAD."""
    methods = allowed.replace("GET", "GET, HEAD")
    return http_error(405, method, path, HTTPStatus(405).phrase, {"Allow": methods})


def long_target(max_bytes: int) -> ProblemError:
    """The problem of a path and query that are too long."""
    detail = f"The path and the query are longer than {max_bytes} bytes; no entity id is."
    return ProblemError(414, "URI too long", detail)


def unreadable_body(method: str, path: str) -> ProblemError:
    """The problem of a body that is no text. FastAPI raises it with the same reason."""
    return http_error(400, method, path, "There was an error parsing the body")


def late_body(max_seconds: float) -> ProblemError:
    """The problem of a body that takes too long to arrive."""
    detail = f"The body did not arrive within {max_seconds:g} s; send it faster, or smaller batches."
    return ProblemError(408, HTTPStatus(408).phrase, detail)


def long_body(max_bytes: int) -> ProblemError:
    """The problem of a body that is too long."""
    detail = f"The body is longer than {max_bytes} bytes; send smaller batches."
    return ProblemError(413, HTTPStatus(413).phrase, detail)


def invalid_request(errors: Sequence[Mapping[str, str]]) -> ProblemError:
    """The problem of a request with invalid fields. Each error has the members `field` and `message`."""
    detail = "; ".join(f"{error['field']}: {error['message']}" for error in errors)
    return ProblemError(422, "Invalid request", detail, errors=errors)


def invalid_field(field: str, message: str) -> ProblemError:
    """The problem of a request with one invalid field."""
    return invalid_request([{"field": field, "message": message}])


def no_json(content_type: str | None) -> ProblemError:
    """The problem of a body that is not declared to be JSON, as that of `curl -d` is."""
    declared = "missing" if content_type is None else f"{content_type[:_MAX_ECHO]!r}"
    return invalid_field("Content-Type", f"{declared}; send the body as JSON, with Content-Type: application/json")


# Problems of access.


def unauthorized(detail: str, *, invalid: bool = True) -> ProblemError:
    """The problem of a request without a valid credential. `invalid` is False if it has none at all."""
    challenge = 'Bearer realm="foreserve"' + (', error="invalid_token"' if invalid else "")
    return ProblemError(401, "Unauthorized", detail, {"WWW-Authenticate": challenge})


def missing_credential(headers: Iterable[str]) -> ProblemError:
    """The problem of a request with none of the headers that may carry a credential."""
    names = " or ".join(headers)
    return unauthorized(f"This needs an API key or token in the header {names}; /docs tells how.", invalid=False)


def issuer_unavailable() -> ProblemError:
    """The problem of a token that cannot be verified at present."""
    detail = "The keys of the tokens' issuer cannot be read, so no token can be verified; try again."
    return ProblemError(503, "Issuer unavailable", detail, _RETRY)


def unknown_caller() -> ProblemError:
    """The problem of a valid token that belongs to no caller."""
    detail = "The token is valid but belongs to no caller; whoever runs the service can add its claims."
    return ProblemError(403, "Forbidden", detail)


def forbidden(caller: str, action: str, **members: str | int) -> ProblemError:
    """The problem of a caller without the right to an action, such as "read the metrics"."""
    detail = f"{caller} may not {action}; whoever runs the service can allow it in the callers file."
    return ProblemError(403, "Forbidden", detail, None, **members)


def too_many_requests(caller: str, requests_per_second: float, retry_seconds: float) -> ProblemError:
    """The problem of a caller that exceeds its rate. The next request is admitted after `retry_seconds`."""
    rate = f"{requests_per_second:g} requests a second"
    detail = f"{caller} may send {rate} to each process; wait, or ask for a higher rate."
    return ProblemError(429, "Too many requests", detail, {"Retry-After": str(math.ceil(retry_seconds))})


# Problems of models, versions and predictions.


def unknown_model(model: str, known: Iterable[str]) -> ProblemError:
    """The problem of a model that the registry does not have. `known` is the models that the caller may read."""
    detail = f"The registry has no model {model!r}; it has: {_list(sorted(known))}."
    return ProblemError(404, "Unknown model", detail, model=model)


def model_unavailable(model: str) -> ProblemError:
    """The problem of a model whose registry document has never been valid."""
    return ProblemError(503, "Model unavailable", f"The registry's document of {model} is broken.", model=model)


def no_active_version(model: str) -> ProblemError:
    """The problem of a model without an active version."""
    detail = f"No version of {model} has been promoted yet; see /v1/models/{model}."
    return ProblemError(404, "No active version", detail, model=model)


def unknown_version(model: str, version: int, status: str | None, readable: Iterable[int]) -> ProblemError:
    """The problem of a version that cannot be read. `status` is its status, or None if it is not in the registry."""
    reason = f"is {status}" if status else "is not known"
    until = " before its export is complete" if status in {Status.OPEN, Status.EXPORTING} else ""
    others = _list(map(str, sorted(readable, reverse=True)))
    detail = f"Version {version} of {model} {reason} and cannot be read{until}; versions that can: {others}."
    return ProblemError(404, "Unknown version", detail, model=model, version=version)


def no_prediction(model: str, version: int, entity_id: str) -> ProblemError:
    """The problem of an entity that a version has no prediction for."""
    detail = f"Version {version} of {model} has no prediction for this entity."
    return ProblemError(404, "No prediction", detail, model=model, version=version, entity_id=entity_id)


def no_prediction_of_entity(entity_type: str, entity_id: str) -> ProblemError:
    """The problem of an entity that no model of its type has a prediction for."""
    detail = f"No model of {entity_type} has a prediction for this entity."
    return ProblemError(404, "No prediction", detail, entity_type=entity_type, entity_id=entity_id)


def unknown_entity_type(entity_type: str, known: Iterable[str]) -> ProblemError:
    """The problem of an entity type without models that the caller may read. `known` is those with such models."""
    detail = f"No model serves {entity_type!r}; entity types with models: {_list(sorted(known))}."
    return ProblemError(404, "Unknown entity type", detail)


def shortened(value: str) -> str:
    """The beginning of a value that is repeated in a problem."""
    return value if len(value) <= _MAX_ECHO else value[:_MAX_ECHO] + "..."


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


# Problems of the service.


def internal_error() -> ProblemError:
    """The problem of a bug."""
    return ProblemError(500, "Internal error", "The service failed; its log says why.")


def registry_unavailable() -> ProblemError:
    """The problem of a service that has not read the registry yet."""
    detail = "The registry has not been read yet, so the models are not known; try again, and see /readyz."
    return ProblemError(503, "Registry unavailable", detail, _RETRY)


def never_ready() -> ProblemError:
    """The problem of the readiness probe before the first read of the registry."""
    return ProblemError(503, "Not ready", "The registry has not been read yet.", registry_age_seconds=None)


def not_ready(**members: Any) -> ProblemError:
    """The problem of the readiness probe while no connection to Bigtable is ready."""
    return ProblemError(503, "Not ready", "No connection to Bigtable is ready.", **members)


def as_problem(error: Exception) -> ProblemError:
    """The problem that a client is answered with because of an error."""
    match error:
        case ProblemError():
            return error
        case OverloadedError():
            detail = "Too many lookups are in flight; try again in a second, or ask another replica."
            return ProblemError(503, "Overloaded", detail, _RETRY)
        case UnavailableError():
            return ProblemError(503, "Store unavailable", f"Bigtable answered {error}; try again.", _RETRY)
        case DeadlineError():
            return ProblemError(504, "Deadline exceeded", "Bigtable did not answer within the deadline; try again.")
        case _:
            return internal_error()


def is_bug(error: Exception) -> bool:
    """Return True if the error is neither a problem nor an expected failure of the store."""
    return not isinstance(error, ProblemError | StoreError)


def install_handlers(app: FastAPI) -> None:
    """Answer every expected error with a problem document. RequestLogMiddleware does so for bugs."""

    def answer(request: Request, problem: ProblemError) -> Response:
        request.scope[PROBLEM_TITLE] = problem.title
        return problem.response()

    @app.exception_handler(ProblemError)
    @app.exception_handler(StoreError)
    async def on_expected(request: Request, error: Exception) -> Response:
        return answer(request, as_problem(error))

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        if isinstance(error.body, bytes):  # FastAPI parses no body that is not declared to be JSON
            return answer(request, no_json(request.headers.get("Content-Type")))
        return answer(request, invalid_request([{"field": _field(e), "message": _message(e)} for e in error.errors()]))

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        method, path = request.method, request.url.path
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and error.headers:
            return answer(request, method_not_allowed(method, path, error.headers["Allow"]))
        return answer(request, http_error(error.status_code, method, path, error.detail, error.headers))


def _field(error: Mapping[str, Any]) -> str:
    """The name of the invalid field: `entity_ids[3]` for the location `("body", "entity_ids", 3)`."""
    part, *names = error["loc"]
    if not names or error["type"] == "json_invalid":
        return str(part)
    return "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in names).removeprefix(".")


def _message(error: Mapping[str, Any]) -> str:
    """The reason why a field is invalid, with its value."""
    if error["type"] == "json_invalid":
        return f"not JSON: {error['ctx']['error']} (character {error['loc'][-1]})"
    if error["type"] == "missing":
        return "missing"
    if error["type"] == "too_short":
        return "empty; give at least one"
    return f"{error['msg']}, not {shortened(repr(error['input']))}"
