"""Record -> PostHog event: the order in which the rules are asked. The rules themselves are in their own modules.

    read -> gather entities -> admit (filters) -> privacy -> identify -> describe -> encode

Everything that the settings decide is worked out when a `Mapper` is made, so that a feature that is off costs one
comparison per event. The events depend on the record and the settings alone; only the provenance properties
(`snowplow_object`, `snowplow_archive_day`) tell where it was found. This is the hot path: about 20 us per record.
"""

import json
from collections.abc import Callable, Container
from typing import Any

import msgspec
import orjson

from snowplow_posthog_dagster.mapping import filters, identity
from snowplow_posthog_dagster.mapping.describing import ENTITIES_READ, compile_description
from snowplow_posthog_dagster.mapping.entities import Carriers, finish, gather
from snowplow_posthog_dagster.mapping.envelope import Envelope, Enveloping
from snowplow_posthog_dagster.mapping.event_time import event_time
from snowplow_posthog_dagster.mapping.names import compile_names
from snowplow_posthog_dagster.mapping.outcome import Filtered, Mapped
from snowplow_posthog_dagster.mapping.paths import EntityPath, parse_path
from snowplow_posthog_dagster.mapping.privacy import compile_privacy
from snowplow_posthog_dagster.mapping.properties import DEFAULTS, attribute_of
from snowplow_posthog_dagster.mapping.reading import Reading, read, read_slowly
from snowplow_posthog_dagster.mapping.rules import Rule
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.mapping.size import MAX_EVENT_BYTES, SHED, shrink
from snowplow_posthog_dagster.mapping.versions import identity_version, mapping_version
from snowplow_posthog_dagster.snowplow.record import Record, Rejected, field_error

RULES = (
    Rule("snowplow_archive_day", "the archive object", "The UTC day of the archive path."),
    Rule("snowplow_object", "the archive object", "Its object-id."),
    Rule("snowplow_mapping_version", "the settings and the code", "Digest of everything that decides an event."),
)

Outcome = Mapped | Filtered | Rejected
Dumps = Callable[[dict[str, Any]], bytes]

_encode = msgspec.json.Encoder().encode


class Mapper:
    """Makes PostHog events of records under fixed settings. One may serve any number of archive objects."""

    def __init__(
        self,
        settings: MappingSettings,
        *,
        privacy_secret: bytes | None = None,
        forgotten: Container[str] = frozenset(),
    ) -> None:
        """`forgotten` holds digests of ids (`privacy.digest`) of people whose records are filtered as `forgotten`.

        Raises:
            SettingsError: something is to be hashed, or somebody forgotten, and there is no secret.
        """
        privacy = compile_privacy(settings.privacy, privacy_secret)
        is_forgotten = filters.compile_is_forgotten(forgotten, privacy_secret)
        name_of = compile_names(settings.events)
        wanted = _wanted_schemas(settings)
        self.identity_version = identity_version(settings, privacy.actions, privacy_secret)
        self.mapping_version = mapping_version(settings, privacy.actions, privacy_secret)
        self._carriers = Carriers(settings, changes=privacy.by_schema, wanted=wanted)
        self._event_carriers = Carriers(settings, changes=privacy.by_schema, wanted=wanted, of_events=True)
        self._admit = filters.compile_admission(settings, name_of=name_of, is_forgotten=is_forgotten)
        self._apply_privacy = privacy.apply_to_columns
        self._envelope = Enveloping(settings, name_of=name_of, is_forgotten=is_forgotten).envelope
        self._describe = compile_description(settings)
        self._unsent = tuple(attribute_of(name) or name for name in settings.properties.drop)

    def for_object(self, *, object_id: str, archive_day: str) -> Callable[[Record], Outcome]:
        """The function that maps the records of one archive object; `archive_day` as yyyy-mm-dd."""
        return _ObjectMapping(self, (archive_day, object_id, self.mapping_version)).map


