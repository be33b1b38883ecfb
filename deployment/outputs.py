"""What Terraform made: its output `deployment`."""

import json
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from deployment.errors import DeploymentError

IMAGE_VARIABLE = "FORESERVE_DATAFLOW_SDK_CONTAINER_IMAGE"
"""Names the image of Dataflow's workers. A deployment puts it beside the code that the image was built from."""

_NEEDED = ("FORESERVE_PROJECT", "FORESERVE_BIGTABLE_INSTANCE", "FORESERVE_DATAFLOW_TEMP_LOCATION")


def _can_be_set(name: str) -> str:
    if name.startswith("AIRFLOW__"):
        raise ValueError(
            "Composer takes no Airflow option as a variable; make it a configuration override in Terraform"
        )
    if name == IMAGE_VARIABLE:
        raise ValueError("a deployment knows which image it built; take the variable out of Terraform's output")
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
    """What there is to deploy to."""

    project: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9.:-]+$")]
    region: Name
    image_repository: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+-docker\.pkg\.dev/[^/\s]+/[^/\s]+$")]
    composer: Composer
    api: Api
    environment_variables: dict[VariableName, str] = Field(description="of the DAGs")

    @model_validator(mode="after")
    def _has_what_dags_need(self) -> Self:
        if missing := [name for name in _NEEDED if not self.environment_variables.get(name)]:
            raise ValueError(f"environment_variables lacks {', '.join(missing)}; the DAGs need them")
        return self


def read(text: str, origin: str) -> Outputs:
    """Check Terraform's output.

    Args:
        text: the output, as JSON.
        origin: where it came from, for errors.

    Raises:
        DeploymentError: it is no JSON, or a field is missing, unknown or wrong. Says which, and how to mend it, but
            no value of an environment variable: those may be secrets.
    """
    try:
        return Outputs.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise DeploymentError(
            f"{origin}: not JSON ({error}); it has to be what `terraform output -json deployment` prints"
        ) from error
    except ValidationError as error:
        problems = [_explain(dict(problem)) for problem in error.errors()]
        raise DeploymentError("\n".join(f"{origin}: {problem}" for problem in problems)) from None


def read_file(path: Path) -> Outputs:
    """Check a file of Terraform's output.

    Raises:
        DeploymentError: it cannot be read, or is wrong.
    """
    try:
        return read(path.read_text(), str(path))
    except OSError as error:
        raise DeploymentError(f"{path}: {error.strerror}; give the file that has Terraform's output") from error


def _explain(problem: dict[str, Any]) -> str:
    """One problem that pydantic found, as field, value and fix."""
    location = [str(part) for part in problem["loc"] if part != "[key]"]
    field = ".".join(location) or "deployment"
    match problem["type"]:
        case "missing":
            return f"{field}: the field is missing; add it to the output `deployment`"
        case "extra_forbidden":
            return f"{field}: no such field; take it out of the output `deployment`"
        case "value_error":
            return f"{field}: {problem['ctx']['error']}"
        case "string_pattern_mismatch":
            return f"{field}: {problem['input']!r} does not match {problem['ctx']['pattern']}; correct it"
        case _ if location[:1] == ["environment_variables"] and len(location) > 1:
            return f"{field}: a variable's value has to be a string, not {type(problem['input']).__name__}; quote it"
        case _:
            return f"{field}: {problem['input']!r}: {problem['msg']}"
