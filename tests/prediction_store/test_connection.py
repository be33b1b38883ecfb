"""Channels to Bigtable: their credentials, and the process that they belong to."""

import json
import os
from base64 import urlsafe_b64decode
from threading import Event

import google.auth
import grpc
import pytest
from google.oauth2 import service_account

from prediction_store.connection import channel, is_transient, shared_channel
from tests.service_account import service_account_key


def test_the_key_of_a_service_account_signs_tokens_for_bigtable(monkeypatch):
    # google.aip.dev/auth/4111: a self-signed token needs the service as its audience.
    monkeypatch.delenv("BIGTABLE_EMULATOR_HOST", raising=False)
    credentials = service_account.Credentials.from_service_account_info(service_account_key("https://unused.example"))
    monkeypatch.setattr(google.auth, "default", lambda **_: (credentials, "demo"))
    plugins = []
    make = grpc.metadata_call_credentials
    monkeypatch.setattr(grpc, "metadata_call_credentials", lambda plugin: plugins.append(plugin) or make(plugin))
    channel().close()

    class Context:
        service_url, method_name = "https://bigtable.googleapis.com/google.bigtable.v2.Bigtable", "ReadRows"

    done, headers = Event(), {}

    def take(metadata, error):
        assert error is None
        headers.update(metadata)
        done.set()

    plugins[0](Context(), take)
    assert done.wait(10)
    claims = headers["authorization"].split(".")[1]
    assert json.loads(urlsafe_b64decode(claims + "=="))["aud"] == "https://bigtable.googleapis.com/"


def test_a_process_has_one_channel_and_a_forked_one_its_own(monkeypatch):
    monkeypatch.setenv("BIGTABLE_EMULATOR_HOST", "127.0.0.1:9")
    first = shared_channel()
    assert shared_channel() is first
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert shared_channel() is not first


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, "", True),
        (grpc.StatusCode.ABORTED, "", True),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", True),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2", True),
        (grpc.StatusCode.INTERNAL, "a bug", False),
        (grpc.StatusCode.PERMISSION_DENIED, "Received RST_STREAM", False),
    ],
)
def test_what_googles_clients_try_again_is_tried_again(code, message, expected):
    assert is_transient(code.value[0], message) is expected