class _ObjectMapping:
    """The mapping of the records of one archive object."""

    def __init__(self, mapper: Mapper, provenance: tuple[str, str, str]) -> None:
        self._provenance = provenance
        self._carriers, self._event_carriers = mapper._carriers, mapper._event_carriers
        self._admit, self._apply_privacy = mapper._admit, mapper._apply_privacy
        self._envelope, self._describe, self._unsent = mapper._envelope, mapper._describe, mapper._unsent

    def map(self, record: Record) -> Outcome:
        """The event of a record, or why there is none."""
        reading = read(record)
        if isinstance(reading, Rejected):
            return reading
        try:
            return self._map(record, reading, orjson.dumps)
        except (ValueError, orjson.JSONEncodeError):  # a malformed schema, an integer of more than 64 bits
            slowly = read_slowly(record)
            return slowly if isinstance(slowly, Rejected) else self._map(record, slowly, _dumps_exactly)

    def _map(self, record: Record, reading: Reading, dumps: Dumps) -> Outcome:
        properties, event = reading.properties, reading.event
        found, more, pending = gather(reading.entities, event, self._carriers, self._event_carriers)
        if self._admit is not None:
            rule = self._admit(properties, found, event)
            if rule is not None:
                return Filtered(rule)
        if self._apply_privacy is not None:
            self._apply_privacy(properties)
        if pending:
            finish(pending, more, event, reading.notes)

        time = event_time(properties)
        if time is None:
            return _rejected(record, "collector_tstamp", "expected a time from 2000 to 2099, here or in derived_tstamp")
        envelope = self._envelope(record, reading, found, more, time)
        if isinstance(envelope, Filtered):
            return envelope
        self._describe(properties, found, event, envelope.event)
        properties.archive_day, properties.object_id, properties.mapping_version = self._provenance
        for column in self._unsent:
            setattr(properties, column, DEFAULTS[column])
        return _finished(record, reading, envelope, more, time.milliseconds, dumps)


def _finished(
    record: Record, reading: Reading, envelope: Envelope, more: dict[str, Any], timestamp: int, dumps: Dumps
) -> Mapped | Rejected:
    """The event as JSON, shrunk if it is too large."""
    body = _join(envelope, more, dumps)
    if len(body) > MAX_EVENT_BYTES:
        shrunk = shrink(lambda: _join(envelope, more, dumps), len(body), reading.properties, more)
        if shrunk is None:
            return _rejected(record, None, f"an event of {len(body)} bytes; PostHog takes {MAX_EVENT_BYTES}")
        body = shrunk
        reading.notes.append(SHED)
    return Mapped(body, timestamp, envelope.uuid, tuple(reading.notes))


def _wanted_schemas(settings: MappingSettings) -> set[str]:
    """Schemas whose data a rule or a path of the settings reads."""
    person = settings.identity.person_properties
    conditions = [condition for rule in settings.filters for condition in (rule.drop, rule.keep) if condition]
    paths = [
        *settings.identity.distinct_id,
        *identity.PERSONAL_IDS,
        *person.set.values(),
        *person.set_once.values(),
        *(path for condition in conditions for path in condition.matches),
    ]
    parsed = map(parse_path, paths)
    named = {path.schema for path in parsed if isinstance(path, EntityPath)}
    bots = {filters.IAB} if any("iab" in condition.bot for condition in conditions) else set()
    return {*ENTITIES_READ, *named, *bots}


def _join(envelope: Envelope, more: dict[str, Any], dumps: Dumps) -> bytes:
    """The event's JSON: `more` becomes the last properties. Splicing bytes is half the cost of merging the dicts."""
    head = _encode(envelope)
    return b"%b,%b}" % (head[:-2], dumps(more)[1:]) if more else head


def _dumps_exactly(value: dict[str, Any]) -> bytes:
    """JSON with integers of any size, which orjson refuses; four times slower."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _rejected(record: Record, column: str | None, message: str) -> Rejected:
    error = field_error(column, "", message)
    return Rejected(record.ordinal, record.line, record.offset, record.raw, (error,))
