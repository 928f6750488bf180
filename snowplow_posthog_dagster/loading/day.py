"""One day of one target: list it, transform what is new, deliver what is open, close it.

    list_new()  ->  transform()  ->  deliver()  ->  close()

Each step looks at the archive's listing and the day log and does only what they do not show as done, so any
of them can be repeated, alone or together, after success or a crash. A finished day is recognised by two
listings, without reading its log or any data.
"""

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import msgspec

from snowplow_posthog_dagster.errors import GoneObjectError, SettingsError
from snowplow_posthog_dagster.loading.blueprint import Blueprint, Task
from snowplow_posthog_dagster.loading.changes import Remembered, changes, remembered_in, words
from snowplow_posthog_dagster.loading.delivery import Delivery, DeliveryOptions, DeliveryReport, OpenBatch
from snowplow_posthog_dagster.loading.measures import day_file, day_file_of, schema_now
from snowplow_posthog_dagster.loading.reports import StepReport, hour_rows
from snowplow_posthog_dagster.loading.watching import LogWatch
from snowplow_posthog_dagster.loading.workers import Result, transform_all
from snowplow_posthog_dagster.posthog.capture import CaptureClient
from snowplow_posthog_dagster.posthog.pacing import Pacer
from snowplow_posthog_dagster.storage.archive import Archive, ArchiveObject
from snowplow_posthog_dagster.storage.day_log import DayLog, LogWriter, state_digest
from snowplow_posthog_dagster.storage.entries import Broken, Done
from snowplow_posthog_dagster.storage.state import DayState, ObjectState
from snowplow_posthog_dagster.storage.workspace import Workspace, digest, timestamp_name, timestamp_text

Progress = Callable[[int, int], None]

_READERS = 16


def _silent(done: int, total: int) -> None:
    return None


@dataclass(frozen=True)
class Narrowing:
    """Run config that narrows a run: only these hours, at most so many events."""

    hours: tuple[int, ...] | None = None
    max_events: int | None = None

    @property
    def narrowed(self) -> bool:
        """Whether it leaves anything out; such a run never closes a day."""
        return self.hours is not None or self.max_events is not None

    def wants(self, hour: int | None) -> bool:
        """Whether an object of this hour is in the run."""
        return self.hours is None or hour in self.hours


