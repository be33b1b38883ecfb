"""Refreshes of one model while things fail: `python -m tests.chaos.campaign [--refreshes N] [--seed N] [--seconds N]`.

A controller makes the steps of refreshes one after the other, as the operators do. Jobs, service and Bigtable are
processes of their own. They talk to Bigtable through `HarshBigtable`. A thread breaks something every now and then,
readers compare every answer of the service with what the version predicted. After some refreshes nothing is broken for
a while, and refreshes must succeed again.
"""

import asyncio
import json
import math
import multiprocessing
import os
import random
import resource
import signal
import sys
import threading
import time
from argparse import ArgumentParser
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill

import grpc
import httpx
import psutil
from google.api_core.exceptions import GoogleAPICallError

from benchmarks.document import filled
from benchmarks.serving.harsh_bigtable import INTERNAL_ERROR, REFUSED_STREAM, Failure, HarshBigtable, Tablet
from local_stack.servers import ROOT
from prediction_store.connection import channel, mutate_rows
from prediction_store.layout import REGISTRY_FAMILY, REGISTRY_TABLE, REGISTRY_TIMESTAMP
from prediction_store.lifecycle import ModelState, Receipt, RegistryError, now_ms
from prediction_store.messages import MutateRowsRequest
from prediction_store.registry import Registry
from prediction_store.tables import Tables
from tests.chaos import jobs
from tests.chaos.oracle import Oracle, say
from tests.servers import INSTANCE, SERVICE_COMMAND, Process, accepts, service_environment
from tests.waiting import wait_for

MODEL, TABLE = "churn", "customer"
ENTITIES = [f"e{number:03}" for number in range(60)]
KEEP_VERSIONS = 3
CALM_EVERY = 10
CALM_SECONDS = 60
JOB_SECONDS = 30
CONFIRM_SECONDS = 8
WRONG_CLOCK = """
import os, time
skew, right, right_ns = int(os.environ["CLOCK_SKEW"]), time.time, time.time_ns
time.time, time.time_ns = lambda: right() + skew, lambda: right_ns() + skew * 10**9
"""
ERRORS = (RegistryError, grpc.RpcError, GoogleAPICallError)
POLL_SECONDS = 0.1
READERS_PROFILE = "any-cluster"  # only these reads may be answered by a replica that is behind


class Ended(Exception):  # noqa: N818  as a task ends
    """A task of a refresh failed. The refresh is aborted."""


def seeded(seed):
    return random.Random(seed)  # noqa: S311  the same choices in every run


