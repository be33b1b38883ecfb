"""The service: the objects that live as long as the process, which every route works with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from fastapi import Request

from prediction_store.layout import Instance
from serving_api.access.authenticator import Authenticator, open_authenticator
from serving_api.bigtable import BigtableClient, Channel, Target
from serving_api.settings import Settings
from serving_api.store.cache import Cache
from serving_api.store.catalog import Catalog
from serving_api.store.lookups import Lookups
from serving_api.store.warming import Warming
from serving_api.supervisor import Supervisor
from serving_api.telemetry import version_metrics
from serving_api.telemetry.metrics import Metrics, observe_event_loop_lag

if TYPE_CHECKING:
    from serving_api.telemetry.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service."""

    settings: Settings
    metrics: Metrics
    client: BigtableClient
    catalog: Catalog
    lookups: Lookups
    authenticator: Authenticator

    @classmethod
    @asynccontextmanager
    async def run(
        cls, settings: Settings, metrics: Metrics, tracing: "Tracing | None" = None
    ) -> AsyncIterator["Service"]:
        """Yield a service that has tried to read the registry once, and keep reading the registry."""
        async with (
            open_authenticator(settings, metrics) as authenticator,
            open_client(settings, metrics) as client,
            Supervisor(metrics) as tasks,
        ):
            cache = Cache(settings.cache_bytes, metrics) if settings.cache_bytes else None
            lookups = Lookups(client, settings, metrics, cache, tracing)
            # A tenth of the entities in flight at a time, so that warming leaves room for lookups.
            warming = Warming(cache, max(1, settings.max_in_flight // 10), settings.deadline_seconds, tasks)
            catalog = Catalog(client, settings, lookups, warming.start)
            service = cls(settings, metrics, client, catalog, lookups, authenticator)
            metrics.in_flight_limit.set(settings.max_in_flight)
            read = asyncio.Event()
            tasks.start("registry", partial(service._poll, read))
            tasks.start("event loop lag", partial(observe_event_loop_lag, metrics.event_loop_lag))
            await read.wait()
            yield service

    async def _poll(self, read: asyncio.Event) -> None:
        """Read the registry again and again, until cancelled. `read` is set after the first attempt."""
        while True:
            try:
                await self.catalog.refresh()
            finally:
                read.set()
            await asyncio.sleep(self.settings.registry_poll_seconds)
            # Another process may be the one that answers /metrics.
            self.metrics.in_flight.set(self.lookups.in_flight)

    @property
    def is_ready(self) -> bool:
        """Return True if lookups can be expected to work: the registry was read, and Bigtable is connected.

        The age of the last read does not count. If the registry's tablet is unavailable, all replicas fail to read it,
        and can still answer from its last state.
        """
        return self.catalog.snapshot is not None and self.client.is_connected

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format."""
        self.metrics.in_flight.set(self.lookups.in_flight)
        return self.metrics.exposition() + version_metrics.exposition(self.catalog, self.settings.build)


def open_client(settings: Settings, metrics: Metrics) -> AbstractAsyncContextManager[BigtableClient]:
    """The client of Bigtable that the settings ask for.

    Raises:
        google.auth.exceptions.DefaultCredentialsError: this machine has no default credentials.
        ValueError: the address in the environment is invalid, or the credentials are of another universe.
    """
    instance, endpoint = Instance(settings.project, settings.instance), settings.bigtable_endpoint
    if settings.bigtable_client == "official":
        from serving_api.bigtable.official import OfficialClient  # noqa: PLC0415  imports Google's client

        return OfficialClient.open(endpoint, instance, settings.app_profile, metrics)
    target = Target.from_environment(endpoint)
    return Channel.open(target, instance, settings.app_profile, settings.connections, metrics)


def running(request: Request) -> Service:
    """The service that answers a request."""
    service: Service = request.app.state.service
    return service
