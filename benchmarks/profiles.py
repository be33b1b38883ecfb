"""Flame graphs of the hot paths: `python -m benchmarks.profiles [PART ...]`.

py-spy samples the service under load, the export, and the local BigQuery that predicts. It needs the right to read
other processes' memory: root, or `kernel.yama.ptrace_scope=0`.
"""

import os
import re
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock
from xml.sax.saxutils import escape

import psutil
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from benchmarks.export.cloud import INSTANCE, MODEL, SOURCE_TABLE, VERSION, cloud
from benchmarks.page import PLOTS
from benchmarks.refresh.__main__ import write_purchases
from benchmarks.results import FOLDER, conditions, keep
from benchmarks.serving.candidates import OURS, SERVICE_VARIABLES, Candidate, Question
from benchmarks.serving.measurement import bench
from benchmarks.serving.servers import service
from local_stack import sample_data
from local_stack.servers import BIGQUERY, ROOT, running

PY_SPY = ROOT / ".venvs" / "profiler" / "bin" / "py-spy"

_ENTITIES = 100_000
_RECORD = (str(PY_SPY), "record", "-r", "200", "-f", "raw", "-o")
_WIDTH, _ROW = 1200, 16
_LEAST_SHARE = 0.004  # narrower frames are not drawn
_MOST_CHARACTERS = 120_000  # of a picture
_WAITING = re.compile(
    r"epoll_|wait4|poll|sched_yield|syscall|futex|Condition\.wait|clock_nanosleep|read \(libc|0x\w+ \(libc"
)
"""Functions in which a thread does nothing. The C library's locks have no names."""

_LEAST_TEXT = 40
_CHARACTER = 6.6  # pixels
_PATHS = re.compile(r"[^ ;(]*/site-packages/|[^ ;(]*/lib/python3\.\d+/|" + re.escape(f"{ROOT}/"))


@dataclass(slots=True)
class Frame:
    """A function of a flame graph: the samples in it, and the functions that it called."""

    samples: int = 0
    called: dict[str, "Frame"] = field(default_factory=dict)


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(prog="python -m benchmarks.profiles", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", choices=(*PARTS, []), metavar="PART", help=f"{', '.join(PARTS)}; all if none"
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="length of the lookups (default %(default)s)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the others (default %(default)s)")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results (default %(default)s)")
    parser.add_argument("--plots", type=Path, default=PLOTS, help="folder of the SVG files (default %(default)s)")
    arguments = parser.parse_args()
    arguments.plots.mkdir(parents=True, exist_ok=True)
    for part in arguments.parts or PARTS:
        found = conditions(rows=arguments.rows)
        title, stacks = PARTS[part](arguments.seconds, arguments.rows)
        root = tree(stacks)
        least = _LEAST_SHARE
        while len(picture := flame_graph(title, root, least)) > _MOST_CHARACTERS:
            least *= 1.5
        (arguments.plots / f"flame-{part}.svg").write_text(picture)
        shares = dict(sorted(own_shares(root).items(), key=lambda item: -item[1])[:10])
        keep("profiles", {part: {"samples": root.samples, "own": shares, "conditions": found}}, arguments.results)
        for name, share in shares.items():
            sys.stdout.write(f"{part}: {share:.1%} {name}\n")


def lookups(seconds: float, _rows: int) -> tuple[str, str]:
    """The service under single lookups in a closed loop."""
    return "Service: lookups of one id", _service(Question("lookups", 64), seconds)


def batches(seconds: float, _rows: int) -> tuple[str, str]:
    """The service under lookups of 100 ids in a closed loop."""
    return "Service: lookups of 100 ids", _service(Question("batches", 16), seconds)


def _service(question: Question, seconds: float) -> str:
    candidate = Candidate(OURS, service(), "/readyz", (question,), SERVICE_VARIABLES)
    with bench("auto", _ENTITIES, seconds) as at, at.running(candidate) as server:
        workers = [server.process, *server.process.children(recursive=True)]
        busiest = max(workers, key=lambda process: sum(process.cpu_times()[:2]))
        with sampled(busiest.pid, "--gil") as stacks:
            at.measure(server, OURS, question)
    return stacks[0]


def export(_seconds: float, rows: int) -> tuple[str, str]:
    """The export job."""
    options = {
        "runner": "FnApiRunner",
        "bigtable_project": INSTANCE.project,
        "bigtable_instance": INSTANCE.instance,
        "model": MODEL,
        "version": VERSION,
        "source_table": SOURCE_TABLE,
    }
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.export.job", "native"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with cloud(rows, "auto"), TemporaryDirectory() as folder:
        file = Path(folder) / "stacks"
        command = [*_RECORD, str(file), "--gil", "--", *command]
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True)  # noqa: S603  our own command
        return f"Export of {rows:,} rows", file.read_text()