class Bigtable:
    """A Bigtable in a process of its own, behind a proxy that makes it harsh."""

    def __init__(self, folder):
        self._log = folder / "bigtable.log"
        self._process, self.address = self._start(0)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._listening = HarshBigtable.listening(self.address)
        self.proxy, port = self._in_loop(self._listening.__aenter__())
        self.proxy_address = f"127.0.0.1:{port}"

    def _in_loop(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def _start(self, port):
        command = [sys.executable, "-m", "local_stack.bigtable", "--port", str(port)]
        with self._log.open("ab") as log:
            process = Process.__base__(
                command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=-1, stderr=log, text=True
            )
        line = process.stdout.readline()
        assert line, self._log.read_text()
        return process, line.split()[-1]

    def change(self, function):
        """Call a function with the proxy, in its event loop."""

        async def call():
            function(self.proxy)

        self._in_loop(call())

    def lose_everything(self):
        """End the Bigtable, and start an empty one in its place."""
        self._process.terminate()
        self._process.wait(20)
        self._process, _ = self._start(int(self.address.rpartition(":")[2]))

    @contextmanager
    def paused(self):
        """Stop it for as long as the block lasts. It keeps its tables."""
        self._process.send_signal(signal.SIGSTOP)
        yield
        self._process.send_signal(signal.SIGCONT)

    def stop(self):
        self._in_loop(self._listening.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._process.terminate()
        self._process.wait(20)


class Service:
    """The lookup service, which may be killed and started again."""

    def __init__(self, folder, bigtable):
        self._log, self._starts = folder, 0
        (folder / "sitecustomize.py").write_text(WRONG_CLOCK)
        self._environment = service_environment(
            BIGTABLE_EMULATOR_HOST=bigtable,
            SERVING_REGISTRY_POLL_SECONDS=POLL_SECONDS,
            SERVING_CONNECTIONS=2,
            SERVING_APP_PROFILE=READERS_PROFILE,
            SERVING_CACHE_BYTES=20_000,
            PYTHONPATH=folder,
        )
        self.port = 0
        self.process = None
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self._starts += 1
        command = [*SERVICE_COMMAND, "--port", str(self.port), "--workers", "1"]
        skew = (0, -10, 10)[self._starts % 3]  # seconds
        environment = {**self._environment, "CLOCK_SKEW": str(skew)}
        self.process = Process(command, environment, self._log / f"service-{self._starts}.log")
        wait_for(lambda: "Started worker" in self.process.log())
        self.port = int(json.loads(self.process.log().splitlines()[0])["url"].rpartition(":")[2])
        wait_for(lambda: accepts("127.0.0.1", self.port))

    def processes(self):
        """The service and its workers."""
        return [*psutil.Process(self.process.pid).children(recursive=True), self.process]

    def signal(self, number):
        """Send a signal to the service and its workers."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait(20)

    def tracebacks(self):
        logs = [log.read_text(errors="replace") for log in sorted(self._log.glob("service-*.log"))]
        return sum(log.count("Traceback") for log in logs)


class Refreshes:
    """Makes refreshes, as the operators do."""

    def __init__(self, oracle, service, folder, chance):
        self.oracle, self.service, self.chance = oracle, service, chance
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
        self.must_be_full = False
        self.skew = 0  # of the tasks' clock, in milliseconds
        self.ends = Counter()

    def now_ms(self):
        return now_ms() + self.skew

    def refresh(self, *, is_calm=False):
        """Make a refresh; return True if its version was promoted."""
        self._number += 1
        losses = self.oracle.losses
        version = against = None
        try:
            version, against = self._open()
            self._export(version, against, is_calm)
            self._smoke_test(version)
            self._promote(version, against)
            self._confirm(version)
        except (Ended, *ERRORS) as error:
            text = str(error).split(": ", 1)[-1]
            reason = text[:40] if isinstance(error, Ended) else type(error).__name__
            self.ends[f"failed: {reason}"] += 1
            if is_calm:
                say(f"  a calm refresh failed: {error}")
            if version is not None:
                self._abort(version, against)
            return False
        self.must_be_full = False
        if losses == self.oracle.losses:
            self.oracle.go_back()
            self.oracle.is_lost = False
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
        lost = [version for version in self.oracle.snapshots if version > state.latest]
        if lost and state.active and not self.must_be_full:
            self.must_be_full = True
            raise Ended("the registry has lost versions; export: full")

        def open_version(state):
            if (holder := state.run_lease_holder(self.now_ms())) and holder != run:
                state = state.release_run_lease(holder)
            return state.adopt(lost, self.now_ms()).open(self.now_ms(), run)

        state = self.registry.update(MODEL, open_version)
        self.oracle.settle("abort", "lost rollback")
        version, base = state.latest, self.oracle.snapshots.get(state.active, {})
        kept = {e: p for e, p in base.items() if self.chance.random() > 0.1}
        changed = {e: self._number * 1000 + n for n, e in enumerate(ENTITIES) if not base or self.chance.random() < 0.3}
        self.oracle.snapshots[version] = kept | changed
        return version, state.active

    def _export(self, version, against, is_calm):
        new, old = self.oracle.snapshots[version], self.oracle.snapshots.get(against, {})
        ids = sorted(new.keys() | old.keys())
        self._changes = {e: _json(new.get(e)) for e in ids if self.must_be_full or new.get(e) != old.get(e)}

        def announce(state):
            return state if state.stale_versions(version) else state.begin_export(version)

        skew = 0 if is_calm else self.chance.randint(-jobs.CLOCK_TOLERANCE // 2, jobs.CLOCK_TOLERANCE // 2)
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
        snapshot = self.oracle.snapshots[version]
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
            self.must_be_full = True
            raise Ended("wrong answers; refresh with export: full")

    def _promote(self, version, against):
        tombstones = sum(payload is None for payload in self._changes.values())
        expected = Receipt(len(self._changes) - tombstones, tombstones)
        self.oracle.activated.setdefault(version, time.monotonic())
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
        self.oracle.go_back("abort")
        for _ in range(3):
            with suppress(*ERRORS):
                self.registry.update(MODEL, lambda s: s.abort(version, against, reason="chaos", now=self.now_ms()))
                self.oracle.settle("abort")
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


class Faults:
    """Breaks something every now and then, in a thread."""

    def __init__(self, oracle, bigtable, service, refreshes, seed):
        self._oracle, self._bigtable, self._service, self._refreshes = oracle, bigtable, service, refreshes
        self._chance = seeded(seed)
        self.counts = Counter()
        self._running, self._stop = threading.Event(), threading.Event()
        self._calm = threading.Lock()
        often = [
            self.kill_a_job, self.pause_a_job, self.leave_a_job_running, self.roll_back, self.open_another_version,
            self.drop_connections, self.go_away, self.reset_reads, self.refuse_streams, self.cut_streams,
            self.answer_invalidly, self.be_slow, self.stall_a_tablet, self.be_unavailable, self.exhaust_resources,
            self.fail_internally, self.lose_answers, self.write_in_part, self.fall_behind, self.kill_a_job,
            self.skew_the_clock, self.fill_the_disk, self.pause_bigtable,
        ]  # fmt: skip
        rare = [self.kill_the_service, self.pause_the_service, self.lose_bigtable, self.restore_the_registry]
        self._faults = [*often, *often, *rare]
        self._thread = threading.Thread(target=self._inject)
        self._thread.start()

    def begin(self):
        self._running.set()

    def cease(self):
        """Stop, and mend what is broken."""
        self._running.clear()
        with self._calm:
            for job in self._refreshes.lingering:
                job.kill()
            self._refreshes.lingering.clear()
            self._refreshes.skew = 0
            self._bigtable.change(_mend)

    def end(self):
        self._stop.set()
        self._running.set()
        self._thread.join()

    def _inject(self):
        while not self._stop.is_set():
            self._running.wait()
            if self._stop.wait(self._chance.uniform(0.1, 1.2)) or not self._running.is_set():
                continue
            fault = self._chance.choice(self._faults)
            with self._calm:
                if self._running.is_set() and fault() is not False:
                    self.counts[fault.__name__.replace("_", " ")] += 1

    def _job(self):
        job = self._refreshes.job
        return job if job is not None and job.is_alive() else None

    def kill_a_job(self):
        if not (job := self._job()):
            return False
        job.kill()
        return None

    def pause_a_job(self):
        """Pause it for longer than its write lease lasts."""
        if not (job := self._job()):
            return False
        with suppress(ProcessLookupError):
            os.kill(job.pid, signal.SIGSTOP)
            self._stop.wait(self._chance.uniform(0.2, 3))
            os.kill(job.pid, signal.SIGCONT)
        return None

    def leave_a_job_running(self):
        if not self._job():
            return False
        self._refreshes.is_left = True
        return None

    def roll_back(self):
        registry = self._refreshes.registry
        try:
            targets = registry.get(MODEL).rollback_targets()
            if not targets:
                return False
            to = self._chance.choice(targets)
            self._oracle.go_back("rollback")
            registry.update(MODEL, lambda state: state.roll_back(to, reason="chaos", now=now_ms()))
        except ERRORS:
            self._oracle.go_back("lost rollback")  # which may still be made
            return False
        finally:
            self._oracle.settle("rollback")
        return None

    def open_another_version(self):
        def open_version(state):
            if holder := state.run_lease_holder(now_ms()):
                state = state.release_run_lease(holder)
            return state.open(now_ms(), "another run")

        try:
            self._refreshes.registry.update(MODEL, open_version)
        except ERRORS:
            return False

    def drop_connections(self):
        self._bigtable.change(HarshBigtable.drop_connections)

    def go_away(self):
        self._bigtable.change(HarshBigtable.go_away)

    def reset_reads(self):
        self._bigtable.change(lambda proxy: proxy.resets.extend([INTERNAL_ERROR] * 5))

    def refuse_streams(self):
        self._bigtable.change(lambda proxy: proxy.resets.extend([REFUSED_STREAM] * 5))

    def cut_streams(self):
        self._bigtable.change(lambda proxy: setattr(proxy, "cut_streams", 5))

    def answer_invalidly(self):
        self._bigtable.change(lambda proxy: setattr(proxy, "invalid_answers", 3))

    def be_slow(self):
        self._for_a_while(slow_share=0.5, slow_seconds=0.4)

    def stall_a_tablet(self):
        tablet = Tablet(b"e010", b"e030", stalled=True)
        self._bigtable.change(lambda proxy: proxy.tablets.append(tablet))
        self._stop.wait(self._chance.uniform(0.2, 2))
        self._bigtable.change(lambda proxy: (tablet.released.set(), proxy.tablets.clear()))

    def be_unavailable(self):
        self._fail(Failure(14, "chaos"))

    def exhaust_resources(self):
        self._fail(Failure(8, "chaos", retry_seconds=0.2))

    def fail_internally(self):
        self._fail(Failure(13, "Received RST_STREAM with error code 2"))

    def lose_answers(self):
        self._fail(Failure(14, "the answer was lost", is_late=True))

    def write_in_part(self):
        self._bigtable.change(lambda proxy: setattr(proxy, "partial_writes", 3))

    def fall_behind(self):
        began = time.monotonic()
        self._oracle.behind.append((began, math.inf))
        self._bigtable.change(lambda proxy: proxy.fall_behind(READERS_PROFILE))
        self._stop.wait(self._chance.uniform(0.5, 2))
        self._bigtable.change(HarshBigtable.catch_up)
        self._oracle.behind[-1] = (began, time.monotonic())

    def kill_the_service(self):
        with self._disturbed():
            self._service.kill()
            self._service.start()

    def pause_the_service(self):
        with self._disturbed():
            self._service.signal(signal.SIGSTOP)
            self._stop.wait(self._chance.uniform(0.2, 2))
            self._service.signal(signal.SIGCONT)

    def skew_the_clock(self):
        """Let the tasks' clock be wrong, beside those of the jobs. The service gets another clock with each start."""
        self._refreshes.skew = self._chance.randint(-jobs.CLOCK_TOLERANCE // 2, jobs.CLOCK_TOLERANCE // 2)

    def fill_the_disk(self):
        """Let all writes to files fail, of the service and of the job that runs."""
        processes = [*self._service.processes(), *([job] if (job := self._job()) else [])]
        for size in (0, resource.RLIM_INFINITY):
            for process in processes:
                with suppress(ProcessLookupError):
                    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            self._stop.wait(self._chance.uniform(0.5, 2) if size == 0 else 0)

    def pause_bigtable(self):
        """Stop it for a while; it comes back with its tables, and all connections are new."""
        with self._bigtable.paused():
            self._stop.wait(self._chance.uniform(0.2, 3))
        self.drop_connections()

    def lose_bigtable(self):
        """Restart it, empty."""
        with self._losing():
            self._bigtable.lose_everything()

    def restore_the_registry(self):
        """Write the row of the registry again as it was a few refreshes ago."""
        if not self._refreshes.rows or self._oracle.is_lost:
            return False
        row = self._chance.choice(self._refreshes.rows[-4:])
        with self._losing(), channel() as opened:
            request = MutateRowsRequest(table_name=INSTANCE.table(REGISTRY_TABLE))
            entry = request.entries.add(row_key=MODEL.encode())
            cells = {b"document": row.document, b"revision": b"%d" % row.revision, b"write_lease": row.write_lease}
            for column, value in cells.items():
                cell = entry.mutations.add().set_cell
                cell.family_name, cell.column_qualifier, cell.value = REGISTRY_FAMILY, column, value
                cell.timestamp_micros = REGISTRY_TIMESTAMP
            try:
                for _ in mutate_rows(opened)(request.SerializeToString(), timeout=5):
                    pass
            except grpc.RpcError:
                return False
        return None

    def _fail(self, failure):
        number = self._chance.randint(1, 6)
        self._bigtable.change(lambda proxy: proxy.failures.extend([failure] * number))

    def _for_a_while(self, **attributes):
        before = {name: getattr(self._bigtable.proxy, name) for name in attributes}
        self._bigtable.change(lambda proxy: [setattr(proxy, *item) for item in attributes.items()])
        self._stop.wait(self._chance.uniform(0.5, 2))
        self._bigtable.change(lambda proxy: [setattr(proxy, *item) for item in before.items()])

    @contextmanager
    def _disturbed(self):
        self._oracle.is_disturbed = True
        self._oracle.go_back()  # a new process may read the registry from a replica behind
        yield
        self._oracle.disturbed_until = time.monotonic() + 1
        self._oracle.is_disturbed = False

    @contextmanager
    def _losing(self):
        self._oracle.is_lost = True
        self._oracle.losses += 1
        self._oracle.go_back()
        yield
        self._oracle.losses += 1
        self._oracle.is_lost = True
        self._oracle.go_back()


def _mend(proxy):
    proxy.resets.clear()
    proxy.failures.clear()
    proxy.cut_streams = proxy.invalid_answers = proxy.partial_writes = 0
    proxy.catch_up()


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
    violations = len(oracle.violations)
    say(f"seed {seed}: {made.ends.total()} refreshes, {faults.counts.total()} faults, {violations} violations")
    tried, succeeded, lookups = made.ends.total(), made.ends["succeeded"], oracle.answers.total()
    block = (
        f"`make chaos REFRESHES={refreshes} SEED={seed}`: {tried} refreshes ({succeeded} succeeded), "
        f"{faults.counts.total()} faults, {lookups:,} lookups, {violations} violations. The service knew "
        f"each change within {oracle.largest_age:.1f} s.\nFaults: {_listed(faults.counts)}."
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
