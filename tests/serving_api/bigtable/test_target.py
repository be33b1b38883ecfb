"""The address of Bigtable, and connections to it."""

import asyncio
import socket
import time
from contextlib import ExitStack

import google.auth
import pytest
from google.auth.credentials import AnonymousCredentials
from google.oauth2.credentials import Credentials

from serving_api.bigtable import Target
from serving_api.settings import Settings


def test_the_address_of_an_emulator_has_a_port():
    assert Target.from_environment(environment={"BIGTABLE_EMULATOR_HOST": "[::1]:8086"}) == Target("::1", 8086)
    with pytest.raises(ValueError, match="BIGTABLE_EMULATOR_HOST is 'localhost'; give it as HOST:PORT"):
        Target.from_environment(environment={"BIGTABLE_EMULATOR_HOST": "localhost"})


@pytest.mark.parametrize(
    ("endpoint", "universe", "authority"),
    [
        ("", None, "bigtable.googleapis.com"),
        ("", "example.goog", "bigtable.example.goog"),
        ("bigtable.europe-west3.rep.googleapis.com", None, "bigtable.europe-west3.rep.googleapis.com"),
        ("bigtable-mine.p.googleapis.com", "example.goog", "bigtable-mine.p.googleapis.com"),
        ("proxy:8443", None, "proxy:8443"),
    ],
)
def test_the_endpoint_is_that_of_the_setting_or_of_the_universe(monkeypatch, endpoint, universe, authority):
    credentials = Credentials("token", universe_domain=universe or "googleapis.com")
    monkeypatch.setattr(google.auth, "default", lambda _: (credentials, "p"))
    environment = {"GOOGLE_CLOUD_UNIVERSE_DOMAIN": universe} if universe else {}
    target = Target.from_environment(endpoint, environment)
    assert target.authority == authority
    assert target.credentials is credentials


def test_credentials_of_another_universe_are_not_sent(monkeypatch):
    monkeypatch.setattr(google.auth, "default", lambda _: (AnonymousCredentials(), "p"))
    with pytest.raises(ValueError, match=r"universe domain \(example.goog\) does not match"):
        Target.from_environment("", {"GOOGLE_CLOUD_UNIVERSE_DOMAIN": "example.goog"})


@pytest.mark.parametrize("endpoint", ["https://bigtable.googleapis.com", "a b", "host:", "host:port", "me@host"])
def test_an_endpoint_is_a_host_and_perhaps_a_port(endpoint):
    with pytest.raises(ValueError, match="bigtable_endpoint"):
        Settings(project="p", instance="i", bigtable_endpoint=endpoint)


@pytest.fixture
def silent():
    """The address of a socket that accepts no connection: its backlog is full, so the kernel drops packets."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listening.getsockname()
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0)
            filler.connect_ex(address)
        yield address


@pytest.mark.asyncio
async def test_addresses_that_do_not_answer_delay_the_connection_little(monkeypatch, silent):
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = closed.getsockname()
        closed.close()
        found = [
            (family, socket.SOCK_STREAM, 0, "", address)
            for family, address in (
                (socket.AF_INET6, ("::1", listening.getsockname()[1], 0, 0)),
                (socket.AF_INET, silent),
                (socket.AF_INET, refusing),
                (socket.AF_INET, silent),
                (socket.AF_INET, listening.getsockname()),
            )
        ]

        async def getaddrinfo(*_, **__):
            return list(found)

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        started = time.monotonic()
        with await Target("bigtable", 443).open_socket() as opened:
            assert opened.getpeername() == listening.getsockname()
        assert 0.4 < time.monotonic() - started < 3
        found[:] = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", refusing)] * 2
        with pytest.raises(ConnectionRefusedError):
            await Target("bigtable", 443).open_socket()


@pytest.mark.asyncio
async def test_ipv4_comes_first(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        async def getaddrinfo(*_, **__):
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("2001:db8::1", port, 0, 0)),
                (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)),
            ]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        with await Target("bigtable", 443).open_socket() as opened:
            assert opened.family == socket.AF_INET
