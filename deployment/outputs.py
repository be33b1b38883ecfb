"""The resources to deploy to: the output `deployment` of Terraform."""

import json
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from deployment.commands import DeploymentError

IMAGE_VARIABLE = "FORESERVE_DATAFLOW_SDK_CONTAINER_IMAGE"
"""The variable that names the image of Dataflow's workers. A deployment writes it to a file beside the DAGs."""

_REQUIRED = ("FORESERVE_PROJECT", "FORESERVE_BIGTABLE_INSTANCE", "FORESERVE_DATAFLOW_TEMP_LOCATION")


def _can_be_set(name: str) -> str:
    if name.startswith("AIRFLOW__"):
        raise ValueError(
            "Composer accepts no Airflow option as a variable; make it a configuration override in Terraform"
        )
    if name == IMAGE_VARIABLE:
        raise ValueError("the deployment sets this variable itself; remove it from Terraform's output")
    return name


Name = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$")]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), AfterValidator(_can_be_set)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Composer(_Part):
    """The Airflow environment."""

    environment: Name
    location: Name


class Api(_Part):
    """The lookup service on Cloud Run."""

    service: Name
    location: Name
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+$")]


class Outputs(_Part):
    """The resources of one environment."""

    project: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9.:-]+$")]
    region: Name
    image_repository: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+-docker\.pkg\.dev/[^/\s]+/[^/\s]+$")]
    composer: Composer
    api: Api
    environment_variables: dict[VariableName, str] = Field(description="of the DAGs")

    @model_validator(mode="after")
    def _has_what_dags_need(self) -> Self:
        if missing := [name for name in _REQUIRED if not self.environment_variables.get(name)]:
            raise ValueError(f"environment_variables lacks {', '.join(missing)}; the DAGs need them")
        return self

    def secrets(self) -> list[str]:
        """Return texts that must never be printed: connections and Airflow variables, and the passwords in them."""
        secrets: list[str] = []
        for name, value in self.environment_variables.items():
            if not name.startswith(("AIRFLOW_CONN_", "AIRFLOW_VAR_")) and name != "FORESERVE_ALERTS":
                continue
            secrets.append(value)
            try:
                content = json.loads(value)
            except ValueError:
                password = urlsplit(value).password
                secrets += [password, unquote(password)] if password else []
            else:
                secrets += _passwords(content)
        return secrets


def _passwords(content: Any, name: str = "") -> list[str]:
    """Return every text in a JSON document, except for addresses."""
    if isinstance(content, dict):
        return [text for key, value in content.items() for text in _passwords(value, key)]
    if isinstance(content, list):
        return [text for value in content for text in _passwords(value, name)]
    public = name in ("conn_type", "host", "schema", "port", "id_token_audience", "project", "notifier")
    return [content] if isinstance(content, str) and not public else []


def read(text: str, origin: str) -> Outputs:
    """Parse and validate Terraform's output.

    Args:
        text: the output, as JSON.
        origin: the source of the text, for errors.

    Raises:
        DeploymentError: the text is not JSON, or a field is missing, unknown or invalid. The message names the field
            and the fix, but no value of an environment variable, which may be a secret.
    """
    try:
        return Outputs.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise DeploymentError(
            f"{origin}: not JSON ({error}); give the output of `terraform output -json deployment`"
        ) from error
    except ValidationError as error:
        problems = [_explain(dict(problem)) for problem in error.errors()]
        raise DeploymentError("\n".join(f"{origin}: {problem}" for problem in problems)) from None


def read_file(path: Path) -> Outputs:
    """Parse and validate a file with Terraform's output.

    Raises:
        DeploymentError: the file cannot be read, or its content is invalid.
    """
    try:
        return read(path.read_text(), str(path))
    except OSError as error:
        raise DeploymentError(f"{path}: {error.strerror}; give the file with Terraform's output") from error


def _explain(problem: dict[str, Any]) -> str:
    """Return the field, the value and the fix of one validation error."""
    location = [str(part) for part in problem["loc"] if part != "[key]"]
    field = ".".join(location) or "deployment"
    match problem["type"]:
        case "missing":
            return f"{field}: the field is missing; add it to the output `deployment`"
        case "extra_forbidden":
            return f"{field}: unknown field; remove it from the output `deployment`"
        case "value_error":
            return f"{field}: {problem['ctx']['error']}"
        case "string_pattern_mismatch":
            return f"{field}: {problem['input']!r} does not match {problem['ctx']['pattern']}; correct it"
        case _ if location[:1] == ["environment_variables"] and len(location) > 1:
            return f"{field}: the value of a variable must be a string, not {type(problem['input']).__name__}; quote it"
        case _:
            return f"{field}: {problem['input']!r}: {problem['msg']}"
