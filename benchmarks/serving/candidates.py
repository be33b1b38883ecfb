"""The servers that are measured, their commands, and the requests to each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving.exchanges import KINDS
from benchmarks.serving.predictions import INSTANCE, MODEL, entity_id
from benchmarks.serving.servers import Command, ServerSoftware, asgi, service
from local_stack.servers import ROOT

FEAST_PYTHON = ROOT / ".venvs" / "feast" / "bin" / "python"

OURS = "Foreserve"
READ_LOOP = "bare ReadRows"
FEAST = "Feast"

SERVICE_VARIABLES = {"SERVING_PROJECT": INSTANCE.project, "SERVING_INSTANCE": INSTANCE.instance}

_BATCH_CONNECTIONS = 16
_LOOKUP = f"/v1/models/{MODEL}/predictions/{entity_id(0)}"


@dataclass(frozen=True, slots=True)
class Question:
    """A kind of requests to a candidate, and the number of connections."""

    kind: str
    connections: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no kind of exchange is named {self.kind!r}; the kinds are {', '.join(KINDS)}")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server that can be measured.

    Attributes:
        name: the name in tables.
        command: the command that starts the server.
        ready_path: the path that the server answers with 200 when it is ready.
        questions: the requests that are measured.
        variables: environment variables of the server.
    """

    name: str
    command: Command
    ready_path: str
    questions: tuple[Question, ...]
    variables: Mapping[str, str] = field(default_factory=dict)


def empty(software: ServerSoftware) -> str:
    """The name of the empty FastAPI endpoint on a kind of server."""
    return f"empty FastAPI, {software}"


def bare(software: ServerSoftware) -> str:
    """The name of the bare ASGI application on a kind of server."""
    return f"bare ASGI, {software}"


def official(client: str) -> str:
    """The name of FastAPI with an official client."""
    return f"official {client} client"


def candidates(software: ServerSoftware, connections: int, feast: Path | None) -> list[Candidate]:
    """All candidates. Feast is the last.

    Args:
        software: the server that the applications with official clients run on.
        connections: the number of connections for single lookups.
        feast: the folder of Feast's feature repository; None to leave Feast out.
    """
    lookups = Question("lookups", connections)
    constants = (Question("constant", connections),)
    ours = (lookups, Question("lookups", 1), Question("batches", _BATCH_CONNECTIONS))
    made = [Candidate(OURS, service(), "/readyz", ours, SERVICE_VARIABLES)]
    servers: tuple[ServerSoftware, ...] = ("uvicorn", "granian")
    for server in servers:
        made.append(Candidate(empty(server), asgi(server, "constant_apps:empty_fastapi"), "/constant", constants))
        made.append(Candidate(bare(server), asgi(server, "constant_apps:bare_asgi"), "/constant", constants))
    batches = Question("batches", _BATCH_CONNECTIONS)
    for client, questions in (("async", (lookups, batches)), ("sync", (lookups,))):
        command = asgi(software, f"official_clients:official_{client}")
        made.append(Candidate(official(client), command, _LOOKUP, questions))
    if feast:
        asked = (Question("feast_lookups", connections), Question("feast_batches", _BATCH_CONNECTIONS))
        variables = {"PYTHONHASHSEED": "0"}  # fixes the order of values in its answers
        made.append(Candidate(FEAST, _feast(feast), "/health", asked, variables))
    return made


def _feast(folder: Path) -> Command:
    """A command that serves a feature repository in one process, without its default restart after 1,000 requests."""

    def command(port: int) -> list[str | Path]:
        options = f"serve --host 127.0.0.1 --port {port} --workers 1 --no-access-log --max-requests 0"
        return [FEAST_PYTHON, FEAST_PYTHON.with_name("feast"), "--chdir", folder, *options.split()]

    return command
