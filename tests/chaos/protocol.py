"""The protocol as a model: every order of the steps of runs, their jobs, an operator and Bigtable.

The steps in the registry are those of `prediction_store.lifecycle`. A breadth-first search visits every state that they
and the steps below lead to, and checks each:

- Every version that a reader may know has its own value in every cluster: the active one and those before it that can
  be rolled back to; and the next one, if it can be promoted. So no answer mixes versions.
- The active version goes back by rollbacks only.
- Cells are written only while no other version has cells above the active one, and the registry knows whose they are.
- Once nothing else happens, a refresh succeeds, and every version that can be read has its value after it.

A crash needs no step of its own: the search also visits the orders in which a run or a job never goes on. Each version
has a run. All runs exist at the same time, execute their tasks in any order and again, and lose their run leases at any
time. Only the wait for replication comes between an export and a promotion.

The cells are those of one row, which each version changes or not. That is enough, since a receipt and the end of a
purge mean that all rows were written or purged. With replication, the row is in two clusters. Writes and deletions
reach the other cluster later and in any order. Each cluster collects garbage at any time or never, and replicates that
(https://docs.cloud.google.com/bigtable/docs/garbage-collection). Clocks are at their worst: those of the jobs are
behind, those of purges ahead, by half of the tolerance each.

Usage: python -m tests.chaos.protocol
"""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from prediction_store.details import Counts, VersionDetails
from prediction_store.lifecycle import (
    CLOCK_TOLERANCE,
    SPARE_CELLS,
    ModelState,
    Receipt,
    RegistryError,
    Status,
    VersionRecord,
)

NOW = 1_000_000_000
"""The time in each state. When time passes, all other times become earlier instead."""

UNIT = CLOCK_TOLERANCE // 2
LONG = 10
"""Units of time after which no lease matters any more."""


class Violation(Exception):  # noqa: N818  a finding
    """A property that does not hold. The message has the steps that lead there."""


class Job(NamedTuple):
    """An export job: its version, the units of time that its lease lasts, True once all its cells were written."""

    version: int
    lease: int = 0
    has_written: bool = False


class Purge(NamedTuple):
    """A purge job: the version to be exported next, the active version, True if its tables have the row."""

    version: int
    above: int
    has_row: bool
    has_read: bool = False
    wait: int = 0
    began: int | None = None
    has_deleted: bool = False


class System(NamedTuple):
    """A state of everything. Sets of versions are bit masks."""

    registry: int  # the number of its state
    values: tuple[int, ...]  # by version, the version that made its value of the row; -1: not computed yet
    against: tuple[int, ...]  # by version, the active version with which it is compared
    is_replicated: bool  # since the last export of the latest version
    cells: tuple[int, int]  # by cluster
    kept: int  # the number of cells that garbage collection keeps
    to_keep: int = 0  # that number as a run is about to set it; 0: none is
    jobs: tuple[Job, ...] = ()
    purges: tuple[Purge, ...] = ()
    writes: int = 0  # that have not reached the second cluster
    deletions: tuple[int, int] = (0, 0)  # that have not reached a cluster


@dataclass(frozen=True)
class Bounds:
    """The limits of a search.

    Attributes:
        versions: the versions that are opened, besides those that were promoted before.
        history: the versions that were promoted before. Each changed the row.
        clusters: one or two.
        jobs: the export jobs that exist at the same time.
        purges: the purge jobs that exist at the same time.
        lease: the duration of a write lease in units.
        keep_versions: the settings of runs.
        spare_cells: the cells that garbage collection keeps besides those of readable versions.
    """

    versions: int = 2
    history: int = 2
    clusters: int = 1
    jobs: int = 2
    purges: int = 1
    lease: int = 1
    keep_versions: tuple[int, ...] = (2,)
    spare_cells: int = SPARE_CELLS


def _counts(details: VersionDetails) -> VersionDetails:
    return {"counts": details["counts"]} if "counts" in details else {}


def _key(r: VersionRecord) -> object:
    written = r.details["counts"]["written"] if "counts" in r.details else None
    return r.status, r.run, r.run_lease_until, r.compared_with, r.has_cells, r.confirmed, r.receipt, written


