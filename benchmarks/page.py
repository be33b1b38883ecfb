"""Fill docs/performance.md and README.md in from the results: `python -m benchmarks.page`.

Each table and plot follows from one file of `benchmarks/results`. What was not measured yet stays as it is.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import Any

from benchmarks.charts import Axes, Line, bar_chart, line_chart, svg
from benchmarks.document import filled, markdown_table, short
from benchmarks.results import FOLDER, load
from local_stack.settings import ROOT

DOCUMENTS = (ROOT / "docs" / "performance.md", ROOT / "README.md")
PLOTS = ROOT / "docs" / "performance"

Results = Mapping[str, Any]

_SHOWN_TASKS = ("open_version", "train", "evaluate", "predict", "measure", "changes", "export", "smoke_test", "confirm")
_SHOWN_SHARE = 0.01
_NAMES = {"native": "Foreserve", "beam": "Beam's connectors", "feast": "Feast"}
_COLUMNS = 120
_PLACE = re.compile(r" \(.*\)$")  # the file of a function
_LITTLE_SECONDS = 0.2  # the work of a task that another could do
_QUIET_LOAD = 0.9  # the load average from which a measurement counts as made on a busy machine


def main() -> None:
    """Write the plots, and the tables in both documents."""
    tables, plots = make(FOLDER)
    PLOTS.mkdir(exist_ok=True)
    for name, picture in plots.items():
        (PLOTS / f"{name}.svg").write_text(picture)
    for document in DOCUMENTS:
        document.write_text(filled(document.read_text(), "performance", tables))


def make(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The tables and the plots by name."""
    results = {name: load(name, folder) for name in ("refresh", "export", "serving", "airflow", "models", "profiles")}
    tables: dict[str, str] = {}
    plots: dict[str, str] = {}
    for name, benchmark, part, table in _TABLES:
        if found := results[benchmark] if part is None else results[benchmark].get(part):
            tables[name] = table(found)
    for name, benchmark, part, title, plot in _PLOTS:
        if found := results[benchmark] if part is None else results[benchmark].get(part):
            plots[name] = svg(title, *plot(found))
            tables[f"plot_{name}"] = f"![{title}](performance/{name}.svg)"
    needed = (
        ("serving", "comparison"),
        ("serving", "latencies"),
        ("airflow", "refresh, newest"),
        ("export", "medians"),
    )
    if results["refresh"] and all(part in results[name] for name, part in needed):
        tables["numbers"], tables["summary"] = _numbers(results)
    return tables, plots


def _numbers(results: Mapping[str, Results]) -> tuple[str, str]:
    """The five numbers, as a table and in a sentence."""
    largest = max(refresh["entities"] for refresh in results["refresh"].values())
    refresh = results["refresh"][f"{largest} entities, 1% changed"]
    seconds, smoke_test = _seconds(refresh), refresh["tasks"]["smoke_test"]["seconds"]
    export = results["export"]
    native = [run for run in export["runs"] if run["connectors"] == "native"]
    thousands = [
        run["rows"] / run["cpu_seconds"] / 1000 for run in native if run["rows"] == export["conditions"]["rows"]
    ]
    ratios = {_NAMES[name]: 1 / found["CPU s"] for name, found in export["ratios"].items()}
    runs = _cpu_runs(results["serving"]["comparison"])
    cpu = cpu_micros(results["serving"]["comparison"])
    many = cpu["Foreserve", "batches"]
    latency = next(
        measured["result"]["p99_ms"]
        for _, measured in results["serving"]["latencies"]["runs"]
        if measured["candidate"] == "Foreserve" and measured["question"]["kind"] == "batches"
    )
    share = results["airflow"]["refresh, newest"]
    added = share["run"] - sum(share["direct"].values())
    less_of_one, less = (
        {
            "the official client": cpu["official async client", kind] / cpu["Foreserve", kind],
            "Feast": cpu["Feast", f"feast_{kind}"] / cpu["Foreserve", kind],
        }
        for kind in ("lookups", "batches")
    )
    figures = [
        (
            f"A refresh of {largest:,} entities, 1 % changed",
            f"{short(seconds)} s; its smoke test {short(smoke_test)} s",
        ),
        ("Export, thousands of rows per CPU second", f"{_spread(thousands)}: {_times(ratios)}"),
        (
            "CPU of a lookup of one id, µs",
            f"{_spread(runs['Foreserve', 'lookups'])}: {_times(less_of_one, 'less than')}",
        ),
        (
            "CPU of a lookup of 100 ids, µs",
            f"{_spread(runs['Foreserve', 'batches'])}: {_times(less, 'less than')}; p99 {short(latency)} ms",
        ),
        ("Seconds that Airflow adds to a refresh", short(added)),
    ]
    table = markdown_table(("figure", "measured"), figures)
    sentence = (
        f"On two CPUs, the tasks of a refresh of {largest:,} entities take {short(seconds)} s if 1 % changed. A lookup "
        f"of 100 ids takes {short(many)} µs of CPU; its 99th percentile is {short(latency)} ms on a Bigtable that "
        "answers in 3 ms. [Performance](docs/performance.md) compares."
    )
    return table, fill(sentence, _COLUMNS)


