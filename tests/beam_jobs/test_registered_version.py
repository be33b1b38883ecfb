"""Write leases in a real registry."""

import grpc
import pytest

from beam_jobs import purge_stale_cells
from beam_jobs.registered_version import RegisteredVersion, WriteLease
from prediction_store.lifecycle import CLOCK_TOLERANCE, WRITE_LEASE, RegistryError, Status, now_ms
from tests.waiting import wait_for


@pytest.fixture
def version(begin_export, instance, new_model):
    model = new_model()
    return RegisteredVersion(instance, "", model, begin_export(model))


def test_a_job_may_write_for_as_long_as_the_registry_says(registry, version):
    before = now_ms()
    left = WriteLease(version).seconds_left()
    until = registry.get(version.model).versions[version.version].write_lease_until
    assert 0 < left <= WRITE_LEASE / 1000
    assert before + 1000 * left <= until


def test_a_job_that_uses_the_lease_of_another_stops_with_it(registry, version):
    asked = now_ms() - WRITE_LEASE // 4
    registry.update(version.model, lambda state: state.renew_write_lease(version.version, asked))
    assert WriteLease(version).seconds_left() <= WRITE_LEASE * 3 / 4 / 1000
    assert registry.get(version.model).versions[version.version].write_lease_until == asked + WRITE_LEASE


def test_no_job_writes_an_aborted_version(registry, version):
    registry.update(version.model, lambda state: state.abort(version.version, None))
    with pytest.raises(RegistryError, match="is aborted; begin its export first"):
        WriteLease(version).seconds_left()


def test_an_unreachable_registry_stops_a_job_only_when_its_lease_ends(through, version):
    refused = []

    def refuse(context, request, answers):
        refused.append(request)
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "away")

    lease = WriteLease(version, milliseconds=3000)
    assert lease.seconds_left() > 0
    through("BIGTABLE_EMULATOR_HOST", ReadRows=refuse)
    wait_for(lambda: lease.seconds_left() > 0 and refused)
    with pytest.raises(Exception, match="away"):
        wait_for(lambda: lease.seconds_left() < 0)  # it never is; the first call after the lease fails


def test_a_purge_waits_for_the_write_leases_of_stale_versions(arguments, registry, version):
    asked = now_ms() - WRITE_LEASE - CLOCK_TOLERANCE + 2000
    registry.update(version.model, lambda state: state.renew_write_lease(version.version, asked))
    registry.update(version.model, lambda state: state.abort(version.version, None))
    following = registry.update(version.model, lambda state: state.open(0)).latest
    assert registry.get(version.model).stale_writes_end(following) > now_ms()
    purge_stale_cells.run(arguments(version.model, following))
    assert registry.get(version.model).versions[version.version].status is Status.PURGED
