"""What PostHog really has of a day: its sample fetched back by query and compared, field by field.

    samples of the day --by hour of timestamp--> HogQL --rows--> compared --> agree | gap (cause) | not checked

PostHog answers 200 to events that it drops: an unknown token, a billing limit, "drop events older than", event
restrictions, events above 1 MB after enrichment, transformations (PostHog's ingestion drops after capture answered).
None of these shows in an answer, so a day is only believed after its events were seen. Ingestion lags: what is
missing is asked for again until the time is up. What could not be asked is `not checked`, never passed.
"""

import datetime as dt
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from snowplow_posthog_dagster.errors import CaptureUnavailableError
from snowplow_posthog_dagster.loading.causes import Evidence, Sent, likely_cause
from snowplow_posthog_dagster.loading.day import DayLoad
from snowplow_posthog_dagster.posthog.query import QueryClient, quoted
from snowplow_posthog_dagster.storage.dead_letters import DELIVERY, counted_letters
from snowplow_posthog_dagster.storage.entries import Reconciled
from snowplow_posthog_dagster.storage.samples import read_sample
from snowplow_posthog_dagster.storage.state import AGREE, SAMPLES, DayState, ObjectState
from snowplow_posthog_dagster.storage.workspace import timestamp_text

GAP, NOT_CHECKED = "gap", "not checked"

WAIT_SECONDS = 300.0
"""How long ingestion may lag before a missing event is a gap; an import of history can be minutes behind."""

MOST_SAMPLED = 5_000
"""A day of 22,000 objects of 200 events would have a sample of four million, and PostHog limits queries by the hour."""

PROVENANCE = frozenset({"snowplow_object", "snowplow_archive_day"})
"""Where a record was found. A record that lies in two objects is one event in PostHog, with either's provenance."""

# PostHog's ingestion adds to these ($initial_..., geo), or takes $ip away when the project anonymizes addresses.
_EXTENDED = frozenset({"$set", "$set_once"})
_MAY_GO = frozenset({"$ip"})

_UUIDS_PER_QUERY = 200
_ROWS = 50_000
_READERS = 16
_FIRST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 60.0
_HOUR = 3_600_000
_EXAMPLES = 20


class Stored(NamedTuple):
    """A row of PostHog's events table."""

    uuid: str
    event: str
    distinct_id: str
    timestamp: int
    properties: dict[str, Any]


@dataclass
class ReconcileReport:
    """The outcome. sampled = found + missing + not_checked.

    `differing` of the found have other content, by field in `fields`; `other_record` of them are another record's
    event of the same key, of which PostHog keeps one; `copies` are rows that PostHog had not merged yet.
    """

    result: str = NOT_CHECKED
    sampled: int = 0
    found: int = 0
    missing: int = 0
    differing: int = 0
    not_checked: int = 0
    other_record: int = 0
    copies: int = 0
    queries: int = 0
    seconds: float = 0.0
    cause: str = ""
    fields: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """One line for people."""
        return (
            f"{self.result}: of {self.sampled:,} sampled events {self.found:,} found, {self.missing:,} missing,"
            f" {self.differing:,} differing, {self.not_checked:,} not checked"
            + (f"; {self.copies:,} unmerged copies" if self.copies else "")
            + (f"; {self.cause}" if self.cause else "")
        )


