"""Batches to acknowledged, whatever PostHog answers.

    open batches, oldest first --joined--> group --thread--> POST --Answer--> day log
                                             │  400, 413
                                             └── its batches singly, then halves, down to one event

Every event ends acknowledged, or refused with PostHog's words as a delivery dead letter, or it stays open for
the next run. Retries and splits carry the same bytes and the same historical flag, because PostHog collapses
copies only when uuid, event, distinct_id and day agree, and because a try that failed may have been stored.
Sending stops while the log cannot be written: what was acknowledged and not logged would be sent again.
"""

import datetime as dt
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from snowplow_posthog_dagster.errors import (
    GoneObjectError,
    InterruptedRunError,
    PoisonedError,
    StorageUnavailableError,
    WorkspaceError,
)
from snowplow_posthog_dagster.loading.pieces import OpenBatch, Piece, piece_of
from snowplow_posthog_dagster.loading.presence import remap_command
from snowplow_posthog_dagster.loading.retries import BodyCost, RetryBudget, backoff, raise_if_terminal
from snowplow_posthog_dagster.posthog.batches import events_of, run_of
from snowplow_posthog_dagster.posthog.bodies import body, is_historical, joined
from snowplow_posthog_dagster.posthog.capture import Answer, CaptureClient, Verdict
from snowplow_posthog_dagster.posthog.pacing import AdaptiveConnections, AdaptivePace, Pacer
from snowplow_posthog_dagster.storage.day_log import LogWriter
from snowplow_posthog_dagster.storage.dead_letters import DELIVERY, DeadLetterFile
from snowplow_posthog_dagster.storage.entries import Posted
from snowplow_posthog_dagster.storage.ranges import Ranges
from snowplow_posthog_dagster.storage.state import ACKNOWLEDGED, REFUSED
from snowplow_posthog_dagster.storage.workspace import Workspace, timestamp_text

__all__ = ["Delivery", "DeliveryOptions", "DeliveryReport", "OpenBatch"]

LOOK_AGAIN_SECONDS = 10.0
"""How often a running delivery looks for what operators and other runs have written meanwhile."""

_LOG_PATIENCE_SECONDS = 120.0
_GRACE_SECONDS = 3.0
_LOOK_SECONDS = 0.1
_FEW_REFUSED = 10
_ERRORS_KEPT = 100
_SETTLED = {Verdict.ACKNOWLEDGED, Verdict.REFUSED, Verdict.SPLIT}

StillWanted = Callable[[OpenBatch], Ranges]
"""Which of a batch's events are still to be sent, as the log says now."""


@dataclass(frozen=True)
class DeliveryOptions:
    """Budgets and limits of a delivery. Strict dead letters hold place, uuid and reason only."""

    historical: bool = True
    max_connections: int = 8
    retry_seconds_per_body: float = 300.0
    retry_seconds_per_run: float = 3600.0
    max_refused_share: float = 0.01
    strict_dead_letters: bool = False


