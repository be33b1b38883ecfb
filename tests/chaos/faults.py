"""The Bigtable and the service of a campaign, as processes of their own, and the faults that break them."""

import asyncio
import json
import math
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress

import grpc
import psutil
from google.api_core.exceptions import GoogleAPICallError

from benchmarks.serving.harsh_bigtable import INTERNAL_ERROR, REFUSED_STREAM, Failure, HarshBigtable, Tablet
from local_stack.servers import ROOT
from prediction_store.connection import channel, mutate_rows
from prediction_store.layout import REGISTRY_FAMILY, REGISTRY_TABLE, REGISTRY_TIMESTAMP
from prediction_store.lifecycle import RegistryError, now_ms
from prediction_store.messages import MutateRowsRequest
from tests.chaos import jobs
from tests.servers import INSTANCE, SERVICE_COMMAND, Process, accepts, service_environment
from tests.waiting import wait_for

MODEL = "churn"
POLL_SECONDS = 0.1
ERRORS = (RegistryError, grpc.RpcError, GoogleAPICallError)
READERS_PROFILE = "any-cluster"  # only these reads may be answered by a replica that is behind
WRONG_CLOCK = """
import os, time
skew, right, right_ns = int(os.environ["CLOCK_SKEW"]), time.time, time.time_ns
time.time, time.time_ns = lambda: right() + skew, lambda: right_ns() + skew * 10**9
"""


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
        self._proxy, port = self._in_loop(self._listening.__aenter__())
        self.proxy_address = f"127.0.0.1:{port}"

    def _in_loop(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def _start(self, port):
        command = [sys.executable, "-m", "local_stack.bigtable", "--port", str(port)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        line = process.stdout.readline()
        assert line, self._log.read_text()
        return process, line.split()[-1]

    def change(self, function):
        """Call a function with the proxy, in its event loop."""

        async def call():
            function(self._proxy)

        self._in_loop(call())

    def set(self, **attributes):
        """Set attributes of the proxy."""
        self.change(lambda proxy: vars(proxy).update(attributes))

    def lose_everything(self):
        """End the Bigtable, and start an empty one in its place."""
        self._process.terminate()
        self._process.wait(20)
        self._process, _ = self._start(int(self.address.rpartition(":")[2]))

    def signal(self, number):
        self._process.send_signal(number)

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
        self._port = 0
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._port}"

    def start(self):
        """Start it, each time with another clock."""
        self._starts += 1
        command = [*SERVICE_COMMAND, "--port", str(self._port), "--workers", "1"]
        skew = (0, -10, 10)[self._starts % 3]  # seconds
        environment = {**self._environment, "CLOCK_SKEW": str(skew)}
        self._process = Process(command, environment, self._log / f"service-{self._starts}.log")
        wait_for(lambda: "Started worker" in self._process.log())
        self._port = int(json.loads(self._process.log().splitlines()[0])["url"].rpartition(":")[2])
        wait_for(lambda: accepts("127.0.0.1", self._port))

    def processes(self):
        """The service and its workers."""
        return [*psutil.Process(self._process.pid).children(recursive=True), self._process]

    def signal(self, number):
        """Send a signal to the service and its workers."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self._process.wait(20)

    def tracebacks(self):
        """The number of tracebacks in its logs."""
        return sum(log.read_text(errors="replace").count("Traceback") for log in self._log.glob("service-*.log"))


class NotPossibleError(Exception):
    """There is nothing that a fault could break."""


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
            with self._calm, suppress(NotPossibleError, *ERRORS):
                if self._running.is_set():
                    fault()
                    self.counts[fault.__name__.replace("_", " ")] += 1

    def _wait(self, least, most):
        self._stop.wait(self._chance.uniform(least, most))

    def _pause(self, send_signal, most):
        send_signal(signal.SIGSTOP)
        self._wait(0.2, most)
        send_signal(signal.SIGCONT)

    def _job(self):
        """The job that runs."""
        job = self._refreshes.job
        if job is None or not job.is_alive():
            raise NotPossibleError
        return job

    def kill_a_job(self):
        self._job().kill()

    def pause_a_job(self):
        """Pause it for longer than its write lease lasts."""
        job = self._job()
        with suppress(ProcessLookupError):
            self._pause(lambda number: os.kill(job.pid, number), 3)

    def leave_a_job_running(self):
        self._job()
        self._refreshes.is_left = True

    def roll_back(self):
        registry = self._refreshes.registry
        try:
            targets = registry.get(MODEL).rollback_targets()
            if not targets:
                raise NotPossibleError
            to = self._chance.choice(targets)
            self._oracle.go_back("rollback")
            registry.update(MODEL, lambda state: state.roll_back(to, reason="chaos", now=now_ms()))
        except ERRORS:
            self._oracle.go_back("lost rollback")  # which may still be made
            raise
        finally:
            self._oracle.settle("rollback")

    def open_another_version(self):
        def open_version(state):
            if holder := state.run_lease_holder(now_ms()):
                state = state.release_run_lease(holder)
            return state.open(now_ms(), "another run")

        self._refreshes.registry.update(MODEL, open_version)

    def drop_connections(self):
        self._bigtable.change(HarshBigtable.drop_connections)

    def go_away(self):
        self._bigtable.change(HarshBigtable.go_away)

    def reset_reads(self):
        self._bigtable.change(lambda proxy: proxy.resets.extend([INTERNAL_ERROR] * 5))

    def refuse_streams(self):
        self._bigtable.change(lambda proxy: proxy.resets.extend([REFUSED_STREAM] * 5))

    def cut_streams(self):
        self._bigtable.set(cut_streams=5)

    def answer_invalidly(self):
        self._bigtable.set(invalid_answers=3)

    def be_slow(self):
        self._bigtable.set(slow_share=0.5, slow_seconds=0.4)
        self._wait(0.5, 2)
        self._bigtable.set(slow_share=0)

    def stall_a_tablet(self):
        tablet = Tablet(b"e010", b"e030", stalled=True)
        self._bigtable.change(lambda proxy: proxy.tablets.append(tablet))
        self._wait(0.2, 2)
        self._bigtable.change(lambda proxy: (tablet.released.set(), proxy.tablets.clear()))

    def be_unavailable(self):
        self._fail(Failure(14, "chaos"))

    def exhaust_resources(self):
        self._fail(Failure(8, "chaos", retry_seconds=0.2))

    def fail_internally(self):
        self._fail(Failure(13, "Received RST_STREAM with error code 2"))

    def lose_answers(self):
        self._fail(Failure(14, "the answer was lost", is_late=True))

    def _fail(self, failure):
        number = self._chance.randint(1, 6)
        self._bigtable.change(lambda proxy: proxy.failures.extend([failure] * number))

    def write_in_part(self):
        self._bigtable.set(partial_writes=3)

    def fall_behind(self):
        began = time.monotonic()
        self._oracle.behind.append((began, math.inf))
        self._bigtable.change(lambda proxy: proxy.fall_behind(READERS_PROFILE))
        self._wait(0.5, 2)
        self._bigtable.change(HarshBigtable.catch_up)
        self._oracle.behind[-1] = (began, time.monotonic())

    def kill_the_service(self):
        with self._disturbed():
            self._service.kill()
            self._service.start()

    def pause_the_service(self):
        with self._disturbed():
            self._pause(self._service.signal, 2)

    def skew_the_clock(self):
        """Let the tasks' clock be wrong, beside those of the jobs."""
        self._refreshes.skew = self._chance.randint(-jobs.CLOCK_TOLERANCE // 2, jobs.CLOCK_TOLERANCE // 2)

    def fill_the_disk(self):
        """Let all writes to files fail, of the service and of the job that runs."""
        processes = self._service.processes()
        with suppress(NotPossibleError):
            processes.append(self._job())
        for size in (0, resource.RLIM_INFINITY):
            for process in processes:
                with suppress(ProcessLookupError):
                    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            if size == 0:
                self._wait(0.5, 2)

    def pause_bigtable(self):
        """Stop it for a while; it comes back with its tables, and all connections are new."""
        self._pause(self._bigtable.signal, 3)
        self.drop_connections()

    def lose_bigtable(self):
        """Restart it, empty."""
        self._lose()
        self._bigtable.lose_everything()
        self._lose()

    def restore_the_registry(self):
        """Write the row of the registry again as it was a few refreshes ago."""
        if not self._refreshes.rows or self._oracle.is_lost:
            raise NotPossibleError
        row = self._chance.choice(self._refreshes.rows[-4:])
        request = MutateRowsRequest(table_name=INSTANCE.table(REGISTRY_TABLE))
        entry = request.entries.add(row_key=MODEL.encode())
        cells = {b"document": row.document, b"revision": b"%d" % row.revision, b"write_lease": row.write_lease}
        for column, value in cells.items():
            cell = entry.mutations.add().set_cell
            cell.family_name, cell.column_qualifier, cell.value = REGISTRY_FAMILY, column, value
            cell.timestamp_micros = REGISTRY_TIMESTAMP
        self._lose()
        try:
            with channel() as opened:
                list(mutate_rows(opened)(request.SerializeToString(), timeout=5))
        finally:
            self._lose()

    @contextmanager
    def _disturbed(self):
        self._oracle.is_disturbed = True
        self._oracle.go_back()  # a new process may read the registry from a replica behind
        yield
        self._oracle.disturbed_until = time.monotonic() + 1
        self._oracle.is_disturbed = False

    def _lose(self):
        """Note before and after a loss that answers may be missing or old."""
        self._oracle.is_lost = True
        self._oracle.losses += 1
        self._oracle.go_back()


def _mend(proxy):
    proxy.resets.clear()
    proxy.failures.clear()
    proxy.cut_streams = proxy.invalid_answers = proxy.partial_writes = 0
    proxy.catch_up()
