"""What the operator of the service may set, by environment variables that start with `SERVING_`."""

from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

METRICS_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable with the folder in which processes share their metrics (of prometheus_client)."""

_PREFIX = "SERVING_"


class Settings(BaseSettings):
    """The settings of one process; `SERVING_PROJECT` sets `project`, and so on."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True)

    project: str = Field(min_length=1, description="Google Cloud project of the Bigtable instance")
    instance: str = Field(min_length=1, description="id of the Bigtable instance")
    app_profile: str = Field(default="", description="Bigtable app profile to read through; empty: the default one")
    registry_poll_seconds: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="seconds between two reads of the registry"
    )
    registry_stale_seconds: float = Field(
        default=10.0,
        gt=0,
        allow_inf_nan=False,
        description="age in seconds of the last registry read from which the service is not ready",
    )
    deadline_seconds: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="seconds that a request may take"
    )
    auth: Literal["none", "api_keys", "jwt", "api_keys_or_jwt"] = Field(
        default="none", description="what a request must come with: nothing, an API key, a signed token, or either"
    )
    allow_anonymous: bool = Field(
        default=False, description="whether to answer anyone, with auth none, at other addresses than loopback"
    )
    callers_file: Path | None = Field(
        default=None, description="file that says who may ask for what; unless auth is none"
    )
    callers_seconds: float = Field(
        default=10.0, gt=0, allow_inf_nan=False, description="seconds between two reads of the callers file"
    )
    jwt_issuer: str = Field(default="", description="issuer of tokens, as their claim iss has it")
    jwt_audience: str = Field(default="", description="audience of tokens for this service, as their claim aud has it")
    jwt_keys_url: str = Field(default="", description="URL of the issuer's public keys, a JWKS document")
    jwt_keys_seconds: float = Field(
        default=300.0, gt=0, allow_inf_nan=False, description="seconds between two reads of the issuer's keys"
    )
    jwt_header: str = Field(default="authorization", pattern=r"^[A-Za-z-]+$", description="header that tokens come in")
    metrics_open: bool = Field(default=False, description="whether anyone may read /metrics, whatever auth is")
    body_seconds: float = Field(
        default=10.0, gt=0, allow_inf_nan=False, description="seconds that the body of a request may take to come"
    )
    max_connections: int = Field(
        default=1000,
        ge=1,
        description="connections of clients to one process; more wait to be accepted, which costs the process nothing",
    )
    idle_seconds: float = Field(
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        description="seconds after which a connection that has not sent the head of a request is cut; above the time "
        "that a load balancer in front keeps connections",
    )
    max_in_flight: int = Field(default=2000, ge=1, description="entities being looked up at a time, in all requests")
    max_batch: int = Field(default=1000, ge=1, description="entities in one batch request")
    max_keys_per_read: int = Field(default=500, ge=1, description="rows in one Bigtable read")
    connections: int = Field(default=2, ge=1, description="connections to Bigtable of one process")
    cache_bytes: int = Field(
        default=0, ge=0, description="bytes of predictions to keep in one process; 0: every lookup reads Bigtable"
    )
    cache_control: str = Field(
        default="no-cache",
        pattern=r"^[\x20-\x7e]+$",
        description="Cache-Control of answers; the default lets clients keep them and ask whether they still hold",
    )
    hedge_budget: float = Field(
        default=0.05, ge=0, le=1, description="share of reads that may be made a second time when late; 0: none"
    )
    max_reads_per_lane: int = Field(
        default=32, ge=1, description="Bigtable reads in flight of one table and version, at the most"
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="lowest level of what the service logs; debug: a line for each answer of 4xx, too"
    )
    build: str = Field(default="unknown", min_length=1, description="name of this build in metrics and traces")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_batch > self.max_in_flight:
            raise ValueError(
                f"SERVING_MAX_BATCH ({self.max_batch}) is above SERVING_MAX_IN_FLIGHT ({self.max_in_flight}), so the "
                "largest batches could never be served; raise the latter"
            )
        if self.registry_stale_seconds <= self.registry_poll_seconds:
            raise ValueError(
                f"SERVING_REGISTRY_STALE_SECONDS ({self.registry_stale_seconds}) must be above "
                f"SERVING_REGISTRY_POLL_SECONDS ({self.registry_poll_seconds})"
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
                f"SERVING_JWT_KEYS_URL is {self.jwt_keys_url!r}; keys that come by other ways than https:// could be "
                "anybody's"
            )
        return self

    def for_the_log(self) -> dict[str, Any]:
        """The values by name, without those that are not to be shown: secrets, and fields with `repr=False`."""
        return self.model_dump(mode="json", include={n for n, f in type(self).model_fields.items() if f.repr})

    @classmethod
    def from_environment(cls) -> Self:
        """The settings in the environment variables.

        Raises:
            ValueError: some are missing or wrong; the message has a line for each.
        """
        try:
            return cls.model_validate({})
        except ValidationError as error:
            raise ValueError("\n".join(_lines(error))) from None


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _lines(error: ValidationError) -> list[str]:
    """What is wrong with each setting."""
    lines: list[str] = []
    for problem in error.errors():
        if not problem["loc"]:  # about several settings, which the message names
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
