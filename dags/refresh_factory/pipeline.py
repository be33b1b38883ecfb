"""Pipelines: the fields of `pipeline.yaml`, and how a pipeline's folder is read."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from croniter import CroniterBadDateError, croniter
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
from foreserve.prediction_gate import JsonField, PredictionGate
from foreserve.quality_gate import QualityGate
from foreserve.smoke_test import SmokeTest
from prediction_store.layout import REGISTRY_TABLE, RowKeyFormat
from refresh_factory.yaml_file import BothNamesError, YamlFile

PIPELINES = Path(__file__).parents[1] / "pipelines"
PIPELINE_FILE = "pipeline.yaml"
SQL_FILES = ("train.sql", "evaluate.sql", "predict.sql")
OUTCOMES_FILE = "outcomes.sql"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,49}$")]
"""A name that BigQuery, Bigtable and Airflow all accept."""

_log = logging.getLogger(__name__)


def _scalar(value: object) -> object:
    if not isinstance(value, str | int | float | bool):
        raise ValueError("use text, a number, true or false; write quotes around a date")  # noqa: TRY004  pydantic wants it
    return value


Variable = Annotated[str | int | float | bool, BeforeValidator(_scalar)]
"""A value for the SQL."""

_PRESETS = ("@once", "@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")
_CRON_FIELDS = 5


def _is_schedule(value: str) -> str:
    if value in _PRESETS:
        return value
    # Airflow takes a sixth field for seconds, but a scheduler does not look that often.
    if not croniter.is_valid(value) or len(value.split()) != _CRON_FIELDS:
        raise ValueError(f"neither a cron expression, such as '0 3 * * *', nor one of {', '.join(_PRESETS)}")
    try:
        croniter(value).get_next()
    except CroniterBadDateError:
        raise ValueError("no such day comes; a schedule names days that there are, such as '0 3 28 2 *'") from None
    return value


def _is_asset(value: str) -> str:
    if value.startswith("bigquery:") and not re.match(r"bigquery://[^/]+/[^/]+/[^/]+$", value):
        # Airflow's provider demands this form (airflow/providers/google/assets/bigquery.py).
        raise ValueError("no table of BigQuery; write bigquery://project/dataset/table")
    if not re.match(r"[a-z][a-z0-9+.-]*://\S+$", value) or value.startswith("airflow:"):  # which Airflow reserves
        raise ValueError("no URI of an asset; write one such as bigquery://project/dataset/table")
    return value


def _is_entity_type(value: str) -> str:
    if value == REGISTRY_TABLE:
        raise ValueError("the registry's table has this name; choose another one")
    return value


Schedule = Annotated[str, AfterValidator(_is_schedule)]
AssetUri = Annotated[str, AfterValidator(_is_asset)]


@dataclass(frozen=True, slots=True)
class Problem:
    """An error in a pipeline's file, or a warning. The message names the field, the value and the fix."""

    file: Path
    line: int | None
    message: str
    is_warning: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else f"{self.file}"
        return f"{place}: warning: {self.message}" if self.is_warning else f"{place}: {self.message}"


class PipelineError(Exception):
    """A pipeline that cannot be used. The message has a line for each problem."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Give the problems."""
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class QueryLimits(BaseModel):
    """The limits of each BigQuery job of a refresh. BigQuery refuses a job with too many bytes, without cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    maximum_bytes_billed: int | None = Field(2**40, gt=0, description="bytes that a job may be billed for; null: any")
    timeout_minutes: int = Field(1_440, gt=0, description="minutes after which BigQuery stops a job")


class Outcomes(BaseModel):
    """The comparison of the predictions that readers had with the outcomes of `outcomes.sql`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: JsonField | None = Field(None, description="numeric field of the predictions; none: the prediction itself")
    schedule: Schedule = Field("@daily", description="cron expression or preset")
    keep_days: int = Field(
        100, ge=1, le=1_000, description="days for which BigQuery keeps the predictions that readers had"
    )
    min_outcomes: int = Field(100, ge=1, description="outcomes from which on the quality gate's rules apply")


