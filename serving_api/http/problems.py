"""Errors as RFC 9457 problem documents."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from serving_api.store.lookups import DeadlineError, OverloadedError, UnavailableError

MEDIA_TYPE = "application/problem+json"

RETRY = {"Retry-After": "1"}
"""The headers of a problem that passes by itself."""

PROBLEM = "foreserve.problem"
"""What a request's scope has the title of its problem under."""

_MAX_ECHO = 60


class ProblemError(Exception):
    """A request that cannot be answered as asked, and why."""

    def __init__(
        self, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        """Describe a problem.

        Args:
            status: the HTTP status.
            title: the kind of problem, in a few words that do not vary; its type is made of them.
            detail: what is wrong this time, and how to put it right.
            headers: headers of the answer.
            members: further members of the document.
        """
        super().__init__(detail)
        self.status = status
        self.title = title
        self.headers = headers
        self.members = members

    def document(self) -> dict[str, Any]:
        """The problem document."""
        return {
            "type": f"/problems/{self.title.lower().replace(' ', '-')}",
            "title": self.title,
            "status": self.status,
            "detail": str(self),
            **self.members,
        }

    def response(self) -> Response:
        """The problem as an answer."""
        return Response(json.dumps(self.document()), self.status, self.headers, MEDIA_TYPE)


FORESEEN = (ProblemError, OverloadedError, UnavailableError, DeadlineError)
"""The errors that are part of the service's work."""


def invalid(field: str, message: str) -> ProblemError:
    """A problem with one field of the request."""
    return ProblemError(422, "Invalid request", f"{field}: {message}", errors=[{"field": field, "message": message}])


def as_problem(error: Exception) -> ProblemError:
    """The problem that an error of a lookup is to the client."""
    match error:
        case ProblemError():
            return error
        case OverloadedError():
            detail = "Too many lookups are in flight; try again in a second, or ask another replica."
            return ProblemError(503, "Overloaded", detail, RETRY)
        case UnavailableError():
            return ProblemError(503, "Store unavailable", f"Bigtable answered {error}; try again.", RETRY)
        case DeadlineError():
            return ProblemError(504, "Deadline exceeded", "Bigtable did not answer within the deadline; try again.")
        case _:
            return ProblemError(500, "Internal error", "The service failed; its log says why.")


def bug(error: Exception) -> Exception | None:
    """The error, if it is one that nobody foresaw."""
    return None if isinstance(error, FORESEEN) else error


def install(app: FastAPI) -> None:
    """Answer every error that is foreseen with a problem document; ObservationMiddleware does so for all others."""

    def answer(request: Request, problem: ProblemError) -> Response:
        request.scope[PROBLEM] = problem.title
        return problem.response()

    async def on_known(request: Request, error: Exception) -> Response:
        return answer(request, as_problem(error))

    for known in FORESEEN:
        app.add_exception_handler(known, on_known)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        errors = [{"field": _field(e), "message": _message(e)} for e in error.errors()]
        detail = "; ".join(f"{e['field']}: {e['message']}" for e in errors)
        return answer(request, ProblemError(422, "Invalid request", detail, errors=errors))

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        title = HTTPStatus(error.status_code).phrase
        reason = title if error.detail == title else error.detail
        detail = f"{request.method} {request.url.path}: {reason}; /docs has the routes."
        return answer(request, ProblemError(error.status_code, title, detail, error.headers))


def _field(error: Mapping[str, Any]) -> str:
    """The field that an error is about: `entity_ids[3]` for the location `("body", "entity_ids", 3)`."""
    part, *names = error["loc"]
    if not names or error["type"] == "json_invalid":
        return str(part)
    return "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in names).removeprefix(".")


def _message(error: Mapping[str, Any]) -> str:
    """What is wrong with a field, and the value it has."""
    if error["type"] == "json_invalid":
        return f"not JSON: {error['ctx']['error']} (character {error['loc'][-1]})"
    if error["type"] == "missing":
        return "missing"
    value = repr(error["input"])
    return f"{error['msg']}, not {value if len(value) <= _MAX_ECHO else value[:_MAX_ECHO] + '...'}"
