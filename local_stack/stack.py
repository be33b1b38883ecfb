"""The services of the local stack: what each runs, where it listens, and when it is ready."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = "demo"
DATASET = "foreserve"
INSTANCE = "local"

DEFAULT_PORTS = {
    "bigtable": 8086,
    "bigquery": 9050,
    "bigquery_storage": 9060,
    "reports": 8001,
    "api": 8000,
    "airflow": 8080,
    "airflow_worker_logs": 8793,
    "airflow_trigger_logs": 8794,
}


@dataclass(frozen=True, slots=True)
class Service:
    """A process of the stack.

    `ready_url` answers 200 once it is ready; a service without one is ready when its port accepts connections.
    """

    name: str
    title: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    port: int
    ready_url: str | None = None
    interrupt: bool = False  # stop with SIGINT instead of SIGTERM


@dataclass(frozen=True, slots=True)
class Stack:
    """The stack with its ports, its state folder, and the environments (folders of interpreters) it runs in."""

    ports: Mapping[str, int]
    state: Path
    bigtable: str = "auto"
    environments: Path = ROOT / ".venvs"

    def url(self, service: str) -> str:
        """The address of an HTTP service."""
        return f"http://127.0.0.1:{self.ports[service]}"

    def client_environment(self) -> dict[str, str]:
        """What clients of BigQuery and Bigtable need in their environment to find the local ones."""
        return {
            "BIGTABLE_EMULATOR_HOST": f"127.0.0.1:{self.ports['bigtable']}",
            "BIGQUERY_EMULATOR_HOST": self.url("bigquery"),
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"127.0.0.1:{self.ports['bigquery_storage']}",
            "GOOGLE_CLOUD_PROJECT": PROJECT,
        }

    def services(self) -> list[Service]:
        """In the order in which they start."""
        return [self._bigtable(), self._bigquery(), self._reports(), self._api(), self._airflow()]

    def _bigtable(self) -> Service:
        port = self.ports["bigtable"]
        return Service(
            name="bigtable",
            title="Bigtable",
            command=(
                self._python("local_stack"),
                *("-m", "local_stack.bigtable", "--port", str(port), "--implementation", self.bigtable),
            ),
            environment={},
            port=port,
        )

    def _bigquery(self) -> Service:
        port = self.ports["bigquery"]
        return Service(
            name="bigquery",
            title="BigQuery with BigQuery ML",
            command=(
                self._python("local_stack"),
                *("-m", "local_stack.bigquery", "--project", PROJECT, "--port", str(port)),
                *("--storage-port", str(self.ports["bigquery_storage"])),
            ),
            environment={},
            port=port,
        )

    def _reports(self) -> Service:
        return Service(
            name="reports",
            title="Latency reports",
            command=(
                self._python("local_stack"),
                *("-m", "http.server", str(self.ports["reports"]), "--bind", "127.0.0.1"),
                *("--directory", str(self._report_folder)),
            ),
            environment={},
            port=self.ports["reports"],
        )

    def _api(self) -> Service:
        port = self.ports["api"]
        return Service(
            name="api",
            title="Lookup service",
            command=(
                self._python("serving_api"),
                *("-m", "serving_api", "--host", "127.0.0.1", "--port", str(port)),
            ),
            environment={
                **self.client_environment(),
                "SERVING_PROJECT": PROJECT,
                "SERVING_INSTANCE": INSTANCE,
            },
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
            interrupt=True,  # on SIGTERM it would leave its children behind
        )

    def _airflow_environment(self) -> dict[str, str]:
        bin_folder = self.environments / "airflow" / "bin"
        google = {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True, "project": PROJECT}}
        return {
            **self.client_environment(),
            "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}",  # standalone calls `airflow`
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "local_stack" / "airflow")]),
            "SPT_NOENV": "1",  # process titles must not overwrite the environment: processes are found by it
            "AIRFLOW_HOME": str(self.state / "airflow"),
            "AIRFLOW__API__BASE_URL": self.url("airflow"),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.ports["airflow"]),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url('airflow')}/execution/",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",  # no login; the UI listens on loopback only
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",  # a new pipeline shows up soon
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(self.ports["airflow_trigger_logs"]),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(self.ports["airflow_worker_logs"]),
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",  # so that a killed task is soon tried again
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(google),
            "AIRFLOW_CONN_PREDICTION_API": self.url("api"),
            "FORESERVE_BEAM_RUNNER": "FnApiRunner",
            "FORESERVE_BIGTABLE_INSTANCE": INSTANCE,
            "FORESERVE_CREATE_TABLES": "true",
            "FORESERVE_DATASET": DATASET,
            "FORESERVE_POLL_SECONDS": "0.5",
            "FORESERVE_PROJECT": PROJECT,
            "FORESERVE_PYTHON": str(bin_folder / "python"),
            "FORESERVE_REPORTS": str(self._report_folder),
            "FORESERVE_REPORTS_URL": self.url("reports"),
            "FORESERVE_RETRIES": "1",
            "FORESERVE_RETRY_DELAY_SECONDS": "2",
            "FORESERVE_SCHEDULED": "false",
        }

    @property
    def _report_folder(self) -> Path:
        return self.state / "reports"

    def _python(self, environment: str) -> str:
        return str(self.environments / environment / "bin" / "python")


def choose_ports(preferred: Mapping[str, int] = DEFAULT_PORTS) -> dict[str, int]:
    """The preferred port of every service, or a free one where that is taken."""
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