@dataclass
class DeliveryReport:
    """What a delivery did; filled while it runs, so that progress can be shown."""

    events_acknowledged: int = 0
    events_refused: int = 0
    events_dropped: int = 0
    posts: int = 0
    retries: int = 0
    bytes_sent: int = 0
    post_seconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    errors_at: list[str] = field(default_factory=list)
    batches_read: int = 0
    last_words: str = ""

    def entry(self, writer: str, started: str) -> Posted:
        """The same for the day log, with the time from `started` (as text) until now."""
        return Posted(
            writer=writer,
            started=started,
            ended=timestamp_text(),
            posts=self.posts,
            retries=self.retries,
            bytes=self.bytes_sent,
            events=self.events_acknowledged,
            refused=self.events_refused,
            statuses={str(status): count for status, count in sorted(self.statuses.items())},
            errors_at=self.errors_at[-_ERRORS_KEPT:],
            last_words=self.last_words,
        )


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
        self._now = now_milliseconds
        self._halt = threading.Event()
        self._no_more = threading.Event()
        self._connections = AdaptiveConnections(options.max_connections)
        self._taken_rate = AdaptivePace()
        self._budget = RetryBudget(
            per_body=options.retry_seconds_per_body,
            per_run=options.retry_seconds_per_run,
            connections=options.max_connections,
            url=client.url,
            day=day,
        )
        self._lock = threading.Lock()
        self._waiting: Iterator[tuple[list[OpenBatch], bool]] = iter(())
        self._still_wanted: StillWanted = lambda batch: batch.open
        self._error: BaseException | None = None
        self._unreadable: list[str] = []
        self._attempted = 0
        self.report = DeliveryReport()

    def deliver(
        self, batches: Sequence[OpenBatch], *, look_again: Callable[[], StillWanted] | None = None
    ) -> DeliveryReport:
        """Send every open event of the batches.

        `look_again` is called every ten seconds; it returns what is still wanted, and what it raises (a pause, a
        log that this release does not understand) is raised here when the bodies in hand are settled.

        Raises AuthenticationError on 401, SettingsError when host or TLS are wrong, PoisonedError when too
        many events are refused, CaptureUnavailableError when the retry budget is spent, StorageUnavailableError
        when the log cannot be written, InterruptedRunError when `stop` was set, and WorkspaceError at the end
        when batches were missing or damaged. Whatever was acknowledged before is in the log; running the
        partition again sends only the rest.
        """
        self._waiting = iter(self._groups(batches))
        senders = [
            threading.Thread(target=self._send, name=f"delivery-{number}", daemon=True)
            for number in range(min(self._options.max_connections, max(1, len(batches))))
        ]
        for sender in senders:
            sender.start()
        if look_again is not None:
            threading.Thread(target=self._look, args=(look_again,), name="delivery-look", daemon=True).start()
        try:
            self._attend(senders)
        finally:
            self._leave(senders)
        if self._error is not None:
            raise self._error
        if self._stop.is_set():
            raise InterruptedRunError("the delivery was asked to stop; what was acknowledged is in the day log")
        if self._unreadable:
            raise WorkspaceError(
                f"{len(self._unreadable)} batches of {self._day} are missing or damaged, all others were sent:"
                f" {'; '.join(self._unreadable[:3])}. `{remap_command(self._day)}` makes them again from the archive"
            )
        return self.report

    def _attend(self, senders: list[threading.Thread]) -> None:
        """Wait for the senders, for an error, or for the stop sign."""
        while any(sender.is_alive() for sender in senders) and not self._halt.is_set():
            time.sleep(_LOOK_SECONDS)
            if self._stop.is_set():
                return

    def _look(self, look_again: Callable[[], StillWanted]) -> None:
        """Every ten seconds: what operators and other runs have written meanwhile."""
        while not self._halt.wait(LOOK_AGAIN_SECONDS) and not self._no_more.is_set():
            try:
                self._still_wanted = look_again()
            except StorageUnavailableError as error:
                # It is looked up again in ten seconds, and a log that cannot be written stops the senders anyway.
                self.report.last_words = str(error)
            except BaseException as error:  # noqa: BLE001 - raised by `deliver` when the bodies in hand are settled
                self._error = self._error or error
                self._no_more.set()

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
            while not self._halt.is_set() and not self._no_more.is_set():
                with self._lock:
                    group = next(self._waiting, None)
                if group is None:
                    return
                self._ship(*group)
        except BaseException as error:  # noqa: BLE001 - handed to the caller of `deliver`
            with self._lock:
                self._error = self._error or error
            self._halt.set()

    def _groups(self, batches: Sequence[OpenBatch]) -> Iterator[tuple[list[OpenBatch], bool]]:
        """Group batches into bodies, oldest first, each with its historical flag, fixed from here on."""
        now = self._now()
        ordered = sorted(batches, key=lambda batch: (batch.note.first, batch.object_id, batch.note.id))
        items = [(batch, len(batch.open), batch.open_raw, self._historical(batch, now)) for batch in ordered]
        for group in joined(items, max_events=lambda: self._pacer.body_events):
            yield group, self._historical(group[0], now)

    def _historical(self, batch: OpenBatch, now: int) -> bool:
        return self._options.historical and is_historical(batch.note.last, now)

    def _ship(self, group: list[OpenBatch], historical: bool) -> None:
        """Read a group's batches, as far as they are still wanted, and send them as one body."""
        if not self._connections.enter(self._halt):
            return
        try:
            pieces = [piece for batch in group if (piece := self._load(batch)) is not None]
            if pieces:
                self._settle(pieces, historical, first=True)
        finally:
            self._connections.leave()

    def _load(self, batch: OpenBatch) -> Piece | None:
        """The open events of a batch; None when none is wanted any more, or when the batch cannot be used."""
        wanted = self._still_wanted(batch)
        if len(wanted) != len(batch.open):
            with self._lock:
                self.report.events_dropped += len(batch.open) - len(wanted)
        if not wanted:
            return None
        batch = batch.only(wanted)
        if batch.run is not None:
            return Piece(batch.object_id, batch.revision, batch.note.id, batch.open, batch.run)
        key = self._workspace.batch_key(self._day, batch.object_id, batch.note.id)
        try:
            piece = piece_of(batch, run_of(self._workspace.bucket.get(key), name=key))
        except (GoneObjectError, WorkspaceError) as error:
            with self._lock:
                self._unreadable.append(str(error))
            return None
        with self._lock:
            self.report.batches_read += 1
        return piece

    def _settle(self, pieces: list[Piece], historical: bool, *, first: bool = False) -> None:
        """Send pieces until each of their events is acknowledged or refused, or the delivery ends."""
        answer = self._post_until_answered(pieces, historical)
        if answer is None:
            return
        if first:
            with self._lock:
                self._attempted += sum(piece.run.events for piece in pieces)
        if answer.verdict is Verdict.ACKNOWLEDGED:
            self._acknowledge(pieces)
        elif len(pieces) > 1:
            for piece in pieces:
                self._settle([piece], historical)
        elif pieces[0].run.events > 1:
            for half in pieces[0].halves():
                self._settle([half], historical)
        else:
            self._refuse(pieces[0], answer)

    def _post_until_answered(self, pieces: list[Piece], historical: bool) -> Answer | None:
        """Post one body until PostHog takes it or says what is wrong with it; None when the delivery ends."""
        if self._halt.is_set():
            return None
        data = body([piece.run for piece in pieces], api_key=self._api_key, historical=historical)
        events = sum(piece.run.events for piece in pieces)
        cost, attempt = BodyCost(), 0
        while self._may_start(events):
            started = time.monotonic()
            answer = self._client.post(data)
            self._count(answer, len(data), time.monotonic() - started, retry=attempt > 0)
            if answer.verdict in _SETTLED:
                return answer
            raise_if_terminal(answer, self._client.url)
            if answer.overloaded:
                self._connections.overloaded()
                self._taken_rate.overloaded()
            asked, tried = backoff(attempt, answer.retry_after), time.monotonic() - started
            attempt += 1
            spent = cost.spent(answer)
            pause = self._budget.pause(asked, tried=tried, body_spent=spent, attempts=attempt, answer=answer)
            cost.add(answer, tried + pause)
            if self._halt.wait(pause):
                return None
        return None

    def _may_start(self, events: int) -> bool:
        """Wait for the log, for the rate that the server takes and for our share of the cap."""
        if not self._log.wait_until_logged(_LOG_PATIENCE_SECONDS, self._halt):
            raise StorageUnavailableError(
                f"the log of {self._day} could not be written for {_LOG_PATIENCE_SECONDS:.0f} s; sending stopped"
            )
        return self._taken_rate.wait(events, self._halt) and self._pacer.wait(events, self._halt)

    def _count(self, answer: Answer, size: int, seconds: float, *, retry: bool) -> None:
        with self._lock:
            report = self.report
            report.posts += 1
            report.post_seconds.append(seconds)
            report.retries += retry
            report.bytes_sent += size
            report.statuses[answer.status] = report.statuses.get(answer.status, 0) + 1
            if answer.status >= 500:
                report.errors_at.append(timestamp_text())
            if answer.verdict is not Verdict.ACKNOWLEDGED:
                report.last_words = f"{answer.status} {answer.words}"

    def _acknowledge(self, pieces: list[Piece]) -> None:
        self._log.append(*(entry for piece in pieces for entry in piece.entries(ACKNOWLEDGED)))
        events = sum(piece.run.events for piece in pieces)
        self._connections.succeeded()
        self._taken_rate.taken(events)
        with self._lock:
            self.report.events_acknowledged += events

    def _refuse(self, piece: Piece, answer: Answer) -> None:
        """Keep the one event that PostHog does not take, with its words, and go on."""
        event = json.loads(events_of(piece.run)[0])
        letters = DeadLetterFile(self._workspace, self._day, DELIVERY, piece.object_id)
        letters.add(
            {
                "reason": f"PostHog answered {answer.status}: {answer.words}",
                "object": piece.object_id,
                "batch": piece.batch_id,
                "position": next(piece.positions.positions()),
                "uuid": event["uuid"],
                "at": timestamp_text(),
                **({} if self._options.strict_dead_letters else {"event": event}),
            }
        )
        letters.write()
        self._log.append(*piece.entries(REFUSED))
        with self._lock:
            self.report.events_refused += 1
            refused, attempted = self.report.events_refused, self._attempted
        if refused > _FEW_REFUSED and refused > self._options.max_refused_share * attempted:
            raise PoisonedError(
                f"PostHog refused {refused:,} of {attempted:,} events, more than delivery.max_refused_share ="
                f" {self._options.max_refused_share:.2%}; last words: {answer.words}. The refused events are under"
                f" dead_letters/stage=delivery/dt={self._day}; nothing else was lost"
            )
