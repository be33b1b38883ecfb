"""`pipeline.yaml`: what a data team says of a model, beside its SQL."""

import re
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from foreserve.gate import QualityGate
from prediction_store.layout import RowKeyFormat

SQL_FILES = ("train.sql", "evaluate.sql", "predict.sql")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,49}$")]
"""A name that BigQuery, Bigtable and Airflow all take."""


class PipelineError(Exception):
    """A pipeline that cannot be used. The message names the file, the field, the value and the fix."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Checks(_Section):
    """What must hold of the predictions, beside the rules that hold for all pipelines."""

    max_row_change: float | None = Field(
        0.5, ge=0, description="largest change in the number of predictions, as a share of the active version's"
    )
    max_payload_bytes: int = Field(100_000, gt=0, description="largest prediction, as JSON")


class SmokeTest(_Section):
    """The load on the look-up service before promotion."""

    requests: int = Field(1_000, ge=100, description="look-ups; 100 are the least that have a 99th percentile")
    rate: float = Field(100, gt=0, description="look-ups a second")
    objective_p99_ms: float = Field(100, gt=0, description="99th percentile of the latency, in milliseconds")


class Pipeline(_Section):
    """One model, and how it is refreshed and served."""

    model: Name = Field(description="the model's name in the registry, in URLs, and its column family")
    entity_type: Name = Field(description="what the predictions are about; the name of the Bigtable table")
    description: str = ""
    owner: str = "airflow"
    schedule: str | None = Field(None, description="cron expression or preset; none: triggered by hand")
    row_keys: RowKeyFormat = "plain"
    keep_versions: int = Field(4, ge=1, le=20, description="versions that stay readable, the active one among them")
    quality_gate: QualityGate
    checks: Checks = Checks()
    smoke_test: SmokeTest = SmokeTest()
    variables: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="values for the SQL, as {{ variables.NAME }}"
    )


def load_pipeline(folder: Path) -> Pipeline:
    """Read a pipeline's folder.

    Raises:
        PipelineError: a file is missing, is not YAML, or a field is missing, unknown or wrong.
    """
    path = folder / "pipeline.yaml"
    for name in ("pipeline.yaml", *SQL_FILES):
        if not (folder / name).is_file():
            raise PipelineError(f"{folder / name}: the file is missing; a pipeline needs it")
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise PipelineError(f"{path}: not YAML: {_one_line(str(error))}") from error
    if not isinstance(content, dict):
        raise PipelineError(f"{path}: expected fields such as `model: repeat_purchase`, found {content!r}")
    try:
        return Pipeline.model_validate(content)
    except ValidationError as error:
        problems = "\n".join(f"{path}: {_explain(dict(problem))}" for problem in error.errors())
        raise PipelineError(problems) from error


def _explain(problem: dict[str, Any]) -> str:
    """One problem that pydantic found, as field, value and fix."""
    field = ".".join(str(part) for part in problem["loc"])
    match problem["type"]:
        case "missing":
            return f"{field}: the field is missing; add it"
        case "extra_forbidden":
            return f"{field}: no such field; remove it, or mind the spelling"
        case "string_pattern_mismatch":
            return f"{field}: {problem['input']!r} is no name; use lower-case letters, digits and _, a letter first"
        case _:
            return f"{field}: {problem['input']!r}: {_one_line(problem['msg'])}"


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)