@dataclass
class DayLoad:
    """The work on one day. `progress(done, total)` is called as events are settled."""

    archive: Archive
    workspace: Workspace
    day: dt.date
    writer: str
    narrowing: Narrowing = field(default_factory=Narrowing)
    stop: threading.Event = field(default_factory=threading.Event)
    progress: Progress = _silent

    def __post_init__(self) -> None:
        self.log = DayLog(self.workspace, self.day)
        self.sent = DeliveryReport()

    # -- listing ------------------------------------------------------------------------------------------

    def list_new(self) -> tuple[StepReport, list[ArchiveObject]]:
        """List the day and record in a manifest what no manifest had before."""
        started = time.monotonic()
        listing = self.archive.list_day(self.day, self.narrowing.hours)
        known = self._manifested()
        new = [found for found in listing if found.object_id not in known]
        present = {found.object_id for found in listing}
        vanished = {name: line for name, line in known.items() if name not in present}
        changed = self._note_changes(listing, self.log.state(), vanished)[1] if vanished else []
        if new:
            name = f"{timestamp_name()}-{self.writer}.jsonl.gz"
            self.workspace.write_lines(self.workspace.key("manifests", self.day, name), map(_manifest_line, new))
        report = StepReport(
            nothing_new=not new,
            stored_bytes=sum(found.size for found in new),
            seconds=time.monotonic() - started,
            narrowed=self.narrowing.narrowed,
            hours=hour_rows(DayState({}), listing),
            changed=changed,
        )
        return report, listing

    def _manifested(self) -> dict[str, Remembered]:
        keys = [listed.key for listed in self.workspace.bucket.listing(self.workspace.folder("manifests", self.day))]
        with ThreadPoolExecutor(_READERS) as pool:
            manifests = pool.map(self.workspace.read_lines, keys)
            lines = [_manifested.decode(line) for manifest in manifests for line in manifest]
        return {line.object: Remembered(line.key, line.hour) for line in lines}

    def _note_changes(
        self, listing: Sequence[ArchiveObject], state: DayState, remembered: Mapping[str, Remembered]
    ) -> tuple[DayState, list[str]]:
        """Log what became of listed objects in the archive; returns the state after it, and warnings."""
        # A listing older than the state would call what another run has loaded meanwhile replaced: it is taken again.
        found = changes(state, listing, remembered, self.narrowing.wants)
        if found:
            now = self.archive.list_day(self.day, self.narrowing.hours)
            found = changes(state, now, remembered, self.narrowing.wants)
        if not found:
            return state, []
        self.log.write(found, writer=f"{self.writer}-changes")
        return self.log.state(), [words(change, state) for change in found]

    # -- transform ----------------------------------------------------------------------------------------

    def transform(self, blueprint: Blueprint, *, processes: int | None = None, frozen: str = "fail") -> StepReport:
        """Transform the listed objects that the log does not show as done.

        Raises SettingsError for objects that lie in Glacier (unless `frozen` is "skip"), and what concerns
        more than single objects. Broken objects are logged, named in the report, and hold nobody up.
        """
        started = time.monotonic()
        listing = self.archive.list_day(self.day, self.narrowing.hours)
        if not self.narrowing.narrowed and self.is_finished(listing):
            return StepReport(nothing_new=True, seconds=time.monotonic() - started)
        self.log.compact()
        state = self.log.state()
        state, changed = self._note_changes(listing, state, remembered_in(state))
        tasks = self._tasks(listing, state, frozen)
        results = self._transform_tasks(blueprint, tasks, processes)
        report = self._transform_report(listing, results, time.monotonic() - started)
        return replace(report, changed=changed)

    def _tasks(self, listing: Sequence[ArchiveObject], state: DayState, frozen: str) -> list[Task]:
        now = timestamp_text()
        wanted = [found for found in listing if needs_transform(state.objects.get(found.object_id), now)]
        icy = self.archive.unreadable(wanted)
        if icy and frozen == "fail":
            raise SettingsError(
                f"{len(icy)} objects of {self.day} lie in {icy[0].storage_class} and must be restored first, e.g."
                f" `{icy[0].restore_command}`; or set transform.frozen_objects: skip. The manifest lists them all"
            )
        left_out = {found.object_id for found in icy}
        return [
            self._task(found, state.objects.get(found.object_id)) for found in wanted if found.object_id not in left_out
        ]

    def _task(self, found: ArchiveObject, known: ObjectState | None) -> Task:
        return Task(found, known.revision if known else 0, known.attempts if known else 0)

    def _transform_tasks(self, blueprint: Blueprint, tasks: list[Task], processes: int | None) -> list[Result]:
        results: list[Result] = []
        lock = threading.Lock()
        if not tasks:
            return results
        enough = threading.Event()
        total = sum(task.found.size for task in tasks)
        finished = mapped = 0
        with LogWriter(self.log, self.writer) as writer:

            def on_result(result: Result) -> None:
                nonlocal finished, mapped
                writer.append(result)
                with lock:
                    results.append(result)
                    if isinstance(result, Done):
                        finished, mapped = finished + result.bytes, mapped + result.mapped
                self.progress(finished, total)
                if self.narrowing.max_events is not None and mapped >= self.narrowing.max_events:
                    enough.set()

            for chunk in self._chunks(tasks):
                if enough.is_set():
                    break
                transform_all(blueprint, chunk, on_result=on_result, stop=self.stop, processes=processes)
        return results

    def _chunks(self, tasks: list[Task]) -> Iterable[list[Task]]:
        """All tasks at once, or one by one in archive order when only so many events are wanted."""
        if self.narrowing.max_events is None:
            return [tasks]
        return [[task] for task in tasks]

    def _transform_report(
        self, listing: Sequence[ArchiveObject], results: Sequence[Result], seconds: float
    ) -> StepReport:
        state = self.log.state()
        done = [result for result in results if isinstance(result, Done)]
        return StepReport(
            nothing_new=not results,
            reads=len(results),
            events=sum(result.mapped for result in done),
            stored_bytes=sum(result.bytes for result in done),
            seconds=seconds,
            narrowed=self.narrowing.narrowed,
            counts=state.counts(),
            hours=hour_rows(state, listing),
            broken=[f"{result.key}: {result.reason}" for result in results if isinstance(result, Broken)],
        )

    # -- delivery -----------------------------------------------------------------------------------------

    def deliver(
        self,
        client: CaptureClient,
        *,
        api_key: str,
        pacer: Pacer,
        options: DeliveryOptions,
        chosen: list[OpenBatch] | None = None,
    ) -> StepReport:
        """Send the open events of the day, or the `chosen` ones, and close it when nothing is left.

        What the archive's listing shows as overwritten is not sent, also when no transform saw it before. Raises what
        `Delivery.deliver` raises.
        """
        started = time.monotonic()
        listing = self.archive.list_day(self.day)
        if chosen is None and not self.narrowing.narrowed and self.is_finished(listing):
            return StepReport(nothing_new=True, closed=True, seconds=time.monotonic() - started)
        self.log.compact()
        changed: list[str] = []
        if chosen is None:
            state = self.log.state()
            state, changed = self._note_changes(listing, state, remembered_in(state))
            open_batches = self._open_batches(state)
        else:
            open_batches = chosen
        sent = self._send(open_batches, client, api_key, pacer, options) if open_batches else DeliveryReport()
        state = self.log.state()
        closed = not self.narrowing.narrowed and self.close(listing)
        return StepReport(
            nothing_new=not open_batches,
            posts=sent.posts,
            events=sent.events_acknowledged,
            sent_bytes=sent.bytes_sent,
            retries=sent.retries,
            post_seconds=sent.post_seconds,
            seconds=time.monotonic() - started,
            narrowed=self.narrowing.narrowed,
            closed=closed,
            counts=state.counts(),
            hours=hour_rows(state, listing),
            broken=[f"{known.key}: {known.reason}" for known in state.objects.values() if known.status == "broken"],
            left=what_is_left(state, listing),
            changed=changed,
        )

    def _send(
        self,
        batches: list[OpenBatch],
        client: CaptureClient,
        api_key: str,
        pacer: Pacer,
        options: DeliveryOptions,
    ) -> DeliveryReport:
        total = sum(len(batch.open) for batch in batches)
        with LogWriter(self.log, self.writer) as writer:
            delivery = Delivery(
                workspace=self.workspace,
                day=self.day,
                client=client,
                api_key=api_key,
                log=writer,
                pacer=pacer,
                options=options,
                stop=self.stop,
            )
            self.sent = delivery.report
            over = threading.Event()
            watcher = threading.Thread(target=self._watch, args=(delivery, total, over), daemon=True)
            watcher.start()
            started = timestamp_text()
            try:
                return delivery.deliver(batches, look_again=LogWatch(self.log, self.writer))
            finally:
                over.set()
                watcher.join()
                writer.append(delivery.report.entry(self.writer, started))

    def _watch(self, delivery: Delivery, total: int, over: threading.Event) -> None:
        while not over.wait(0.5):
            self.progress(delivery.report.events_acknowledged, total)
        self.progress(delivery.report.events_acknowledged, total)

    def _open_batches(self, state: DayState) -> list[OpenBatch]:
        left = self.narrowing.max_events
        found = []
        # Oldest first, as the archive has them: a run may send only so much.
        for known in sorted(state.objects.values(), key=lambda known: (known.hour or 0, known.key)):
            if not self.narrowing.wants(known.hour):
                continue
            revision = known.done.revision if known.done else known.revision
            for batch in known.deliverable:
                wanted = batch.open if left is None else batch.open.take(left)
                if wanted:
                    found.append(OpenBatch(known.object_id, revision, batch.note, wanted))
                left = None if left is None else left - len(wanted)
        return found

    # -- closing ------------------------------------------------------------------------------------------

    def is_finished(self, listing: Iterable[ArchiveObject]) -> bool:
        """Whether the day, as it is listed and logged now, was closed as complete: two LISTs and one GET."""
        try:
            found = day_file_of(self.workspace.bucket.get(self._day_key(listing, self.log.segment_names())))
        except GoneObjectError:
            return False
        return found is not None and found.complete

    def _day_key(self, listing: Iterable[ArchiveObject], segment_names: Iterable[str]) -> str:
        name = state_digest((found.object_id for found in listing), segment_names)
        return self.workspace.key("days", self.day, f"{name}.json")

    def close(self, listing: Sequence[ArchiveObject]) -> bool:
        """Compact the log to one segment and write down that the day is complete, if it is.

        What is written names exactly the listing and the segments that were judged, so an object or an entry
        that comes in between leaves the day open.
        """
        state = self.log.state()
        if (not listing and not state.objects) or what_is_left(state, listing):
            return False
        self.log.compact(above=1)
        names, entries = self.log.snapshot()
        state = self.log.state_of(names, entries)
        if what_is_left(state, listing) or state.problems():
            return False
        content = day_file(len(listing), names, entries, state, schema_now(self.workspace, self.day, state))
        self.workspace.bucket.put(self._day_key(listing, names), content)
        return True


