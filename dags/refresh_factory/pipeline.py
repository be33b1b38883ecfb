"""`pipeline.yaml`: what a data team says of a model, beside its SQL."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from croniter import croniter
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from foreserve.alerts import Alerts
from foreserve.prediction_gate import Checks
from foreserve.quality_gate import QualityGate
from prediction_store.layout import RowKeyFormat
from refresh_factory.yaml_file import YamlFile

PIPELINES = Path(__file__).parents[1] / "pipelines"
PIPELINE_FILE = "pipeline.yaml"
SQL_FILES = ("train.sql", "evaluate.sql", "predict.sql")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,49}$")]
"""A name that BigQuery, Bigtable and Airflow all take."""


def _scalar(value: object) -> object:
    if not isinstance(value, str | int | float | bool):
        raise ValueError("use text, a number, true or false; write quotes around a date")  # noqa: TRY004  pydantic wants it
    return value


Variable = Annotated[str | int | float | bool, BeforeValidator(_scalar)]
"""A value for the SQL."""

_PRESETS = ("@once", "@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")


def _is_schedule(value: str) -> str:
    if value not in _PRESETS and not croniter.is_valid(value):
        raise ValueError(f"neither a cron expression, such as '0 3 * * *', nor one of {', '.join(_PRESETS)}")
    return value


def _is_asset(value: str) -> str:
    if not re.match(r"[a-z][a-z0-9+.-]*://\S+$", value) or value.startswith("airflow:"):  # which Airflow reserves
        raise ValueError("no URI of an asset; write one such as bigquery://project/dataset/table")
    return value


Schedule = Annotated[str, AfterValidator(_is_schedule)]
AssetUri = Annotated[str, AfterValidator(_is_asset)]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a pipeline's file. The message names the field, the value and the fix."""

    file: Path
    line: int | None
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


class PipelineError(Exception):
    """A pipeline that cannot be used."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Give the problems, a line each, as the message."""
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SmokeTest(_Section):
    """The load on the lookup service before promotion."""

    requests: int = Field(1_000, ge=100, description="lookups; 100 are the least that have a 99th percentile")
    rate: float = Field(100, gt=0, description="lookups a second")
    objective_p99_ms: float = Field(100, gt=0, description="99th percentile of the latency, in milliseconds")


class Pipeline(_Section):
    """One model, and how it is refreshed and served."""

    model: Name = Field(description="the model's name in the registry, in URLs, and its column family")
    entity_type: Name = Field(description="what the predictions are about; the name of the Bigtable table")
    description: str = Field("", description="what it predicts, in a sentence; shown in Airflow")
    owner: str = Field("airflow", description="who looks after it; shown in Airflow")
    schedule: Schedule | None = Field(None, description="cron expression or preset; none: by hand or by assets")
    assets: list[AssetUri] = Field(
        default_factory=list, description="URIs of Airflow assets; a refresh starts when all have been updated"
    )
    row_keys: RowKeyFormat = Field("plain", description="hashed: for sequential ids, which would load one tablet")
    keep_versions: int = Field(4, ge=1, le=20, description="versions that stay readable, the active one among them")
    quality_gate: QualityGate
    checks: Checks = Checks()
    smoke_test: SmokeTest = SmokeTest()
    alerts: Alerts | None = Field(None, description="who is told of failures; none: what the environment says")
    variables: dict[Name, Variable] = Field(
        default_factory=dict,
        description="values for the SQL, as {{ variables.NAME }}",
        json_schema_extra={"additionalProperties": False},
    )

    @model_validator(mode="after")
    def _starts_in_one_way(self) -> Self:
        if self.schedule and self.assets:
            raise ValueError("schedule and assets are both given; remove one of them")
        return self


def load_pipeline(folder: Path) -> Pipeline:
    """Read a pipeline's folder.

    Raises:
        PipelineError: a file is missing, is not YAML, or a field is missing, repeated, unknown or wrong.
    """
    needed = [folder / name for name in (PIPELINE_FILE, *SQL_FILES)]
    if missing := [file for file in needed if not file.is_file()]:
        raise PipelineError([Problem(file, None, "the file is missing; a pipeline needs it") for file in missing])
    path = needed[0]
    try:
        file = YamlFile(path)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise PipelineError([Problem(path, line, f"not YAML: {_one_line(reason)}")]) from error
    if not isinstance(file.content, dict):
        message = f"expected fields such as `model: repeat_purchase`, found {file.content!r}"
        raise PipelineError([Problem(path, 1, message)])
    try:
        return Pipeline.model_validate(file.content)
    except ValidationError as error:
        problems = [Problem(path, file.line(found["loc"]), _explain(dict(found))) for found in error.errors()]
        raise PipelineError(problems) from error


def _explain(problem: dict[str, Any]) -> str:
    """One problem that pydantic found, as field, value and fix."""
    field = ".".join(str(part) for part in problem["loc"])
    match problem["type"]:
        case "missing":
            return f"{field}: the field is missing; add it"
        case "extra_forbidden":
            return f"{field}: no such field; there are {', '.join(_fields_of(problem['loc'][:-1]))}"
        case "string_pattern_mismatch":
            return f"{field}: {problem['input']!r} is no name; use lower-case letters, digits and _, a letter first"
        case _:
            return f"{field}: {problem['input']!r}: {_one_line(problem['msg'])}"


def _fields_of(section: tuple[str | int, ...]) -> list[str]:
    """The names of the fields that a section may have."""
    schema = Pipeline.model_json_schema()
    at = schema
    for part in section:
        at = at.get("properties", {}).get(part) or at["additionalProperties"]
        at = next((choice for choice in at.get("anyOf", ()) if "$ref" in choice), at)
        if "$ref" in at:
            at = schema["$defs"][at["$ref"].rpartition("/")[2]]
    return list(at["properties"])


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)