class Pipeline(BaseModel):
    """One model, and how it is refreshed and served."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Name = Field(description="the model's name in the registry, in URLs, and its column family")
    entity_type: Annotated[Name, AfterValidator(_is_entity_type)] = Field(
        description="kind of entity that is predicted for; the name of the Bigtable table"
    )
    description: str = Field("", description="what it predicts, in a sentence; shown in Airflow")
    owner: str = Field("airflow", description="who looks after it; shown in Airflow")
    schedule: Schedule | None = Field(None, description="cron expression or preset; none: by hand or by assets")
    assets: list[AssetUri] = Field(
        default_factory=list, description="URIs of Airflow assets; a refresh starts when all have been updated"
    )
    row_keys: RowKeyFormat = Field("plain", description="hashed: for sequential ids, which would load one tablet")
    keep_versions: int = Field(4, ge=1, le=20, description="versions that stay readable, the active one among them")
    max_age_hours: float = Field(36, gt=0, description="objective for the age of the active version")
    quality_gate: QualityGate
    prediction_gate: PredictionGate = PredictionGate()
    query_limits: QueryLimits = QueryLimits()
    smoke_test: SmokeTest = SmokeTest()
    outcomes: Outcomes | None = Field(None, description="comparison with outcomes.sql; none: there is no such file")
    alerts: Alerts | None = Field(None, description="notifiers for failures; none: those of the environment")
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


_RENAMED = {
    ("checks",): "prediction_gate",
    ("quality_gate", "when_closed"): "on_breach",
    ("prediction_gate", "when_closed"): "on_breach",
}
"""Fields of 0.1.0 that have another name now. A section comes before the fields in it."""


def _log_warning(problem: Problem) -> None:
    _log.warning("%s", problem)


def load_pipeline(folder: Path, warn: Callable[[Problem], None] = _log_warning) -> Pipeline:
    """Read a pipeline's folder.

    Args:
        folder: the folder.
        warn: receives a warning for each field under an old name. By default, warnings are logged. Airflow shows them
            in the log of the DAG processor.

    Raises:
        PipelineError: a file is missing, is not YAML, or a field is missing, repeated, unknown or wrong.
    """
    needed = [folder / name for name in (PIPELINE_FILE, *SQL_FILES)]
    if missing := [file for file in needed if not file.is_file()]:
        raise PipelineError([Problem(file, None, "the file is missing; a pipeline needs it") for file in missing])
    path = needed[0]
    try:
        file = YamlFile(path)
        _rename_fields(path, file, warn)
        content = file.content()
    except yaml.MarkedYAMLError as error:
        raise PipelineError([_not_yaml(path, error)]) from error
    if not isinstance(content, dict):
        raise PipelineError([Problem(path, 1, f"expected fields such as `model: repeat_purchase`, found {content!r}")])
    try:
        pipeline = Pipeline.model_validate(content)
    except ValidationError as error:
        problems = [Problem(path, file.line(found["loc"]), _explain(dict(found))) for found in error.errors()]
        raise PipelineError(problems) from error
    if (folder / OUTCOMES_FILE).is_file() != (pipeline.outcomes is not None):
        raise PipelineError([_half_of_outcomes(folder, file)])
    return pipeline


def _half_of_outcomes(folder: Path, file: YamlFile) -> Problem:
    """The problem of a pipeline with outcomes.sql and no section `outcomes`, or the other way round."""
    if (folder / OUTCOMES_FILE).is_file():
        message = "pipeline.yaml has no section outcomes; add it with the field to compare: {field: probability}"
        return Problem(folder / OUTCOMES_FILE, None, message)
    message = f"outcomes: there is no {OUTCOMES_FILE}; add it, or remove the section"
    return Problem(folder / PIPELINE_FILE, file.line(("outcomes",)), message)


def refuse_shared_model(folder: Path, model: str) -> None:
    """Check that no other pipeline beside `folder` has the same model.

    Airflow would show one DAG, and run it from either file.

    Raises:
        PipelineError: another pipeline has it. The same error appears for both.
    """
    problems = []
    for other in sorted(folder.resolve().parent.glob(f"*/{PIPELINE_FILE}")):
        if other.parent == folder.resolve() or model not in other.read_text() or not any(other.parent.glob("*.py")):
            continue
        try:
            content = YamlFile(other).content()
        except yaml.MarkedYAMLError:
            continue  # the error of that pipeline
        if isinstance(content, dict) and content.get("model") == model:
            line = YamlFile(folder / PIPELINE_FILE).line(("model",))
            message = f"model: {model!r} is the model of {other.parent}, too; rename one of them"
            problems.append(Problem(folder / PIPELINE_FILE, line, message))
    if problems:
        raise PipelineError(problems)


def _rename_fields(path: Path, file: YamlFile, warn: Callable[[Problem], None]) -> None:
    for field, name in _RENAMED.items():
        old, new = ".".join(field), ".".join((*field[:-1], name))
        try:
            line = file.rename(field, name)
        except BothNamesError:
            message = f"{old}: the old name of {new}, which is given too; remove one of them"
            raise PipelineError([Problem(path, file.line(field), message)]) from None
        if line is not None:
            warn(Problem(path, line, f"{old}: the old name of {new}; rename the field", is_warning=True))


def _not_yaml(path: Path, error: yaml.MarkedYAMLError) -> Problem:
    """The problem of a file that is not YAML, with the fix of the most common mistakes."""
    line = error.problem_mark.line + 1 if error.problem_mark else None
    reason = _one_line(", ".join(part for part in (error.context, error.problem) if part))
    if line is not None and error.problem == "mapping values are not allowed here":
        above = path.read_text().splitlines()[: line - 1]
        if above and (found := re.match(r"\s*(\w+):(?=[^\s/])", above[-1])):  # with the next line, one text to YAML
            return Problem(path, line - 1, f"not YAML: write a space after the colon of {found[1]}")
        reason += "; write quotes around a text with a colon"
    elif "'\\t'" in reason:
        reason = "a tab; write spaces in its place"
    elif "cannot start any token" in reason:
        reason += "; write quotes around a text that begins with it"
    return Problem(path, line, f"not YAML: {reason}")


def _explain(problem: dict[str, Any]) -> str:
    """The message of a problem that pydantic found: field, value and fix."""
    field = ".".join(str(part) for part in problem["loc"])
    match problem["type"]:
        case "missing":
            return f"{field}: the field is missing; add it"
        case "extra_forbidden":
            return f"{field}: no such field; there are {', '.join(_fields_of(problem['loc'][:-1]))}"
        case "string_pattern_mismatch":
            return f"{field}: {problem['input']!r} is no name; use lower-case letters, digits and _, a letter first"
        case _:
            value = problem["input"]
            shown = str(value) if isinstance(value, date) else repr(value)
            reason = _one_line(problem["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
            reason = reason.partition(", unable")[0]
            # Of a section, the name is enough; the errors of the whole file name their fields themselves.
            return ": ".join(part for part in (field, "" if isinstance(value, dict) else shown, reason) if part)


def _fields_of(section: tuple[str | int, ...]) -> list[str]:
    """The names of the fields that a section may have, by the path of the section."""
    schema = Pipeline.model_json_schema()
    at = schema
    for part in section:
        others = [*at.get("patternProperties", {}).values(), at.get("items"), at.get("additionalProperties")]
        at = at.get("properties", {}).get(part) or next(filter(None, others))
        at = next((choice for choice in at.get("anyOf", ()) if "$ref" in choice), at)
        if "$ref" in at:
            at = schema["$defs"][at["$ref"].rpartition("/")[2]]
    return list(at["properties"])


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)
