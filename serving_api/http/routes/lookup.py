"""Answers `GET /v1/models/{model}/predictions/{entity_id}`: the route that is called for every lookup.

It is written to ASGI itself, and found before any other route. FastAPI's way here (middleware, routing, parameters,
response) would take longer than all the rest.
"""

import time

from starlette.types import Receive, Scope, Send

from serving_api.http import responses
from serving_api.http.deadlines import deadline
from serving_api.http.etags import holds, tag
from serving_api.http.middleware.request_log import Observation
from serving_api.http.parameters import entity_row_key, known_models, named_model, queried_version, readable_version
from serving_api.http.problems import ProblemError, as_problem, bug
from serving_api.service import Service
from serving_api.store.lookups import OverloadedError
from serving_api.telemetry.correlation import REQUEST_ID

_PREFIX = "/v1/models/"
_INFIX = "/predictions/"
PATH = f"{_PREFIX}{{model}}{_INFIX}{{entity_id}}"


def is_lookup(scope: Scope) -> bool:
    """Whether a request is answered here."""
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and scope["path"].startswith(_PREFIX)
        and _INFIX in scope["path"]
    )


class PredictionEndpoint:
    """An ASGI application of one route."""

    def __init__(self, service: Service, observation: Observation) -> None:
        self._service = service
        self._lookups = service.lookups
        refusal = as_problem(OverloadedError()).response()
        self._refusal = refusal.raw_headers, bytes(refusal.body)
        self._cache_control = service.settings.cache_control.encode()
        self._correlation = observation.correlation
        self._failures = observation.failures
        self._requests = observation.metrics.requests_of(PATH)

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer a lookup."""
        started = time.perf_counter()
        request_headers = dict(scope["headers"])
        request_id = self._correlation.request_id(request_headers)
        if self._lookups.refuses():  # asked before all else: under overload, refusing must cost little
            refusal, body = self._refusal
            await send({"type": "http.response.start", "status": 503, "headers": [*refusal, (REQUEST_ID, request_id)]})
            await send({"type": "http.response.body", "body": body})
            self._requests(503).observe(time.perf_counter() - started)
            return
        try:
            status, headers, body = await self._answer(scope, request_headers, started)
        except Exception as error:  # noqa: BLE001  becomes an answer, and a line in the log
            problem = as_problem(error)
            if self._failures.takes(problem.status):
                fields = self._correlation.log_fields(request_headers, request_id)
                seconds = round(time.perf_counter() - started, 6)
                self._failures.write(
                    problem.status, problem.title, bug(error), method="GET", route=PATH, seconds=seconds, **fields
                )
            response = problem.response()
            status, headers, body = response.status_code, response.raw_headers, bytes(response.body)
        headers.append((REQUEST_ID, request_id))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._requests(status).observe(time.perf_counter() - started)

    async def _answer(
        self, scope: Scope, request_headers: dict[bytes, bytes], started: float
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        service = self._service
        name, _, entity_id = scope["path"][len(_PREFIX) :].partition(_INFIX)
        caller = await service.access.admit(request_headers, name)
        model = named_model(known_models(service.catalog), name, caller)
        read = readable_version(model, queried_version(scope), caller)
        key = entity_row_key(scope, entity_id, read.row_keys)
        etag = tag(read.version, key)
        caching = [(b"etag", etag), (b"cache-control", self._cache_control)]
        if holds(request_headers, etag):
            return 304, caching, b""
        waiting = time.perf_counter()
        payload = await read.source.prediction(key, deadline(request_headers, service.settings.deadline_seconds))
        now = time.perf_counter()
        if not payload:
            raise ProblemError(
                404,
                "No prediction",
                f"Version {read.version} of {name} has no prediction for this entity.",
                model=name,
                version=read.version,
                entity_id=entity_id,
            )
        body = responses.prediction(read, entity_id, payload)
        headers = [
            *caching,
            (b"content-type", b"application/json"),
            (b"server-timing", b"bigtable;dur=%.2f, total;dur=%.2f" % ((now - waiting) * 1e3, (now - started) * 1e3)),
        ]
        return 200, headers, body
