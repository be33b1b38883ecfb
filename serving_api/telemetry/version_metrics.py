"""Metrics of the build and of the active versions, computed from the catalog whenever Prometheus scrapes."""

import platform
import time
from collections.abc import Iterator, Mapping

import granian
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from prediction_store.details import newest_live_metrics
from serving_api.store.catalog import Catalog, Model


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
        objectives = GaugeMetricFamily(
            "foreserve_active_version_max_age_seconds", "The objective for that age.", labels=("model",)
        )
        for name, model in snapshot.models.items():
            if model.active:
                versions.add_metric((name,), model.active.version)
                ages.add_metric((name,), time.time() - model.active.version / 1000)
                objectives.add_metric((name,), model.state.max_age_hours * 3600)
        yield from (versions, ages, objectives)
        yield from _quality(snapshot.models)
        broken = len(snapshot.broken)
        yield GaugeMetricFamily("foreserve_broken_models", "Models with an invalid registry document.", value=broken)


def _quality(models: Mapping[str, Model]) -> Iterator[GaugeMetricFamily]:
    """The live metrics of the newest version that has any, beside its metrics on held-out rows."""
    quality = GaugeMetricFamily(
        "foreserve_quality", "Metrics of the newest version with live metrics.", labels=("model", "metric", "rows")
    )
    breaches = GaugeMetricFamily(
        "foreserve_live_breaches", "Rules of the quality gate that live metrics break.", labels=("model",)
    )
    for name, model in models.items():
        details = {version: record.details for version, record in model.state.versions.items()}
        if (newest := newest_live_metrics(details)) is None:
            continue
        live = newest[1]
        breaches.add_metric((name,), len(live["breaches"]))
        for rows, metrics in (("live", live["metrics"]), ("held_out", live["held_out"])):
            for metric, value in metrics.items():
                if value is not None:
                    quality.add_metric((name, metric, rows), value)
    yield quality
    yield breaches
