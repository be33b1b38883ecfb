"""Writes the files of a deployment into a folder, at their paths in the bucket of an Airflow environment."""

from itertools import chain
from pathlib import Path

from deployment.bundle import bundle
from deployment.commands import Runner
from deployment.source import Source

ROOT = Path(__file__).parents[2]
IMAGE = "europe-west1-docker.pkg.dev/shop-predictions/foreserve/beam-jobs@sha256:0a1b"


def lay_out(folder):
    groups = bundle(Source(ROOT, Runner(print, ROOT))).groups(IMAGE)
    for path, content in chain.from_iterable(group.items() for group in groups):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
