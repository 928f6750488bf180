"""Transform on every core: a process each, one archive object a task, large objects first.

    tasks --queue--> thread per worker --pipe--> worker process --pipe--> log entry --on_result-->

Large objects go one by one. Small ones go by the handful, of which a worker does several at once: each waits
for S3 three or four times, longer than it computes, and a core would stand idle.

A worker that dies (out of memory, killed) costs the object that it had in hand, which becomes `broken` with
the reason; a new worker takes its place. The next run tries it again, and those after it with growing delay: whoever
killed the worker may have meant no object. Of a handful each object is then done again
alone, so that the one at fault is known. So one core or one large object has a worker too: without it the object that
is too much would end every run, unnamed. Workers are replaced after 5,000 objects, so that no leak of any library
grows for a day.
"""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO

from snowplow_posthog_dagster import errors
from snowplow_posthog_dagster.errors import BrokenObjectError, InterruptedRunError, SnowplowPostHogError, TransientError
from snowplow_posthog_dagster.loading.blueprint import Blueprint, Task, Workshop, blueprint_codec, handful_codec
from snowplow_posthog_dagster.loading.cores import core_count
from snowplow_posthog_dagster.loading.transform import failure_entry
from snowplow_posthog_dagster.storage.entries import Broken, Done, Gone, Superseded, entry_of

Result = Done | Broken | Superseded | Gone
OnResult = Callable[[Result], None]

SMALL_RUN_BYTES = 8 * 1024 * 1024
"""Below so many stored bytes a run transforms in its own process: starting a worker takes 0.4 s."""

SMALL_RUN_OBJECTS = 50
"""More objects than that are worth a pool however small they are, because it does several at once."""

SMALL_OBJECT_BYTES = 512 * 1024
HANDFUL_BYTES = 2 * 1024 * 1024
HANDFUL_OBJECTS = 16

_OBJECTS_PER_WORKER = 5_000
WORKER_ENVIRONMENT = {
    # An arena a thread keeps what it freed for itself. Thresholds that give batches back to the system saved 2 MB a
    # worker and cost 2 CPU seconds per million events in page faults.
    "MALLOC_ARENA_MAX": "2",
    # pydantic would look through all installed packages for plugins: 60 ms of 350.
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
}
_STARTS = 3
_LOOK_SECONDS = 0.05


def transform_all(
    blueprint: Blueprint,
    tasks: Sequence[Task],
    *,
    on_result: OnResult,
    stop: threading.Event,
    processes: int | None = None,
) -> None:
    """Transform every task; `on_result` gets each entry, from several threads.

    Raises the first error that concerns more than one object, and InterruptedRunError when `stop` was set
    before all tasks were done.
    """
    ordered = sorted(tasks, key=lambda task: -task.found.size)
    count = min(processes or core_count(), len(ordered))
    small = len(ordered) <= SMALL_RUN_OBJECTS and sum(task.found.size for task in ordered) < SMALL_RUN_BYTES
    if small or not ordered:
        _in_this_process(blueprint, ordered, on_result, stop)
    else:
        _Pool(blueprint, handfuls(ordered, count), on_result, stop).run(count)
    if stop.is_set():
        raise InterruptedRunError("the transform was asked to stop; what was finished is in the day log")


