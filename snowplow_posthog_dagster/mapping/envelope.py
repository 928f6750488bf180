"""The envelope of an event, which is also the key by which PostHog knows it again, and what goes with the person.

    uuid, event, distinct_id, timestamp + $process_person_profile, $device_id, $session_id, $set

The rules are in identity.py, names.py, session.py and filters.py; this module asks them in order and turns away whom
the sample or the list of forgotten people leaves out, since both are known only now.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from snowplow_posthog_dagster.mapping import filters, identity
from snowplow_posthog_dagster.mapping.columns import Columns
from snowplow_posthog_dagster.mapping.event_time import EventTime
from snowplow_posthog_dagster.mapping.names import NameOf
from snowplow_posthog_dagster.mapping.outcome import Filtered
from snowplow_posthog_dagster.mapping.properties import Properties
from snowplow_posthog_dagster.mapping.reading import Reading
from snowplow_posthog_dagster.mapping.session import session_uuid
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.snowplow.record import Record

NO_DISTINCT_ID = "no_distinct_id"
TIMESTAMP_REPLACED = "timestamp_replaced"


class Envelope(msgspec.Struct, gc=False):
    """What PostHog's capture takes."""

    uuid: str
    event: str
    distinct_id: str
    timestamp: str
    properties: Columns


class Enveloping:
    """Decides the envelope of one record after the other."""

    def __init__(
        self, settings: MappingSettings, *, name_of: NameOf, is_forgotten: Callable[[Any], bool] | None
    ) -> None:
        self._name_of, self._is_forgotten = name_of, is_forgotten
        self._drops_pings = settings.events.page_ping == "drop"
        self._uuid_of = identity.compile_uuid(settings.identity)
        self._distinct_id_of = identity.compile_distinct_id(settings.identity)
        self._device_id_of = identity.compile_device_id(settings.identity)
        self._session_of = identity.compile_session_id(settings.identity)
        self._is_legal = identity.compile_legal(settings.identity.illegal_ids)
        self._has_person = identity.compile_person_profile(settings.identity)
        self._person_properties = identity.compile_person_properties(settings.identity)
        self._is_in_sample = filters.compile_sample(settings.sample)

    def envelope(
        self, record: Record, reading: Reading, found: identity.Found, properties: Properties, time: EventTime
    ) -> Envelope | Filtered:
        """The envelope around the reading's columns; adds who it was and in which session."""
        columns = reading.columns
        if self._drops_pings and columns.event == "page_ping":
            return Filtered(filters.PAGE_PING)
        uuid = self._uuid_of(record)
        identifier, has_person = self._identify(columns, found, properties)
        distinct_id = identifier or uuid
        if not identifier:
            reading.notes.append(NO_DISTINCT_ID)
        if self._is_forgotten is not None and self._is_forgotten(distinct_id):
            return Filtered(filters.FORGOTTEN)
        if self._is_in_sample is not None and not self._is_in_sample(distinct_id):
            return Filtered(filters.SAMPLE)
        if self._person_properties is not None and has_person:
            properties.update(self._person_properties(columns, found, time.text))
        self._take_off(columns, uuid, time)
        if time.replaced:
            reading.notes.append(TIMESTAMP_REPLACED)
        session = self._session_of(columns, found)
        if session:
            properties["$session_id"] = session_uuid(session, time.milliseconds)
        return Envelope(uuid, self._name_of(columns, reading.event), distinct_id, time.text, columns)

    def _identify(self, columns: Columns, found: identity.Found, properties: Properties) -> tuple[str, bool]:
        """The legal id, empty when there is none, and whether it makes a person; adds what is sent beside it."""
        identifier, is_known_person = self._distinct_id_of(columns, found)
        has_person = bool(identifier) and self._has_person(is_known_person)
        properties["$process_person_profile"] = has_person
        device = self._device_id_of(columns, found)
        if device:
            properties["$device_id"] = device
        if columns.user_id and columns.user_id != identifier and not self._is_legal(columns.user_id):
            columns.user_id = ""
        return identifier, has_person

    @staticmethod
    def _take_off(columns: Columns, uuid: str, time: EventTime) -> None:
        """Leave out the columns that the envelope says already, once paths of the settings have been read from them."""
        if uuid == columns.event_id.lower():
            columns.event_id = ""
        if not time.replaced:
            columns.derived_tstamp = ""