def _times(ratios: Mapping[str, float], words: str = "those of") -> str:
    return ", ".join([f"{ratio:.1f} times {words} {name}" for name, ratio in ratios.items()])


def _spread(values: Sequence[float]) -> str:
    """The median of some runs, and their smallest and largest value if there are several."""
    spread = f" ({short(min(values))} to {short(max(values))})" if len(values) > 1 else ""
    return short(median(values)) + spread


def _seconds(refresh: Results) -> float:
    return float(sum(task["seconds"] for task in refresh["tasks"].values()))


def _share(refresh: Results) -> str:
    return "first" if refresh["changed"] is None else f"{refresh['changed']:.0%}"


def _refresh_table(results: Results) -> str:
    """A row for each task: its seconds in some refreshes. The last rows have the sums and the memory."""
    sizes = sorted({refresh["entities"] for refresh in results.values()})
    order = ["first", "0%", "1%", "10%", "100%"]
    found = {(refresh["entities"], _share(refresh)): refresh for refresh in results.values()}
    with_all_shares = max(size for size in sizes if (size, order[-1]) in found)
    chosen = dict.fromkeys(
        [(sizes[0], "1%"), *((with_all_shares, share) for share in order), (sizes[-1], "first"), (sizes[-1], "1%")]
    )
    refreshes = [found[key] for key in chosen if key in found]
    head = ["task, s", *(f"{refresh['entities']:,}, {_share(refresh)}" for refresh in refreshes)]
    rows = [[task, *(_task(refresh, task) for refresh in refreshes)] for task in _SHOWN_TASKS]
    others = [sum(t["seconds"] for n, t in refresh["tasks"].items() if n not in _SHOWN_TASKS) for refresh in refreshes]
    rows.append(["others", *map(short, others)])
    rows.append(["all", *(short(_seconds(refresh)) for refresh in refreshes)])
    peaks = [max(task["peak_mib"] for task in refresh["tasks"].values()) for refresh in refreshes]
    rows.append(["peak MiB", *map(short, peaks)])
    return markdown_table(head, rows, align="---:")


def _task(refresh: Results, task: str) -> str:
    found = refresh["tasks"].get(task)
    return short(found["seconds"]) if found and found["seconds"] else "-"


def _refresh_plot(results: Results) -> list[str]:
    shares: dict[str, list[tuple[float, float]]] = {}
    tasks: dict[str, list[tuple[float, float]]] = {}
    for refresh in sorted(results.values(), key=lambda each: -1 if each["changed"] is None else each["changed"]):
        shares.setdefault(_share(refresh), []).append((refresh["entities"], _seconds(refresh)))
        if refresh["changed"] == _SHOWN_SHARE:
            for task in _SHOWN_TASKS:
                if (seconds := refresh["tasks"].get(task, {}).get("seconds", 0)) > 0:
                    tasks.setdefault(task, []).append((refresh["entities"], seconds))
    names = {"first": "first, with training"}
    whole = [Line(names.get(share, f"{share} changed"), points) for share, points in shares.items()]
    each = [Line(task, points) for task, points in tasks.items()]
    axes = Axes("all tasks, s", "entities", logarithmic=True)
    by_task = Axes("tasks at 1 % changed, s", "entities", logarithmic=True)
    return [line_chart(axes, whole), line_chart(by_task, each)]


