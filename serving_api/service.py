"""What every route works with: the catalog of models, the look-ups, the limits and the metrics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from fastapi import Request

from prediction_store.connection import async_channel
from prediction_store.instance import Instance
from serving_api.catalog import Catalog
from serving_api.lookups import Limits, Lookups
from serving_api.metrics import Metrics
from serving_api.settings import Settings

_CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),  # by default two minutes, for which look-ups would go on failing
)


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service."""

    settings: Settings
    metrics: Metrics
    catalog: Catalog
    lookups: Lookups

    @classmethod
    @asynccontextmanager
    async def run(cls, settings: Settings, metrics: Metrics) -> AsyncIterator["Service"]:
        """A service that has tried to read the registry, and that keeps reading it."""
        instance = Instance(settings.project, settings.instance)
        limits = Limits(
            deadline_seconds=settings.deadline_seconds,
            max_in_flight=settings.max_in_flight,
            max_keys_per_read=settings.max_keys_per_read,
            max_reads_per_lane=settings.max_reads_per_lane,
        )
        async with async_channel(_CHANNEL_OPTIONS) as channel:
            catalog = Catalog(channel, instance, settings.app_profile, settings.registry_poll_seconds)
            lookups = Lookups(channel, instance, settings.app_profile, limits, metrics)
            await catalog.refresh()
            polling = asyncio.create_task(catalog.poll())
            yield cls(settings, metrics, catalog, lookups)
            polling.cancel()
            with suppress(asyncio.CancelledError):
                await polling


def running(request: Request) -> Service:
    """The service that answers a request."""
    service: Service = request.app.state.service
    return service
