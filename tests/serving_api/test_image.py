"""The image without Docker: the instructions of its Dockerfile are run in a folder."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.dockerfiles import instructions
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DOCKERFILE = "serving_api/Dockerfile"


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A folder that stands for the root of the image."""
    root = tmp_path_factory.mktemp("image")
    # A virtual environment stands for the Python of the base image.
    base = root / "base"
    subprocess.run([sys.executable, "-m", "venv", base], check=True)
    path = f"{base / 'bin'}{os.pathsep}{os.environ['PATH']}"
    for line in instructions(DOCKERFILE, "COPY"):
        *sources, target = line.split()
        for source in sources:
            if source.startswith("--from") or "--from" in line:
                continue
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            (root / target.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            copy(ROOT / source, root / target.lstrip("/"))
    for line in instructions(DOCKERFILE, "RUN"):
        if not line.startswith("useradd"):
            command = re.sub(r"(?<=\s)/(?=venv|requirements|app)", f"{root}/", line)
            env = {"PATH": path, "HOME": str(root), **_pip_settings()}
            subprocess.run(["bash", "-euc", command], env=env, check=True)  # noqa: S607  any bash
    return root


def _pip_settings():
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_")}


def environment(image, **variables):
    """The environment of a container: the variables of the Dockerfile, and those that it is run with."""
    values = dict(pair.split("=", 1) for line in instructions(DOCKERFILE, "ENV") for pair in line.split())
    temporary = image / "tmp"
    temporary.mkdir(exist_ok=True)
    return {**values, "PATH": f"{image}/venv/bin:{os.defpath}", "TMPDIR": str(temporary), **variables}


def command(name, port):
    ((*_, words),) = [re.findall(r"\[.+\]$", line) for line in instructions(DOCKERFILE, name) if "[" in line]
    return [word.replace("8080", str(port)) for word in json.loads(words)]


def files(image):
    return {path: path.stat().st_mtime_ns for path in image.rglob("*")}


def test_the_image_starts_is_healthy_writes_nothing_and_stops(image, store):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    env = environment(
        image,
        BIGTABLE_EMULATOR_HOST=store.address,
        SERVING_PROJECT="test-project",
        SERVING_INSTANCE="test-instance",
        SERVING_ALLOW_ANONYMOUS="true",
    )
    before = files(image)
    service = subprocess.Popen(command("CMD", port), cwd=image / "app", env=env, stderr=subprocess.PIPE, text=True)
    try:
        check = partial(subprocess.run, command("HEALTHCHECK", port), env=env, stderr=subprocess.DEVNULL, check=False)
        wait_for(lambda: check().returncode == 0 or service.poll() is not None)
        assert service.poll() is None, service.stderr.read()
    finally:
        service.send_signal(signal.SIGTERM)
        _, logs = service.communicate(timeout=20)
    assert service.returncode == 0
    assert "Traceback" not in logs
    assert files(image) == before


def test_without_settings_the_image_answers_nobody(image):
    env = environment(image, SERVING_PROJECT="p", SERVING_INSTANCE="i")
    result = subprocess.run(command("CMD", 0), cwd=image / "app", env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "SERVING_AUTH is none" in result.stderr
