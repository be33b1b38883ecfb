"""What is deployed: the files of this repository, and the commit that they are of."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from deployment.commands import CommandError, Commands
from deployment.errors import DeploymentError

_DIGITS = 12


class Source:
    """The repository's working tree."""

    def __init__(self, root: Path, commands: Commands) -> None:
        """Look at the tree.

        Args:
            root: its folder.
            commands: runs git.

        Raises:
            DeploymentError: it is no git repository with a commit.
        """
        self.root = root
        self._commands = commands
        try:
            self.commit = self._git("rev-parse", f"--short={_DIGITS}", "HEAD").strip()
        except CommandError as error:
            raise DeploymentError(
                f"{root} has no git commit that a deployment could be named after:\n{error}"
            ) from error
        status = self._git("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames")
        self.changed = [line[3:] for line in status.split("\0") if line]

    @property
    def name(self) -> str:
        """The commit, and whether files differ from it."""
        return f"{self.commit}-dirty" if self.changed else self.commit

    def require_clean(self) -> None:
        """Make sure that the commit says what is deployed.

        Raises:
            DeploymentError: files differ from it.
        """
        if self.changed:
            shown = ", ".join(self.changed[:5]) + (", ..." if len(self.changed) > 5 else "")  # noqa: PLR2004  a few
            raise DeploymentError(
                f"{len(self.changed)} files differ from commit {self.commit}: {shown}. Commit them, or deploy them as "
                "they are with DIRTY=1"
            )

    def files(self, *paths: str) -> dict[str, bytes]:
        """The content of the files below some paths: what git has, or would take."""
        names = self._git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths).split("\0")
        return {name: (self.root / name).read_bytes() for name in sorted(set(names)) if (self.root / name).is_file()}

    def tag(self, paths: Sequence[str]) -> str:
        """A name for the content of some paths: the same in each clone, whichever commit brought it."""
        digest = hashlib.sha256()
        for name, content in self.files(*paths).items():
            digest.update(f"{name} {len(content)}\n".encode() + content)
        return digest.hexdigest()[:_DIGITS]

    def _git(self, *arguments: str) -> str:
        return self._commands.ask("git", *arguments)
