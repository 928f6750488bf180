"""Batches to acknowledged, whatever PostHog answers.

    open batches, oldest first --joined--> Shipment --thread--> POST --Answer--> day log
                                              │  400, 413
                                              └── its batches singly, then halves, down to one event

Every event ends acknowledged, or refused with PostHog's words as a delivery dead letter, or it stays open for
the next run. Retries and splits carry the same bytes and the same historical flag, because PostHog collapses
copies only when uuid, event, distinct_id and day agree, and because a try that failed may have been stored.
Sending stops while the log cannot be written: what was acknowledged and not logged would be sent again.
"""

import datetime as dt
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from snowplow_posthog_dagster.errors import (
    AuthenticationError,
    CaptureUnavailableError,
    InterruptedRunError,
    PoisonedError,
    SettingsError,
    StorageUnavailableError,
)
from snowplow_posthog_dagster.posthog.batches import Run, events_of, part_of, run_from, run_of
from snowplow_posthog_dagster.posthog.bodies import body, is_historical, joined
from snowplow_posthog_dagster.posthog.capture import Answer, CaptureClient, Verdict
from snowplow_posthog_dagster.posthog.compression import compressor_factory
from snowplow_posthog_dagster.posthog.pacing import AdaptiveConnections, Pacer
from snowplow_posthog_dagster.storage.day_log import LogWriter
from snowplow_posthog_dagster.storage.dead_letters import DELIVERY, DeadLetterFile
from snowplow_posthog_dagster.storage.entries import BatchNote, Delivered
from snowplow_posthog_dagster.storage.ranges import Ranges
from snowplow_posthog_dagster.storage.state import ACKNOWLEDGED, REFUSED
from snowplow_posthog_dagster.storage.workspace import Workspace, timestamp_text

_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0
_LONGEST_RETRY_AFTER_SECONDS = 300.0
_LOG_PATIENCE_SECONDS = 120.0
_GRACE_SECONDS = 3.0
_LOOK_SECONDS = 0.1
_FEW_REFUSED = 10
_RECOMPRESS = compressor_factory("isal", 1)


@dataclass(frozen=True)
class OpenBatch:
    """A batch of the log with events that are not settled yet.

    `run` holds just these events when the batch itself is purged and they were kept elsewhere (dead letters).
    """

    object_id: str
    revision: int
    note: BatchNote
    open: Ranges
    run: Run | None = None


@dataclass(frozen=True)
class _Piece:
    """Events of one batch that travel together: the run, and the batch's positions that it holds."""

    object_id: str
    revision: int
    batch_id: str
    positions: Ranges
    run: Run


@dataclass(frozen=True)
class DeliveryOptions:
    """Budgets and limits of a delivery."""

    historical: bool = True
    max_connections: int = 8
    retry_seconds_per_body: float = 300.0
    retry_seconds_per_run: float = 3600.0
    max_refused_share: float = 0.01


@dataclass
class DeliveryReport:
    """What a delivery did; filled while it runs, so that progress can be shown."""

    events_acknowledged: int = 0
    events_refused: int = 0
    posts: int = 0
    retries: int = 0
    bytes_sent: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    batches_read: int = 0
    last_words: str = ""


