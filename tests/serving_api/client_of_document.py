"""Uses a client that was generated from the OpenAPI document as the package `client` in the working directory."""

import sys

from client import AuthenticatedClient
from client.api.models import get_model, list_models
from client.api.operations import readyz
from client.api.predictions import batch_get_predictions, get_entity_predictions, get_prediction
from client.models import BatchGet, Prediction, Problem

url, key, model, entity_type, candidate = sys.argv[1:]

with AuthenticatedClient(base_url=url, token=key) as client:
    assert readyz.sync(client=client).status == "ready"
    assert model in [known.model for known in list_models.sync(client=client).models]
    active = get_model.sync(model, client=client).active_version

    found = get_prediction.sync_detailed(model, "a/b", client=client, x_deadline_ms=9000)
    assert isinstance(found.parsed, Prediction)
    assert (found.parsed.entity_id, found.parsed.version, found.parsed.prediction) == ("a/b", active, {"n": 1})
    known = get_prediction.sync_detailed(model, "a/b", client=client, if_none_match=found.headers["etag"])
    assert known.status_code == 304

    several = batch_get_predictions.sync(model, client=client, body=BatchGet(entity_ids=["a/b", "none"]))
    assert several.predictions.to_dict() == {"a/b": {"n": 1}, "none": None}
    of_entity = get_entity_predictions.sync(entity_type, "a/b", client=client)
    assert of_entity.predictions[model].prediction == {"n": 1}

    for problem, status, title in (
        (get_prediction.sync(model, "none", client=client), 404, "No prediction"),
        (get_prediction.sync("other", "a", client=client), 403, "Forbidden"),
        (get_prediction.sync(model, "a/b", client=client, version=int(candidate)), 403, "Forbidden"),
        (get_prediction.sync(model, "x" * 5000, client=client), 422, "Invalid request"),
    ):
        assert isinstance(problem, Problem)
        assert (problem.status, problem.title) == (status, title)

with AuthenticatedClient(base_url=url, token="wrong") as stranger:
    assert list_models.sync(client=stranger).status == 401
