"""What Docker Compose makes of docker-compose.yaml and .env."""

import json
import re
import subprocess

from local_stack.stack import ROOT

COMPOSE = ROOT / ".venvs" / "tools" / "bin" / "docker-compose"
ENV = dict(line.split("=", 1) for line in (ROOT / ".env").read_text().splitlines() if re.match(r"\w", line))


def resolved(**shell):
    """docker-compose.yaml as Compose resolves it for somebody with these variables in their shell.

    Compose complains of variables without a value, so it must have nothing to say.
    """
    command = [COMPOSE, "config", "--format", "json", "--no-path-resolution"]
    said = subprocess.run(command, cwd=ROOT, env=shell, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
    return json.loads(said.stdout)


PROJECT = resolved()
SERVICES = PROJECT["services"]
BUILT = {name: service["build"]["dockerfile"] for name, service in SERVICES.items() if "build" in service}


def mounts(service, kind):
    """The mounts of a service, by where they are inside."""
    return {mount["target"]: mount for mount in SERVICES[service].get("volumes", []) if mount["type"] == kind}
