"""Which source reads an archive entry.

A source knows one format: it turns the inflated bytes of an archive object into records, and a record into
a PostHog event. Everything after it knows only PostHog events and archive objects. Snowplow is the one that
exists; another one joins as a sibling package and one line in `source_for`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.outcome import Filtered, Mapped
from snowplow_posthog_dagster.snowplow.lines import Lines, records
from snowplow_posthog_dagster.snowplow.record import Record, Rejected

_APP_ID = 0
_COLLECTOR_TSTAMP = 3


class Source(Protocol):
    """One format, for one archive object.

    `records` yields what the object holds, good and bad, and counts physical lines in `lines`; `event` maps
    a good one; `origin` names the application and the time of arrival of a record, as text.
    """

    @property
    def lines(self) -> Lines:
        """Counts of physical lines, growing while `records` is read."""
        ...

    @property
    def records(self) -> Callable[[Iterable[bytes]], Iterator[Any]]:
        """Inflated bytes in, records out."""
        ...

    @property
    def event(self) -> Callable[[Any], Mapped | Filtered | Rejected]:
        """A record in, a PostHog event out, or why there is none."""
        ...

    @property
    def origin(self) -> Callable[[Any], tuple[str, str]]:
        """A record's application and time of arrival."""
        ...


@dataclass(frozen=True)
class SnowplowSource:
    """Snowplow's enriched events of one archive object."""

    lines: Lines
    records: Callable[[Iterable[bytes]], Iterator[Record | Rejected]]
    event: Callable[[Record], Mapped | Filtered | Rejected]
    origin: Callable[[Record], tuple[str, str]]


def snowplow_source(mapper: Mapper, object_id: str, day: str, max_record_bytes: int) -> SnowplowSource:
    """The Snowplow source for one archive object of a day."""
    lines = Lines()
    return SnowplowSource(
        lines=lines,
        records=lambda chunks: records(chunks, max_record_bytes=max_record_bytes, lines=lines),
        event=mapper.for_object(object_id=object_id, archive_day=day),
        origin=lambda record: (record.fields[_APP_ID], record.fields[_COLLECTOR_TSTAMP]),
    )


def source_for(name: str, mapper: Mapper, object_id: str, day: str, max_record_bytes: int) -> Source:
    """The source that an archive entry names. Raises SettingsError for a name that does not exist."""
    if name == "snowplow":
        return snowplow_source(mapper, object_id, day, max_record_bytes)
    raise SettingsError(f"archive source {name!r} does not exist; use `source: snowplow`")