def _export_plot(results: Results) -> list[str]:
    cost = [(_NAMES[name], figures["CPU s"]) for name, figures in results["medians"].items()]
    memory = [(_NAMES[name], figures["peak MiB"]) for name, figures in results["medians"].items()]
    rows = f"{results['conditions']['rows']:,} rows"
    return [bar_chart(f"CPU seconds of {rows}", cost), bar_chart(f"peak MiB of {rows}", memory)]


def cpu_micros(part: Results) -> dict[tuple[str, str], float]:
    """The median CPU time of an answer by candidate and kind, on the most connections."""
    return {key: median(values) for key, values in _cpu_runs(part).items()}


def _cpu_runs(part: Results) -> dict[tuple[str, str], list[float]]:
    """The CPU times of an answer by candidate and kind, on the most connections."""
    runs: dict[tuple[str, str], dict[int, list[float]]] = {}
    for run in part["runs"]:
        by_connections = runs.setdefault((run["candidate"], run["question"]["kind"]), {})
        by_connections.setdefault(run["question"]["connections"], []).append(run["cpu_micros"])
    return {key: by_connections[max(by_connections)] for key, by_connections in runs.items()}


def _comparison_plot(part: Results) -> list[str]:
    cpu = cpu_micros(part)
    one = [(name, value) for (name, kind), value in cpu.items() if kind in ("lookups", "feast_lookups", "constant")]
    many = [(name, value) for (name, kind), value in cpu.items() if kind in ("batches", "feast_batches")]
    charts = bar_chart("CPU µs of one id, or of a constant", one), bar_chart("CPU µs of 100 ids", many)
    return [*charts]


def _latencies_plot(part: Results) -> list[str]:
    titles = {"lookups": "1 id", "feast_lookups": "1 id", "batches": "100 ids", "feast_batches": "100 ids"}
    bars = [
        (f"{run['candidate']}: {titles.get(run['question']['kind'], '1,000 ids')}", run["result"]["p99_ms"])
        for _, run in part["runs"]
    ]
    return [bar_chart("99th percentile, ms", bars)]


def _overload_plot(part: Results) -> list[str]:
    sustainable = part["runs"]["sustainable"]
    loads = [(factor, run["result"]) for factor, run in part["runs"]["loads"]]
    answers = [
        Line("goodput", [(factor, result["in_time"] / result["seconds"]) for factor, result in loads]),
        Line("refused", [(factor, result["refused"] / result["seconds"]) for factor, result in loads]),
        Line("due", [(factor, factor * sustainable) for factor, _ in loads]),
    ]
    latency = [
        Line("accepted p99", [(factor, result["p99_ms"]) for factor, result in loads]),
        Line("accepted p50", [(factor, result["p50_ms"]) for factor, result in loads]),
    ]
    title = "load, in multiples of the sustainable one"
    return [line_chart(Axes("lookups/s", title), answers), line_chart(Axes("ms", title), latency)]


def _airflow_plot(results: Results) -> list[str]:
    cpu, memory = [], []
    for name, part in results.items():
        if name.startswith("parsing"):
            version = f"Airflow {part['conditions']['airflow']}"
            cpu.append(Line(version, [(run["pipelines"], run["cpu_seconds"]) for run in part["pipelines"]]))
            memory.append(Line(version, [(run["pipelines"], run["all_mib"]) for run in part["pipelines"]]))
    charts = [
        line_chart(Axes(unit, "pipelines", logarithmic=True), lines)
        for unit, lines in (("CPU s of a parse of all", cpu), ("MiB of all its processes", memory))
    ]
    return [*charts]


def _airflow_table(results: Results) -> str:
    """A row for each version. The work is the newest version's: `dag.test()` of 2.11 records no times."""
    work = sum(results["refresh, newest"]["direct"].values()) if "refresh, newest" in results else 0.0
    rows = []
    for name, part in results.items():
        if not name.startswith("refresh"):
            continue
        inside = sum(part["scheduled"].values())
        waits = sum(part["waits"].values())
        rows.append(
            (
                part["conditions"]["airflow"],
                str(len(part["scheduled"])),
                short(part["run"]),
                short(work),
                short(part["run"] - work),
                short(waits),
                short(inside - work),
            )
        )
    head = ("Airflow", "tasks run", "run s", "work s", "added s", "of it between tasks", "in tasks")
    return markdown_table(head, rows, align="---:")