def needs_transform(known: ObjectState | None, now: str) -> bool:
    """Whether a listed object must be transformed: it is new, an operator asked, or its next try is due."""
    if known is None or known.status == "pending":
        return True
    if known.status == "broken":
        return known.next_try <= now
    # Listed again with the same bytes: whatever said that it was gone or replaced is over.
    return known.status in {"gone", "superseded"}


def what_is_left(state: DayState, listing: Iterable[ArchiveObject]) -> str:
    """What keeps the day open, in words; empty when nothing does."""
    statuses = [_status(state.objects.get(found.object_id)) for found in listing]
    unsent = state.counts().pending
    parts = [
        f"{statuses.count('pending'):,} objects to transform" if "pending" in statuses else "",
        f"{statuses.count('broken'):,} broken objects" if "broken" in statuses else "",
        f"{unsent:,} events to send" if unsent else "",
    ]
    return ", ".join(part for part in parts if part)


def _status(known: ObjectState | None) -> str:
    if known is None or known.status in {"pending", "gone", "superseded"}:
        return "pending"
    return known.status


def _manifest_line(found: ArchiveObject) -> bytes:
    return msgspec.json.encode(
        {
            "object": found.object_id,
            "bucket": found.bucket,
            "key": found.key,
            "etag": found.etag,
            "bytes": found.size,
            "hour": found.hour,
            "modified": timestamp_text(dt.datetime.fromtimestamp(found.modified, dt.UTC)),
            "storage_class": found.storage_class,
            **({"restore": found.restore_command} if found.frozen else {}),
        }
    )


class _ManifestLine(msgspec.Struct):
    """What is read of a manifest again."""

    object: str
    key: str
    hour: int | None


_manifested = msgspec.json.Decoder(_ManifestLine)


def writer_name(run_id: str) -> str:
    """A name for segments and manifests that no other run has."""
    return digest(run_id.encode())[:12]
