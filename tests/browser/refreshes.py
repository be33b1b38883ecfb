"""Versions with the details that a refresh records in the registry."""

SMOKE_TEST = {
    "requests": 1000,
    "errors": 0,
    "mismatches": 0,
    "examples": [],
    "p50_ms": 2.1,
    "p95_ms": 3.9,
    "p99_ms": 6.48,
    "max_ms": 11.2,
    "rate": 200,
    "objective_p99_ms": 100,
}


def refresh(store, model, predictions, *, metrics=None, gate=None, unchanged=0, run="", now=None, **details):
    """Write and promote a version of a model, with the details of a refresh. `now`: its time in ms."""
    written = {entity: payload for entity, payload in predictions.items() if payload is not None}
    version = store.export(model, predictions, run, now)
    details = {
        "bigquery_model": f"demo.predictions.{model}_{version}",
        "counts": {
            "predictions": len(written) + unchanged,
            "written": len(written),
            "tombstones": len(predictions) - len(written),
            "unchanged": unchanged,
        },
        "smoke_test": SMOKE_TEST,
        **details,
    }
    if metrics:
        details |= {"metrics": metrics, "quality_gate": gate}
    store.registry.update(model, lambda state: state.note(version, **details))
    store.promote(model, version, predictions)
    store.registry.update(model, lambda state: state.confirm(version))
    return version


def roll_back(store, model, why):
    """Roll a model back to the newest version that is possible, as Ann."""
    state = store.registry.get(model)
    left, to = state.active, state.rollback_targets()[0]
    rollback = {"to": to, "why": why, "by": "Ann", "run_id": "r", "at": "2026-11-23T05:00:00+00:00"}
    store.registry.update(model, lambda s: s.roll_back(to, reason=why, now=1).note(left, rollback=rollback))
