"""The wheel of the packages that workers import, built from the files on disk."""

import hashlib
from base64 import urlsafe_b64encode
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import beam_jobs
import prediction_store

_NAME = "foreserve_jobs"
_VERSION = "0"
_INFO = f"{_NAME}-{_VERSION}.dist-info"
_METADATA = f"Metadata-Version: 2.1\nName: {_NAME}\nVersion: {_VERSION}\n"
_WHEEL = f"Wheel-Version: 1.0\nGenerator: {_NAME}\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can hold


def build_wheel(folder: Path) -> Path:
    """Build a wheel of `beam_jobs` and `prediction_store`. The same modules give the same bytes.

    The wheel names no dependencies, because Beam's containers have them as parts of `apache-beam[gcp]`. So a worker
    that installs the wheel needs no package index.

    Args:
        folder: the folder to write it to.

    Returns:
        The wheel's path.
    """
    files = _modules() | {f"{_INFO}/METADATA": _METADATA.encode(), f"{_INFO}/WHEEL": _WHEEL.encode()}
    record = f"{_INFO}/RECORD"
    lines = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in files.items()]
    files[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    wheel = folder / f"{_NAME}-{_VERSION}-py3-none-any.whl"
    with ZipFile(wheel, "w", ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, ZIP_DEFLATED)
    return wheel


def _modules() -> dict[str, bytes]:
    """The content of each module, by its path in the wheel."""
    folders = [Path(path) for package in (beam_jobs, prediction_store) for path in package.__path__]
    return {
        path.relative_to(folder.parent).as_posix(): path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*.py"))
    }


def _digest(content: bytes) -> str:
    """A SHA-256 digest in the form of RECORD: URL-safe Base64 without padding."""
    return urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
