"""Where Bigtable is, and channels to it: Google's, or an emulator's when `BIGTABLE_EMULATOR_HOST` is set."""

import os
from collections.abc import Sequence

import grpc
from google.api_core import grpc_helpers
from google.api_core.gapic_v1.routing_header import to_grpc_metadata

_ENDPOINT = "bigtable.googleapis.com:443"
_SCOPES = ("https://www.googleapis.com/auth/bigtable.data",)
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),  # rows may hold up to 256 MiB; Bigtable bounds its own answers
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


def routing_metadata(table: str, app_profile: str) -> tuple[str, str]:
    """The header by which Bigtable routes a call: the table's full name and the app profile."""
    header: tuple[str, str] = to_grpc_metadata((("table_name", table), ("app_profile_id", app_profile)))
    return header


def channel(options: Sequence[tuple[str, int]] = ()) -> grpc.Channel:
    """A channel for blocking calls, with the default credentials."""
    if host := os.environ.get("BIGTABLE_EMULATOR_HOST"):
        return grpc.insecure_channel(host, options=(*_OPTIONS, *options))
    opened: grpc.Channel = grpc_helpers.create_channel(_ENDPOINT, default_scopes=_SCOPES, options=(*_OPTIONS, *options))
    return opened
