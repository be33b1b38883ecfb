"""Fencing in simulated time: purged cells stay purged, and readable ones stay, whatever is slow, late or aborted.

Jobs have clocks of their own. The cells are those of one row in the two clusters of a replicated instance. The second
cluster gets mutations later and in any order. Each cluster collects garbage at a time of its own, and its deletions are
replicated too (https://docs.cloud.google.com/bigtable/docs/garbage-collection).
"""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prediction_store.lifecycle import (
    CLOCK_TOLERANCE,
    SPARE_CELLS,
    WRITE_LEASE,
    ModelState,
    Receipt,
    RegistryError,
    Status,
)

RECEIPT = Receipt(1, 0)
LATE = 5 * WRITE_LEASE
PURGES_UNDER_WAY = 2  # whose deletions have not reached the second cluster: `SPARE_CELLS` covers as many


class Job:
    """An export job. It may write at any time until its write lease ends, by its own clock."""

    def __init__(self, version, clock_error):
        self.version = version
        self.clock_error = clock_error
        self.until = 0  # in true time


class Clusters:
    """One row in two clusters: sets of versions. Mutations that have not reached a cluster yet are `pending`."""

    def __init__(self, keep):
        self.keep = keep
        self.cells = (set(), set())
        self.pending = []  # (cluster, is_written, version, is_collected)

    def write(self, version):
        self.cells[0].add(version)
        self.pending.append((1, True, version, False))

    def purge(self, versions):
        self.cells[0].difference_update(versions)
        self.pending += [(1, False, version, False) for version in versions]

    def collect(self, cluster):
        garbage = sorted(self.cells[cluster], reverse=True)[self.keep :]
        self.cells[cluster].difference_update(garbage)
        self.pending += [(1 - cluster, False, version, True) for version in garbage]

    def deliver(self, index):
        cluster, is_written, version, _ = self.pending.pop(index)
        # A deletion that comes before the cell that it deletes wins.
        if not is_written:
            self.pending = [p for p in self.pending if p[:3] != (cluster, True, version)]
        (self.cells[cluster].add if is_written else self.cells[cluster].discard)(version)

    def wait_for_replication(self):
        while self.pending:
            self.deliver(0)


