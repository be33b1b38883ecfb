"""Lays the bundle out in a folder, as it lies in the bucket of an Airflow environment."""

from pathlib import Path

from deployment.bundle import bundle
from deployment.commands import Commands
from deployment.source import Source

ROOT = Path(__file__).parents[2]
IMAGE = "europe-west1-docker.pkg.dev/shop-predictions/foreserve/beam-jobs@sha256:0a1b"


def lay_out(folder):
    """Write `dags/` and `plugins/` into a folder."""
    source = Source(ROOT, Commands(print, dry=True, folder=ROOT))
    for path, content in bundle(source, IMAGE).files().items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
