"""Fencing in simulated time: purged cells stay purged, whichever jobs are slow, late or aborted.

Jobs have clocks of their own.
"""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prediction_store.lifecycle import CLOCK_TOLERANCE, WRITE_LEASE, ModelState, Receipt, RegistryError, Status

RECEIPT = Receipt(1, 0)
LATE = 5 * WRITE_LEASE


class Job:
    """An export job. It may write at any time until its write lease ends, by its own clock."""

    def __init__(self, version, clock_error):
        self.version = version
        self.clock_error = clock_error
        self.until = 0  # in true time


class Fencing(RuleBasedStateMachine):
    """Runs that open versions one after another, and their exports, which are never stopped."""

    @initialize()
    def start(self):
        self.state = ModelState("churn", "customer")
        self.now = 1_000_000
        self.jobs = []
        self.cells = set()  # versions
        self.computed_against = None
        self.purging = None  # (version to be exported next, active version, beginning)

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
        if self.try_step(lambda state: state.begin_export(version)):
            self.jobs.append(Job(version, clock_error))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def renew(self, data):
        job = data.draw(st.sampled_from(self.jobs))
        its_time = self.now + job.clock_error
        if self.try_step(lambda state: state.renew_write_lease(job.version, its_time)):
            granted = self.state.versions[job.version].write_lease_until - its_time
            job.until = self.now + min(granted, WRITE_LEASE)

    @precondition(lambda self: any(job.until > self.now for job in self.jobs))
    @rule(data=st.data())
    def write(self, data):
        job = data.draw(st.sampled_from([job for job in self.jobs if job.until > self.now]))
        self.cells.add(job.version)

    @precondition(lambda self: self.state.latest)
    @rule()
    def abort(self):
        self.try_step(lambda state: state.abort(state.latest, self.computed_against))

    @precondition(lambda self: self.state.stale_versions(self.state.latest))
    @rule(clock_error=st.integers(-CLOCK_TOLERANCE // 2, CLOCK_TOLERANCE // 2), waits=st.booleans())
    def begin_a_purge(self, clock_error, waits):
        # The registry must not accept a purge that did not wait.
        if waits:
            self.now = max(self.now, self.state.stale_writes_end(self.state.latest) - clock_error)
        active, latest = self.state.active or 0, self.state.latest
        self.purging = (latest, active, self.now + clock_error)
        self.cells -= {version for version in self.cells if active < version < latest}

    @precondition(lambda self: self.purging)
    @rule()
    def end_the_purge(self):
        version, active, began = self.purging
        self.purging = None
        self.try_step(lambda state: state.mark_purged(version, above=active, began=began))

    @precondition(lambda self: self.state.latest)
    @rule()
    def complete_and_promote(self):
        version, against = self.state.latest, self.computed_against
        self.try_step(
            lambda state: state.complete_export(version, RECEIPT).promote(
                version, expected_active=against, expected=RECEIPT
            )
        )

    @precondition(lambda self: self.state.rollback_targets())
    @rule()
    def roll_back(self):
        self.state = self.state.roll_back(self.state.rollback_targets()[0])

    @invariant()
    def readers_see_only_what_was_promoted_and_no_other_cells_are_forgotten(self):
        active = self.state.active or 0
        for version in self.cells:
            if version < active:
                assert self.state.versions[version].status in (Status.PROMOTED, Status.EXPIRED)
            if version > active:
                assert version in self.state.stale_versions(0)


TestFencing = pytest.mark.slow(Fencing.TestCase)
TestFencing.settings = settings(max_examples=400, stateful_step_count=40, deadline=None)
