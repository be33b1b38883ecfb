"""Commands of git, docker, terraform and gcloud, as data, and the processes that run them."""

import json
import shlex
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile

_INSTALL = {
    "docker": "install Docker, with buildx",
    "gcloud": "install the Google Cloud CLI, and log in",
    "git": "install git",
    "terraform": "install Terraform, or give its output as a file (OUTPUTS=...)",
}
_ERROR_LINES = 12


class DeploymentError(Exception):
    """The deployment cannot start, or one of its steps failed. The message says how to resolve it."""


class CommandError(DeploymentError):
    """A command is not installed, or it failed."""


class Command:
    """A command line.

    Args:
        words: the program and its arguments.
        secret_flags: flags of gcloud whose values must appear neither on the screen nor in the list of processes.
        read: takes the output of the command.
    """

    def __init__(
        self,
        *words: str,
        secret_flags: Mapping[str, Mapping[str, str] | list[str]] | None = None,
        read: Callable[[str], None] | None = None,
    ) -> None:
        self.words = words
        self.secret_flags = secret_flags or {}
        self.read = read

    def __str__(self) -> str:
        hidden = [f"{flag}={_without_values(value)}" for flag, value in self.secret_flags.items()]
        return shlex.join([*self.words, *hidden])


class Runner:
    """Runs commands in one folder.

    Args:
        show: prints a command before it runs.
        folder: the working directory of the commands.
    """

    def __init__(self, show: Callable[[str], None], folder: Path) -> None:
        self._show = show
        self._folder = folder

    def run(self, command: Command) -> None:
        """Show a command, and run it.

        Raises:
            CommandError: the command is not installed, or it failed.
        """
        self._show(str(command))
        with NamedTemporaryFile("w", suffix=".json") as file:  # only this user can read it (mode 0600)
            json.dump(command.secret_flags, file)
            file.flush()
            flags = [f"--flags-file={file.name}"] if command.secret_flags else []
            output = self.output(*command.words, *flags)
        if command.read:
            command.read(output)

    def output(self, *words: str) -> str:
        """Run a command without showing it, and return its output.

        Raises:
            CommandError: the command is not installed, or it failed.
        """
        try:
            process = subprocess.run(  # noqa: S603  the words are built by this package
                words, cwd=self._folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
        except FileNotFoundError as error:
            raise CommandError(f"{words[0]} is not installed: {_INSTALL.get(words[0], 'install it')}") from error
        if process.returncode != 0:
            lines = (process.stderr.strip() or process.stdout.strip()).splitlines()[-_ERROR_LINES:]
            raise CommandError(f"{shlex.join(words)}\nended with {process.returncode}: " + "\n".join(lines))
        return process.stdout


def _without_values(flag: Mapping[str, str] | list[str]) -> str:
    return ",".join(f"{name}=..." for name in flag) if isinstance(flag, Mapping) else ",".join(flag)
