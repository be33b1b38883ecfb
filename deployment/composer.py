"""The Airflow environment on Cloud Composer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from deployment.commands import Commands
from deployment.errors import DeploymentError
from deployment.outputs import Composer
from deployment.packages import parse_list


@dataclass(frozen=True, slots=True)
class EnvironmentState:
    """What an environment is set to.

    Attributes:
        bucket: gs://NAME.
        image: its image's version, such as composer-3-airflow-2.11.1-build.17.
        variables: environment variables that were set.
        packages: packages that were added to the image: specifiers by name.
    """

    bucket: str
    image: str
    variables: Mapping[str, str] = field(repr=False)
    packages: Mapping[str, str]


class AirflowEnvironment:
    """Reads and updates an environment. An update takes minutes, restarts Airflow, and may change one thing only."""

    def __init__(self, outputs: Composer, project: str, commands: Commands) -> None:
        """Use an environment that Terraform made, or knows."""
        self._name = outputs.environment
        self._place = (f"--location={outputs.location}", f"--project={project}")
        self._commands = commands

    def state(self) -> EnvironmentState:
        """What it is set to.

        Raises:
            CommandError: it cannot be asked.
            DeploymentError: it is being updated, or broken.
        """
        described = json.loads(self._commands.ask(*self._command("describe"), "--format=json"))
        if described["state"] != "RUNNING":
            raise DeploymentError(
                f"the Airflow environment {self._name} is {described['state']}; deploy when it is RUNNING"
            )
        software = described["config"]["softwareConfig"]
        return EnvironmentState(
            bucket=described["config"]["dagGcsPrefix"].removesuffix("/dags"),
            image=software["imageVersion"],
            variables=software.get("envVariables", {}),
            packages=software.get("pypiPackages", {}),
        )

    def installed(self) -> dict[str, str]:
        """Versions of all Python packages in it, as a worker has them.

        Raises:
            CommandError: it cannot be asked.
        """
        return parse_list(self._commands.ask(*self._command("list-packages")))

    def set_variables(self, wanted: Mapping[str, str | None]) -> None:
        """Set environment variables, or remove those that are None.

        Raises:
            CommandError: the update failed.
        """
        flags: dict[str, dict[str, str] | list[str]] = {}
        if update := {name: value for name, value in sorted(wanted.items()) if value is not None}:
            flags["--update-env-variables"] = update
        if remove := sorted(name for name, value in wanted.items() if value is None):
            flags["--remove-env-variables"] = remove
        self._commands.do(*self._command("update"), flags=flags)

    def set_packages(self, wanted: Mapping[str, str | None]) -> None:
        """Add packages, or set their specifiers, or remove those that are None.

        Raises:
            CommandError: the update failed.
        """
        flags = [
            f"--update-pypi-package={name}{specifier}"
            for name, specifier in sorted(wanted.items())
            if specifier is not None
        ]
        if remove := sorted(name for name, specifier in wanted.items() if specifier is None):
            flags.append(f"--remove-pypi-packages={','.join(remove)}")
        self._commands.do(*self._command("update"), *flags)

    def _command(self, verb: str) -> tuple[str, ...]:
        return ("gcloud", "composer", "environments", verb, self._name, *self._place)
