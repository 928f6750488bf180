"""A delivery and those around it: the log it writes, the operator, other runs, the stop sign."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from snowplow_posthog_dagster.errors import (
    CaptureUnavailableError,
    InterruptedRunError,
    PausedError,
    SettingsError,
    StorageUnavailableError,
)
from snowplow_posthog_dagster.loading import delivery, retries
from snowplow_posthog_dagster.loading.day import DayLoad, Narrowing
from snowplow_posthog_dagster.loading.delivery import Delivery, DeliveryOptions, OpenBatch
from snowplow_posthog_dagster.loading.watching import LogWatch, still_wanted
from snowplow_posthog_dagster.posthog.batches import run_of
from snowplow_posthog_dagster.posthog.capture import CaptureClient
from snowplow_posthog_dagster.posthog.pacing import Pace
from snowplow_posthog_dagster.sandbox import faults
from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.servers import running_posthog, running_s3
from snowplow_posthog_dagster.storage import target
from snowplow_posthog_dagster.storage.entries import Delivered, Remap, Skip
from snowplow_posthog_dagster.storage.ranges import Ranges
from snowplow_posthog_dagster.storage.s3 import Bucket, Connection
from snowplow_posthog_dagster.storage.state import BatchState
from snowplow_posthog_dagster.storage.workspace import Workspace
from tests.faults.world import DAY, World, connection_of, events, poisoned


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    folder: Path = tmp_path_factory.mktemp("delivery-s3")
    with running_s3(folder) as environment:
        yield connection_of(environment)


@pytest.fixture(scope="module")
def posthog() -> Iterator[StandInClient]:
    with running_posthog() as client:
        yield client


@pytest.fixture
def world(connection: Connection, posthog: StandInClient) -> World:
    posthog.reset()
    return World(connection, posthog)


class TroubledBucket(Bucket):
    """A bucket whose log cannot be written while `trouble` is set, and takes `seconds` when it can."""

    trouble: BaseException | None = None
    seconds = 0.0

    def put(self, key: str, data: bytes) -> None:
        if "/log/" in key:
            time.sleep(TroubledBucket.seconds)
            if TroubledBucket.trouble is not None:
                raise TroubledBucket.trouble
        super().put(key, data)


@pytest.fixture
def troubled(world: World) -> Iterator[DayLoad]:
    """A run whose log can be troubled."""
    load = world.load()
    bucket = TroubledBucket(world.workspace.bucket.client, world.workspace.bucket.name)
    load.workspace = Workspace(bucket, world.workspace.prefix, world.workspace.target)
    load.__post_init__()
    yield load
    TroubledBucket.trouble, TroubledBucket.seconds = None, 0.0


def in_thread(call: Any) -> tuple[threading.Thread, list[Any]]:
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def many(world: World, count: int = 10) -> None:
    """So many objects of one full body each."""
    for first in range(0, count * 2000, 2000):
        world.add_object(events(2000, first=first))


def test_oldest_events_go_first_and_bodies_do_not_mix_both_sides_of_48_hours(world: World) -> None:
    fresh = [
        {**one, "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())} for one in events(100, first=5000)
    ]
    world.add_object(fresh)
    world.add_object(events(100, first=1000))
    world.add_object(events(100))
    world.deliver(max_connections=1)
    requests = world.posthog.requests()
    assert [(request["received"], bool(request["historical"])) for request in requests] == [(200, True), (100, False)]
    assert world.posthog.violations() == {}


def test_history_is_live_when_the_setting_says_never(world: World) -> None:
    world.add_object(events(100))
    world.deliver(historical=False)
    assert [bool(request["historical"]) for request in world.posthog.requests()] == [False]


def test_the_key_stands_in_no_stored_byte_and_no_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_FIRST_BACKOFF_SECONDS", 0.01)
    world.add_object(events(10))
    world.posthog.play(faults.status(503))
    with pytest.raises(CaptureUnavailableError) as raised:
        world.deliver(retry_seconds_per_body=0.2)
    world.posthog.play()
    world.deliver()
    key = world.posthog.project_api_key
    assert key not in str(raised.value) + repr(raised.value.__dict__)
    bucket = world.workspace.bucket
    assert all(key.encode() not in bucket.get(item.key) for item in bucket.listing(""))


def test_a_stop_ends_the_delivery_within_five_seconds_and_the_log_agrees_with_posthog(world: World) -> None:
    many(world, 20)
    stop = threading.Event()
    thread, outcome = in_thread(lambda: world.deliver(load=world.load(stop), pacer=Pace(8000)))
    time.sleep(1.5)
    stop.set()
    asked = time.monotonic()
    thread.join()
    assert time.monotonic() - asked < 5
    assert isinstance(outcome[0], InterruptedRunError)
    acknowledged = world.state().counts().acknowledged
    assert 0 < acknowledged < 40_000
    assert acknowledged == world.posthog.raw_rows(), "bodies in flight were answered and logged"
    world.deliver()
    assert world.posthog.raw_rows() == 40_000, "nothing was sent twice"
    world.assert_complete()


def test_a_stop_does_not_wait_for_a_server_that_does_not_answer(world: World) -> None:
    world.add_object(events(10))
    world.posthog.play(faults.timeout_after_store(seconds=20))
    stop = threading.Event()
    thread, outcome = in_thread(lambda: world.deliver(load=world.load(stop), timeout_seconds=30))
    time.sleep(0.5)
    stop.set()
    asked = time.monotonic()
    thread.join()
    assert time.monotonic() - asked < 5
    assert isinstance(outcome[0], InterruptedRunError)
    world.posthog.play()
    world.deliver()
    world.assert_complete()


def test_acknowledgements_are_in_the_log_within_two_seconds(world: World) -> None:
    many(world, 12)
    thread, _ = in_thread(lambda: world.deliver(pacer=Pace(4000)))
    latest = 0.0
    while thread.is_alive():
        time.sleep(0.1)
        before = time.time()
        logged = world.state().counts().acknowledged
        arrived = sorted(
            request["arrived"] / 1e6 for request in world.posthog.requests() for _ in range(request["stored"])
        )
        if len(arrived) > logged and thread.is_alive():
            latest = max(latest, before - arrived[logged])
    # A second more for the answer's way, the reading of the log and a busy machine.
    assert latest < 3.0, f"the oldest event that was stored and not logged was {latest:.1f} s old"
    world.assert_complete()


def test_a_slow_log_slows_the_sending_and_loses_nothing(world: World, troubled: DayLoad) -> None:
    many(world, 8)
    TroubledBucket.seconds = 2.0
    report = world.deliver(load=troubled, pacer=Pace(8000))
    assert report.events == 16_000
    TroubledBucket.seconds = 0.0
    assert world.posthog.raw_rows() == 16_000
    world.deliver()
    world.assert_complete()


@pytest.mark.slow
def test_sending_stops_while_the_log_cannot_be_written(world: World, troubled: DayLoad) -> None:
    many(world, 20)
    troubled.log.compact()
    TroubledBucket.trouble = StorageUnavailableError("no answer")
    thread, outcome = in_thread(lambda: world.deliver(load=troubled, pacer=Pace(4000)))
    time.sleep(9)
    sent = world.posthog.progress()["received"]
    # The five seconds begin with the first answer, which a busy machine gives a second or two after the first body.
    assert sent <= 4000 * 7 + 2 * 2000, "five seconds' worth, and what was in flight"
    time.sleep(1.5)
    assert world.posthog.progress()["received"] == sent
    TroubledBucket.trouble = None
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    assert world.posthog.raw_rows() == 40_000
    world.deliver()
    world.assert_complete()


def test_a_log_that_stays_away_ends_the_run_with_words(
    world: World, troubled: DayLoad, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_LOG_PATIENCE_SECONDS", 1.0)
    many(world, 10)
    TroubledBucket.trouble = StorageUnavailableError("no answer")
    with pytest.raises(StorageUnavailableError, match="log of 2022-06-06 could not be written") as raised:
        world.deliver(load=troubled, pacer=Pace(2000))
    assert any("was not written to its end" in note for note in raised.value.__notes__)
    TroubledBucket.trouble = None
    world.deliver()
    world.assert_complete()


def test_a_log_that_may_not_be_written_ends_the_run_at_once(world: World, troubled: DayLoad) -> None:
    many(world, 10)
    TroubledBucket.trouble = SettingsError("grant s3:PutObject")
    began = time.monotonic()
    with pytest.raises(SettingsError, match="grant s3:PutObject"):
        world.deliver(load=troubled, pacer=Pace(2000))
    assert time.monotonic() - began < 8
    TroubledBucket.trouble = None
    world.deliver()
    world.assert_complete()


def test_a_pause_ends_a_running_delivery_after_the_bodies_in_hand(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "LOOK_AGAIN_SECONDS", 0.3)
    many(world, 20)
    thread, outcome = in_thread(lambda: world.deliver(pacer=Pace(8000)))
    time.sleep(1.0)
    target.pause(world.workspace, reason="PostHog asked us to", until="", by="me")
    thread.join()
    assert isinstance(outcome[0], PausedError)
    assert "PostHog asked us to" in str(outcome[0])
    acknowledged = world.state().counts().acknowledged
    assert 0 < acknowledged < 40_000
    assert acknowledged == world.posthog.raw_rows()
    target.resume(world.workspace, by="me")
    world.deliver()
    assert world.posthog.raw_rows() == 40_000
    world.assert_complete()


def test_an_object_that_is_skipped_while_a_run_sends_is_not_sent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "LOOK_AGAIN_SECONDS", 0.3)
    many(world, 10)
    last = world.add_object(events(2000, first=30_000))
    thread, outcome = in_thread(lambda: world.deliver(pacer=Pace(6000)))
    time.sleep(0.5)
    world.load().log.write([Skip(object=last, revision=1, reason="wrong data", by="me", at="")], writer="operator")
    thread.join()
    assert outcome[0].events == 20_000
    counts = world.state().counts()
    assert (counts.acknowledged, counts.withdrawn, counts.pending) == (20_000, 2000, 0)
    assert world.state().problems() == []


def test_a_remap_while_a_run_sends_drops_its_stale_batches(world: World) -> None:
    name = world.add_object(events(10))
    load = world.load()
    (batch,) = load._open_batches(load.log.state())
    assert still_wanted(load.log.state(), batch) == batch.open
    load.log.write([Remap(object=name, revision=1, by="me", at="")], writer="operator")
    assert not still_wanted(load.log.state(), batch)


def test_a_quiet_log_is_not_read_again(world: World) -> None:
    name = world.add_object(events(10))
    load = world.load()
    watch = LogWatch(load.log, load.writer)
    first = watch()
    assert watch() is first
    load.log.write([Skip(object=name, revision=1, reason="", by="me", at="")], writer=load.writer)
    assert watch() is first, "its own segments tell a run nothing new"
    load.log.write([Skip(object=name, revision=1, reason="", by="me", at="")], writer="somebody")
    assert watch() is not first


def test_two_deliveries_at_once_without_the_day_lease_end_in_the_state_of_one(world: World) -> None:
    many(world, 10)
    first, one = in_thread(lambda: world.deliver(pacer=Pace(10_000)))
    second, two = in_thread(lambda: world.deliver(pacer=Pace(10_000)))
    first.join()
    second.join()
    assert not isinstance(one[0], BaseException) and not isinstance(two[0], BaseException)
    world.assert_complete()
    assert world.posthog.raw_rows() <= 40_000
    assert world.deliver().nothing_new


def test_what_another_run_acknowledged_meanwhile_is_not_sent_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "LOOK_AGAIN_SECONDS", 0.3)
    many(world, 20)
    slow, outcome = in_thread(lambda: world.deliver(pacer=Pace(2500), max_connections=1))
    time.sleep(1.0)
    world.deliver()
    slow.join()
    assert outcome[0].events < 20_000
    assert world.posthog.raw_rows() < 60_000
    world.assert_complete()


def test_of_events_that_were_kept_beside_their_batch_only_the_wanted_ones_are_sent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay of refused events whose batch is purged, of which another run has had the first two taken."""
    good = events(3)
    object_id = world.add_object([*good, poisoned(3)])
    batch = only_batch(world)
    run = run_of(world.workspace.bucket.get(world.workspace.batch_key(DAY, object_id, batch.note.id)))
    taken = Delivered(object_id, 0, batch.note.id, 0, 2, "acknowledged")
    world.load().log.write([taken], writer="another")
    monkeypatch.setattr(Delivery, "_ship", after(world, Delivery._ship))
    with contextlib.closing(CaptureClient(world.posthog.host)) as client:
        world.load().deliver(
            client,
            api_key=world.posthog.project_api_key,
            pacer=Pace(None),
            options=DeliveryOptions(),
            chosen=[OpenBatch(object_id, 0, batch.note, Ranges([(0, 4)]), run)],
        )
    assert [row.uuid for row in world.rows()] == [good[2]["uuid"]]
    batch = only_batch(world)
    assert (batch.acknowledged, batch.refused) == (Ranges([(0, 3)]), Ranges([(3, 4)]))


def only_batch(world: World) -> BatchState:
    (known,) = world.state().objects.values()
    (batch,) = known.batches.values()
    return batch


def after(world: World, ship: Any) -> Any:
    """Shipping that begins when the log was looked at."""

    def looked(sender: Delivery, *group: Any) -> None:
        sender._still_wanted = lambda batch: still_wanted(world.state(), batch)
        ship(sender, *group)

    return looked


def test_a_run_for_some_events_sends_these_and_leaves_the_day_open(world: World) -> None:
    world.add_object(events(2000), events(2000, first=2000))
    report = world.deliver(load=world.load(narrowing=Narrowing(max_events=2500)))
    assert report.events == 2500
    assert not report.closed
    assert world.state().counts().pending == 1500
    assert world.deliver().events == 1500
    world.assert_complete()
    assert DAY.isoformat() == "2022-06-06"