class Registry:
    """The states that the registry may have, by number, and the steps between them. Each is computed once."""

    def __init__(self) -> None:
        self.states: list[ModelState] = []
        self._numbers: dict[object, int] = {}
        self._steps: dict[object, int | None] = {}

    def number(self, state: ModelState) -> int:
        """The number of a state. Details other than the counts do not count: no step depends on them."""
        records = {
            version: replace(record, details=_counts(record.details))
            for version, record in sorted(state.versions.items())
        }
        key = (
            (state.active, state.latest, state.keep_versions, state.write_lease_until),
            *((version, _key(record)) for version, record in records.items()),
        )
        if key not in self._numbers:
            self._numbers[key] = len(self.states)
            self.states.append(replace(state, versions=records))
        return self._numbers[key]

    def step(self, number: int, step: Callable[..., ModelState], *args: object) -> int | None:
        """Make a step; return the number of the state after it, or None if it is refused."""
        key = (number, step, args)
        if key not in self._steps:
            try:
                self._steps[key] = self.number(step(self.states[number], *args))
            except RegistryError:
                self._steps[key] = None
        return self._steps[key]


# The steps in the registry, as the operators and the jobs make them.


def configure(state: ModelState, keep_versions: int) -> ModelState:
    return state.configure(ModelState(state.model, state.entity_type, keep_versions=keep_versions))


def open_version(state: ModelState, run: str) -> ModelState:
    """Open a version. Any run lease has ended: after 73 hours, or because Airflow says that its run has."""
    if (holder := state.run_lease_holder(0)) and holder != run:
        state = state.release_run_lease(holder)
    return state.open(0, run)


def announce(state: ModelState, version: int) -> ModelState:
    if state.was_promoted(version) or state.stale_versions(version):
        return state
    return state.begin_export(version)


def count(state: ModelState, version: int, cells: int) -> ModelState:
    counts: Counts = {"predictions": 1, "written": cells, "tombstones": 0, "unchanged": 1 - cells}
    return state.note(version, counts=counts)


def hold(state: ModelState, version: int) -> ModelState:
    return state.hold(version, reason="a test", now=0)


def switch(state: ModelState, to: int) -> ModelState:
    return state.switch(to, reason="a test", now=0)


def renew(state: ModelState, version: int, lease: int) -> ModelState:
    return state.renew_write_lease(version, NOW - UNIT, lease * UNIT)


def complete(state: ModelState, version: int, cells: int) -> ModelState:
    return state.complete_export(version, Receipt(cells, 0))


def promote(state: ModelState, version: int, against: int, cells: int) -> ModelState:
    return state.promote(version, expected_active=against or None, expected=Receipt(cells, 0))


def mark_purged(state: ModelState, version: int, above: int, began: int) -> ModelState:
    return state.mark_purged(version, above=above, began=NOW + began * UNIT)


def abort(state: ModelState, version: int, against: int) -> ModelState:
    return state.abort(version, against or None, reason="a test", now=0)


def later(state: ModelState, units: int) -> ModelState:
    """Let time pass. A lease that does not matter any more becomes 0."""
    until = state.write_lease_until - units * UNIT
    return replace(state, write_lease_until=until if until + CLOCK_TOLERANCE > NOW - UNIT else 0)


def bit(version: int) -> int:
    return 1 << version


def bits(versions: int) -> Iterator[int]:
    """The versions in a set."""
    return (version for version in range(versions.bit_length()) if versions & bit(version))


def between(above: int, version: int) -> int:
    """The set of the versions above one and below another."""
    return (bit(version) - 1) & ~(bit(above + 1) - 1)


def read(cells: int, version: int) -> int:
    """The version of the newest cell that is not newer than a version; 0 if there is none."""
    return max(0, (cells & (bit(version + 1) - 1)).bit_length() - 1)


def garbage(cells: int, kept: int) -> int:
    """The cells of a row that garbage collection may delete: all but the newest."""
    return sum(bit(version) for version in sorted(bits(cells), reverse=True)[kept:])


Steps = Iterator[tuple[str, System]]
"""The names of possible steps, and the states after them."""


