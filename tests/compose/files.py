"""docker-compose.yaml and .env as Docker Compose resolves them."""

import json
import subprocess

from local_stack.settings import ROOT, read_env

COMPOSE = ROOT / ".venvs" / "tools" / "bin" / "docker-compose"
ENV = read_env(ROOT / ".env")


def resolved(**shell):
    """Return docker-compose.yaml as Compose resolves it with these variables in the shell.

    Compose prints a warning for a variable without a value, so its standard error must be empty.
    """
    command = [COMPOSE, "config", "--format", "json", "--no-path-resolution"]
    finished = subprocess.run(command, cwd=ROOT, env=shell, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")
    return json.loads(finished.stdout)


PROJECT = resolved()
SERVICES = PROJECT["services"]
BUILT = {name: service["build"]["dockerfile"] for name, service in SERVICES.items() if "build" in service}


def mounts(service, kind):
    """Return the mounts of a service of one kind, by their path in the container."""
    return {mount["target"]: mount for mount in SERVICES[service].get("volumes", []) if mount["type"] == kind}
