"""Supervised background tasks."""

import asyncio

import pytest

from serving_api.supervisor import Supervisor
from serving_api.telemetry.metrics import Metrics
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio


async def test_a_task_that_fails_is_counted_and_started_again(monkeypatch):
    monkeypatch.setattr("serving_api.supervisor._PAUSE_SECONDS", (0.01, 0.02))
    metrics, runs = Metrics(), []

    async def run():
        runs.append(len(runs))
        if len(runs) < 4:
            raise ZeroDivisionError("a bug")
        await asyncio.sleep(60)

    async with Supervisor(metrics) as tasks:
        tasks.start("poll", run)
        await eventually(lambda: len(runs) == 4)
    assert b'foreserve_task_failures_total{task="poll"} 3.0' in metrics.exposition()


async def test_the_pauses_between_failures_grow(monkeypatch):
    pauses, sleep = [], asyncio.sleep

    async def record(seconds):
        pauses.append(seconds)
        await sleep(0)

    async def run():
        raise OSError

    monkeypatch.setattr("serving_api.supervisor.asyncio.sleep", record)
    async with Supervisor(Metrics()) as tasks:
        tasks.start("poll", run)
        while len(pauses) < 10:
            await sleep(0)
    assert pauses[0] <= 0.5
    assert all(15 <= pause <= 30 for pause in pauses[8:])


async def test_a_task_that_returns_is_not_started_again_and_one_that_runs_ends_with_the_context():
    runs = []

    async def once():
        runs.append("once")

    async def forever():
        try:
            await asyncio.sleep(60)
        finally:
            runs.append("cancelled")

    async with Supervisor(Metrics()) as tasks:
        tasks.start("once", once)
        tasks.start("forever", forever)
        await eventually(lambda: "once" not in {task.get_name() for task in asyncio.all_tasks()})
        assert runs == ["once"]
    assert runs == ["once", "cancelled"]