class Search:
    """A breadth-first search over all states within bounds.

    Attributes:
        states: the number of states that were visited.
        steps: the number of steps between them.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.registry = Registry()
        self.steps = 0
        self._last = bounds.history + bounds.versions
        self._checked: set[object] = set()
        self._refreshed: set[object] = set()
        self._parents: dict[System, tuple[System, str] | None] = {}

    @property
    def states(self) -> int:
        return len(self._parents)

    def run(self) -> None:
        """Visit all states.

        Raises:
            Violation: a property does not hold.
        """
        start = self._start()
        self._parents[start] = None
        waiting = deque([start])
        while waiting:
            system = waiting.popleft()
            active = self._active(system)
            for name, following in self._steps_from(system):
                self.steps += 1
                if following in self._parents:
                    continue
                self._parents[following] = (system, name)
                if self._active(following) < active and not name.startswith(("roll back", "abort")):
                    raise Violation(self._story(following, "the active version went back without a rollback"))
                self._check(following)
                self._check_refresh(following)
                waiting.append(following)

    def _start(self) -> System:
        """The state after the refreshes of the history."""
        state = ModelState("m", "things", keep_versions=self.bounds.keep_versions[0])
        history = range(1, self.bounds.history + 1)
        for version in history:
            state = complete(state.open(0).begin_export(version), version, 1)
            state = promote(state, version, version - 1, 1).confirm(version)
        cells = sum(bit(version) for version in history)
        return System(
            registry=self.registry.number(state),
            values=(0, *history),
            against=(0,) * (len(history) + 1),
            is_replicated=False,
            cells=(cells, cells if self.bounds.clusters > 1 else 0),
            kept=self._kept(state),
        )

    def _kept(self, state: ModelState) -> int:
        return state.cells_per_row - SPARE_CELLS + self.bounds.spare_cells

    def _state(self, system: System) -> ModelState:
        return self.registry.states[system.registry]

    def _active(self, system: System) -> int:
        return self._state(system).active or 0

    def _after(self, system: System, step: Callable[..., ModelState], *args: object) -> System | None:
        """The state after a step in the registry; None if it is refused."""
        number = self.registry.step(system.registry, step, *args)
        return None if number is None else system._replace(registry=number)

    def _step(self, system: System, name: str, step: Callable[..., ModelState], *args: object) -> Steps:
        """A step that changes only the registry, unless it is refused or changes nothing."""
        number = self.registry.step(system.registry, step, *args)
        if number is not None and number != system.registry:
            yield name, system._replace(registry=number)

    def _steps_from(self, system: System) -> Steps:
        """All steps that are possible in a state."""
        yield from self._openings(system)
        for version in range(self.bounds.history + 1, self._state(system).latest + 1):
            if version in self._state(system).versions:
                yield from self._tasks(system, version)
        for index, job in enumerate(system.jobs):
            yield from self._steps_of_job(system, job, system.jobs[:index] + system.jobs[index + 1 :])
        for index, purge in enumerate(system.purges):
            yield from self._steps_of_purge(system, purge, system.purges[:index] + system.purges[index + 1 :])
        yield from self._steps_of_bigtable(system)
        yield from self._steps_of_others(system)

    def _openings(self, system: System) -> Steps:
        """A run registers the model, sets the garbage collection, and opens a version."""
        state = self._state(system)
        if state.latest < self._last:
            if len(self.bounds.keep_versions) > 1:
                for keep_versions in self.bounds.keep_versions:
                    configured = self._after(system, configure, keep_versions)
                    assert configured is not None
                    yield "register", configured._replace(to_keep=self._kept(self._state(configured)))
            opened = self._after(system, open_version, f"the run of {state.latest + 1}")
            assert opened is not None
            if len(self.bounds.keep_versions) == 1:
                opened = opened._replace(kept=self._kept(state))
            yield (
                f"open {state.latest + 1}",
                opened._replace(
                    values=(*system.values, -1), against=(*system.against, state.active or 0), is_replicated=False
                ),
            )
        if system.to_keep:
            yield "set the garbage collection", system._replace(kept=system.to_keep, to_keep=0)

    def _tasks(self, system: System, version: int) -> Steps:
        """The tasks of the run that opened a version."""
        state = self._state(system)
        if version == state.latest:
            yield from self._tasks_of_an_export(system, version)
            if system.is_replicated:
                cells = int(system.values[version] == version)
                promotion = (promote, version, system.against[version], cells)
                yield from self._step(system, f"promote {version}", *promotion)
                yield from self._step(system, f"hold {version}", hold, version)
        if version == state.active:
            yield from self._step(system, f"confirm {version}", ModelState.confirm, version)
        yield from self._step(system, f"abort {version}", abort, version, system.against[version])

    def _tasks_of_an_export(self, system: System, version: int) -> Steps:
        """The tasks from the beginning to the wait for replication, of the latest version."""
        state = self._state(system)
        record = state.versions[version]
        if record.status is Status.OPEN:
            again = self._after(system, open_version, record.run)
            assert again is not None
            yield f"open {version} again", again._replace(against=(*system.against[:version], state.active or 0))
        if following := self._after(system, announce, version):
            for name, computed in self._computed(system, following, version):
                yield f"prepare the export of {version}{name}", computed
        if following := self._after(system, ModelState.resume_export, version):
            for name, computed in self._computed(system, following, version):
                for jobs in _with(system.jobs, Job(version), self.bounds.jobs):
                    yield f"start the export of {version}{name}", computed._replace(jobs=jobs)
        may_purge = self._after(system, ModelState.begin_purge, version) and not state.was_promoted(version)
        if may_purge and (stale := state.stale_versions(version)):
            has_row = any(system.values[v] == v for v in stale)
            for purges in _with(system.purges, Purge(version, state.active or 0, has_row), self.bounds.purges):
                yield f"start a purge for {version}", system._replace(purges=purges)
        if record.receipt and not system.is_replicated:
            yield f"wait for the replication of {version}", _replicated(system)._replace(is_replicated=True)

    def _computed(self, before: System, after: System, version: int) -> Steps:
        """The states in which a version changes the row or not, if its export begins. They differ from then on."""
        had, has = (self._state(system).versions[version].has_cells for system in (before, after))
        if had or not has:
            yield "", after._replace(is_replicated=False)
            return
        for value in {version, before.values[before.against[version]]}:
            values = (*before.values[:version], value, *before.values[version + 1 :])
            counted = self._after(after, count, version, int(value == version))
            assert counted is not None
            yield f", whose value is {value}", counted._replace(values=values, is_replicated=False)

    def _steps_of_job(self, system: System, job: Job, others: tuple[Job, ...]) -> Steps:
        """An export job renews its lease, writes its cell if it has one, and records the receipt."""
        version = job.version
        name = f"the export of {version}"

        def changed(system: System, job: Job) -> System:
            return system._replace(jobs=tuple(sorted((*others, job))))

        lease = self.bounds.lease
        following = self._after(system, renew, version, lease)
        if following is not None:
            left = (self._state(following).write_lease_until - (NOW - UNIT)) // UNIT
            self._check_lease(system, version)
            yield f"{name} renews its lease", changed(following, job._replace(lease=min(left, lease)))
        has_cell = system.values[version] == version
        if has_cell and job.lease:
            written = system._replace(cells=(system.cells[0] | bit(version), system.cells[1]))
            if self.bounds.clusters > 1:
                written = written._replace(writes=system.writes | bit(version))
            yield f"{name} writes", changed(written, job._replace(has_written=True))
        if job.has_written or not has_cell:
            yield from self._step(system, f"{name} records its receipt", complete, version, int(has_cell))

    def _steps_of_purge(self, system: System, purge: Purge, others: tuple[Purge, ...]) -> Steps:
        """A purge job reads the registry, waits for write leases, deletes, and records that."""
        state, version = self._state(system), purge.version
        name = f"the purge for {version}"

        def changed(system: System, *purges: Purge) -> System:
            return system._replace(purges=tuple(sorted((*others, *purges), key=repr)))

        if not purge.has_read:
            if version == state.latest and not state.was_promoted(version) and purge.above == (state.active or 0):
                wait = max(0, -((NOW + UNIT - state.stale_writes_end(version)) // UNIT))
                yield f"{name} starts", changed(system, purge._replace(has_read=True, wait=wait))
        elif purge.began is None:
            if purge.wait == 0:
                yield f"{name} begins", changed(system, purge._replace(began=1))
        elif not purge.has_deleted:
            deleted = between(purge.above, version) if purge.has_row else 0
            following = system._replace(cells=(system.cells[0] & ~deleted, system.cells[1]))
            if self.bounds.clusters > 1:
                there = deleted & (system.cells[1] | system.writes)
                following = following._replace(deletions=(system.deletions[0], system.deletions[1] | there))
            yield f"{name} deletes", changed(following, purge._replace(has_deleted=True))
        else:
            marked = self._after(system, mark_purged, version, purge.above, purge.began)
            yield f"{name} ends", changed(system if marked is None else marked)

    def _steps_of_bigtable(self, system: System) -> Steps:
        """Replication and garbage collection."""
        first, second = system.cells
        for version in bits(system.writes):
            following = system._replace(cells=(first, second | bit(version)), writes=system.writes & ~bit(version))
            yield f"the cell of {version} is replicated", following
        for cluster in range(self.bounds.clusters):
            for version in bits(system.deletions[cluster]):
                yield f"cluster {cluster} deletes the cell of {version}", _deleted(system, cluster, bit(version))
            if collected := garbage(system.cells[cluster], system.kept):
                cells, deletions = list(system.cells), list(system.deletions)
                cells[cluster] &= ~collected
                if self.bounds.clusters > 1:
                    deletions[1 - cluster] |= collected & (cells[1 - cluster] | (0 if cluster else system.writes))
                following = system._replace(cells=(cells[0], cells[1]), deletions=(deletions[0], deletions[1]))
                yield f"cluster {cluster} collects garbage", following

    def _steps_of_others(self, system: System) -> Steps:
        """An operator, and time."""
        state = self._state(system)
        for to in state.rollback_targets():
            yield from self._step(system, f"roll back to {to}", switch, to)
        for to in state.forward_targets():
            yield from self._step(system, f"go forward to {to}", switch, to)
        yield from self._step(system, "clean up", ModelState.forget)
        has_lease = self._state(system).write_lease_until or any(job.lease for job in system.jobs)
        if has_lease or any(purge.wait for purge in system.purges):
            yield "time passes", self._later(system, 1)

    def _later(self, system: System, units: int) -> System:
        following = self._after(system, later, units)
        assert following is not None
        latest = self._state(following).latest
        jobs = [job._replace(lease=max(0, job.lease - units)) for job in system.jobs]
        purges = [
            purge._replace(
                wait=max(0, purge.wait - units),
                began=None if purge.began is None else max(-LONG, purge.began - units),
            )
            for purge in system.purges
        ]
        return following._replace(
            jobs=tuple(sorted(job for job in jobs if job.lease or job.version == latest)), purges=tuple(purges)
        )

    def _clusters(self, system: System) -> tuple[int, ...]:
        return system.cells[: self.bounds.clusters]

    def _check_lease(self, system: System, version: int) -> None:
        """Check that a write lease is only given while no other version has cells above the active one."""
        beside = system.cells[0] & between(self._state(system).active or 0, self._last + 1) & ~bit(version)
        if beside:
            raise Violation(self._story(system, f"{version} may be written beside cells of {[*bits(beside)]}"))

    def _check(self, system: System) -> None:
        """Check the properties of a state.

        Raises:
            Violation: one of them does not hold.
        """
        key = (system.registry, system.values, system.against, system.is_replicated, system.cells)
        if key in self._checked:
            return
        self._checked.add(key)
        state, cells = self._state(system), self._clusters(system)
        readable = [v for v in (state.active, *state.rollback_targets()) if v]
        for version in readable:
            self._check_value(system, version, cells)
        latest = state.versions.get(state.latest)
        # The smoke test reads the next version. After a rollback, that may have wrong values, and cannot be promoted.
        may_promote = system.is_replicated and system.against[state.latest] == (state.active or 0)
        if latest and latest.receipt and may_promote and not state.stale_versions(state.latest):
            self._check_value(system, state.latest, cells)
        unknown = [v for v in bits(system.cells[0]) if v > (state.active or 0) and v not in state.stale_versions(0)]
        if unknown:
            raise Violation(self._story(system, f"the registry does not know that {unknown} have cells"))

    def _check_value(self, system: System, version: int, cells: tuple[int, ...]) -> None:
        for cluster, present in enumerate(cells):
            found = read(present, version)
            if system.values[version] != found:
                problem = f"cluster {cluster} reads the value of {found} at {version}, which has that of "
                raise Violation(self._story(system, f"{problem}{system.values[version]}"))

    def _check_refresh(self, system: System) -> None:
        """Check that a refresh which changes nothing succeeds once nothing else happens, and reads are right after."""
        key = (system.registry, system.values, system.cells, system.writes, system.deletions)
        if key in self._refreshed:
            return
        self._refreshed.add(key)
        system = self._later(_replicated(system), LONG)
        state = open_version(self._state(system), "the last run")
        version, active, kept = state.latest, state.active or 0, self._kept(state)
        cells = self._clusters(system)
        try:
            if stale := state.stale_versions(version):
                has_row = any(system.values[v] == v for v in stale)
                cells = tuple(each & ~(between(active, version) if has_row else 0) for each in cells)
                state = mark_purged(state, version, active, 0)
            state = renew(state.begin_export(version), version, self.bounds.lease)
            state = promote(complete(state, version, 0), version, active, 0)
        except RegistryError as error:
            raise Violation(self._story(system, f"a refresh is refused: {error}")) from error
        values = (*system.values, system.values[active])
        for each in (state.active, *state.rollback_targets()):
            for present in cells:
                if values[each] != read(present & ~garbage(present, kept), each):
                    raise Violation(self._story(system, f"after a refresh, {each} is read wrongly"))

    def _story(self, system: System, problem: str) -> str:
        """A message with the steps that led to a state."""
        steps: list[str] = []
        at: System | None = system
        while at is not None and (parent := self._parents.get(at)):
            at, name = parent
            steps.append(name)
        return "\n".join([problem, *reversed(steps), repr(system), repr(self._state(system))])


def _with(items: tuple[NamedTuple, ...], item: NamedTuple, limit: int) -> Iterator[tuple]:
    """The tuples that a new item makes. Above the limit, it takes the place of another, whose process was killed."""
    if len(items) < limit:
        yield tuple(sorted((*items, item), key=repr))
        return
    for index in range(len(items)):
        yield tuple(sorted((*items[:index], *items[index + 1 :], item), key=repr))


def _deleted(system: System, cluster: int, versions: int) -> System:
    """The state after deletions have reached a cluster. A deletion that comes before the cell that it deletes wins."""
    cells, deletions = list(system.cells), list(system.deletions)
    cells[cluster] &= ~versions
    deletions[cluster] &= ~versions
    writes = system.writes & ~versions if cluster else system.writes
    return system._replace(cells=(cells[0], cells[1]), deletions=(deletions[0], deletions[1]), writes=writes)


def _replicated(system: System) -> System:
    """The state after all writes and deletions have reached all clusters."""
    for cluster in (0, 1):
        system = _deleted(system, cluster, system.deletions[cluster])
    return system._replace(cells=(system.cells[0], system.cells[1] | system.writes), writes=0)


SMALL = {
    "one cluster": Bounds(spare_cells=1),
    "two clusters": Bounds(history=1, clusters=2, jobs=1, spare_cells=2),
}
"""The searches of `make test`. They have as few spare cells as suffice, so that garbage collection deletes early."""

LARGE = {
    "longer leases": Bounds(lease=2, spare_cells=1),
    "two purges": Bounds(history=1, purges=2, spare_cells=1),
    "changed settings": Bounds(history=1, jobs=1, keep_versions=(2, 1), spare_cells=2),
    "two clusters, two jobs": Bounds(history=1, clusters=2, spare_cells=2),
}
"""The searches of `make chaos`, besides."""


def main() -> None:
    """Make all searches, and say how many states each visited."""
    for name, bounds in (SMALL | LARGE).items():
        search = Search(bounds)
        search.run()
        sys.stdout.write(f"{name}: {search.states:,} states and {search.steps:,} steps, no violation\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
