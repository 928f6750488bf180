"""Record -> PostHog event: the order in which the rules are asked. The rules themselves are in their own modules.

    read -> gather entities -> admit (filters) -> privacy -> identify -> describe -> encode

Everything that the settings decide is worked out when a `Mapper` is made, so that a feature that is off costs one
comparison per event. The events depend on the record and the settings alone; only the provenance properties
(`snowplow_object`, `snowplow_archive_day`) tell where it was found. This is the hot path: 30 to 40 us per record.
"""

import json
from collections.abc import Callable, Container
from functools import partial

import msgspec
import orjson

from snowplow_posthog_dagster.mapping import filters, geo, identity
from snowplow_posthog_dagster.mapping.columns import DEFAULTS, Columns
from snowplow_posthog_dagster.mapping.describing import ENTITIES_READ, compile_description
from snowplow_posthog_dagster.mapping.entities import Carriers, finish, gather
from snowplow_posthog_dagster.mapping.envelope import Envelope, Enveloping
from snowplow_posthog_dagster.mapping.event_time import event_time
from snowplow_posthog_dagster.mapping.names import compile_names
from snowplow_posthog_dagster.mapping.outcome import Filtered, Mapped
from snowplow_posthog_dagster.mapping.paths import EntityPath, parse_path
from snowplow_posthog_dagster.mapping.privacy import compile_privacy
from snowplow_posthog_dagster.mapping.properties import COLUMN_OF_PROPERTY, SENT_COLUMNS, Properties, property_name
from snowplow_posthog_dagster.mapping.reading import Reading, read, read_slowly
from snowplow_posthog_dagster.mapping.rules import Rule
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.mapping.size import CERTAINLY_FITS, SHED, excess_bytes, shrink
from snowplow_posthog_dagster.mapping.versions import identity_version, mapping_version
from snowplow_posthog_dagster.snowplow.record import Record, Rejected, field_error

RULES = (
    Rule("snowplow_archive_day", "the archive object", "The UTC day of the archive path."),
    Rule("snowplow_object", "the archive object", "Its object-id."),
    Rule("snowplow_mapping_version", "the settings and the code", "Digest of everything that decides an event."),
)

NO_TIME = "expected a time from 2000 to 2099, here or in derived_tstamp, there at most 23 h after etl_tstamp"

Outcome = Mapped | Filtered | Rejected
Dumps = Callable[[Properties], bytes]

_encode = msgspec.json.Encoder().encode
_new_mapped = partial(tuple.__new__, Mapped)  # a third of the time that the NamedTuple's own constructor takes


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
        privacy = compile_privacy(settings, privacy_secret)
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
        self._leave_out = _compile_leave_out(settings.properties.drop)
        self._constants = geo.constants(settings)

    def for_object(self, *, object_id: str, archive_day: str) -> Callable[[Record], Outcome]:
        """The function that maps the records of one archive object; `archive_day` as yyyy-mm-dd."""
        constants = {
            **self._constants,
            "snowplow_archive_day": archive_day,
            "snowplow_object": object_id,
            "snowplow_mapping_version": self.mapping_version,
        }
        return _ObjectMapping(self, orjson.dumps(constants)).map


class _ObjectMapping:
    """The mapping of the records of one archive object."""

    def __init__(self, mapper: Mapper, constants: bytes) -> None:
        self._constants = b"," + constants[1:] + b"}"
        self._carriers, self._event_carriers = mapper._carriers, mapper._event_carriers
        self._admit, self._apply_privacy = mapper._admit, mapper._apply_privacy
        self._envelope, self._describe, self._leave_out = mapper._envelope, mapper._describe, mapper._leave_out

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
        columns, event = reading.columns, reading.event
        found, properties, pending = gather(reading.entities, event, self._carriers, self._event_carriers)
        if self._admit is not None:
            rule = self._admit(reading, found)
            if rule is not None:
                return Filtered(rule)
        if self._apply_privacy is not None:
            self._apply_privacy(columns)
        if pending:
            finish(pending, properties, event, reading.notes)

        time = event_time(columns)
        if time is None:
            return _rejected(record, "collector_tstamp", NO_TIME)
        envelope = self._envelope(record, reading, found, properties, time)
        if isinstance(envelope, Filtered):
            return envelope
        self._describe(columns, properties, found, event, envelope.event)
        if self._leave_out is not None:
            self._leave_out(columns, properties)

        body = self._join(envelope, properties, dumps)
        if len(body) > CERTAINLY_FITS and (excess := excess_bytes(body)) > 0:
            shrunk = shrink(lambda: self._join(envelope, properties, dumps), body, columns, properties)
            if shrunk is None:
                return _rejected(record, None, f"an event of {len(body)} bytes, {excess} more than PostHog takes")
            body = shrunk
            reading.notes.append(SHED)
        return _new_mapped((body, time.milliseconds, envelope.uuid, tuple(reading.notes)))

    def _join(self, envelope: Envelope, properties: Properties, dumps: Dumps) -> bytes:
        """The event's JSON: columns, properties and constants in one object. Splicing is half the cost of merging."""
        head = _encode(envelope)[:-2]
        comma = b"" if head.endswith(b"{") else b","  # settings may leave no column at all
        return b"".join((head, comma, dumps(properties)[1:-1], self._constants))


def _wanted_schemas(settings: MappingSettings) -> set[str]:
    """Schemas whose data a rule or a path of the settings reads."""
    person = settings.identity.person_properties
    conditions = [condition for rule in settings.filters for condition in (rule.drop, rule.keep) if condition]
    paths = [
        *settings.identity.distinct_id,
        *identity.PERSONAL_IDS,
        *person.set.values(),
        *person.set_once.values(),
    ]
    parsed = map(parse_path, paths)
    named = {path.schema for path in parsed if isinstance(path, EntityPath)}
    bots = {filters.IAB} if any("iab" in condition.bot for condition in conditions) else set()
    return {*ENTITIES_READ, *named, *bots}


def _compile_leave_out(names: tuple[str, ...]) -> Callable[[Columns, Properties], None] | None:
    """The function that takes columns and added properties out, None when all are sent."""
    by_property = [COLUMN_OF_PROPERTY.get(name, name) for name in names]
    unsent_columns = [name for name in by_property if name in SENT_COLUMNS]
    # Under a column's name too: a campaign that is not in the columns is found in the query string.
    unsent_properties = [property_name(name) for name in names]

    def leave_out(columns: Columns, properties: Properties) -> None:
        for name in unsent_columns:
            setattr(columns, name, DEFAULTS[name])
        for name in unsent_properties:
            properties.pop(name, None)

    return leave_out if names else None


def _dumps_exactly(value: Properties) -> bytes:
    """JSON with integers of any size, which orjson refuses; four times slower."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _rejected(record: Record, column: str | None, message: str) -> Rejected:
    error = field_error(column, "", message)
    return Rejected(record.ordinal, record.line, record.offset, record.raw, (error,))
