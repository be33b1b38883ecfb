"""The repository's files, for tests that read them."""

from pathlib import Path

ROOT = Path(__file__).parent.parent


def files(*patterns):
    """Yield the files of these names, but for those in hidden folders and caches."""
    for folder in (ROOT, *(child for child in ROOT.iterdir() if child.is_dir() and not child.name.startswith("."))):
        for pattern in patterns:
            for file in folder.glob(pattern) if folder == ROOT else folder.rglob(pattern):
                if not any(part.startswith((".", "__")) for part in file.relative_to(ROOT).parent.parts):
                    yield file