def _small_tasks(part: Results) -> str:
    """A sentence about the tasks that do little, and what Airflow adds to each."""
    small = [task for task in part["scheduled"] if part["direct"].get(task, 0) < _LITTLE_SECONDS]
    added = (part["run"] - sum(part["direct"].values())) / len(part["scheduled"])
    names = ", ".join(f"`{task}`" for task in small)
    return fill(
        f"Of {len(part['scheduled'])} tasks, {len(small)} work for less than {_LITTLE_SECONDS} s: {names}. Airflow "
        f"adds {short(added)} s to each on average.",
        _COLUMNS,
    )


def _models_plot(results: Results) -> list[str]:
    bars = []
    for step in ("train", "predict"):
        for kind, runs in results["runs"].items():
            for key, name in (("local_bigquery", "Foreserve"), ("direct", "library")):
                seconds = median(run[key][step]["cpu_seconds"] for run in runs)
                bars.append((f"{name}: {kind.replace('_', ' ')}, {step}", seconds))
    return [bar_chart(f"CPU seconds of {results['conditions']['rows']:,} rows", bars)]


def _profiles(results: Results) -> str:
    """A link to each flame graph, with the functions that take most."""
    lines = []
    for name, part in results.items():
        shares = sorted(part["own"].items(), key=lambda item: -item[1])[:3]
        most = ", ".join(f"`{_PLACE.sub('', function)}` {share:.0%}" for function, share in shares)
        lines.append(fill(f"- [{name}](performance/flame-{name}.svg): {most}", _COLUMNS, subsequent_indent="  "))
    return "\n".join(lines)


def _grid(name: str) -> Callable[[Results], str]:
    def table(part: Results) -> str:
        grid = part["tables"][name]
        return markdown_table(grid["head"], grid["rows"], align="---:")

    return table


def _conditions(results: Results) -> str:
    """A sentence about the machine, and about the load average if it was busy."""
    found = [part["conditions"] for part in results.values()]
    busiest = max(each["load_average"] for each in found)
    busy = f" The machine was busy, with a load average of up to {busiest:g}." if busiest > _QUIET_LOAD else ""
    first = found[0]
    hint = "Google's services were emulators on the same CPUs. Compare ratios, memory and CPU time."
    machine = f"{first['cpus']} CPUs ({first['cpu']}), {first['memory_gib']} GiB, Python {first['python']}.{busy}"
    return fill(f"{machine} {hint}", _COLUMNS)


_TABLES: Sequence[tuple[str, str, str | None, Callable[[Results], str]]] = (
    ("conditions", "refresh", None, _conditions),
    ("refresh", "refresh", None, _refresh_table),
    ("settings", "serving", "settings", _grid("settings")),
    ("writes", "serving", "writes", _grid("writes")),
    ("hedging", "serving", "hedging", _grid("hedging")),
    ("airflow", "airflow", None, _airflow_table),
    ("profiles", "profiles", None, _profiles),
    ("small", "airflow", "refresh, newest", _small_tasks),
)
_PLOTS: Sequence[tuple[str, str, str | None, str, Callable[[Results], list[str]]]] = (
    ("refresh", "refresh", None, "Refreshes by number of entities", _refresh_plot),
    ("export", "export", None, "CPU time and memory of exports", _export_plot),
    ("lookups", "serving", "comparison", "CPU time of an answer", _comparison_plot),
    ("latencies", "serving", "latencies", "Latency on a Bigtable with real latencies", _latencies_plot),
    ("overload", "serving", "overload", "Goodput and latency by load", _overload_plot),
    ("airflow", "airflow", None, "DAG processor by number of pipelines", _airflow_plot),
    ("models", "models", None, "Local BigQuery ML against libraries", _models_plot),
)


if __name__ == "__main__":
    main()
