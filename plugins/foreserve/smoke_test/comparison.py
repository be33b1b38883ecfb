"""The comparison of the lookup service's answers with the predictions in BigQuery."""

import json
from dataclasses import dataclass
from typing import Any, Literal

import httpx


@dataclass(frozen=True, slots=True)
class Expectation:
    """The expected answer for an entity: a payload as JSON, or None if the entity has no prediction."""

    entity_id: str
    payload: str | None


Kind = Literal["wrong", "error", "unconnected", "timeout"]
"""The kind of a finding: a wrong prediction, an error of the service, no connection to it, or no answer in time."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An answer that is not as expected, or that did not come."""

    problem: str
    kind: Kind


def compare(response: httpx.Response, expectation: Expectation, version: int) -> Finding | None:
    """Compare the answer to a lookup with the expected one; None if they agree.

    Args:
        response: the answer.
        expectation: the expected answer.
        version: the version that the lookup asked for.
    """
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return Finding(f"HTTP {response.status_code}, not a JSON object: {response.text[:200]}", "error")
    if response.status_code == httpx.codes.NOT_FOUND and answer.get("type") == "/problems/no-prediction":
        if expectation.payload is None:
            return None
        return Finding("no prediction, expected one", "wrong")
    if response.status_code != httpx.codes.OK:
        return Finding(f"HTTP {response.status_code} {response.text[:200]}", "error")
    difference = _difference(answer, expectation, version)
    return None if difference is None else Finding(difference, "wrong")


def _difference(answer: dict[str, Any], expectation: Expectation, version: int) -> str | None:
    if answer.get("version") != version:
        return f"answered from version {answer.get('version')} instead of {version}"
    if expectation.payload is None:
        return "answered with a prediction, expected none"
    if answer.get("prediction") != json.loads(expectation.payload):
        return "answered with another prediction than BigQuery's"
    return None
