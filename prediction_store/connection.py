"""Connections to Bigtable's data API: Google's, or an emulator's if `BIGTABLE_EMULATOR_HOST` is set."""

import base64
import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import grpc
from google.api_core import grpc_helpers
from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.cloud.bigtable_v2.types import FeatureFlags
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from prediction_store.messages import (
    CheckAndMutateRowRequest,
    CheckAndMutateRowResponse,
    MutateRowsResponse,
    ReadRowsRequest,
    ReadRowsResponse,
    SampleRowKeysRequest,
    SampleRowKeysResponse,
)

FEATURES = (
    "bigtable-features",
    base64.urlsafe_b64encode(
        FeatureFlags.serialize(
            FeatureFlags(
                mutate_rows_rate_limit=True,
                mutate_rows_rate_limit2=True,
                last_scanned_row_responses=True,
                retry_info=True,
            )
        )
    ).decode(),
)
"""The header of jobs' requests that declares the client's features.

The client follows batch write flow control and RetryInfo, and a long read tells the last key that it has scanned.
"""

_TRANSIENT = frozenset(
    code.value[0] for code in (grpc.StatusCode.ABORTED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
)
# Texts in INTERNAL errors after which Google's clients try again (java-bigtable's ConvertExceptionCallable,
# python-bigtable's _RETRYABLE_INTERNAL_ERROR_MESSAGES).
_RESETS = (
    "rst_stream",
    "rst stream",
    "received unexpected eos on data frame",
    "stream closed before write could take place",
    "authentication backend internal server error. please retry",
)

_HOST = "bigtable.googleapis.com"
_SCOPES = ("https://www.googleapis.com/auth/bigtable.data",)
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),  # a row may have 256 MiB; Bigtable limits its responses itself
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


def emulator_address(environment: Mapping[str, str] = os.environ) -> str | None:
    """The emulator's address, HOST:PORT, from `BIGTABLE_EMULATOR_HOST`; None if that is not set.

    Raises:
        ValueError: the variable has no port.
    """
    address = environment.get("BIGTABLE_EMULATOR_HOST")
    if address and not address.rpartition(":")[2].isdecimal():
        raise ValueError(f"BIGTABLE_EMULATOR_HOST is {address!r}; give it as HOST:PORT")
    return address or None


def channel(options: Sequence[tuple[str, int]] = ()) -> grpc.Channel:
    """A channel for blocking calls, with the default credentials.

    Args:
        options: gRPC's channel options, besides those that every channel has.

    Raises:
        ValueError: `BIGTABLE_EMULATOR_HOST` has no port.
    """
    if address := emulator_address():
        return grpc.insecure_channel(address, options=(*_OPTIONS, *options))
    opened: grpc.Channel = grpc_helpers.create_channel(
        f"{_HOST}:443",
        default_scopes=_SCOPES,
        default_host=_HOST,  # the audience of the tokens that a service account's key signs
        options=(*_OPTIONS, *options),
    )
    return opened


def shared_channel() -> grpc.Channel:
    """The channel of this process for calls that need no options of their own. It is never closed.

    A process that was forked gets a channel of its own, because gRPC's do not survive a fork.

    Raises:
        ValueError: `BIGTABLE_EMULATOR_HOST` has no port.
    """
    return _shared_channel(emulator_address(), os.getpid())


@cache
def _shared_channel(_address: str | None, _process: int) -> grpc.Channel:
    return channel()


def is_transient(code: int, message: str) -> bool:
    """Return True if a read or an idempotent write that ended with this gRPC status may succeed if it is tried again.

    Args:
        code: the number of the status code.
        message: the status message.
    """
    return code in _TRANSIENT or (code == grpc.StatusCode.INTERNAL.value[0] and reports_reset(message))


def reports_reset(message: str) -> bool:
    """Return True if the message of the status INTERNAL says that a stream or connection was closed on the way."""
    return any(reset in message.lower() for reset in _RESETS)


def requested_delay(error: grpc.RpcError) -> float | None:
    """The seconds after which the server asks for another attempt, whatever the status is; None if it does not ask.

    Servers send a RetryInfo as trailing metadata of its own, or among the details of the status.
    """
    info = RetryInfo()
    for key, value in error.trailing_metadata() or ():
        if key == "google.rpc.retryinfo-bin":
            info.ParseFromString(value)
        elif key != "grpc-status-details-bin" or not any(d.Unpack(info) for d in Status.FromString(value).details):
            continue
        seconds: float = info.retry_delay.ToTimedelta().total_seconds()
        return seconds
    return None


def routing_metadata(table: str, app_profile: str) -> tuple[str, str]:
    """The header by which Bigtable routes a call.

    Args:
        table: the table's full name.
        app_profile: the app profile; empty for the instance's default.
    """
    header: tuple[str, str] = to_grpc_metadata((("table_name", table), ("app_profile_id", app_profile)))
    return header


def read_rows(channel: Any) -> Any:
    """The ReadRows method of a channel: a request in, a stream of responses out."""
    return channel.unary_stream(
        "/google.bigtable.v2.Bigtable/ReadRows",
        ReadRowsRequest.SerializeToString,
        ReadRowsResponse.FromString,
    )


def mutate_rows(channel: Any) -> Any:
    """The MutateRows method of a channel: a serialized request in, a stream of responses out."""
    return channel.unary_stream("/google.bigtable.v2.Bigtable/MutateRows", None, MutateRowsResponse.FromString)


def check_and_mutate_row(channel: Any) -> Any:
    """The CheckAndMutateRow method of a channel: a request in, a response out."""
    return channel.unary_unary(
        "/google.bigtable.v2.Bigtable/CheckAndMutateRow",
        CheckAndMutateRowRequest.SerializeToString,
        CheckAndMutateRowResponse.FromString,
    )


def sample_row_keys(channel: Any) -> Any:
    """The SampleRowKeys method of a channel: a request in, a stream of responses out."""
    return channel.unary_stream(
        "/google.bigtable.v2.Bigtable/SampleRowKeys",
        SampleRowKeysRequest.SerializeToString,
        SampleRowKeysResponse.FromString,
    )
