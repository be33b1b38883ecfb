"""The bucket of an Airflow environment."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from deployment.commands import Commands

FOLDERS = ("dags", "plugins", "data/foreserve")
"""Where a deployment writes. What Airflow keeps in the bucket beside them, such as logs, is never listed."""

_REMOVED_AT_ONCE = 100  # a command line is finite


class Bucket:
    """Reads and writes objects below `FOLDERS`."""

    def __init__(self, url: str, project: str, commands: Commands) -> None:
        """Use the bucket gs://NAME."""
        self.url = url
        self._project = f"--project={project}"
        self._commands = commands

    def digests(self) -> dict[str, str]:
        """The MD5 of each object, in Base64 as Cloud Storage has it, by path.

        Raises:
            CommandError: it cannot be listed.
        """
        urls = [f"{self.url}/{folder}/**" for folder in FOLDERS]
        command = ("gcloud", "storage", "objects", "list", *urls, "--raw", self._project)
        listed = json.loads(self._commands.ask(*command, "--format=json(name,md5Hash,timeDeleted)") or "[]")
        return {entry["name"]: entry.get("md5Hash", "") for entry in listed if not entry.get("timeDeleted")}

    def read(self, path: str) -> str:
        """The text of an object.

        Raises:
            CommandError: it cannot be read.
        """
        return self._commands.ask("gcloud", "storage", "cat", f"{self.url}/{path}", self._project)

    def download(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The content of objects. Folders are read whole: one command takes less time than one for each object.

        Raises:
            CommandError: they cannot be read.
        """
        wanted = set(paths)
        with TemporaryDirectory() as folder:
            for top in _tops(wanted):
                Path(folder, top).mkdir(parents=True)
                self._sync(f"{self.url}/{top}", f"{folder}/{top}")
            return {path: Path(folder, path).read_bytes() for path in wanted if Path(folder, path).is_file()}

    def upload(self, files: Mapping[str, bytes]) -> None:
        """Write objects; others stay as they are.

        Raises:
            CommandError: not all were written.
        """
        with TemporaryDirectory() as folder:
            for path, content in files.items():
                file = Path(folder, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            for top in _tops(files):
                self._sync(f"{folder}/{top}", f"{self.url}/{top}")

    def remove(self, paths: Iterable[str]) -> None:
        """Delete objects.

        Raises:
            CommandError: not all were deleted.
        """
        urls = [f"{self.url}/{path}" for path in sorted(paths)]
        for start in range(0, len(urls), _REMOVED_AT_ONCE):
            batch = urls[start : start + _REMOVED_AT_ONCE]
            self._commands.do("gcloud", "storage", "rm", *batch, self._project)

    def _sync(self, source: str, target: str) -> None:
        command = ("gcloud", "storage", "rsync", "--recursive", "--checksums-only", source, target)
        self._commands.do(*command, self._project)


def digest(content: bytes) -> str:
    """The MD5 of an object with this content, as Cloud Storage has it."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _tops(paths: Iterable[str]) -> list[str]:
    """The folders that these paths are in."""
    return [folder for folder in FOLDERS if any(path.startswith(f"{folder}/") for path in paths)]
