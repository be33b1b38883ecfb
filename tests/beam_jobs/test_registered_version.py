"""Write leases in a real registry."""

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
    left = WriteLease(registered).seconds_left()
    until = registry.get(registered.model).versions[registered.version].write_lease_until
    assert 0 < left <= WRITE_LEASE / 1000
    assert before + 1000 * left <= until


def test_a_job_that_uses_the_lease_of_another_stops_with_it(registry, registered):
    asked = now_ms() - WRITE_LEASE // 4
    registry.update(registered.model, lambda state: state.renew_write_lease(registered.version, asked))
    assert WriteLease(registered).seconds_left() <= WRITE_LEASE * 3 / 4 / 1000
    assert registry.get(registered.model).versions[registered.version].write_lease_until == asked + WRITE_LEASE


def test_no_job_writes_an_aborted_version(registry, registered):
    registry.update(registered.model, lambda state: state.abort(registered.version, None))
    with pytest.raises(RegistryError, match="is aborted; begin its export first"):
        WriteLease(registered).seconds_left()


def test_an_unreachable_registry_stops_a_job_only_when_its_lease_ends(through, registered):
    refused = []

    def refuse(context, request, answers):
        refused.append(request)
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "away")

    lease = WriteLease(registered, milliseconds=3000)
    assert lease.seconds_left() > 0
    through("BIGTABLE_EMULATOR_HOST", ReadRows=refuse)
    wait_for(lambda: lease.seconds_left() > 0 and refused)
    with pytest.raises(Exception, match="away"):
        wait_for(lambda: lease.seconds_left() < 0)  # it never is; the first call after the lease fails


def test_a_purge_waits_for_the_write_leases_of_stale_versions(arguments, registry, registered):
    asked = now_ms() - WRITE_LEASE - CLOCK_TOLERANCE + 2000
    registry.update(registered.model, lambda state: state.renew_write_lease(registered.version, asked))
    registry.update(registered.model, lambda state: state.abort(registered.version, None))
    following = registry.update(registered.model, lambda state: state.open(0)).latest
    assert registry.get(registered.model).stale_writes_end(following) > now_ms()
    purge_stale_cells.run(arguments(registered.model, following))
    assert registry.get(registered.model).versions[registered.version].status is Status.PURGED
