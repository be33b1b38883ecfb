"""Routes for the operator of the service: liveness, readiness and metrics."""

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel, Field

from serving_api.http import problems
from serving_api.http.middleware.authentication import caller_of
from serving_api.http.openapi import (
    FORBIDDEN,
    MODEL,
    NOT_READY,
    TOO_MANY,
    UNAUTHORIZED,
    VERSION,
    answers,
    problem_answers,
)
from serving_api.service import running

router = APIRouter(tags=["operations"])

_METRICS_ANSWERS = {
    200: {"content": {"text/plain": {"example": f'foreserve_active_version{{model="{MODEL}"}} {VERSION}.0'}}},
    **problem_answers(UNAUTHORIZED, FORBIDDEN, TOO_MANY),
}
_HIDDEN = "null if the service has callers, because anyone may read this and not anyone may read models"


class Alive(BaseModel):
    """The process is alive."""

    status: str = "alive"


class Ready(BaseModel):
    """The service is ready for lookups."""

    status: str = "ready"
    registry_age_seconds: float = Field(description="time since the last read of the registry began")
    models: dict[str, int | None] | None = Field(description=f"active version by model; {_HIDDEN}")
    broken: dict[str, str] | None = Field(description=f"reason by model whose registry document is invalid; {_HIDDEN}")


@router.get("/healthz", responses=answers(Alive, {"status": "alive"}))
async def healthz() -> Alive:
    """Check that the process is alive. Bigtable is not checked, as a restart of the process would not repair it."""
    return Alive()


@router.get(
    "/readyz",
    responses=answers(
        Ready,
        {
            "status": "ready",
            "registry_age_seconds": 0.731,
            "models": {MODEL: VERSION},
            "broken": {},
        },
        NOT_READY,
    ),
)
async def readyz(request: Request) -> Ready:
    """Check that lookups can be expected to work: the registry was read, and Bigtable is connected."""
    service = running(request)
    age, snapshot = service.catalog.age_seconds, service.catalog.snapshot
    if age is None or snapshot is None:
        raise problems.never_ready()
    shown = service.settings.auth == "none"
    known: dict[str, Any] = {
        "registry_age_seconds": round(age, 3),
        "models": {name: model.state.active for name, model in snapshot.models.items()} if shown else None,
        "broken": dict(snapshot.broken) if shown else None,
    }
    if not service.is_ready:
        raise problems.not_ready(**known)
    return Ready(**known)


@router.get("/metrics", response_class=Response, responses=_METRICS_ANSWERS)
async def metrics(request: Request) -> Response:
    """Get the metrics of the service in the Prometheus text format."""
    caller_of(request).require_metrics()
    return Response(running(request).exposition(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