def handfuls(ordered: Sequence[Task], workers: int) -> Iterator[list[Task]]:
    """Large objects alone, then small ones by up to 16, but so few that every worker gets several handfuls."""
    most = max(1, min(HANDFUL_OBJECTS, len(ordered) // (4 * workers)))
    waiting: list[Task] = []
    size = 0
    for task in ordered:
        if task.found.size > SMALL_OBJECT_BYTES:
            yield [task]
            continue
        if waiting and (len(waiting) >= most or size + task.found.size > HANDFUL_BYTES):
            yield waiting
            waiting, size = [], 0
        waiting.append(task)
        size += task.found.size
    if waiting:
        yield waiting


def _in_this_process(blueprint: Blueprint, tasks: Sequence[Task], on_result: OnResult, stop: threading.Event) -> None:
    workshop = Workshop(blueprint) if tasks else None
    for task in tasks:
        if stop.is_set() or workshop is None:
            return
        on_result(workshop.run(task, stop))


class _Pool:
    """The threads that feed the workers, and the first error that ends them all."""

    def __init__(
        self, blueprint: Blueprint, tasks: Iterable[list[Task]], on_result: OnResult, stop: threading.Event
    ) -> None:
        self._blueprint = blueprint
        self._on_result = on_result
        self._stop = stop
        self._failed = threading.Event()
        self._tasks: queue.SimpleQueue[list[Task]] = queue.SimpleQueue()
        for handful in tasks:
            self._tasks.put(handful)
        self._workers: set[_Worker] = set()
        self._lock = threading.Lock()

    def run(self, count: int) -> None:
        """Feed `count` workers until no task is left."""
        with ThreadPoolExecutor(count, thread_name_prefix="feeder") as pool:
            feeders = [pool.submit(self._feed) for _ in range(count)]
            try:
                while not all(feeder.done() for feeder in feeders) and not self._over():
                    time.sleep(_LOOK_SECONDS)
            finally:
                if not all(feeder.done() for feeder in feeders):
                    self._abandon()
        for feeder in feeders:
            feeder.result()

    def _over(self) -> bool:
        return self._stop.is_set() or self._failed.is_set()

    def _abandon(self) -> None:
        """Kill the workers: what they had in hand is done again by the next run."""
        self._failed.set()
        with self._lock:
            for worker in self._workers:
                worker.kill()

    def _feed(self) -> None:
        worker: _Worker | None = None
        try:
            while not self._over():
                try:
                    handful = self._tasks.get_nowait()
                except queue.Empty:
                    return
                if worker is None or worker.spent:
                    worker = self._replace(worker)
                if self._over():
                    return
                self._do(worker, handful)
        except SnowplowPostHogError:
            if self._over():
                # Its worker was killed because the run ends: that is no error of its own.
                return
            self._failed.set()
            raise
        finally:
            self._retire(worker)

    def _do(self, worker: "_Worker", handful: list[Task]) -> None:
        """Do a handful. What a dead worker leaves of several objects is done again one by one."""
        left = {task.found.object_id: task for task in handful}
        for result in worker.run(handful):
            del left[result.object]
            self._on_result(result)
        for task in left.values() if not self._over() else ():
            if len(handful) > 1:
                self._tasks.put([task])
            else:
                self._on_result(self._crashed(task, worker))

    def _replace(self, worker: "_Worker | None") -> "_Worker":
        """A worker that is ready, in place of one that is spent or dead.

        Raises what the new process reports, and TransientError when it dies three times before it has had any
        object in hand: that is no object's fault.
        """
        ending = ""
        for _ in range(_STARTS):
            self._retire(worker)
            worker = _Worker()
            with self._lock:
                self._workers.add(worker)
            try:
                if worker.begin(self._blueprint):
                    return worker
            except SnowplowPostHogError:
                self._retire(worker)
                raise
            ending = worker.ending()
            if self._over():
                break
        self._retire(worker)
        raise TransientError(f"a worker process for the transform did not start: {ending}; see its stderr")

    def _retire(self, worker: "_Worker | None") -> None:
        if worker is not None:
            with self._lock:
                self._workers.discard(worker)
            worker.close()

    def _crashed(self, task: Task, worker: "_Worker") -> Result:
        reason = BrokenObjectError(f"the worker process that read it ended with {worker.ending()}")
        return failure_entry(
            task.found, reason, revision=task.revision, attempts=task.attempts, writer=self._blueprint.writer,
            doubtful=True,
        )  # fmt: skip


class _Worker:
    """One worker process and the two ends of its pipes."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "snowplow_posthog_dagster.loading.worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**WORKER_ENVIRONMENT, **os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        self._done = 0
        self._gone = False

    def begin(self, blueprint: Blueprint) -> bool:
        """Hand over the blueprint; whether the process has made its clients and its mapper of it.

        Raises what the process reports.
        """
        self._send(blueprint_codec[0].encode(blueprint))
        return self._answer() is not None

    @property
    def spent(self) -> bool:
        """Whether it should be replaced before the next task."""
        return self._gone or self._done >= _OBJECTS_PER_WORKER or self._process.poll() is not None

    def run(self, handful: list[Task]) -> Iterator[Result]:
        """Do the tasks; yields each result, fewer when the process dies. Raises what concerns more than an object."""
        self._send(handful_codec[0].encode(handful))
        self._done += len(handful)
        for _ in handful:
            line = self._answer()
            if line is None:
                return
            yield result_of(line)

    def _answer(self) -> bytes | None:
        """The next line of the process, None when it died. Raises the error that it reports."""
        stdout = self._process.stdout
        line = stdout.readline() if stdout else b""
        if not line.endswith(b"\n"):
            self._gone = True
            return None
        if line.startswith(b'{"error"'):
            raise _error_of(line)
        return line

    def _send(self, line: bytes) -> None:
        stdin: IO[bytes] | None = self._process.stdin
        try:
            if stdin:
                stdin.write(line + b"\n")
                stdin.flush()
        except BrokenPipeError:
            self._gone = True

    def ending(self) -> str:
        """How the process ended, for people: `exit code 1`, or `signal 9 (out of memory?)`."""
        code = self._process.wait()
        if code == -9:
            return "signal 9 (killed, perhaps out of memory)"
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def close(self) -> None:
        """Let the process leave by the end of its input."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                try:
                    stream.close()
                except BrokenPipeError:
                    self._gone = True
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def result_of(line: bytes) -> Result:
    """A worker's answer as the entry that it is. Raises TransientError for any other kind."""
    entry = entry_of(line)
    if isinstance(entry, Done | Broken | Superseded | Gone):
        return entry
    raise TransientError(f"a pool worker answered with an entry of kind {type(entry).__name__}")


def _error_of(line: bytes) -> SnowplowPostHogError:
    """The exception that a worker reported, of the same class."""
    told = json.loads(line)
    kind = getattr(errors, told["error"], TransientError)
    error = kind(told["message"])
    return error if isinstance(error, SnowplowPostHogError) else TransientError(told["message"])
