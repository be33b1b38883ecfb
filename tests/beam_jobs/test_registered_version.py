"""Write leases in a real registry."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from beam_jobs import purge_stale_cells
from beam_jobs.registered_version import RegisteredVersion, WriteLease
from prediction_store.lifecycle import CLOCK_TOLERANCE, WRITE_LEASE, RegistryError, Status, now_ms
from tests.waiting import wait_for


@pytest.fixture
def registered(begin_export, instance, new_model):
    model = new_model()
    return RegisteredVersion(instance, "", model, begin_export(model))


def test_a_job_may_write_for_as_long_as_the_registry_says(registry, registered):
    before = now_ms()
    left = WriteLease(registered, patience=5).seconds_left()
    until = registry.get(registered.model).write_lease_until
    assert 0 < left <= WRITE_LEASE / 1000
    assert before + 1000 * left <= until


def test_a_job_that_uses_the_lease_of_another_stops_with_it(registry, registered):
    asked = now_ms() - WRITE_LEASE // 4
    registry.update(registered.model, lambda state: state.renew_write_lease(registered.version, asked))
    assert WriteLease(registered, patience=5).seconds_left() <= WRITE_LEASE * 3 / 4 / 1000
    assert registry.get(registered.model).write_lease_until == asked + WRITE_LEASE


def test_no_job_writes_an_aborted_version(registry, registered):
    registry.update(registered.model, lambda state: state.abort(registered.version, None, reason="a test", now=1))
    with pytest.raises(RegistryError, match="is aborted; begin its export first"):
        WriteLease(registered, patience=5).seconds_left()


@pytest.fixture
def away(through):
    """An event: while it is set, the registry answers nothing but errors."""
    away = threading.Event()

    def refuse(context, request, answers):
        if away.is_set():
            context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        yield from answers()

    through("BIGTABLE_EMULATOR_HOST", ReadRows=refuse)
    return away


def test_a_job_writes_to_the_end_of_its_lease_and_waits_while_the_registry_is_away(away, registered):
    lease = WriteLease(registered, patience=30, milliseconds=3000)
    assert lease.seconds_left() > 0
    away.set()
    began = time.monotonic()
    threading.Timer(5, away.clear).start()
    wait_for(lambda: 0 < lease.seconds_left() < 1)
    wait_for(lambda: lease.seconds_left() > 1)
    assert time.monotonic() - began > 4.5


def test_a_job_gives_up_when_the_registry_stays_away_for_longer_than_a_write_may_take(away, registered):
    lease = WriteLease(registered, patience=2)
    away.set()
    with pytest.raises(TimeoutError, match=r"(?s)not renewed within 2 s: .*away"):
        lease.seconds_left()


def test_the_threads_of_a_process_share_one_lease(registry, through, registered):
    renewals = []

    def count(context, request, answers):
        renewals.append(request)
        yield from answers()

    through("BIGTABLE_EMULATOR_HOST", CheckAndMutateRow=count)
    lease = WriteLease(registered, patience=5)
    with ThreadPoolExecutor(8) as pool:
        assert all(left > 0 for left in pool.map(lambda _: lease.seconds_left(), range(100)))
    assert len(renewals) == 1


def test_a_purge_waits_for_the_write_leases_of_stale_versions(arguments, registry, registered):
    asked = now_ms() - WRITE_LEASE - CLOCK_TOLERANCE + 2000
    registry.update(registered.model, lambda state: state.renew_write_lease(registered.version, asked))
    registry.update(registered.model, lambda state: state.abort(registered.version, None, reason="a test", now=1))
    following = registry.update(registered.model, lambda state: state.open(0)).latest
    assert registry.get(registered.model).stale_writes_end(following) > now_ms()
    purge_stale_cells.run(arguments(registered.model, following))
    assert registry.get(registered.model).versions[registered.version].status is Status.PURGED
