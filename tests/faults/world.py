"""A day whose batches lie ready in a real workspace, the stand-in PostHog, and the verdict on what arrived.

    events --batches--> workspace in rclone's S3 --Delivery--> stand-in
       └───────────── expected, row by row ─────────────────────┘

The events are made here and not by the mapping, so that some can be poisoned: the mapping would not let them by.
"""

import datetime as dt
import itertools
import json
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from snowplow_posthog_dagster.loading.day import DayLoad, Narrowing
from snowplow_posthog_dagster.loading.delivery import DeliveryOptions
from snowplow_posthog_dagster.loading.reports import StepReport
from snowplow_posthog_dagster.posthog.batches import Batch, BatchBuilder
from snowplow_posthog_dagster.posthog.capture import CaptureClient
from snowplow_posthog_dagster.posthog.pacing import Pace, Pacer
from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.storage.archive import Archive, ArchiveEntry
from snowplow_posthog_dagster.storage.dead_letters import DELIVERY, dead_letter_files, read_dead_letters
from snowplow_posthog_dagster.storage.entries import BatchNote, Done
from snowplow_posthog_dagster.storage.s3 import Bucket, Connection, connect
from snowplow_posthog_dagster.storage.state import DayState
from snowplow_posthog_dagster.storage.workspace import Workspace

DAY = dt.date(2022, 6, 6)
MIDNIGHT = dt.datetime(2022, 6, 6, tzinfo=dt.UTC)
NOT_HERE = "http://127.0.0.1:9"

Event = dict[str, Any]


class Row(NamedTuple):
    """What PostHog keeps of an event."""

    uuid: str
    event: str
    distinct_id: str
    timestamp: dt.datetime
    properties: str


def event(number: int, **changes: Any) -> Event:
    """A good event of the day; `number` is in its properties and decides its second."""
    made: Event = {
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"event-{number}-{changes.get('salt', '')}")),
        "event": "$pageview",
        "distinct_id": f"user-{number % 97}",
        "timestamp": (MIDNIGHT + dt.timedelta(seconds=number % 86_400)).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "properties": {"$geoip_disable": True, "$ip": "203.0.113.9", "number": number},
    }
    return {**made, **{name: value for name, value in changes.items() if name != "salt"}}


def events(count: int, *, first: int = 0) -> list[Event]:
    """So many good events."""
    return [event(number) for number in range(first, first + count)]


def poisoned(number: int) -> Event:
    """An event that PostHog answers with 400, and the whole body with it."""
    return event(number, distinct_id="")


def oversized(number: int) -> Event:
    """An event above what PostHog's Kafka takes: 413, after the events before it were stored."""
    return event(number, properties={"$geoip_disable": True, "$ip": "203.0.113.9", "text": "x" * 1_000_100})


def row_of(made: Event) -> Row:
    """The row that an event becomes."""
    moment = dt.datetime.fromisoformat(made["timestamp"])
    properties = json.dumps(made["properties"], sort_keys=True)
    return Row(made["uuid"], made["event"], made["distinct_id"], moment, properties)


def connection_of(environment: dict[str, str]) -> Connection:
    """The connection to a running S3."""
    return Connection(
        endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
        region=environment["AWS_REGION"],
        access_key_id=environment["AWS_ACCESS_KEY_ID"],
        secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )


class World:
    """One day with its batches; nothing of it is shared with another test but the servers."""

    def __init__(self, connection: Connection, posthog: StandInClient) -> None:
        self.posthog = posthog
        client = connect(connection)
        name = uuid.uuid4().hex[:12]
        for kind in ("archive", "workspace"):
            client.create_bucket(Bucket=f"{kind}-{name}")
        self.archive = Archive(Bucket(client, f"archive-{name}"), (ArchiveEntry("output/"),))
        self.workspace = Workspace(Bucket(client, f"workspace-{name}"), "posthog/", "test")
        self.expected: dict[str, Event] = {}
        self._numbers = itertools.count()

    def add_object(self, *batches: Sequence[Event]) -> str:
        """An archive object that was transformed into these batches; its object-id."""
        number = next(self._numbers)
        self.archive.bucket.put(f"output/2022/06/06/{number % 24:02d}/{number}.gz", f"object {number}".encode())
        found = next(one for one in self.archive.list_day(DAY) if one.key.endswith(f"/{number}.gz"))
        made = [_batch(batch) for batch in batches]
        for batch in made:
            self.workspace.bucket.put(self.workspace.batch_key(DAY, found.object_id, batch.batch_id), batch.data)
        mapped = sum(batch.run.events for batch in made)
        done = Done(
            object=found.object_id, revision=0, key=found.key, etag=found.etag, bytes=found.size, hour=found.hour,
            lines=mapped, records=mapped, mapped=mapped, batches=[_note(batch) for batch in made],
            identity_version="test", mapping_version="test", writer="test", at="2022-06-07T00:00:00Z",
        )  # fmt: skip
        self.load().log.write([done], writer="test", number=number)
        self.expected |= {one["uuid"]: one for batch in batches for one in batch}
        return found.object_id

    def load(self, stop: threading.Event | None = None, narrowing: Narrowing | None = None) -> DayLoad:
        """The work on the day as a new run has it."""
        return DayLoad(
            archive=self.archive,
            workspace=self.workspace,
            day=DAY,
            writer=uuid.uuid4().hex[:12],
            stop=stop or threading.Event(),
            narrowing=narrowing or Narrowing(),
        )

    def deliver(
        self,
        *,
        host: str | None = None,
        timeout_seconds: float = 5.0,
        pacer: Pacer | None = None,
        load: DayLoad | None = None,
        ca_bundle: str | None = None,
        **options: Any,
    ) -> StepReport:
        """One run's delivery."""
        client = CaptureClient(host or self.posthog.host, timeout_seconds=timeout_seconds, ca_bundle=ca_bundle)
        try:
            return (load or self.load()).deliver(
                client,
                api_key=self.posthog.project_api_key,
                pacer=pacer or Pace(None),
                options=DeliveryOptions(**options),
            )
        finally:
            client.close()

    def state(self) -> DayState:
        """The state of the day, read afresh."""
        return self.load().log.state()

    def dead_letters(self) -> list[dict[str, Any]]:
        """The delivery dead letters."""
        names = dead_letter_files(self.workspace, DAY, DELIVERY)
        return [letter for name in names for letter in read_dead_letters(self.workspace, DAY, DELIVERY, name)]

    def rows(self) -> list[Row]:
        """What PostHog is left with."""
        return [row_of({**row, "properties": row["properties"]}) for row in self.posthog.merged()]

    def assert_complete(self, *, refused: Iterable[str] = ()) -> None:
        """Everything arrived once, row by row, but what PostHog refused, which lies in the dead letters."""
        gone = set(refused)
        wanted = {row_of(one) for name, one in self.expected.items() if name not in gone}
        found = self.rows()
        assert len(found) == len(set(found)) == len(wanted)
        assert set(found) == wanted
        state = self.state()
        counts = state.counts()
        assert state.problems() == []
        assert (counts.acknowledged, counts.delivery_dead_letters, counts.pending) == (len(wanted), len(gone), 0)
        assert {letter["event"]["uuid"] for letter in self.dead_letters()} == gone
        assert self.posthog.violations() == {}

    def assert_nothing_lost(self) -> None:
        """The log says no more than PostHog has: every acknowledged event is stored."""
        state = self.state()
        assert state.problems() == []
        assert state.counts().mapped == len(self.expected)
        stored = {row.uuid for row in self.rows()}
        assert len(stored) >= state.counts().acknowledged
        assert stored <= set(self.expected)


def _batch(made: Sequence[Event]) -> Batch:
    builder = BatchBuilder()
    for one in made:
        moment = int(dt.datetime.fromisoformat(one["timestamp"]).timestamp() * 1000)
        assert builder.add(json.dumps(one).encode(), moment) is None
    batch = builder.finish()
    assert batch is not None
    return batch


def _note(batch: Batch) -> BatchNote:
    run = batch.run
    return BatchNote(batch.batch_id, run.events, run.raw_bytes, len(batch.data), run.min_timestamp, run.max_timestamp)


def bodies(posthog: StandInClient) -> Iterator[tuple[Any, int]]:
    """Every request to capture, with the events that it carried."""
    for request in posthog.requests():
        yield request["answer"], request["received"]
