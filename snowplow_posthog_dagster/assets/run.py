"""What every step of a run needs: its day, its config, its stop sign, its progress, the day lease.

Dagster's context ──> DayRun ──> DayLoad (loading/day.py)
"""

import contextlib
import datetime as dt
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import dagster as dg
from dagster._utils.interrupts import check_captured_interrupt
from pydantic import Field

from snowplow_posthog_dagster.loading.day import DayLoad, Narrowing, writer_name
from snowplow_posthog_dagster.loading.measures import measured
from snowplow_posthog_dagster.loading.metrics import log_day
from snowplow_posthog_dagster.loading.parents import exit_with_parent
from snowplow_posthog_dagster.loading.setup import archive_of, workspace_of
from snowplow_posthog_dagster.settings import Settings
from snowplow_posthog_dagster.storage.leases import DayLease
from snowplow_posthog_dagster.storage.s3 import Connection
from snowplow_posthog_dagster.storage.state import fold

_PROGRESS_SECONDS = 5.0


class LoadConfig(dg.Config):
    """Run config that narrows a run. What it leaves stays visibly pending, and the day stays open."""

    hours: list[int] | None = Field(None, description="Only these hours of the day (0 to 23)")
    max_events: int | None = Field(None, description="At most about so many events, oldest objects first", ge=0)
    now: bool = Field(False, description="Do not wait for another run of the same day")

    def narrowing(self) -> Narrowing:
        """The same for `DayLoad`. Raises dg.Failure for hours that do not exist, and for none."""
        if self.hours is not None and not (self.hours and all(0 <= hour <= 23 for hour in self.hours)):
            words = f"hours must lie between 0 and 23, got {self.hours}; leave them out for the whole day"
            raise dg.Failure(words, allow_retries=False)
        return Narrowing(tuple(self.hours) if self.hours is not None else None, self.max_events)


Observer = Callable[[str, int, int], None]

_observers: list[Observer] = []


@contextlib.contextmanager
def observed_by(observer: Observer) -> Iterator[None]:
    """Call `observer(unit, done, total)` as steps of in-process runs go on: the terminal's progress bar."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


class ProgressLog:
    """Writes rate and remaining time to the run's log every few seconds, never per batch.

    A line costs 13 ms on SQLite, because Dagster stores it as an event.
    """

    def __init__(self, context: dg.AssetExecutionContext, unit: str) -> None:
        self._context = context
        self._unit = unit
        self._started = self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Take the state of the step; most calls write nothing."""
        for observer in _observers:
            observer(self._unit, done, total)
        now = time.monotonic()
        if now - self._last < _PROGRESS_SECONDS:
            return
        self._last = now
        rate = done / (now - self._started)
        left = f", about {(total - done) / rate:,.0f} s left" if rate else ""
        self._context.log.info(f"{done:,} of {total:,} {self._unit}, {rate:,.0f}/s{left}")


def log_metrics(settings: Settings, load: DayLoad, context: dg.AssetExecutionContext) -> None:
    """One JSON line of metrics about the day, if `metrics.log` asks for it; no load fails for want of it."""
    where = settings.file.metrics.log
    if where is None:
        return
    _, entries = load.log.snapshot()
    measure = measured(entries, fold(entries))
    try:
        log_day(where, load.workspace, load.day, measure, step=context.asset_key.path[-1], run=context.run.run_id)
    except OSError as error:
        context.log.warning(f"metrics.log {where} cannot be written: {error.strerror or error}")


def day_of(context: dg.AssetExecutionContext) -> dt.date:
    """The UTC day of the partition."""
    return dt.date.fromisoformat(context.partition_key)


@contextlib.contextmanager
def day_load(
    context: dg.AssetExecutionContext,
    settings: Settings,
    connection: Connection,
    config: LoadConfig,
    *,
    unit: str,
    lease: bool,
) -> Iterator[DayLoad]:
    """The work on the partition's day, with the day lease held when `lease` is set.

    A step process leaves when its run worker dies; an in-process run is the user's own process and does not.
    """
    if run_worker := multiprocessing.parent_process():
        exit_with_parent(run_worker.pid)
    day, run_id = day_of(context), context.run.run_id
    with _stop_sign() as stop:
        workspace = workspace_of(settings, connection)
        load = DayLoad(
            archive=archive_of(settings, connection),
            workspace=workspace,
            day=day,
            writer=writer_name(run_id),
            narrowing=config.narrowing(),
            stop=stop,
            progress=ProgressLog(context, unit),
        )
        if not lease:
            yield load
            return
        holder = DayLease(
            workspace,
            day,
            sender=run_id,
            who=f"run {run_id[:8]} on {socket.gethostname()}, process {os.getpid()}",
            wait=not config.now,
            on_wait=_WaitLog(context, day),
            stop=stop,
        )
        with holder:
            yield load


class _WaitLog:
    """Says for whom a run waits, once and again when that changes."""

    def __init__(self, context: dg.AssetExecutionContext, day: dt.date) -> None:
        self._context = context
        self._day = day
        self._said = ""

    def __call__(self, who: str) -> None:
        """Take the name of whoever holds the day."""
        if who != self._said:
            self._context.log.info(f"{self._day} is being loaded by {who}; waiting for it (`now: true` does not)")
            self._said = who


@contextlib.contextmanager
def _stop_sign() -> Iterator[threading.Event]:
    """An event that is set when Dagster wants the step to end.

    In a step process Dagster raises in the main thread; in-process runs only note the signal, and noticing
    it is up to us (a run that does not look goes on to its end, measured: 40 s after Terminate).
    """
    stop, over = threading.Event(), threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            if check_captured_interrupt():
                stop.set()
                return

    watcher = threading.Thread(target=look, name="stop-sign", daemon=True)
    watcher.start()
    try:
        yield stop
    finally:
        over.set()
        watcher.join()
