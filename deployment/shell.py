"""Runs commands, or only prints those that would change something."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

_INSTALL = {
    "docker": "install Docker, with buildx",
    "gcloud": "install the Google Cloud CLI, and log in",
    "git": "install git",
    "terraform": "install Terraform, or give its output as a file (OUTPUTS=...)",
}


class DeploymentError(Exception):
    """The deployment cannot go on. The message says why."""


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Shell:
    """Runs commands in one folder.

    Args:
        folder: the working directory of the commands.
        applies: run commands that change something; without it, only print them.
        offline: do not ask Google Cloud.
    """

    def __init__(self, folder: Path, *, applies: bool, offline: bool) -> None:
        self.folder = folder
        self.applies = applies
        self.offline = offline

    def read(self, *words: str, offline: str) -> str:
        """Print a command that changes nothing, and return its output, or `offline` without running it."""
        say(f"  $ {shlex.join(words)}")
        return offline if self.offline else str(self.output(*words, text=True))

    def change(self, *words: str) -> None:
        """Print a command that changes something, and run it if the plan is applied. Its output goes to the screen."""
        say(f"  $ {shlex.join(words)}")
        if self.applies:
            self._run(words, check=True)

    def output(self, *words: str, **options: Any) -> Any:
        """Run a command silently, and return its output.

        Raises:
            DeploymentError: the command is not installed, or failed.
        """
        return self._run(words, check=True, capture_output=True, **options).stdout

    def _run(self, words: tuple[str, ...], **options: Any) -> subprocess.CompletedProcess[Any]:
        try:
            return subprocess.run(words, cwd=self.folder, stdin=subprocess.DEVNULL, **options)  # noqa: PLW1510, S603  check is an option; the words are built by this package
        except FileNotFoundError as error:
            raise DeploymentError(f"{words[0]} is not installed: {_INSTALL.get(words[0], 'install it')}") from error
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else error.stderr or ""
            raise DeploymentError(f"{shlex.join(words)}\nended with {error.returncode}. {said}".rstrip()) from None
