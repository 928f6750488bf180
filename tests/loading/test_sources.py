"""The seam: another source needs `records`, `event` and `origin`, and nothing else changes."""

import datetime as dt
import json
from collections.abc import Iterable, Iterator

import pytest

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.loading.sources import source_for
from snowplow_posthog_dagster.loading.transform import TransformJob, TransformOptions, transform_object
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.outcome import Filtered, Mapped
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.posthog.batches import events_of, run_of
from snowplow_posthog_dagster.snowplow.lines import Lines
from snowplow_posthog_dagster.snowplow.record import FieldError, Record, Rejected
from tests.integration.days import DAY, DayInTest


class JsonLinesSource:
    """A source of JSON lines `{"id", "name", "who", "at"}`: what a second tracker's export could look like."""

    def __init__(self) -> None:
        self.lines = Lines()

    def records(self, chunks: Iterable[bytes]) -> Iterator[Record]:
        for ordinal, raw in enumerate(b"".join(chunks).splitlines()):
            self.lines.physical += 1
            yield Record(ordinal, ordinal + 1, 0, raw, [])

    def event(self, record: Record) -> Mapped | Filtered | Rejected:
        try:
            row = json.loads(record.raw)
            moment = dt.datetime.fromisoformat(row["at"])
        except (ValueError, KeyError) as error:
            return Rejected(*record[:4], (FieldError(None, "", str(error)),))
        if row["name"] == "ping":
            return Filtered("no_pings")
        event = {"uuid": row["id"], "event": row["name"], "distinct_id": row["who"], "timestamp": row["at"]}
        return Mapped(json.dumps(event).encode(), int(moment.timestamp() * 1000), row["id"], ())

    def origin(self, record: Record) -> tuple[str, str]:
        return "json", ""


def row(number: int, name: str = "click") -> bytes:
    uuid = f"00000000-0000-4000-8000-{number:012x}"
    return json.dumps({"id": uuid, "name": name, "who": "me", "at": "2022-06-06T04:00:00Z"}).encode() + b"\n"


def test_thirty_lines_of_source_reach_batches_dead_letters_and_counts(day: DayInTest) -> None:
    day.put("a.jsonl.gz", row(1) + row(2) + row(2) + row(3, "ping") + b"no json\n")
    (found,) = day.archive.list_day(DAY)
    job = TransformJob(day.archive, day.workspace, DAY, ("i", "m"), TransformOptions(), "w")
    done = transform_object(found, JsonLinesSource(), job)
    assert (done.records, done.mapped, done.dead_letters, done.repeats) == (5, 2, 1, 1)
    assert done.filtered == {"no_pings": 1}
    assert done.apps == {"json": [2, 1]}
    (note,) = done.batches
    events = events_of(run_of(day.workspace.bucket.get(day.workspace.batch_key(DAY, done.object, note.id))))
    assert [json.loads(event)["uuid"][-1] for event in events] == ["1", "2"]


def test_a_source_that_does_not_exist_is_named() -> None:
    with pytest.raises(SettingsError, match="'segment' does not exist"):
        source_for("segment", Mapper(MappingSettings()), "o", "2022-06-06", 1)
