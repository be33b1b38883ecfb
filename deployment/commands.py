"""The boundary to git, docker, terraform and gcloud: processes, and what is shown of them."""

import json
import shlex
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from deployment.errors import DeploymentError

_INSTALL = {
    "docker": "install Docker, with buildx",
    "gcloud": "install the Google Cloud CLI, and log in",
    "git": "install git",
    "terraform": "install Terraform, or give its output as a file (OUTPUTS=...)",
}
_LINES_SHOWN = 12
_SHORTEST_SECRET = 4


class CommandError(DeploymentError):
    """A command could not be run, or failed."""


class Commands:
    """Runs commands, or only shows those that would change something."""

    def __init__(self, show: Callable[[str], None], *, dry: bool, folder: Path) -> None:
        """Run commands in `folder`.

        Args:
            show: prints what is done, such as a command that changes something, or depends on such a change.
            dry: only show these commands.
            folder: where they run.
        """
        self._show = show
        self.dry = dry
        self._folder = folder
        self._secrets: list[str] = []

    def hide(self, secrets: Iterable[str]) -> None:
        """Never show these."""
        secrets = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
        self._secrets = sorted(secrets.union(self._secrets), key=len, reverse=True)

    def ask(self, *command: str) -> str:
        """What a command that changes nothing prints; also in a dry run.

        Raises:
            CommandError: it failed.
        """
        return self._run(command)

    def do(self, *command: str, flags: dict[str, Any] | None = None, assume: str = "") -> str:
        """What a command prints that changes something, or asks for the effect of such a change.

        Args:
            command: the command.
            flags: flags of gcloud whose values nobody may see, neither in the list of processes nor on the screen:
                they are passed in a file that only this user can read.
            assume: what it would print, in a dry run.

        Raises:
            CommandError: it failed.
        """
        hidden = [f"{flag}={_names(value)}" for flag, value in (flags or {}).items()]
        self.show(f"$ {shlex.join([*command, *hidden])}")
        if self.dry:
            return assume
        if not flags:
            return self._run(command)
        with NamedTemporaryFile("w", suffix=".json") as file:  # mode 0600
            json.dump(flags, file)
            file.flush()
            return self._run((*command, f"--flags-file={file.name}"))

    def show(self, line: str) -> None:
        """Show what is done, or would be, beside commands."""
        self._show(self.redacted(line))

    def redacted(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _run(self, command: tuple[str, ...]) -> str:
        try:
            ended = subprocess.run(  # noqa: S603  commands of this package
                command, cwd=self._folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
        except FileNotFoundError as error:
            raise CommandError(f"{command[0]} is not installed: {_INSTALL.get(command[0], 'install it')}") from error
        if ended.returncode != 0:
            said = "\n".join((ended.stderr.strip() or ended.stdout.strip()).splitlines()[-_LINES_SHOWN:])
            raise CommandError(self.redacted(f"{shlex.join(command)}\nended with {ended.returncode}: {said}"))
        return ended.stdout


def _names(value: Any) -> str:
    """What may be shown of a flag's value: names, without their values."""
    return ",".join(f"{name}=..." for name in value) if isinstance(value, dict) else ",".join(value)
