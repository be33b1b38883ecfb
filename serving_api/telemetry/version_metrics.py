"""Metrics of the build and of the active versions, computed from the catalog whenever Prometheus scrapes."""

import platform
import time
from collections.abc import Iterator

import granian
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from serving_api.store.catalog import Catalog


def exposition(catalog: Catalog, build: str) -> bytes:
    """The build, the active versions and the age of the registry's last read, in the Prometheus text format."""
    registry = CollectorRegistry()
    registry.register(_VersionCollector(catalog, build))
    return generate_latest(registry)


class _VersionCollector(Collector):
    def __init__(self, catalog: Catalog, build: str) -> None:
        self._catalog = catalog
        self._build = build

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The current metrics."""
        build = GaugeMetricFamily(
            "foreserve_build_info", "The running build; the value is always 1.", labels=("build", "python", "granian")
        )
        build.add_metric((self._build, platform.python_version(), granian.__version__), 1)
        yield build
        if (age := self._catalog.age_seconds) is not None:
            yield GaugeMetricFamily(
                "foreserve_registry_age_seconds", "Time since the last read of the registry began.", value=age
            )
        snapshot = self._catalog.snapshot
        if snapshot is None:
            return
        versions = GaugeMetricFamily(
            "foreserve_active_version", "The active version, in milliseconds since the epoch.", labels=("model",)
        )
        ages = GaugeMetricFamily(
            "foreserve_active_version_age_seconds", "The age of the active version.", labels=("model",)
        )
        for name, model in snapshot.models.items():
            if model.active:
                versions.add_metric((name,), model.active.version)
                ages.add_metric((name,), time.time() - model.active.version / 1000)
        yield versions
        yield ages
        broken = len(snapshot.broken)
        yield GaugeMetricFamily("foreserve_broken_models", "Models with an invalid registry document.", value=broken)
