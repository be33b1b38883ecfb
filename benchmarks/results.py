"""The results of benchmarks, in JSON files that are kept in the repository. docs/performance.md is made from them."""

import json
import os
import platform
from pathlib import Path
from typing import Any

from local_stack.settings import ROOT

FOLDER = ROOT / "benchmarks" / "results"

_DIGITS = 4


def conditions(**more: Any) -> dict[str, Any]:
    """The conditions of a measurement that starts now: machine, versions, load average; and `more` of them."""
    return {
        "cpus": os.cpu_count(),
        "cpu": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
        **more,
    }


def keep(benchmark: str, parts: dict[str, Any], folder: Path = FOLDER) -> None:
    """Write parts of a benchmark's results, rounded. Other parts in its file stay."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{benchmark}.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**kept, **_rounded(parts)}, indent=1, sort_keys=True) + "\n")


def load(benchmark: str, folder: Path = FOLDER) -> dict[str, Any]:
    """The results of a benchmark by part; empty if there are none."""
    file = folder / f"{benchmark}.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _rounded(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(member) for member in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
