"""The services of the local stack: their commands, environments and ports."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local_stack.settings import PROJECT, ROOT, SERVICE_ENVIRONMENT, read_env

_PORTS = read_env(ROOT / ".env")

DEFAULT_PORTS = {
    "bigtable": int(_PORTS["BIGTABLE_PORT"]),
    "bigquery": int(_PORTS["BIGQUERY_PORT"]),
    "bigquery_storage": int(_PORTS["BIGQUERY_STORAGE_PORT"]),
    "reports": int(_PORTS["REPORTS_PORT"]),
    "api": int(_PORTS["API_PORT"]),
    "airflow": int(_PORTS["AIRFLOW_PORT"]),
    "airflow_worker_logs": 8793,  # Airflow's defaults; only Airflow itself uses these two
    "airflow_trigger_logs": 8794,
}


@dataclass(frozen=True, slots=True)
class Service:
    """A process of the stack.

    Attributes:
        name: a short name, for logs and ports.
        title: the name that people read.
        command: the program and its arguments.
        environment: variables beside those of the process that starts the service.
        port: the port that the service listens on.
        ready_url: a URL that answers 200 when the service is ready. A service without one is ready when its port
            accepts connections.
        interrupt: True to stop the service with SIGINT instead of SIGTERM.
        stop_seconds: the time that the service has to stop, before it is killed.
    """

    name: str
    title: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    port: int
    ready_url: str | None = None
    interrupt: bool = False
    stop_seconds: float = 15


@dataclass(frozen=True, slots=True)
class Stack:
    """The local stack.

    Attributes:
        ports: the port of each name in `DEFAULT_PORTS`.
        state: the folder of all files: tables, BigQuery models, Airflow's runs, logs, reports and process records.
        bigtable: `cbtemulator`, `embedded`, or `auto`: Google's emulator where it is installed, else the embedded
            Bigtable.
        environments: the folder of virtual environments.
    """

    ports: Mapping[str, int]
    state: Path
    bigtable: str = "auto"
    environments: Path = ROOT / ".venvs"

    def url(self, service: str) -> str:
        """Return the URL of an HTTP service."""
        return f"http://127.0.0.1:{self.ports[service]}"

    def client_environment(self) -> dict[str, str]:
        """Return the variables by which clients find the local BigQuery and Bigtable."""
        return {
            "BIGTABLE_EMULATOR_HOST": f"127.0.0.1:{self.ports['bigtable']}",
            "BIGQUERY_EMULATOR_HOST": self.url("bigquery"),
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"127.0.0.1:{self.ports['bigquery_storage']}",
            "GOOGLE_CLOUD_PROJECT": PROJECT,
        }

    def services(self) -> list[Service]:
        """Return the services in the order in which they start."""
        return [self._bigtable(), self._bigquery(), self._reports(), self._api(), self._airflow()]

    def _bigtable(self) -> Service:
        port = self.ports["bigtable"]
        return Service(
            name="bigtable",
            title="Bigtable",
            command=(
                *self._module("local_stack", "local_stack.bigtable"),
                *("--port", str(port), "--implementation", self.bigtable, "--keep", str(self.state / "bigtable")),
            ),
            environment={},
            port=port,
            stop_seconds=300,  # its tables are written then
        )

    def _bigquery(self) -> Service:
        port = self.ports["bigquery"]
        return Service(
            name="bigquery",
            title="BigQuery with BigQuery ML",
            command=(
                str(self.environments / "local_bigquery" / "bin" / "local-bigquery"),
                *("--project", PROJECT, "--port", str(port), "--storage-port", str(self.ports["bigquery_storage"])),
                *("--data-dir", str(self.state / "bigquery")),
            ),
            environment={},
            port=port,
            stop_seconds=60,
        )

    def _reports(self) -> Service:
        port = self.ports["reports"]
        return Service(
            name="reports",
            title="Latency reports",
            command=(
                *self._module("local_stack", "http.server"),
                *(str(port), "--bind", "127.0.0.1", "--directory", str(self._report_folder)),
            ),
            environment={},
            port=port,
        )

    def _api(self) -> Service:
        port = self.ports["api"]
        return Service(
            name="api",
            title="Lookup service",
            command=(*self._module("serving_api", "serving_api"), "--host", "127.0.0.1", "--port", str(port)),
            environment=SERVICE_ENVIRONMENT | self.client_environment(),
            port=port,
            ready_url=f"{self.url('api')}/healthz",
        )

    def _airflow(self) -> Service:
        return Service(
            name="airflow",
            title="Airflow",
            command=(str(self.environments / "airflow" / "bin" / "airflow"), "standalone"),
            environment=self._airflow_environment(),
            port=self.ports["airflow"],
            ready_url=f"{self.url('airflow')}/api/v2/version",
            interrupt=True,  # SIGTERM would leave the children of Airflow running
        )

    def _airflow_environment(self) -> dict[str, str]:
        bin_folder = self.environments / "airflow" / "bin"
        return {
            **SERVICE_ENVIRONMENT,
            **self.client_environment(),
            "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}",  # `airflow standalone` calls `airflow`
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "local_stack" / "airflow")]),
            # Processes of the stack are found by their environment. Process titles must not overwrite it.
            "SPT_NOENV": "1",
            "AIRFLOW_HOME": str(self.state / "airflow"),
            "AIRFLOW__API__BASE_URL": self.url("airflow"),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.ports["airflow"]),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url('airflow')}/execution/",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(self.ports["airflow_trigger_logs"]),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(self.ports["airflow_worker_logs"]),
            "AIRFLOW_CONN_PREDICTION_API": self.url("api"),
            "FORESERVE_PYTHON": str(bin_folder / "python"),
            "FORESERVE_REPORTS": str(self._report_folder),
            "FORESERVE_REPORTS_URL": self.url("reports"),
        }

    @property
    def _report_folder(self) -> Path:
        return self.state / "reports"

    def _module(self, environment: str, module: str) -> tuple[str, str, str]:
        """Return the command that runs a module in an environment."""
        return str(self.environments / environment / "bin" / "python"), "-m", module


def choose_ports(preferred: Mapping[str, int] = DEFAULT_PORTS) -> dict[str, int]:
    """Return the preferred port of every name, or a free port where the preferred port is taken."""
    chosen: dict[str, int] = {}
    for service, port in preferred.items():
        chosen[service] = port if _is_free(port) else _free_port(set(chosen.values()) | set(preferred.values()))
    return chosen


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port(avoid: set[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in avoid:
            return port