def predictions(_seconds: float, rows: int) -> tuple[str, str]:
    """The local BigQuery that trains, and predicts for the sample's customers."""
    with running(*BIGQUERY) as line, TemporaryDirectory():
        rest = re.findall(r"127\.0\.0\.1:\d+", line)[0]
        with mock.patch.dict(os.environ, {"BIGQUERY_EMULATOR_HOST": f"http://{rest}"}):
            client = bigquery.Client("demo", credentials=AnonymousCredentials())
            sample_data.first_purchases(client)
            write_purchases(client, rows)
            (emulator,) = psutil.Process().children()
            with sampled(emulator.pid, "--native", "--subprocesses") as stacks:
                for statement in _STATEMENTS:
                    client.query_and_wait(statement)
    return f"Local BigQuery: training, and predictions of {rows:,} customers", stacks[0]


_STATEMENTS = (
    """
    CREATE TABLE foreserve.features AS
    SELECT customer_id, COUNT(*) AS orders, SUM(amount_usd) AS spend, MAX(quantity) AS most
    FROM shop.transactions GROUP BY customer_id
    """,
    """
    CREATE MODEL foreserve.profiled OPTIONS (model_type = 'LOGISTIC_REG', input_label_cols = ['often']) AS
    SELECT spend, most, IF(orders > 2, 1, 0) AS often FROM foreserve.features
    """,
    """
    CREATE TABLE foreserve.predicted AS
    SELECT customer_id, TO_JSON_STRING(STRUCT(
      ROUND((SELECT p.prob FROM UNNEST(predicted_often_probs) AS p WHERE p.label = 1), 2) AS probability
    )) AS payload
    FROM ML.PREDICT(MODEL foreserve.profiled, TABLE foreserve.features)
    """,
)

PARTS: dict[str, Callable[[float, int], tuple[str, str]]] = {
    part.__name__: part for part in (lookups, batches, export, predictions)
}
"""The parts by name. Each returns a title, and the stacks that py-spy sampled."""


@contextmanager
def sampled(process: int, *options: str) -> Iterator[list[str]]:
    """Sample a process by py-spy; yields a list that has the stacks when the context has ended."""
    stacks: list[str] = []
    with TemporaryDirectory() as folder:
        file = Path(folder) / "stacks"
        command = [*_RECORD, str(file), *options, "-p", str(process)]
        profiler = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603  our own command
        time.sleep(1)  # until it has read the symbols
        yield stacks
        profiler.send_signal(signal.SIGINT)
        profiler.wait()
        stacks.append(file.read_text())


def tree(stacks: str) -> Frame:
    """The frames of stacks, one a line: functions from the outermost one on, separated by semicolons, and a count."""
    root = Frame()
    for line in stacks.splitlines():
        path, _, count = line.rpartition(" ")
        if not path or _WAITING.match(path.rpartition(";")[2]):
            continue
        root.samples += int(count)
        frame = root
        for name in path.split(";"):
            short_name = _PATHS.sub("", name)
            if short_name.startswith("process "):
                continue
            frame = frame.called.setdefault(short_name, Frame())
            frame.samples += int(count)
    return root


def own_shares(root: Frame) -> dict[str, float]:
    """The share of samples in each function itself, without those that it called."""
    own: dict[str, float] = {}

    def add(name: str, frame: Frame) -> None:
        inside = frame.samples - sum(child.samples for child in frame.called.values())
        own[name] = own.get(name, 0.0) + inside / max(1, root.samples)
        for child_name, child in frame.called.items():
            add(child_name, child)

    for name, frame in root.called.items():
        add(name, frame)
    return own


def flame_graph(title: str, root: Frame, least: float) -> str:
    """An SVG with a row for each depth. The width of a frame is its share of the samples, of at least `least`."""
    parts: list[str] = []
    depths = [0]

    def draw(name: str, frame: Frame, left: float, depth: int) -> None:
        width = frame.samples / root.samples * _WIDTH
        depths.append(depth)
        x, y = round(left, 1), 30 + depth * _ROW
        red, green = 205 + sum(name.encode()) % 50, 90 + sum(name.encode()) * 7 % 110
        label = f"<title>{escape(name)} {frame.samples / root.samples:.1%}</title>"
        parts.append(f'<g>{label}<rect x="{x}" y="{y}" width="{width:.1f}" height="15" fill="rgb({red},{green},50)"/>')
        if width >= _LEAST_TEXT:
            parts.append(f'<text x="{x + 2}" y="{y + 12}">{escape(name[: int(width / _CHARACTER)])}</text>')
        parts.append("</g>")
        for child_name, child in sorted(frame.called.items()):
            if child.samples >= least * root.samples:
                draw(child_name, child, left, depth + 1)
            left += child.samples / root.samples * _WIDTH

    left = 0.0
    for name, frame in sorted(root.called.items()):
        if frame.samples >= least * root.samples:
            draw(name, frame, left, 0)
        left += frame.samples / root.samples * _WIDTH
    height = 30 + (max(depths) + 1) * _ROW
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}" font-family="monospace" font-size="11">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n<text x="4" y="18">{escape(title)}</text>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    main()
