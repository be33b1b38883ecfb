"""The service: the objects that live as long as the process, which every route works with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import Request

from prediction_store.layout import Instance
from serving_api.access.authenticator import Authenticator, open_authenticator
from serving_api.bigtable import Channel, Target
from serving_api.settings import Settings
from serving_api.store.cache import Cache
from serving_api.store.catalog import Catalog
from serving_api.store.lookups import Lookups
from serving_api.store.warming import Warming
from serving_api.telemetry import version_metrics
from serving_api.telemetry.metrics import Metrics, observe_event_loop_lag

if TYPE_CHECKING:
    from serving_api.telemetry.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service."""

    settings: Settings
    metrics: Metrics
    catalog: Catalog
    lookups: Lookups
    authenticator: Authenticator

    @classmethod
    @asynccontextmanager
    async def run(
        cls, settings: Settings, metrics: Metrics, tracing: "Tracing | None" = None
    ) -> AsyncIterator["Service"]:
        """Yield a service that has tried to read the registry once, and keep reading the registry."""
        instance = Instance(settings.project, settings.instance)
        async with (
            open_authenticator(settings, metrics) as authenticator,
            Channel.open(
                Target.from_environment(), instance, settings.app_profile, settings.connections, metrics
            ) as channel,
        ):
            cache = Cache(settings.cache_bytes, metrics) if settings.cache_bytes else None
            lookups = Lookups(channel, settings, metrics, cache, tracing)
            warming = Warming(cache, settings.max_batch, settings.deadline_seconds)
            catalog = Catalog(channel, settings, lookups, warming.start)
            service = cls(settings, metrics, catalog, lookups, authenticator)
            metrics.in_flight_limit.set(settings.max_in_flight)
            await catalog.refresh()
            tasks = [
                asyncio.create_task(service._poll()),
                asyncio.create_task(observe_event_loop_lag(metrics.event_loop_lag)),
            ]
            yield service
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            warming.stop()

    async def _poll(self) -> None:
        """Read the registry again and again, until cancelled."""
        while True:
            await asyncio.sleep(self.settings.registry_poll_seconds)
            await self.catalog.refresh()
            # Another process may be the one that answers /metrics.
            self.metrics.in_flight.set(self.lookups.in_flight)

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format."""
        self.metrics.in_flight.set(self.lookups.in_flight)
        return self.metrics.exposition() + version_metrics.exposition(self.catalog, self.settings.build)


def running(request: Request) -> Service:
    """The service that answers a request."""
    service: Service = request.app.state.service
    return service
