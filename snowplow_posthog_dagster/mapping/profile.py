"""What an analyst would get of some records, and what it would cost: the counting behind `preview --profile`.

Every record is mapped twice, as the settings say and without filters, page-ping policy and sample, so that one run
over a file answers what another policy would send. Nothing is sent and nothing is written.
"""

import datetime as dt
import json
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from snowplow_posthog_dagster.mapping.campaign import PARAMETERS
from snowplow_posthog_dagster.mapping.filters import compile_sample
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.outcome import Filtered, Mapped
from snowplow_posthog_dagster.mapping.settings import MappingSettings, Sample
from snowplow_posthog_dagster.snowplow.columns import INDEX
from snowplow_posthog_dagster.snowplow.record import Record, Rejected

SAMPLES = (10.0, 1.0)
"""Percents of users whose cost is shown beside the whole."""

_DAY_SECONDS = 86_400
_MONTH_DAYS = 30


@dataclass(frozen=True)
class Report:
    """Counts over the records that were looked at. `events` to `bytes_by_property` are of what would be sent."""

    records: int
    repeats: int
    dead_letters: int
    filtered: Mapping[str, int]
    events: Mapping[str, int]
    shares: Mapping[str, float]
    """Part of the events, from 0 to 1, with a distinct_id, session, place, campaign, person profile."""
    users: int
    sessions: int
    entities: Mapping[str, int]
    """Name of the property -> events that carry it."""
    bytes_by_property: Mapping[str, int]
    """Bytes of JSON, names included; the largest are what to drop to save money."""
    notes: Mapping[str, int]
    billable: Mapping[str, int]
    """What would be sent under other settings for page pings, filters and sample; PostHog bills by event."""
    seconds: float
    """From the first to the last arrival."""

    def per_day(self, events: int) -> float:
        """The number for a day at the rate of these records, 0 if they span less than a minute."""
        return events * _DAY_SECONDS / self.seconds if self.seconds >= 60 else 0.0

    def per_month(self, events: int) -> float:
        """The number for 30 days."""
        return self.per_day(events) * _MONTH_DAYS


@dataclass
class Profile:
    """Counts records under given settings. `add` them one by one, then ask for the `report`."""

    settings: MappingSettings
    privacy_secret: bytes | None = None
    forgotten: Container[str] = frozenset()
    """Digests of the ids of forgotten people, whom no policy sends."""
    _records: int = 0
    _repeats: int = 0
    _dead_letters: int = 0
    _filtered: Counter[str] = field(default_factory=Counter)
    _events: Counter[str] = field(default_factory=Counter)
    _with: Counter[str] = field(default_factory=Counter)
    _entities: Counter[str] = field(default_factory=Counter)
    _bytes: Counter[str] = field(default_factory=Counter)
    _notes: Counter[str] = field(default_factory=Counter)
    _billable: Counter[str] = field(default_factory=Counter)
    _users: set[int] = field(default_factory=set)
    _sessions: set[int] = field(default_factory=set)
    _first: str = ""
    _last: str = ""

    def __post_init__(self) -> None:
        everything = self.settings.model_copy(
            update={
                "filters": (),
                "sample": Sample(),
                "events": self.settings.events.model_copy(update={"page_ping": "keep"}),
            }
        )
        without_policy = everything.model_copy(update={"filters": self.settings.filters})
        self._configured, self._filter, self._all = map(self._mapping, (self.settings, without_policy, everything))
        salt = self.settings.sample.salt
        self._samples = {percent: compile_sample(Sample(percent=percent, salt=salt)) for percent in SAMPLES}

    def _mapping(self, settings: MappingSettings) -> Any:
        mapper = Mapper(settings, privacy_secret=self.privacy_secret, forgotten=self.forgotten)
        return mapper.for_object(object_id="profile", archive_day="profile")

    def add(self, record: Record | Rejected) -> None:
        """Count one record, or what the reader of lines could not take for one."""
        self._records += 1
        outcome = record if isinstance(record, Rejected) else self._configured(record)
        if isinstance(outcome, Mapped):
            self._count_event(outcome)
        elif isinstance(outcome, Filtered):
            self._filtered[outcome.rule] += 1
        else:
            self._dead_letters += 1
        if isinstance(record, Record):
            self._count_billable(record)

    def add_repeat(self) -> None:
        """Count an exact copy of an earlier record of its object, which a load passes over."""
        self._records += 1
        self._repeats += 1

    def _count_event(self, mapped: Mapped) -> None:
        event = json.loads(mapped.event)
        properties = event["properties"]
        self._events[event["event"]] += 1
        self._notes.update(mapped.notes)
        self._users.add(hash(event["distinct_id"]))
        if "$session_id" in properties:
            self._sessions.add(hash(properties["$session_id"]))
        self._with.update(
            {
                "distinct_id": event["distinct_id"] != event["uuid"],
                "session": "$session_id" in properties,
                "place": "$geoip_country_code" in properties,
                "campaign": not PARAMETERS.isdisjoint(properties),
                "person_profile": properties.get("$process_person_profile") is True,
            }
        )
        self._entities.update(name for name in properties if name.startswith(("contexts_", "unstruct_event_")))
        for name, value in properties.items():
            self._bytes[name] += len(name) + 4 + len(json.dumps(value, ensure_ascii=False).encode())

    def _count_billable(self, record: Record) -> None:
        outcome = self._all(record)
        if not isinstance(outcome, Mapped):
            return
        event = json.loads(outcome.event)
        arrival = event["properties"].get("collector_tstamp") or event["timestamp"]
        self._first, self._last = min(self._first or arrival, arrival), max(self._last, arrival)
        is_ping = record.fields[INDEX["event"]] == "page_ping"
        filtered = self._filter(record)
        passes = isinstance(filtered, Mapped)
        self._billable["all records, no filters"] += 1
        self._billable["no filters, page_ping: drop"] += not is_ping
        if isinstance(filtered, Filtered):
            self._billable[f"saved by the filter {filtered.rule}"] += 1
        self._billable["filters, page_ping: keep"] += passes
        self._billable["filters, page_ping: drop"] += passes and not is_ping
        for percent, belongs in self._samples.items():
            is_in = passes and belongs is not None and belongs(event["distinct_id"])
            self._billable[f"filters, page_ping: keep, sample {percent:g} %"] += is_in
            self._billable[f"filters, page_ping: drop, sample {percent:g} %"] += is_in and not is_ping

    def report(self) -> Report:
        """The counts so far."""
        sent = self._events.total()
        kinds = ("distinct_id", "session", "place", "campaign", "person_profile")
        return Report(
            records=self._records,
            repeats=self._repeats,
            dead_letters=self._dead_letters,
            filtered=dict(self._filtered.most_common()),
            events=dict(self._events.most_common()),
            shares={kind: self._with[kind] / sent if sent else 0.0 for kind in kinds},
            users=len(self._users),
            sessions=len(self._sessions),
            entities=dict(self._entities.most_common()),
            bytes_by_property=dict(self._bytes.most_common()),
            notes=dict(self._notes.most_common()),
            billable={"as configured": sent, **self._billable},
            seconds=_seconds_between(self._first, self._last),
        )


def _seconds_between(first: str, last: str) -> float:
    if not first:
        return 0.0
    return (dt.datetime.fromisoformat(last) - dt.datetime.fromisoformat(first)).total_seconds()
