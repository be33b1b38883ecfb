"""What is measured, and how each is started."""

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
    """What is asked of a candidate, on how many connections."""

    kind: str
    connections: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no kind of exchange is named {self.kind!r}; there are {', '.join(KINDS)}")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server that can be measured.

    Attributes:
        name: what it is called in tables.
        command: how it is started.
        ready_path: what it answers with 200 once it is ready.
        questions: what is measured of it.
        variables: its environment variables.
    """

    name: str
    command: Command
    ready_path: str
    questions: tuple[Question, ...]
    variables: Mapping[str, str] = field(default_factory=dict)


def empty(software: ServerSoftware) -> str:
    """The name of the empty FastAPI endpoint on a server."""
    return f"empty FastAPI, {software}"


def bare(software: ServerSoftware) -> str:
    """The name of the bare ASGI application on a server."""
    return f"bare ASGI, {software}"


def official(client: str) -> str:
    """The name of FastAPI with an official client."""
    return f"official {client} client"


def candidates(software: ServerSoftware, connections: int, feast: Path | None) -> list[Candidate]:
    """All of them; Feast last.

    Args:
        software: the server that the service runs on, and those with official clients too.
        connections: on which single lookups are asked for.
        feast: the folder of Feast's feature repository, filled; None: leave Feast out.
    """
    lookups = Question("lookups", connections)
    constants = (Question("constant", connections),)
    ours = (lookups, Question("lookups", 1), Question("batches", _BATCH_CONNECTIONS))
    found = [Candidate(OURS, service(), "/readyz", ours, SERVICE_VARIABLES)]
    servers: tuple[ServerSoftware, ...] = ("uvicorn", "granian")
    for server in servers:
        found.append(Candidate(empty(server), asgi(server, "empty_fastapi"), "/constant", constants))
        found.append(Candidate(bare(server), asgi(server, "bare_asgi"), "/constant", constants))
    found += [
        Candidate(official(client), asgi(software, f"official_{client}"), _LOOKUP, (lookups,))
        for client in ("async", "sync")
    ]
    if feast:
        questions = (Question("feast_lookups", connections), Question("feast_batches", _BATCH_CONNECTIONS))
        variables = {"PYTHONHASHSEED": "0"}  # on which the order of its answers depends
        found.append(Candidate(FEAST, _feast(feast), "/health", questions, variables))
    return found


def _feast(folder: Path) -> Command:
    """Serves a feature repository, one process, without the restart after every 1,000 requests that is its default."""

    def command(port: int) -> list[str | Path]:
        options = f"serve --host 127.0.0.1 --port {port} --workers 1 --no-access-log --max-requests 0"
        return [FEAST_PYTHON, FEAST_PYTHON.with_name("feast"), "--chdir", folder, *options.split()]

    return command
