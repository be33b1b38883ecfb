"""A real Prometheus with the configuration of monitoring/, and a real lookup service that it scrapes."""

import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from local_stack.servers import ROOT
from tests.prometheus import Prometheus
from tests.servers import process
from tests.store import store
from tests.waiting import wait_for

__all__ = ["store"]

CONFIGURATION = ROOT / "monitoring" / "prometheus"
PATH = f"{ROOT}/.venvs/prometheus/usr/bin{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="session")
def promtool():
    """Runs promtool in the folder of the configuration, and returns its output."""
    program = shutil.which("promtool", path=PATH)

    def run(*arguments):
        done = subprocess.run([program, *arguments], cwd=CONFIGURATION, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def watch(tmp_path):
    """Runs a Prometheus that scrapes a URL every second: `with watch(url) as prometheus`."""

    @contextmanager
    def watching(url):
        folder = shutil.copytree(CONFIGURATION, tmp_path / "configuration")
        file = folder / "prometheus.yaml"
        configuration = yaml.safe_load(file.read_text())
        configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        configuration["scrape_configs"][0]["static_configs"] = [{"targets": [urlsplit(url).netloc]}]
        file.write_text(yaml.safe_dump(configuration))
        with socket.create_server(("127.0.0.1", 0)) as probe:
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        command = [
            shutil.which("prometheus", path=PATH),
            f"--config.file={file}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address={address}",
        ]
        with process(command) as started:
            wait_for(lambda: started.log() and _is_ready(f"http://{address}"))
            yield Prometheus(f"http://{address}")

    return watching


def _is_ready(url):
    try:
        return httpx.get(f"{url}/-/ready").is_success
    except httpx.TransportError:
        return False
