"""Refreshes of one model while things fail: `python -m tests.chaos.campaign [--refreshes N] [--seed N] [--seconds N]`.

A controller makes the steps of refreshes one after the other, as the operators do. Jobs, service and Bigtable are
processes of their own. They talk to Bigtable through `HarshBigtable`. A thread breaks something every now and then,
readers compare every answer of the service with what the version predicted. After some refreshes nothing is broken for
a while, and refreshes must succeed again.
"""

import json
import multiprocessing
import os
import sys
import threading
import time
from argparse import ArgumentParser
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill

import httpx

from benchmarks.document import filled
from prediction_store.lifecycle import ModelState, Receipt, now_ms
from prediction_store.registry import Registry
from prediction_store.tables import Tables
from tests.chaos import jobs
from tests.chaos.faults import ERRORS, MODEL, POLL_SECONDS, Bigtable, Faults, Service, seeded
from tests.chaos.oracle import Oracle, say
from tests.servers import INSTANCE
from tests.waiting import wait_for

TABLE = "customer"
ENTITIES = [f"e{number:03}" for number in range(60)]
KEEP_VERSIONS = 3
CALM_EVERY = 10
CALM_SECONDS = 60
JOB_SECONDS = 30
CONFIRM_SECONDS = 8


class Ended(Exception):  # noqa: N818  as a task ends
    """A task of a refresh failed. The refresh is aborted."""


