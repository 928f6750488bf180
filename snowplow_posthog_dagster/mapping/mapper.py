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

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.mapping import filters, identity
from snowplow_posthog_dagster.mapping.describing import ENTITIES_READ, compile_description
from snowplow_posthog_dagster.mapping.entities import Carriers, finish, gather
from snowplow_posthog_dagster.mapping.event_time import EventTime, event_time
from snowplow_posthog_dagster.mapping.names import compile_names
from snowplow_posthog_dagster.mapping.outcome import Filtered, Mapped
from snowplow_posthog_dagster.mapping.paths import EntityPath, parse_path
from snowplow_posthog_dagster.mapping.privacy import compile_privacy, digest
from snowplow_posthog_dagster.mapping.properties import DEFAULTS, Properties
from snowplow_posthog_dagster.mapping.reading import Entity, Reading, read, read_slowly
from snowplow_posthog_dagster.mapping.rules import Rule
from snowplow_posthog_dagster.mapping.session import session_uuid, snowplow_session
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


class Envelope(msgspec.Struct, gc=False):
    """What PostHog's capture takes."""

    uuid: str
    event: str
    distinct_id: str
    timestamp: str
    properties: Properties


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
        if forgotten != frozenset() and not privacy_secret:
            raise SettingsError("SNOWPLOW_POSTHOG_PRIVACY_SECRET is not set; forgotten ids are kept as HMACs with it")
        self._settings, self._secret, self._forgotten = settings, privacy_secret, forgotten
        self._privacy = compile_privacy(settings.privacy, privacy_secret)
        self.identity_version = identity_version(settings, self._privacy.actions, privacy_secret)
        self.mapping_version = mapping_version(settings, self._privacy.actions, privacy_secret)
        self._name_of = compile_names(settings.events)
        self._carriers, self._event_carriers = self._make_carriers(), self._make_carriers(of_events=True)

    def for_object(self, *, object_id: str, archive_day: str) -> Callable[[Record], Outcome]:
        """The function that maps the records of one archive object; `archive_day` as yyyy-mm-dd."""
        carriers, event_carriers = self._carriers, self._event_carriers
        admit, identify = self._compile_admission(), self._compile_identification()
        describe = compile_description(self._settings)
        apply_privacy = self._privacy.apply_to_columns
        unsent = tuple(self._settings.properties.drop)
        provenance = archive_day, object_id, self.mapping_version

        def map_reading(record: Record, reading: Reading, dumps: Dumps) -> Outcome:
            properties, entities, event, notes = reading
            found, more, pending = gather(entities, event, carriers, event_carriers)
            if admit is not None:
                rule = admit(properties, found, event)
                if rule is not None:
                    return Filtered(rule)
            if apply_privacy is not None:
                apply_privacy(properties)
            if pending:
                finish(pending, more, event, notes)

            time = event_time(properties)
            if time is None:
                return _rejected(record, "collector_tstamp", "expected a time from 2000 to 2099, here or in derived_tstamp")
            envelope = identify(record, reading, found, more, time)
            if type(envelope) is Filtered:
                return envelope
            describe(properties, found, event, envelope.event)
            properties.archive_day, properties.object_id, properties.mapping_version = provenance
            for column in unsent:
                setattr(properties, column, DEFAULTS[column])

            body = _join(envelope, more, dumps)
            if len(body) > MAX_EVENT_BYTES:
                shrunk = shrink(lambda: _join(envelope, more, dumps), len(body), properties, more)
                if shrunk is None:
                    return _rejected(record, None, f"an event of {len(body)} bytes; PostHog takes {MAX_EVENT_BYTES}")
                body = shrunk
                notes.append(SHED)
            return Mapped(body, time.milliseconds, envelope.uuid, tuple(notes))

        def map_record(record: Record) -> Outcome:
            reading = read(record)
            if type(reading) is Rejected:
                return reading
            try:
                return map_reading(record, reading, orjson.dumps)
            except (ValueError, orjson.JSONEncodeError):  # a malformed schema, an integer of more than 64 bits
                slowly = read_slowly(record)
                return slowly if isinstance(slowly, Rejected) else map_reading(record, slowly, _dumps_exactly)

        return map_record

    def _make_carriers(self, *, of_events: bool = False) -> Carriers:
        settings = self._settings
        return Carriers(
            settings.entities,
            strict=settings.privacy.preset == "strict",
            changes=self._privacy.by_schema,
            wanted=_wanted_schemas(settings),
            of_events=of_events,
        )

    def _compile_admission(self) -> Callable[[Properties, identity.Found, Entity | None], str | None] | None:
        """The filters that see a record as it was collected: None, or the name of the rule that keeps it out."""
        rules = filters.compile_filters(self._settings)
        is_forgotten = self._compile_is_forgotten()
        if not rules and is_forgotten is None:
            return None
        name_of = self._name_of
        ids = [identity.value_at(path) for path in {*self._settings.identity.distinct_id, *identity.PERSONAL_IDS}]

        def admit(properties: Properties, found: identity.Found, event: Entity | None) -> str | None:
            if is_forgotten is not None and any(is_forgotten(value_of(properties, found)) for value_of in ids):
                return filters.FORGOTTEN
            name = name_of(properties, event)
            for rule, holds, filters_out in rules:
                if holds(properties, found, name) is filters_out:
                    return rule
            return None

        return admit

    def _compile_is_forgotten(self) -> Callable[[Any], bool] | None:
        secret, forgotten = self._secret, self._forgotten
        if forgotten == frozenset() or not secret:
            return None
        return lambda value: identity.legal(value) != "" and digest(secret, identity.legal(value)) in forgotten

    def _compile_identification(self) -> "Callable[[Record, Reading, identity.Found, dict[str, Any], EventTime], Envelope | Filtered]":
        """What decides the key by which PostHog knows the event, and the session."""
        settings, name_of = self._settings, self._name_of
        drops_pings = settings.events.page_ping == "drop"
        uuid_of = identity.compile_uuid(settings.identity)
        distinct_id_of = identity.compile_distinct_id(settings.identity)
        has_person = identity.compile_person_profile(settings.identity)
        person_properties = identity.compile_person_properties(settings.identity)
        belongs_to_sample = filters.compile_sample(settings.sample)
        is_forgotten = self._compile_is_forgotten()

        def identify(
            record: Record, reading: Reading, found: identity.Found, more: dict[str, Any], time: EventTime
        ) -> Envelope | Filtered:
            properties, _, event, notes = reading
            if drops_pings and properties.event == "page_ping":
                return Filtered(filters.PAGE_PING)
            if time.replaced:
                notes.append("timestamp_replaced")
            uuid = uuid_of(record)
            if uuid == properties.event_id.lower():
                properties.event_id = ""
            distinct_id, is_known_person = distinct_id_of(properties, found)
            if distinct_id:
                properties.process_person_profile = has_person(is_known_person)
                properties.device_id = identity.device_id(properties, found)
            else:
                distinct_id, properties.process_person_profile = uuid, False
                notes.append("no_distinct_id")
            if is_forgotten is not None and is_forgotten(distinct_id):
                return Filtered(filters.FORGOTTEN)
            if belongs_to_sample is not None and not belongs_to_sample(distinct_id):
                return Filtered(filters.SAMPLE)
            if person_properties is not None and properties.process_person_profile:
                more.update(person_properties(properties, found, time.text))
            session = snowplow_session(properties, found)
            if session:
                properties.session_id = session_uuid(session, time.milliseconds)
            return Envelope(uuid, name_of(properties, event), distinct_id, time.text, properties)

        return identify


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