class Reconciliation:
    """Compares one day's sample with one project. `wait_seconds` bounds the wait for ingestion."""

    def __init__(
        self,
        load: DayLoad,
        query: QueryClient,
        *,
        api_key: str,
        wait_seconds: float = WAIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._load = load
        self._query = query
        self._api_key = api_key
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._sleep = sleep
        self._rows: defaultdict[str, list[Stored]] = defaultdict(list)
        self._unasked = ""

    def run(self) -> ReconcileReport:
        """Compare, log the outcome as a `Reconciled` entry, and close the day again if it is complete.

        Raises SettingsError when the personal key or the project are wrong, and what the workspace raises.
        """
        started = self._clock()
        report = ReconcileReport()
        sample, unsettled = self._sample(self._load.log.state())
        report.sampled = len(sample) + unsettled
        self._fetch(sample, report, deadline=started + self._wait_seconds)
        missing = self._compare(sample, report)
        report.not_checked += unsettled
        self._judge(sample, missing, unsettled, report)
        report.seconds = self._clock() - started
        self._load.log.write([_entry(report)], writer=f"{self._load.writer}-reconcile")
        # The entry is a new segment, which reopens a finished day.
        if self._load.archive.holds(self._load.day):
            self._load.close(self._load.archive.list_day(self._load.day))
        return report

    # -- the sample ---------------------------------------------------------------------------------------

    def _sample(self, state: DayState) -> tuple[list[Sent], int]:
        """Events that PostHog acknowledged, of whole objects until there are enough, and how many are not settled yet.

        Object-ids are digests, so their order is as good as a draw, and the same for every run.
        """
        refused = {
            str(letter.content["uuid"])
            for letter in counted_letters(self._load.workspace, self._load.day, state, stage=DELIVERY)
        }
        settled = [known for known in state.objects.values() if not _has_unsent(known)]
        left = [known for known in state.objects.values() if _has_unsent(known)]
        sample = [sent for sent in self._read(settled) if sent.uuid not in refused]
        return sample, sum(1 for _ in self._read(left))

    def _read(self, objects: Sequence[ObjectState]) -> Iterator[Sent]:
        """The samples of objects, several at a time, until there are as many events as a reconciliation asks for."""
        ordered = sorted(objects, key=lambda known: known.object_id)
        found = 0
        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(ordered), _READERS):
                for events in pool.map(self._events_of, ordered[start : start + _READERS]):
                    yield from events
                    found += len(events)
                if found >= MOST_SAMPLED:
                    return

    def _events_of(self, known: ObjectState) -> list[Sent]:
        if known.done is None:
            return []
        firsts = [] if SAMPLES in known.purged else [note.id for note in known.done.batches[:1]]
        # A replay may have made its sample after the others were purged.
        firsts += [entry.batch.id for entry in known.replayed if entry.batch]
        workspace, day = self._load.workspace, self._load.day
        return [_sent(line) for first in firsts for line in read_sample(workspace, day, known.object_id, first) or ()]

    # -- fetching -----------------------------------------------------------------------------------------

    def _fetch(self, sample: Sequence[Sent], report: ReconcileReport, *, deadline: float) -> None:
        """Fetch the sample hour by hour, then what is missing again and again until the deadline."""
        hours: defaultdict[int, list[Sent]] = defaultdict(list)
        for sent in sample:
            hours[sent.timestamp // _HOUR].append(sent)
        self._ask((hours[hour] for hour in sorted(hours)), report)
        pause = _FIRST_PAUSE_SECONDS
        while not self._unasked and (missing := [sent for sent in sample if self._is_awaited(sent)]):
            left = deadline - self._clock()
            if left <= 0:
                return
            self._sleep(min(pause, left))
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            # One query for up to 200 of them: PostHog limits queries by the hour.
            self._ask([missing], report)

    def _is_awaited(self, sent: Sent) -> bool:
        """Whether PostHog has no row of the event yet, or only those of an earlier mapping of its object."""
        own = [row.properties for row in self._rows.get(sent.uuid, [])]
        name, version = "snowplow_object", "snowplow_mapping_version"
        return all(
            found.get(name) == sent.properties.get(name) and found.get(version) != sent.properties.get(version)
            for found in own
        )

    def _ask(self, groups: Iterable[Sequence[Sent]], report: ReconcileReport) -> None:
        for group in groups:
            for start in range(0, len(group), _UUIDS_PER_QUERY):
                wanted = group[start : start + _UUIDS_PER_QUERY]
                try:
                    rows = self._query.rows(_hogql(wanted))
                except CaptureUnavailableError as error:
                    self._unasked = str(error)
                    return
                report.queries += 1
                for row in {json.dumps(row): row for row in rows}.values():
                    stored = _stored(row)
                    if stored not in self._rows[stored.uuid]:
                        self._rows[stored.uuid].append(stored)
                report.copies += len(rows) - len({row[0] for row in rows})

    # -- comparing ----------------------------------------------------------------------------------------

    def _compare(self, sample: Sequence[Sent], report: ReconcileReport) -> list[Sent]:
        missing = []
        siblings: defaultdict[str, list[Sent]] = defaultdict(list)
        for sent in sample:
            siblings[sent.uuid].append(sent)
        for sent in sample:
            rows = self._rows.get(sent.uuid, [])
            if not rows:
                missing.append(sent)
                continue
            report.found += 1
            closest = min((differences(sent, row) for row in rows), key=len)
            if not closest:
                continue
            twins = [other for other in siblings[sent.uuid] if other is not sent]
            if any(_is_another_record(sent, row) or _is_one_of(twins, sent, row) for row in rows):
                report.other_record += 1
                continue
            report.differing += 1
            report.fields.update(closest)
            if len(report.examples) < _EXAMPLES:
                report.examples.append(f"{sent.uuid} {sent.event}: differs in {', '.join(sorted(closest)[:5])}")
        return missing

    def _judge(self, sample: Sequence[Sent], missing: list[Sent], unsettled: int, report: ReconcileReport) -> None:
        if self._unasked:
            report.not_checked += len(missing)
            missing = []
        report.missing = len(missing)
        for sent in missing[: _EXAMPLES - len(report.examples)]:
            report.examples.append(f"{sent.uuid} {sent.event} of {timestamp_text(_moment(sent.timestamp))}: missing")
        causes = []
        if missing:
            absent = {sent.uuid for sent in missing}
            present = [sent for sent in sample if sent.uuid not in absent]
            causes.append(self._cause(missing, present))
        if report.differing:
            names = ", ".join(name for name, _ in report.fields.most_common(5))
            causes.append(f"other content than was sent ({names}): a transformation of the project, or another writer")
        if self._unasked:
            causes.append(f"the query API could not be asked: {self._unasked}")
        if unsettled:
            causes.append(f"{unsettled:,} sampled events are not delivered yet, or withdrawn")
        if not report.sampled:
            causes.append("the day has no sample: it was purged, or the day has too few events")
        report.cause = "; ".join(causes)
        if report.missing or report.differing:
            report.result = GAP
        elif report.sampled and not report.not_checked:
            report.result = AGREE

    def _cause(self, missing: list[Sent], present: list[Sent]) -> str:
        """The likely cause; a gap is told without one too, when the project cannot be asked any more."""
        try:
            return likely_cause(missing, present, self._evidence())
        except CaptureUnavailableError as error:
            return f"unknown: the project could not be asked for it: {error}"

    def _evidence(self) -> Evidence:
        """What else the project tells: whose key it has, and whether anything recent arrives at all."""
        project = self._query.project()
        recent = self._query.rows("select count() from events where timestamp > now() - interval 1 day")
        return Evidence(
            key_belongs=project.api_token == self._api_key,
            project_id=project.project_id,
            recent_events=int(recent[0][0]) if recent else 0,
            now=time.time_ns() // 1_000_000,
            waited_seconds=self._wait_seconds,
        )


def _has_unsent(known: ObjectState) -> bool:
    """Whether events of it are still to be sent, or never will be: it was skipped or overwritten before."""
    return bool(known.deliverable) or known.counts().withdrawn > 0


def differences(sent: Sent, row: Stored) -> set[str]:
    """The names of what differs; what PostHog adds is no difference."""
    found = {name for name in ("event", "distinct_id", "timestamp") if getattr(sent, name) != getattr(row, name)}
    for name, value in sent.properties.items():
        if name in PROVENANCE or (name in _MAY_GO and name not in row.properties):
            continue
        if not _same(value, row.properties.get(name), extended=name in _EXTENDED):
            found.add(name)
    return found


def _same(value: Any, stored: Any, *, extended: bool) -> bool:
    if extended and isinstance(value, dict) and isinstance(stored, dict):
        return all(stored.get(name) == item for name, item in value.items())
    return bool(value == stored)


def _is_another_record(sent: Sent, row: Stored) -> bool:
    """Whether the row is the event of another record with the same key: PostHog keeps one of them."""
    other = row.properties.get("snowplow_object")
    return _key(sent) == _key(row) and other is not None and other != sent.properties.get("snowplow_object")


def _is_one_of(twins: Iterable[Sent], sent: Sent, row: Stored) -> bool:
    """Whether the row is the event of another record of the same object with the same key, as it was sent."""
    return any(_key(twin) == _key(sent) and not differences(twin, row) for twin in twins)


def _key(event: Sent | Stored) -> tuple[str, str, int]:
    """What PostHog merges by, beside the uuid."""
    return event.event, event.distinct_id, event.timestamp // (24 * _HOUR)


def _hogql(wanted: Sequence[Sent]) -> str:
    """One query over the hours of these events. Times carry a `Z`: HogQL would read them in the project's zone."""
    first = min(sent.timestamp for sent in wanted) // _HOUR * _HOUR
    last = (max(sent.timestamp for sent in wanted) // _HOUR + 1) * _HOUR
    uuids = ", ".join(quoted(sent.uuid) for sent in wanted)
    return (
        "select uuid, event, distinct_id, timestamp, properties from events"  # noqa: S608 - every value is quoted
        f" where timestamp >= toDateTime({quoted(timestamp_text(_moment(first)))})"
        f" and timestamp < toDateTime({quoted(timestamp_text(_moment(last)))})"
        f" and uuid in ({uuids}) limit {_ROWS}"
    )


def _sent(line: bytes) -> Sent:
    event = json.loads(line)
    moment = _milliseconds(event["timestamp"])
    return Sent(event["uuid"], event["event"], event["distinct_id"], moment, event["properties"])


def _stored(row: Sequence[Any]) -> Stored:
    uuid, event, distinct_id, timestamp, properties = row
    content = json.loads(properties) if isinstance(properties, str) else properties
    return Stored(str(uuid).lower(), event, distinct_id, _milliseconds(timestamp), content)


def _milliseconds(text: str) -> int:
    moment = dt.datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp() * 1000)


def _moment(milliseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)


def _entry(report: ReconcileReport) -> Reconciled:
    return Reconciled(
        result=report.result,
        sampled=report.sampled,
        found=report.found,
        differing=report.differing,
        not_checked=report.not_checked,
        copies=report.copies,
        cause=report.cause,
        at=timestamp_text(),
    )
