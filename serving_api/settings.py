"""Settings of the service, from environment variables that begin with `SERVING_`."""

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

METRICS_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable of prometheus_client with the folder in which processes share their metrics."""

_PREFIX = "SERVING_"

_RENAMED = {
    "SERVING_MAX_READS_PER_LANE": "SERVING_MAX_KEYS_PER_VERSION and counts keys; set that",
    "SERVING_MAX_READS_PER_VERSION": "SERVING_MAX_KEYS_PER_VERSION and counts keys; set that",
}


class Settings(BaseSettings):
    """The settings of a process. `SERVING_PROJECT` sets `project`, and so on."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True)

    project: str = Field(min_length=1, description="Google Cloud project of the Bigtable instance")
    instance: str = Field(min_length=1, description="id of the Bigtable instance")
    app_profile: str = Field(default="", description="Bigtable app profile of the reads; empty: the default one")
    bigtable_client: Literal["http2", "official"] = Field(
        default="http2", description="client of Bigtable: our own, or Google's, which takes ten times the CPU time"
    )
    bigtable_endpoint: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9.-]+(:[0-9]+)?)?$",
        description="host of a regional Bigtable endpoint or of Private Service Connect; empty: the global endpoint",
    )
    registry_poll_seconds: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="seconds between two reads of the registry"
    )
    deadline_seconds: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="seconds that a request may take"
    )
    auth: Literal["none", "api_keys", "jwt", "api_keys_or_jwt"] = Field(
        default="none", description="credential of requests: none, an API key, a signed token, or either of them"
    )
    allow_anonymous: bool = Field(
        default=False, description="true to answer anyone at other addresses than loopback while auth is none"
    )
    callers_file: Path | None = Field(
        default=None, description="file with the callers and their rights; required unless auth is none"
    )
    callers_seconds: float = Field(
        default=10.0, gt=0, allow_inf_nan=False, description="seconds between two reads of the callers file"
    )
    jwt_issuer: str = Field(default="", description="issuer of tokens, as in their claim iss")
    jwt_audience: str = Field(default="", description="audience of tokens for this service, as in their claim aud")
    jwt_keys_url: str = Field(default="", description="URL of the issuer's public keys, a JWKS document")
    jwt_keys_seconds: float = Field(
        default=300.0, gt=0, allow_inf_nan=False, description="seconds between two reads of the issuer's keys"
    )
    jwt_header: str = Field(
        default="authorization", pattern=r"^[A-Za-z-]+$", description="header that carries the token"
    )
    metrics_open: bool = Field(default=False, description="true if anyone may read /metrics, whatever auth is")
    body_seconds: float = Field(
        default=10.0, gt=0, allow_inf_nan=False, description="seconds that the body of a request may take to arrive"
    )
    max_connections: int = Field(
        default=1000,
        ge=1,
        description="connections of clients to one process; further ones stay in the kernel's backlog",
    )
    idle_seconds: float = Field(
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds after which a connection without a complete request head is closed; must exceed the idle "
        "time-out of a load balancer in front",
    )
    max_in_flight: int = Field(default=2000, ge=1, description="entities that are looked up at a time, in all requests")
    max_batch: int = Field(default=1000, ge=1, description="entities in one batch request")
    max_keys_per_read: int = Field(
        default=16, ge=1, description="rows in one Bigtable read; larger lookups make several at the same time"
    )
    connections: int = Field(default=4, ge=1, description="connections of one process to Bigtable")
    cache_bytes: int = Field(
        default=0, ge=0, description="bytes of the cache of predictions in one process; 0: no cache"
    )
    cache_control: str = Field(
        default="no-cache",
        pattern=r"^[\x20-\x7e]+$",
        description="Cache-Control of answers; with the default, clients keep answers and revalidate them",
    )
    hedge_budget: float = Field(
        default=0.05, ge=0, le=1, description="largest share of rows that may be read twice, by hedged reads; 0: none"
    )
    hedge_app_profile: str = Field(
        default="",
        description="Bigtable app profile of hedged reads, which routes to another cluster; empty: that of the reads",
    )
    max_keys_per_version: int = Field(
        default=1000, ge=1, description="rows of one version of a model that are read at a time; further ones wait"
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="lowest level of log lines; debug adds a line for each 4xx answer"
    )
    build: str = Field(default="unknown", min_length=1, description="name of this build in metrics and traces")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_batch > self.max_in_flight:
            raise ValueError(
                f"SERVING_MAX_BATCH ({self.max_batch}) is above SERVING_MAX_IN_FLIGHT ({self.max_in_flight}), so the "
                "largest batches could never be answered; raise the latter"
            )
        return self

    @model_validator(mode="after")
    def _access_is_whole(self) -> Self:
        if self.auth == "none":
            return self
        if self.callers_file is None:
            raise ValueError(
                f"SERVING_AUTH is {self.auth}, and SERVING_CALLERS_FILE is not set; set it to the callers file"
            )
        if self.auth == "api_keys":
            return self
        for name in ("jwt_issuer", "jwt_audience", "jwt_keys_url"):
            if not getattr(self, name):
                meaning = type(self).model_fields[name].description
                raise ValueError(
                    f"SERVING_AUTH is {self.auth}, and {_PREFIX}{name.upper()} is not set; set it to the {meaning}"
                )
        url = urlsplit(self.jwt_keys_url)
        if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.hostname or "")):
            raise ValueError(
                f"SERVING_JWT_KEYS_URL is {self.jwt_keys_url!r}; use https://, because anybody could change keys that "
                "are sent without it"
            )
        return self

    def for_the_log(self) -> dict[str, Any]:
        """The values by name, without fields with `repr=False`. Secrets are masked."""
        return self.model_dump(mode="json", include={n for n, f in type(self).model_fields.items() if f.repr})

    @classmethod
    def from_environment(cls) -> Self:
        """Read the settings from the environment variables.

        Raises:
            ValueError: settings are missing, invalid or renamed; the message has a line for each.
        """
        if renamed := [f"{old} is now {new}" for old, new in _RENAMED.items() if old in os.environ]:
            raise ValueError("\n".join(renamed))
        try:
            return cls.model_validate({})
        except ValidationError as error:
            raise ValueError("\n".join(_lines(error))) from None


def settings_help() -> str:
    """The settings with their defaults and descriptions, for the help of the command."""
    lines = ["environment variables:"]
    for name, field in Settings.model_fields.items():
        default = "none" if field.default in {None, ""} else str(field.default).lower()
        lines.append(f"  {_PREFIX}{name.upper()} ({'required' if field.is_required() else default})")
        lines.append(f"      {field.description}")
    return "\n".join(lines)


def is_loopback(host: str) -> bool:
    """Return True if an address can be reached from this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _lines(error: ValidationError) -> list[str]:
    """The reason why each invalid setting is invalid."""
    lines: list[str] = []
    for problem in error.errors():
        # An error about several settings has no location; its message names them.
        if not problem["loc"]:
            lines.append(problem["msg"].removeprefix("Value error, "))
            continue
        name = str(problem["loc"][0])
        meaning = Settings.model_fields[name].description
        variable = f"{_PREFIX}{name.upper()}"
        if problem["type"] == "missing":
            lines.append(f"{variable} is not set; set it to the {meaning}")
        else:
            lines.append(f"{variable} ({meaning}) is {problem['input']!r}: {problem['msg'].lower()}")
    return lines
