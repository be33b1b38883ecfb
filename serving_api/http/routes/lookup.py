"""The route `GET /v1/models/{model}/predictions/{entity_id}`, as an ASGI application of its own.

It is called for every lookup, so it is found before all other routes and without FastAPI: FastAPI's middleware,
routing, parameters and response would take longer than the rest of the lookup.
"""

import time
from collections.abc import Iterable
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from serving_api.http import openapi, parameters, problems, responses
from serving_api.http.etags import matches, matches_any, tag
from serving_api.http.middleware.request_log import RequestLog
from serving_api.service import Service
from serving_api.store.errors import OverloadedError
from serving_api.telemetry.correlation import REQUEST_ID

_PREFIX = "/v1/models/"
_INFIX = "/predictions/"
PATH = f"{_PREFIX}{{model}}{_INFIX}{{entity_id}}"

OPERATION: dict[str, Any] = {
    "tags": ["predictions"],
    "summary": "Get Prediction",
    "description": "Get the prediction of a model for an entity.",
    "operationId": "get_prediction",
    "parameters": [
        openapi.parameter("model", "path", parameters.MODEL, {"type": "string"}),
        openapi.parameter("entity_id", "path", parameters.ENTITY_ID, {"type": "string", **parameters.ENTITY_ID_LENGTH}),
        openapi.parameter("version", "query", parameters.VERSION, parameters.VERSION_SCHEMA),
        openapi.DEADLINE,
        openapi.IF_NONE_MATCH,
    ],
    "responses": openapi.answers(
        responses.Prediction,
        {
            "model": openapi.MODEL,
            "entity_id": openapi.ENTITY_ID,
            **openapi.VERSION_MEMBERS,
            "prediction": openapi.PREDICTION,
        },
        *openapi.LOOKUP_PROBLEMS,
        openapi.UNKNOWN_MODEL,
        openapi.UNKNOWN_VERSION,
        cached=True,
    ),
}
"""The operation of the OpenAPI document, to which FastAPI adds its own routes only."""


def is_lookup(path: str) -> bool:
    """Return True if a path is that of this route: `_INFIX` follows the first segment after `_PREFIX`.

    The rest of the path is the entity id, which may contain slashes.
    """
    if not path.startswith(_PREFIX):
        return False
    end_of_model = path.find("/", len(_PREFIX))
    return end_of_model >= 0 and path.startswith(_INFIX, end_of_model)


def refuse_shadowed(routes: Iterable[BaseRoute]) -> None:
    """Check that no other route is below the path of this route, as it would never be called.

    Raises:
        ValueError: there is such a route; the message names it.
    """
    for route in routes:
        if isinstance(route, Route) and is_lookup(route.path):
            raise ValueError(
                f"{route.path} is never called, because {PATH} takes all paths below it as entity ids; "
                "choose a path that does not contain another one after the model"
            )


class LookupEndpoint:
    """An ASGI application with one route."""

    def __init__(self, service: Service, request_log: RequestLog) -> None:
        self._service = service
        self._lookups = service.lookups
        refusal = problems.as_problem(OverloadedError()).response()
        self._refusal = refusal.raw_headers, bytes(refusal.body)
        self._cache_control = service.settings.cache_control.encode()
        self._correlation = request_log.correlation
        self._failures = request_log.failures
        self._requests = request_log.metrics.requests_of(PATH)

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer a lookup."""
        started = time.perf_counter()
        request_headers = dict(scope["headers"])
        request_id = self._correlation.request_id(request_headers)
        # This comes before all else, because a refusal must cost little when the service is overloaded.
        if self._lookups.refuse_if_full():
            refusal, body = self._refusal
            await send({"type": "http.response.start", "status": 503, "headers": [*refusal, (REQUEST_ID, request_id)]})
            await send({"type": "http.response.body", "body": body})
            self._requests(503).observe(time.perf_counter() - started)
            return
        try:
            status, headers, body = await self._answer(scope, request_headers, started)
        except Exception as error:  # noqa: BLE001  becomes an answer, and a line in the log
            response = self._failure(error, scope, request_headers, request_id, started)
            status, headers, body = response.status_code, response.raw_headers, bytes(response.body)
        headers.append((REQUEST_ID, request_id))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._requests(status).observe(time.perf_counter() - started)

    def _failure(
        self, error: Exception, scope: Scope, request_headers: dict[bytes, bytes], request_id: bytes, started: float
    ) -> Response:
        """Log an error, and return the answer for it."""
        problem = problems.as_problem(error)
        self._failures.log(
            problem.status_code,
            problem.title,
            error if problems.is_bug(error) else None,
            lambda: {
                "method": scope["method"],
                "route": PATH,
                "seconds": round(time.perf_counter() - started, 6),
                **self._correlation.log_fields(request_headers, request_id),
            },
        )
        return problem.response()

    async def _answer(
        self, scope: Scope, request_headers: dict[bytes, bytes], started: float
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """The status, the headers and the body of an answer that is no problem.

        Raises:
            ProblemError: the request is answered with a problem.
            StoreError: the prediction could not be read.
        """
        service = self._service
        name, _, entity_id = scope["path"][len(_PREFIX) :].partition(_INFIX)
        caller = await service.authenticator.admit(request_headers, name)
        if scope["method"] != "GET":
            raise problems.method_not_allowed(scope["method"], scope["path"], "GET")
        model = parameters.find_model(parameters.current_snapshot(service.catalog), name, caller)
        version = parameters.find_version(model, parameters.version_parameter(scope), caller)
        key = parameters.entity_row_key(scope, entity_id, version.row_keys)
        if version.is_final:
            etag = tag(key, version.version)
            caching = [(b"etag", etag), (b"cache-control", self._cache_control)]
            if matches(request_headers, etag):
                return 304, caching, b""
        else:
            caching = [(b"cache-control", b"no-store")]
        deadline = parameters.deadline(request_headers, service.settings.deadline_seconds)
        waiting = time.perf_counter()
        payload = await version.source.prediction(key, deadline)
        now = time.perf_counter()
        if not payload:
            raise problems.no_prediction(name, version.version, entity_id)
        if matches_any(request_headers):
            return 304, caching, b""
        body = responses.prediction(version, entity_id, payload)
        headers = [
            *caching,
            (b"content-type", b"application/json"),
            (b"server-timing", b"bigtable;dur=%.2f, total;dur=%.2f" % ((now - waiting) * 1e3, (now - started) * 1e3)),
        ]
        return 200, headers, body