class Fencing(RuleBasedStateMachine):
    """Runs that open versions one after another, and their exports, which are never stopped."""

    KEEP_VERSIONS = 2

    @initialize(is_eager=st.booleans())
    def start(self, is_eager):
        self.state = ModelState("churn", "customer", keep_versions=self.KEEP_VERSIONS)
        self.now = 1_000_000
        self.jobs = []
        self.is_eager = is_eager
        self.clusters = Clusters(self.kept_cells(self.state))
        self.ever_written = set()  # versions that change this row
        self.written = set()  # those of them that were not purged: no cell of a readable one may vanish
        self.computed_against = None
        self.purging = None  # (version to be exported next, active version, beginning)

    def kept_cells(self, state):
        return state.cells_per_row

    @property
    def cells(self):
        return self.clusters.cells[0]

    def try_step(self, step):
        try:
            self.state = step(self.state)
        except RegistryError:
            return False
        return True

    @rule(seconds=st.integers(0, LATE // 1000))
    def time_passes(self, seconds):
        self.now += 1000 * seconds

    @rule()
    def open(self):
        if self.try_step(lambda state: state.open(0)):
            self.computed_against = self.state.active

    @precondition(lambda self: self.state.latest)
    @rule(clock_error=st.integers(-CLOCK_TOLERANCE // 2, CLOCK_TOLERANCE // 2))
    def submit_an_export(self, clock_error):
        version = self.state.latest
        if self.try_step(lambda state: state.resume_export(version)):
            self.jobs.append(Job(version, clock_error))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def renew(self, data):
        job = data.draw(st.sampled_from(self.jobs))
        its_time = self.now + job.clock_error
        if self.try_step(lambda state: state.renew_write_lease(job.version, its_time)):
            job.until = self.now + min(self.state.write_lease_until - its_time, WRITE_LEASE)

    @precondition(lambda self: any(job.until > self.now for job in self.jobs))
    @rule(data=st.data())
    def write(self, data):
        job = data.draw(st.sampled_from([job for job in self.jobs if job.until > self.now]))
        if self.state.versions[job.version].receipt and job.version not in self.ever_written:
            return  # a complete version does not change this row; jobs that linger write what was written before
        self.write_version(job.version)

    def write_version(self, version):
        self.clusters.write(version)
        self.written.add(version)
        self.ever_written.add(version)
        if self.is_eager:
            self.clusters.collect(0)

    @precondition(lambda self: self.state.latest)
    @rule()
    def abort(self):
        self.try_step(lambda state: state.abort(state.latest, self.computed_against, reason="a test", now=self.now))

    @precondition(
        lambda self: self.state.stale_versions(self.state.latest) and self.purges_under_way() < PURGES_UNDER_WAY
    )
    @rule(clock_error=st.integers(-CLOCK_TOLERANCE // 2, CLOCK_TOLERANCE // 2), waits=st.booleans())
    def begin_a_purge(self, clock_error, waits):
        # The task runs no job for a promoted version.
        latest = self.state.latest
        if self.state.was_promoted(latest) or not self.try_step(lambda state: state.begin_purge(latest)):
            return
        # The registry must not accept a purge that did not wait.
        if waits:
            self.now = max(self.now, self.state.stale_writes_end(self.state.latest) - clock_error)
        active, latest = self.state.active or 0, self.state.latest
        self.purging = (latest, active, self.now + clock_error)
        stale = {version for version in self.cells if active < version < latest}
        self.clusters.purge(stale)
        self.written -= stale

    def purges_under_way(self):
        """The number of purged cells that the second cluster still has."""
        return sum(not is_written and not collected for _, is_written, _, collected in self.clusters.pending)

    @precondition(lambda self: self.purging)
    @rule()
    def end_the_purge(self):
        version, active, began = self.purging
        self.purging = None
        self.try_step(lambda state: state.mark_purged(version, above=active, began=began))

    @precondition(lambda self: self.state.latest)
    @rule(is_held=st.booleans())
    def complete_and_promote(self, *, is_held=False):
        version, against = self.state.latest, self.computed_against
        complete = self.try_step(lambda state: state.complete_export(version, RECEIPT))
        if complete:
            self.clusters.wait_for_replication()
            if is_held:
                counts = {"written": RECEIPT.predictions, "tombstones": RECEIPT.tombstones}
                self.state = self.state.note(version, counts=counts).hold(version, reason="a test", now=self.now)
            else:
                self.try_step(lambda state: state.promote(version, expected_active=against, expected=RECEIPT))

    @rule(is_promoted=st.booleans(), purge_is_skipped=st.booleans())
    def refresh(self, is_promoted, purge_is_skipped):
        """A refresh without other disturbances: random steps alone rarely add up to one."""
        self.open()
        if self.state.stale_versions(self.state.latest) and not purge_is_skipped:
            if self.purges_under_way() >= PURGES_UNDER_WAY:
                return
            self.begin_a_purge(clock_error=0, waits=True)
            self.end_the_purge()
        self.submit_an_export(clock_error=0)
        if self.try_step(lambda state: state.renew_write_lease(state.latest, self.now)):
            self.write_version(self.state.latest)
            if is_promoted:
                self.complete_and_promote()
            else:
                self.abort()

    @precondition(lambda self: self.state.rollback_targets())
    @rule()
    def roll_back(self):
        to = self.state.rollback_targets()[0]
        self.state = self.state.roll_back(to, reason="a test", now=self.now)

    @precondition(lambda self: self.state.forward_targets())
    @rule(data=st.data())
    def go_forward(self, data):
        to = data.draw(st.sampled_from(self.state.forward_targets()))
        self.state = self.state.switch(to, reason="a test", now=self.now)

    @precondition(lambda self: self.clusters.pending)
    @rule(data=st.data())
    def replicate_a_mutation(self, data):
        self.clusters.deliver(data.draw(st.integers(0, len(self.clusters.pending) - 1)))
        if self.is_eager:
            self.clusters.collect(1)

    @rule(cluster=st.sampled_from([0, 1]))
    def compact(self, cluster):
        self.clusters.collect(cluster)

    @invariant()
    def readers_see_only_what_was_promoted_and_no_other_cells_are_forgotten(self):
        active = self.state.active or 0
        for version in self.cells:
            if version < active:
                assert self.state.versions[version].status in (Status.PROMOTED, Status.EXPIRED)
            if version > active:
                assert version in self.state.stale_versions(0)

    @invariant()
    def every_readable_version_has_its_cells_in_every_cluster(self):
        active = [self.state.active] if self.state.active else []
        for version in (*active, *self.state.rollback_targets(), *self.state.forward_targets()):
            newest = max((written for written in self.written if written <= version), default=None)
            for cells in self.clusters.cells:
                assert max((cell for cell in cells if cell <= version), default=None) == newest


TestFencing = pytest.mark.slow(Fencing.TestCase)
TestFencing.settings = settings(max_examples=400, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("spare_cells", [SPARE_CELLS, SPARE_CELLS - 1])
def test_a_cluster_that_is_two_purges_behind_collects_nothing_that_is_read(spare_cells):
    class Behind(Fencing):
        def kept_cells(self, state):
            return state.keep_versions + spare_cells

    store = Behind()
    store.start(is_eager=False)
    for is_promoted in (True, True, False):
        store.refresh(is_promoted=is_promoted, purge_is_skipped=False)
    store.clusters.wait_for_replication()
    for _ in range(PURGES_UNDER_WAY):  # the new cells overtake the deletions
        store.refresh(is_promoted=False, purge_is_skipped=False)
        store.clusters.deliver(len(store.clusters.pending) - 1)
    store.compact(cluster=1)
    store.clusters.wait_for_replication()
    if spare_cells == SPARE_CELLS:
        store.every_readable_version_has_its_cells_in_every_cluster()
    else:
        with pytest.raises(AssertionError):
            store.every_readable_version_has_its_cells_in_every_cluster()