class Delivery:
    """Sends the open batches of one day to one project."""

    def __init__(
        self,
        *,
        workspace: Workspace,
        day: dt.date,
        client: CaptureClient,
        api_key: str,
        log: LogWriter,
        pacer: Pacer,
        options: DeliveryOptions,
        stop: threading.Event,
        now_milliseconds: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._workspace = workspace
        self._day = day
        self._client = client
        self._api_key = api_key
        self._log = log
        self._pacer = pacer
        self._options = options
        self._stop = stop
        self._halt = threading.Event()
        self._now = now_milliseconds
        self._connections = AdaptiveConnections(options.max_connections)
        self._lock = threading.Lock()
        self._waiting: Iterator[tuple[list[OpenBatch], bool]] = iter(())
        self._error: BaseException | None = None
        self._waited = 0.0
        self._attempted = 0
        self.report = DeliveryReport()

    def deliver(self, batches: Sequence[OpenBatch]) -> DeliveryReport:
        """Send every open event of the batches.

        Raises AuthenticationError on 401, SettingsError when host or TLS are wrong, PoisonedError when too
        many events are refused, CaptureUnavailableError when the retry budget is spent, StorageUnavailableError
        when the log cannot be written, InterruptedRunError when `stop` was set. Whatever was acknowledged
        before is in the log; running the partition again sends only the rest.
        """
        self._waiting = iter(self._shipments(batches))
        senders = [
            threading.Thread(target=self._send, name=f"delivery-{number}", daemon=True)
            for number in range(min(self._options.max_connections, max(1, len(batches))))
        ]
        for sender in senders:
            sender.start()
        try:
            while any(sender.is_alive() for sender in senders) and not self._halt.is_set():
                time.sleep(_LOOK_SECONDS)
                if self._stop.is_set():
                    break
        finally:
            self._leave(senders)
        if self._error is not None:
            raise self._error
        if self._stop.is_set():
            raise InterruptedRunError("the delivery was asked to stop; what was acknowledged is in the day log")
        return self.report

    def _leave(self, senders: list[threading.Thread]) -> None:
        """Start no new body, and give the ones in flight three seconds.

        The senders are daemon threads: a POST that hangs longer is left behind, and its events stay open.
        """
        self._halt.set()
        deadline = time.monotonic() + _GRACE_SECONDS
        for sender in senders:
            sender.join(max(0.0, deadline - time.monotonic()))

    def _send(self) -> None:
        """One sender: take the next body until there is none or the delivery ends."""
        try:
            while not self._halt.is_set():
                with self._lock:
                    shipment = next(self._waiting, None)
                if shipment is None:
                    return
                self._ship(*shipment)
        except BaseException as error:  # noqa: BLE001 - handed to the caller of `deliver`
            with self._lock:
                self._error = self._error or error
            self._halt.set()

    def _shipments(self, batches: Sequence[OpenBatch]) -> Iterator[tuple[list[OpenBatch], bool]]:
        """Group batches into bodies, oldest first, each with its historical flag, fixed from here on."""
        now = self._now()
        ordered = sorted(batches, key=lambda batch: (batch.note.first, batch.object_id, batch.note.id))
        items = [(batch, *_open_size(batch), self._historical(batch, now)) for batch in ordered]
        for group in joined(items):
            yield group, self._historical(group[0], now)

    def _historical(self, batch: OpenBatch, now: int) -> bool:
        return self._options.historical and is_historical(batch.note.last, now)

    def _ship(self, group: list[OpenBatch], historical: bool) -> None:
        """Read a group's batches, and send them as one body."""
        if not self._connections.enter(self._halt):
            return
        try:
            if not self._log.wait_until_logged(_LOG_PATIENCE_SECONDS):
                raise StorageUnavailableError(
                    f"the log of {self._day} could not be written for {_LOG_PATIENCE_SECONDS:.0f} s; sending stopped"
                )
            pieces = [self._load(batch) for batch in group]
            self._settle(pieces, historical)
        finally:
            self._connections.leave()

    def _load(self, batch: OpenBatch) -> _Piece:
        if batch.run is not None:
            return _Piece(batch.object_id, batch.revision, batch.note.id, batch.open, batch.run)
        key = self._workspace.batch_key(self._day, batch.object_id, batch.note.id)
        run = run_of(self._workspace.bucket.get(key), name=key)
        with self._lock:
            self.report.batches_read += 1
        if len(batch.open) != run.events:
            run = part_of(run, list(batch.open.positions()), _RECOMPRESS)
        return _Piece(batch.object_id, batch.revision, batch.note.id, batch.open, run)

    def _settle(self, pieces: list[_Piece], historical: bool) -> None:
        """Send pieces until each of their events is acknowledged or refused, or the delivery ends."""
        if self._halt.is_set():
            return
        answer = self._post_until_answered(pieces, historical)
        if answer is None:
            return
        if answer.verdict is Verdict.ACKNOWLEDGED:
            self._acknowledge(pieces)
        elif len(pieces) > 1:
            for piece in pieces:
                self._settle([piece], historical)
        elif pieces[0].run.events > 1:
            for half in _halves(pieces[0]):
                self._settle([half], historical)
        else:
            self._refuse(pieces[0], answer)

    def _post_until_answered(self, pieces: list[_Piece], historical: bool) -> Answer | None:
        """Post one body until PostHog takes it or says what is wrong with it; None when the delivery ends."""
        data = body([piece.run for piece in pieces], api_key=self._api_key, historical=historical)
        events = sum(piece.run.events for piece in pieces)
        waited, attempt = 0.0, 0
        while self._pacer.wait(events, self._halt):
            answer = self._client.post(data)
            self._count(answer, len(data), retry=attempt > 0)
            if answer.verdict in {Verdict.ACKNOWLEDGED, Verdict.REFUSED, Verdict.SPLIT}:
                if answer.verdict is Verdict.ACKNOWLEDGED:
                    self._connections.succeeded()
                return answer
            _raise_if_terminal(answer, self._client.url)
            if answer.overloaded:
                self._connections.overloaded()
            pause = _backoff(attempt, answer.retry_after)
            waited, attempt = waited + pause, attempt + 1
            self._spend(pause, waited, answer, attempt)
            if self._halt.wait(pause):
                return None
        return None

    def _spend(self, pause: float, waited: float, answer: Answer, attempts: int) -> None:
        with self._lock:
            self._waited += pause
            run_waited = self._waited
        per_body, per_run = self._options.retry_seconds_per_body, self._options.retry_seconds_per_run
        if waited > per_body or run_waited > per_run * self._options.max_connections:
            spent = f"{waited:.0f} s" if waited > per_body else f"{per_run:.0f} s a connection over the run"
            raise CaptureUnavailableError(
                f"{self._client.url} did not take a body in {attempts} tries; the retry budget of {spent} is spent."
                f" Last answer: {answer.status or 'none'} {answer.words}. What was acknowledged is logged:"
                f" materialize the partition {self._day} again when PostHog is well, and only the rest is sent"
            )

    def _count(self, answer: Answer, size: int, *, retry: bool) -> None:
        with self._lock:
            report = self.report
            report.posts += 1
            report.retries += retry
            report.bytes_sent += size
            report.statuses[answer.status] = report.statuses.get(answer.status, 0) + 1
            if answer.verdict is not Verdict.ACKNOWLEDGED:
                report.last_words = f"{answer.status} {answer.words}"

    def _acknowledge(self, pieces: list[_Piece]) -> None:
        self._log.append(*(entry for piece in pieces for entry in _entries(piece, ACKNOWLEDGED)))
        with self._lock:
            events = sum(piece.run.events for piece in pieces)
            self.report.events_acknowledged += events
            self._attempted += events

    def _refuse(self, piece: _Piece, answer: Answer) -> None:
        """Keep the one event that PostHog does not take, with its words, and go on."""
        (event,) = events_of(piece.run)
        letters = DeadLetterFile(self._workspace, self._day, DELIVERY, piece.object_id)
        letters.add(
            {
                "reason": f"PostHog answered {answer.status}: {answer.words}",
                "object": piece.object_id,
                "batch": piece.batch_id,
                "position": next(piece.positions.positions()),
                "event": json.loads(event),
                "at": timestamp_text(),
            }
        )
        letters.write()
        self._log.append(*_entries(piece, REFUSED))
        with self._lock:
            self.report.events_refused += 1
            self._attempted += 1
            refused, attempted = self.report.events_refused, self._attempted
        if refused > _FEW_REFUSED and refused > self._options.max_refused_share * attempted:
            raise PoisonedError(
                f"PostHog refused {refused:,} of {attempted:,} events, more than delivery.max_refused_share ="
                f" {self._options.max_refused_share:.2%}; last words: {answer.words}. The refused events are under"
                f" dead_letters/stage=delivery/dt={self._day}; nothing else was lost"
            )


def _open_size(batch: OpenBatch) -> tuple[int, int]:
    """Open events of a batch and their raw bytes (in proportion, for a part)."""
    events = len(batch.open)
    return events, batch.note.raw * events // max(batch.note.events, 1)


def _halves(piece: _Piece) -> list[_Piece]:
    events, positions = events_of(piece.run), list(piece.positions.positions())
    middle = len(events) // 2
    return [
        replace(
            piece,
            positions=Ranges((position, position + 1) for position in positions[chosen]),
            run=run_from(events[chosen], piece.run.min_timestamp, piece.run.max_timestamp, _RECOMPRESS),
        )
        for chosen in (slice(0, middle), slice(middle, None))
    ]


def _entries(piece: _Piece, status: str) -> list[Delivered]:
    return [
        Delivered(piece.object_id, piece.revision, piece.batch_id, first, end - first, status)
        for first, end in piece.positions.intervals
    ]


def _backoff(attempt: int, retry_after: float | None) -> float:
    """Full jitter over a doubling ceiling; a server's `Retry-After` is the least that is waited."""
    ceiling = min(_LONGEST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2**attempt)
    jittered = random.uniform(0, ceiling)  # noqa: S311
    return max(jittered, min(retry_after, _LONGEST_RETRY_AFTER_SECONDS)) if retry_after is not None else jittered


def _raise_if_terminal(answer: Answer, url: str) -> None:
    if answer.verdict is Verdict.UNAUTHORIZED:
        raise AuthenticationError(
            f"{url} answered 401: {answer.words}. Check POSTHOG_PROJECT_API_KEY (it begins with phc_) and that"
            " POSTHOG_HOST is the region of that project; nothing more was sent"
        )
    if answer.verdict is Verdict.MISCONFIGURED:
        raise SettingsError(f"{url} cannot be used: {answer.status or 'no answer'} {answer.words}; check POSTHOG_HOST")
