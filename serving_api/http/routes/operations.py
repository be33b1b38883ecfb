"""The routes for those who run the service: is it alive, is it ready, what does it measure."""

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel, Field

from serving_api.http.middleware.authentication import admitted
from serving_api.http.openapi import FORBIDDEN, NOT_READY, TOO_MANY, UNAUTHORIZED, answers, problem_answers
from serving_api.http.problems import ProblemError
from serving_api.service import running

router = APIRouter(tags=["operations"])

_METRICS_ANSWERS = {
    200: {"content": {"text/plain": {"example": 'foreserve_served_version{model="repeat_purchase"} 1.79546e+012'}}},
    **problem_answers(UNAUTHORIZED, FORBIDDEN, TOO_MANY),
}
_HIDDEN = "null: not shown, because anyone may ask here and not anyone may read models"


class Alive(BaseModel):
    """The process answers."""

    status: str = "alive"


class Ready(BaseModel):
    """The service can answer lookups."""

    status: str = "ready"
    registry_age_seconds: float = Field(description="time since the registry was last read")
    models: dict[str, int | None] | None = Field(description=f"active version by model; {_HIDDEN}")
    broken: dict[str, str] | None = Field(
        description=f"what is wrong with registry documents that are not understood; {_HIDDEN}"
    )


@router.get("/healthz", responses=answers(Alive, {"status": "alive"}))
async def healthz() -> Alive:
    """Whether the process is alive. Says nothing of Bigtable, which restarting the process would not bring back."""
    return Alive()


@router.get(
    "/readyz",
    responses=answers(
        Ready,
        {
            "status": "ready",
            "registry_age_seconds": 0.731,
            "models": {"repeat_purchase": 1795462342077},
            "broken": {},
        },
        NOT_READY,
    ),
)
async def readyz(request: Request) -> Ready:
    """Whether Bigtable has answered a read of the registry lately, so that lookups can be expected to work."""
    service = running(request)
    age, snapshot = service.catalog.age_seconds, service.catalog.snapshot
    if age is None or snapshot is None:
        raise ProblemError(503, "Not ready", "The registry has not been read yet.", registry_age_seconds=None)
    shown = service.settings.auth == "none"
    known: dict[str, Any] = {
        "registry_age_seconds": round(age, 3),
        "models": {name: model.state.active for name, model in snapshot.models.items()} if shown else None,
        "broken": dict(snapshot.broken) if shown else None,
    }
    limit = service.settings.registry_stale_seconds
    if age >= limit:
        raise ProblemError(503, "Not ready", f"The registry was last read {age:.1f} s ago; limit: {limit} s.", **known)
    return Ready(**known)


@router.get("/metrics", response_class=Response, responses=_METRICS_ANSWERS)
async def metrics(request: Request) -> Response:
    """What the service measures, for Prometheus."""
    admitted(request).require_metrics()
    return Response(running(request).exposition(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
