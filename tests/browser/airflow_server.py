"""A real Airflow with the page "Predictions", and its users. Its auth manager is Airflow's simple one, or FAB's."""

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from local_stack.servers import ROOT
from tests.servers import INSTANCE
from tests.waiting import wait_for

BIN = ROOT / ".venvs" / "airflow" / "bin"
ENVIRONMENT = ROOT / "local_stack" / "services.env"
DECISIONS = ("roll_back", "abort_version", "release_run")
USERS = {"ada": "Admin", "oprah": "Op", "vic": "Viewer", "gus": "Guest"}
"""The users and their roles. The password of each is the name. The simple auth manager has no guests."""

CREATE_USERS = f"""
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
with get_application_builder() as builder:
    manager = builder.sm
    guest = manager.add_role("Guest")
    manager.add_permission_to_role(guest, manager.create_permission("can_read", "Website"))
    for name, role in {USERS!r}.items():
        assert manager.add_user(name, name, name, f"{{name}}@example.com", manager.find_role(role), password=name)
"""
"""A program that gives FAB its users. The role Guest may open Airflow, and read no DAG."""


@dataclass(frozen=True)
class Airflow:
    """An Airflow.

    Attributes:
        url: its address.
        manager: `simple` or `fab`.
    """

    url: str
    manager: str

    def call(self, path, user=None, body=None, method=None):
        """Call a path as a user; return the status, and the body of the answer as JSON if it is some."""
        headers = {"Content-Type": "application/json"}
        if user:
            headers["Authorization"] = f"Bearer {self.token(user)}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            return error.code, None
        except urllib.error.URLError:
            return 0, None
        text = answer.read()
        return answer.status, json.loads(text) if text.startswith((b"{", b"[")) else None

    def token(self, user):
        return self.call("/auth/token", body={"username": user, "password": user})[1]["access_token"]

    def connect(self, url):
        """Set the connection of the lookup service to an address."""
        host, port = url.removeprefix("http://").split(":")
        connection = {"connection_id": "prediction_api", "conn_type": "http", "host": host, "port": int(port)}
        if self.call("/api/v2/connections", "ada", connection)[0] != 201:
            assert self.call("/api/v2/connections/prediction_api", "ada", connection, "PATCH")[0] == 200

    def runs(self, dag):
        """The number of a DAG's runs."""
        return self.call(f"/api/v2/dags/{dag}/dagRuns", "ada")[1]["total_entries"]

    def sign_in(self, page, user):
        """Sign a user in, and open the page by Airflow's navigation; return the frame of the page.

        With FAB, Airflow shows entries of plugins only to those who may read plugins. A viewer opens the address.
        """
        page.goto(self.url)
        if self.manager == "fab":
            page.locator("#username").fill(user)
            page.locator("#password").fill(user)
            page.locator("#password").press("Enter")
            page.wait_for_url(lambda url: "/auth/" not in url)
            if USERS[user] == "Viewer":
                page.goto(f"{self.url}/foreserve/")
                return page
        else:
            page.get_by_label("Username").fill(user)
            page.get_by_label("Password").fill(user)
            page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="Predictions").click()
        return page.frame_locator("iframe[title=Predictions]")


@contextmanager
def airflow(manager, bigtable, api, home):
    """An Airflow, once it has parsed the DAGs that the page triggers.

    Args:
        manager: `simple` or `fab`.
        bigtable: the address of Bigtable.
        api: the address of the lookup service.
        home: an empty folder for its files.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Airflow(f"http://127.0.0.1:{port}", manager)
    dags = home / "dags"
    dags.mkdir()
    shutil.copy(ROOT / "dags" / "decisions.py", dags)  # the only ones that the page triggers
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps({name: name for name in USERS}))
    lines = (line.partition("=") for line in ENVIRONMENT.read_text().splitlines() if line[:1].isupper())
    managers = {
        "simple": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "fab": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
    }
    roles = {"Admin": "admin", "Op": "op", "Viewer": "viewer"}
    variables = {
        **os.environ,
        **{name: value for name, _, value in lines},
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        # With the local stack's settings, the scheduler imports the operators once, and not each of its tasks.
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "dags", ROOT / "local_stack" / "airflow"))),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": server.url,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__CORE__AUTH_MANAGER": managers[manager],
        "AIRFLOW__API__SECRET_KEY": "of this test",
        "AIRFLOW__API_AUTH__JWT_SECRET": "of this test, and long enough for HMAC with SHA-512: 64 bytes or more",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{server.url}/execution/",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(
            f"{name}:{roles[role]}" for name, role in USERS.items() if role in roles
        ),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": "0",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": "0",
        "BIGTABLE_EMULATOR_HOST": bigtable,
        "FORESERVE_PROJECT": INSTANCE.project,
        "FORESERVE_BIGTABLE_INSTANCE": INSTANCE.instance,
    }
    log = home / "log"
    with log.open("wb") as output, ExitStack() as started:

        def run(*command):
            process = subprocess.Popen(command, env=variables, stdout=output, stderr=output, start_new_session=True)
            started.callback(_stop, process)
            return process

        # `airflow standalone` has the simple auth manager only.
        assert run(BIN / "airflow", "db", "migrate").wait() == 0, log.read_text()
        for component in ("api-server", "scheduler", "dag-processor"):
            run(BIN / "airflow", component)
        wait_for(lambda: server.call("/api/v2/version")[0] == 200, seconds=300, describe=log.read_text)
        if manager == "fab":
            assert run(BIN / "python", "-c", CREATE_USERS).wait() == 0, log.read_text()
        server.connect(api)
        for dag in DECISIONS:
            path = f"/api/v2/dags/{dag}"
            wait_for(lambda path=path: server.call(path, "ada")[0] == 200, seconds=300, describe=log.read_text)
        yield server


def _stop(process):
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
