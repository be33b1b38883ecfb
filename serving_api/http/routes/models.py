"""Routes that describe the models and their versions."""

import time
from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from prediction_store.lifecycle import Receipt, now_ms
from serving_api.http.middleware.authentication import caller_of
from serving_api.http.openapi import ENTITY_TYPE, MODEL, READ_PROBLEMS, UNKNOWN_MODEL, VERSION_MEMBERS, answers
from serving_api.http.parameters import ModelName, current_snapshot, find_model, no_parameters
from serving_api.service import running
from serving_api.store.catalog import Model, iso_time

router = APIRouter(prefix="/v1", tags=["models"], dependencies=[Depends(no_parameters)])


class ServedView(BaseModel):
    """A time in which readers had a version."""

    since: str
    until: str | None = Field(description="null: they still have it")


class VersionView(BaseModel):
    """A version of a model."""

    version: int
    created_at: str
    status: str
    run: str = Field(description="URL of the Airflow run that opened it; empty if no run did")
    receipt: Receipt | None = Field(description="counts of the cells that its export wrote")
    served: list[ServedView] = Field(description="times in which readers had it, oldest first")
    details: dict[str, Any] = Field(description="details that the refresh recorded")


class ModelView(BaseModel):
    """A model and its versions, the newest first."""

    model: str
    entity_type: str
    active_version: int | None
    created_at: str | None = Field(description="time of the active version")
    age_seconds: float | None = Field(description="age of the active version")
    max_age_seconds: float = Field(description="the largest age that the pipeline wants")
    versions: list[VersionView]
    run_lease: str | None = Field(description="URL of the run that has the run lease")
    rollback_targets: list[int] = Field(description="versions that readers can be rolled back to")
    forward_targets: list[int] = Field(description="versions after the active one that can be made active as they are")


class ModelsView(BaseModel):
    """All models."""

    models: list[ModelView]


_EXAMPLE = {
    "model": MODEL,
    "entity_type": ENTITY_TYPE,
    "active_version": VERSION_MEMBERS["version"],
    "created_at": VERSION_MEMBERS["created_at"],
    "age_seconds": 3600.5,
    "max_age_seconds": 129600.0,
    "versions": [
        {
            **VERSION_MEMBERS,
            "status": "promoted",
            "run": f"https://airflow.example.com/dags/refresh_{MODEL}/runs/manual",
            "receipt": {"predictions": 23570, "tombstones": 12},
            "served": [{"since": "2026-11-23T05:07:31.512Z", "until": "2026-11-24T05:06:12.040Z"}],
            "details": {"metrics": {"roc_auc": 0.81}},
        }
    ],
    "run_lease": f"https://airflow.example.com/dags/refresh_{MODEL}/runs/manual",
    "rollback_targets": [],
    "forward_targets": [],
}


@router.get("/models", responses=answers(ModelsView, {"models": [_EXAMPLE]}, *READ_PROBLEMS))
async def list_models(request: Request) -> ModelsView:
    """List the models that the caller may read, and their versions."""
    models = current_snapshot(running(request).catalog).models
    readable = filter(caller_of(request).may_read, sorted(models))
    return ModelsView(models=[_view(models[name]) for name in readable])


@router.get("/models/{model}", responses=answers(ModelView, _EXAMPLE, *READ_PROBLEMS, UNKNOWN_MODEL))
async def get_model(request: Request, model: ModelName) -> ModelView:
    """Get a model and its versions."""
    caller = caller_of(request)
    caller.require_model(model)
    return _view(find_model(current_snapshot(running(request).catalog), model, caller))


def _view(model: Model) -> ModelView:
    state = model.state
    served: dict[int, list[ServedView]] = {}
    for interval in state.served_intervals(now := now_ms()):
        until = None if interval.until == now else iso_time(interval.until)
        served.setdefault(interval.version, []).append(ServedView(since=iso_time(interval.since), until=until))
    return ModelView(
        model=state.model,
        entity_type=state.entity_type,
        active_version=state.active,
        created_at=None if state.active is None else iso_time(state.active),
        age_seconds=None if state.active is None else round(time.time() - state.active / 1000, 3),
        max_age_seconds=state.max_age_hours * 3600,
        versions=[
            VersionView(
                version=version,
                created_at=iso_time(version),
                status=record.status,
                run=record.run,
                receipt=record.receipt,
                served=served.get(version, []),
                details=dict(record.details),
            )
            for version, record in sorted(state.versions.items(), reverse=True)
        ],
        run_lease=state.run_lease_holder(now),
        rollback_targets=state.rollback_targets(),
        forward_targets=state.forward_targets(),
    )
