"""The callers file: a JSON document with callers, their API keys and tokens, their rights and rate limits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class KeyEntry(_Entry):
    """An API key of a caller. A caller has two keys while one replaces the other."""

    id: str = Field(pattern=r"^foreserve_[0-9a-f]{12}$", description="the id, with which the key begins")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="the SHA-256 of the whole key, in hexadecimal")
    expires: AwareDatetime | None = Field(None, description="time after which the key is refused; null: never")


class CallerEntry(_Entry):
    """A caller."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$", description="name in metrics and problems")
    keys: Sequence[KeyEntry] = Field((), description="API keys of the caller")
    tokens: Sequence[Annotated[Mapping[str, str], Field(min_length=1)]] = Field(
        (), description="tokens of the caller: those with all claims of one of these"
    )
    models: Sequence[str] | Literal["all"] = Field(description='models that the caller may read, or "all"')
    preview: bool = Field(default=False, description="true if the caller may read versions that are not active")
    metrics: bool = Field(default=False, description="true if the caller may read /metrics")
    requests_per_second: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="requests that each process admits per second; null: no limit"
    )


class CallersFile(_Entry):
    """The document."""

    callers: Sequence[CallerEntry]

    @field_validator("callers")
    @classmethod
    def _names_differ(cls, callers: Sequence[CallerEntry]) -> Sequence[CallerEntry]:
        _refuse_repeated("name", [caller.name for caller in callers])
        return callers

    @model_validator(mode="after")
    def _keys_differ(self) -> "CallersFile":
        _refuse_repeated("key id", [key.id for caller in self.callers for key in caller.keys])
        return self


def _refuse_repeated(what: str, values: Sequence[str]) -> None:
    repeated = [value for value, times in Counter(values).items() if times > 1]
    if repeated:
        raise ValueError(f"the {what} {repeated[0]} is there more than once")


def read_callers_file(path: Path) -> tuple[bytes, CallersFile]:
    """Read a callers file. Return its content, and the parsed document.

    Raises:
        ValueError: the file cannot be read, or is invalid. The message names the field but repeats no content, as the
            file is confidential.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"the callers file {path} cannot be read: {error.strerror}") from None
    try:
        return content, CallersFile.model_validate_json(content)
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'the document'}: {e['msg']}" for e in error.errors(include_input=False)
        )
        raise ValueError(f"the callers file {path} is broken: {reasons}") from None