class Refreshes:
    """Makes refreshes, as the operators do."""

    def __init__(self, oracle, service, folder, chance):
        self._oracle, self._chance = oracle, chance
        self.registry = Registry(INSTANCE, retry_seconds=3)
        self._tables = Tables(INSTANCE)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.chaos.jobs"])
        self._log = str(folder / "jobs.log")
        self._client = httpx.Client(base_url=service.url, timeout=5)
        self._number = 0
        self.job = None
        self.is_left = False
        self.lingering = []
        self.rows = []  # of the registry, after each refresh
        self._must_be_full = False
        self.skew = 0  # of the tasks' clock, in milliseconds
        self.ends = Counter()

    def _now_ms(self):
        return now_ms() + self.skew

    def refresh(self, *, is_calm=False):
        """Make a refresh; return True if its version was promoted."""
        self._number += 1
        losses = self._oracle.losses
        version = against = None
        try:
            version, against = self._open()
            self._export(version, against, is_calm)
            self._smoke_test(version)
            self._promote(version, against)
            self._confirm(version)
        except (Ended, *ERRORS) as error:
            reason = str(error) if isinstance(error, Ended) else type(error).__name__
            self.ends[f"failed: {reason}"] += 1
            if is_calm:
                say(f"  a calm refresh failed: {error}")
            if version is not None:
                self._abort(version, against)
            return False
        self._must_be_full = False
        if losses == self._oracle.losses:
            self._oracle.go_back()
            self._oracle.is_lost = False
        with suppress(*ERRORS):
            self.registry.update(MODEL, ModelState.forget)
            self.rows.append(self.registry._row(MODEL))
        self.ends["succeeded"] += 1
        return True

    def _open(self):
        settings = ModelState(MODEL, TABLE, keep_versions=KEEP_VERSIONS)
        self._tables.ensure_registry()
        state = self.registry.register(settings)
        self._tables.ensure_model(state)
        run = f"run-{self._number}"
        lost = [version for version in self._oracle.snapshots if version > state.latest]
        if lost and state.active and not self._must_be_full:
            self._must_be_full = True
            raise Ended("the registry has lost versions; export: full")

        def open_version(state):
            if (holder := state.run_lease_holder(self._now_ms())) and holder != run:
                state = state.release_run_lease(holder)
            return state.adopt(lost, self._now_ms()).open(self._now_ms(), run)

        state = self.registry.update(MODEL, open_version)
        self._oracle.settle("abort", "lost rollback")
        version, base = state.latest, self._oracle.snapshots.get(state.active, {})
        kept = {e: p for e, p in base.items() if self._chance.random() > 0.1}
        changed = {
            e: self._number * 1000 + n for n, e in enumerate(ENTITIES) if not base or self._chance.random() < 0.3
        }
        self._oracle.snapshots[version] = kept | changed
        return version, state.active

    def _export(self, version, against, is_calm):
        new, old = self._oracle.snapshots[version], self._oracle.snapshots.get(against, {})
        ids = sorted(new.keys() | old.keys())
        self._changes = {e: _json(new.get(e)) for e in ids if self._must_be_full or new.get(e) != old.get(e)}

        def announce(state):
            return state if state.stale_versions(version) else state.begin_export(version)

        skew = 0 if is_calm else self._chance.randint(-jobs.CLOCK_TOLERANCE // 2, jobs.CLOCK_TOLERANCE // 2)
        by_beam = self._number % CALM_EVERY == 1
        if self.registry.update(MODEL, announce).stale_versions(version):
            # A backup of the registry is of no use after a purge of the cells of its active version.
            self.rows = [row for row in self.rows if row.state().active <= (against or 0)]
            # In production, the training comes between a rollback and the purge: time to read the registry.
            active = self.registry.get(MODEL).active
            self._wait_until_served(active)
            self._run(jobs.purge, version, active or 0, skew, self._log, by_beam)
            self.registry.update(MODEL, lambda state: state.resume_export(version))
        self._run(jobs.export, version, self._changes, skew, self._log, by_beam)

    def _run(self, target, version, *args):
        """Run a job, again if it fails."""
        for _ in range(2):
            self.is_left = False
            self.job = job = self._context.Process(target=target, args=(MODEL, version, *args), daemon=True)
            job.start()
            with suppress(AssertionError):
                wait_for(lambda: not job.is_alive() or self.is_left, JOB_SECONDS)  # noqa: B023  waits at once
            if job.exitcode == 0:
                return
            if self.is_left:
                self.lingering.append(job)
                raise Ended(f"{target.__name__} was left running")
            job.kill()
        raise Ended(f"{target.__name__} failed")

    def _smoke_test(self, version):
        """Look up what changed and what is predicted, as the operator does: not what is in neither."""
        snapshot = self._oracle.snapshots[version]
        body = {"entity_ids": sorted(snapshot.keys() | self._changes.keys()), "version": version}
        answer = None

        def is_known():
            nonlocal answer
            answer = self._client.post(f"/v1/models/{MODEL}/predictions:batchGet", json=body)
            return answer.status_code != 404

        try:
            wait_for(is_known, CONFIRM_SECONDS)
        except (httpx.HTTPError, AssertionError) as error:
            raise Ended(f"the smoke test got {type(error).__name__}") from error
        if answer.status_code != 200:
            raise Ended(f"the smoke test got {answer.status_code}")
        if any(found != snapshot.get(entity) for entity, found in answer.json()["predictions"].items()):
            self._must_be_full = True
            raise Ended("wrong answers; refresh with export: full")

    def _promote(self, version, against):
        tombstones = sum(payload is None for payload in self._changes.values())
        expected = Receipt(len(self._changes) - tombstones, tombstones)
        self._oracle.activated.setdefault(version, time.monotonic())
        self.registry.update(MODEL, lambda s: s.promote(version, expected_active=against, expected=expected))

    def _wait_until_served(self, version):
        def is_served():
            with suppress(httpx.HTTPError):
                return self._client.get(f"/v1/models/{MODEL}").json().get("active_version") == version

        try:
            wait_for(is_served, CONFIRM_SECONDS)
        except AssertionError as error:
            raise Ended("the service does not know the active version") from error

    def _confirm(self, version):
        self._wait_until_served(version)
        self.registry.update(MODEL, lambda state: state.confirm(version))

    def _abort(self, version, against):
        self._oracle.go_back("abort")
        for _ in range(3):
            with suppress(*ERRORS):
                self.registry.update(MODEL, lambda s: s.abort(version, against, reason="chaos", now=self._now_ms()))
                self._oracle.settle("abort")
                return


def _json(value):
    return None if value is None else json.dumps(value)


class Readers:
    """Look up predictions all along, and check every answer."""

    def __init__(self, oracle, url, threads=2):
        self._oracle, self._url = oracle, url
        self.stop = threading.Event()
        self._threads = [threading.Thread(target=self._read, args=(n,)) for n in range(threads)]
        self._threads.append(threading.Thread(target=self._watch))
        for thread in self._threads:
            thread.start()

    def _read(self, number):
        chance, seen, since = seeded(number), 0, time.monotonic()
        with httpx.Client(base_url=f"{self._url}/v1/models/{MODEL}", timeout=10) as client:
            while not self.stop.wait(0.01):
                entities = chance.sample(ENTITIES, chance.choice([1, 1, 20]))
                asked, known_at = time.monotonic(), self._oracle.known_at
                try:
                    if len(entities) == 1:
                        answer = client.get(f"/predictions/{entities[0]}")
                    else:
                        answer = client.post("/predictions:batchGet", json={"entity_ids": entities})
                except httpx.HTTPError as error:
                    self._oracle.judge_silence(asked, error)
                    continue
                version = self._oracle.judge(entities, answer, seen, since)
                if version is not None:
                    seen, since = version, known_at

    def _watch(self):
        """Ask the service all along how old its knowledge of the registry is."""
        with httpx.Client(base_url=self._url, timeout=10) as client:
            while not self.stop.wait(POLL_SECONDS / 2):
                asked = time.monotonic()
                with suppress(httpx.HTTPError):
                    age = client.get("/readyz").json().get("registry_age_seconds")
                    if age is not None:
                        self._oracle.learn(asked, age)

    def join(self):
        self.stop.set()
        for thread in self._threads:
            thread.join()


def run(refreshes, seed, seconds):
    """Run a campaign; return the number of violations, and the figures for docs/reliability.md."""
    end = time.monotonic() + seconds
    oracle = Oracle()
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        bigtable = Bigtable(folder)
        stack.callback(bigtable.stop)
        os.environ["BIGTABLE_EMULATOR_HOST"] = bigtable.proxy_address
        service = Service(folder, bigtable.proxy_address)
        stack.callback(service.kill)
        made = Refreshes(oracle, service, folder, seeded(seed))
        assert made.refresh(is_calm=True), "the first refresh failed"
        readers = Readers(oracle, service.url)
        stack.callback(readers.join)
        faults = Faults(oracle, bigtable, service, made, seed)
        stack.callback(faults.end)
        tried = 0
        while tried < refreshes and time.monotonic() < end:
            faults.begin()
            for _ in range(min(CALM_EVERY, refreshes - tried)):
                made.refresh()
                tried += 1
            faults.cease()
            try:
                wait_for(lambda: made.refresh(is_calm=True), CALM_SECONDS)
            except AssertionError:
                oracle.violate("no refresh succeeds although nothing is broken any more")
            say(f"{tried} refreshes, {faults.counts.total()} faults, {len(oracle.violations)} violations")
        faults.end()
        readers.join()
        if tracebacks := service.tracebacks():
            oracle.violate(f"{tracebacks} tracebacks in the logs of the service")
    for title, counts in (("faults", faults.counts), ("refreshes", made.ends), ("answers", oracle.answers)):
        say(f"{title}: {_listed(counts)}")
    violations, made_faults = len(oracle.violations), faults.counts.total()
    say(f"seed {seed}: {made.ends.total()} refreshes, {made_faults} faults, {violations} violations")
    block = (
        f"`make chaos REFRESHES={refreshes} SEED={seed}`: {made.ends.total()} refreshes "
        f"({made.ends['succeeded']} succeeded), {made_faults} faults, {oracle.answers.total():,} lookups, "
        f"{violations} violations. The service knew each change within {oracle.largest_age:.1f} s.\n"
        f"Faults: {_listed(faults.counts)}."
    )
    return violations, "\n".join(fill(line, 120, break_on_hyphens=False) for line in block.splitlines())


def _listed(counts):
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=str))


def main():
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--refreshes", type=int, default=15, help="refreshes under faults (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="chooses faults and their times (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=3600, help="the longest time (default %(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="document whose marked figures are replaced")
    arguments = parser.parse_args()
    violations, figures = run(arguments.refreshes, arguments.seed, arguments.seconds)
    if arguments.write:
        arguments.write.write_text(filled(arguments.write.read_text(), "chaos", {"campaign": figures}))
    sys.exit(bool(violations))


if __name__ == "__main__":
    main()
