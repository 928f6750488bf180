"""A day is loaded once, however often it is asked for, on every S3 server that can be had."""

import gzip
import json
import os
from collections.abc import Iterator

import pytest

from snowplow_posthog_dagster.posthog.batches import BatchBuilder, events_of, run_of
from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.servers import running_posthog
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.dead_letters import TRANSFORM, dead_letter_files, read_dead_letters
from snowplow_posthog_dagster.storage.s3 import Bucket
from snowplow_posthog_dagster.storage.state import DayState
from tests.integration.days import DAY, DayInTest, line, lines
from tests.integration.servers import S3Server


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandInClient]:
    with running_posthog() as client:
        yield client


@pytest.fixture
def day(s3_server: S3Server, stand_in: StandInClient) -> DayInTest:
    return DayInTest.fresh(s3_server, stand_in)


@pytest.fixture
def quick_day(rclone_server: S3Server, stand_in: StandInClient) -> DayInTest:
    """For behaviour that no S3 server can change."""
    return DayInTest.fresh(rclone_server, stand_in)


def state(day: DayInTest) -> DayState:
    return DayLog(day.workspace, DAY).state()


def test_a_day_arrives_and_every_record_is_accounted_for(day: DayInTest) -> None:
    day.put("a.gz", lines(0, 30))
    day.put("b.tsv", lines(30, 10), hour=5, compress=False)
    day.put("c.gz", line(0) + b"\n" + line(0) + b"\n" + b"not\ta\trecord\n", hour=6)
    transform, delivery = day.run()
    counts = delivery.counts
    assert (counts.records, counts.mapped, counts.dead_letters, counts.repeats) == (43, 41, 1, 1)
    assert (counts.acknowledged, counts.pending) == (41, 0)
    assert transform.reads == 3
    assert delivery.closed
    assert state(day).problems() == []
    # The record of hour 6 is a copy of the first one of hour 4: acknowledged twice, one event in PostHog.
    assert (day.stand_in.raw_rows(), day.stand_in.merged_rows()) == (41, 40)
    assert day.stand_in.violations() == {}


def test_a_second_run_of_a_done_day_reads_no_data_and_sends_nothing(day: DayInTest, monkeypatch: object) -> None:
    day.put("a.gz", lines(0, 20))
    day.run()
    requests = len(day.stand_in.requests())
    read: list[str] = []
    original = Bucket.stream

    def counted(bucket: Bucket, key: str, *, etag: str, chunk_bytes: int) -> object:
        read.append(key)
        return original(bucket, key, etag=etag, chunk_bytes=chunk_bytes)

    monkeypatch.setattr(Bucket, "stream", counted)  # type: ignore[attr-defined]
    transform, delivery = day.run()
    assert transform.nothing_new
    assert delivery.nothing_new
    assert (transform.reads, delivery.posts, read) == (0, 0, [])
    assert len(day.stand_in.requests()) == requests


def test_a_late_object_reopens_the_day_and_only_it_is_read(day: DayInTest) -> None:
    day.put("a.gz", lines(0, 20))
    day.run()
    day.put("late.gz", lines(20, 5))
    transform, delivery = day.run()
    assert (transform.reads, delivery.events) == (1, 5)
    assert delivery.closed
    assert day.stand_in.merged_rows() == 25


def test_an_overwritten_object_is_a_new_one(day: DayInTest) -> None:
    key = day.put("a.gz", lines(0, 20))
    day.run()
    day.archive.bucket.put(key, gzip.compress(lines(10, 20), mtime=0))
    transform, delivery = day.run()
    assert (transform.reads, delivery.events) == (1, 20)
    assert day.stand_in.merged_rows() == 30


def test_a_broken_object_holds_nobody_up_and_is_seen(day: DayInTest) -> None:
    day.put("a.gz", lines(0, 20))
    day.put("broken.gz", gzip.compress(lines(20, 50))[:-30], compress=False)
    day.put("z.gz", lines(70, 20))
    transform, delivery = day.run()
    assert [note for note in transform.broken if "truncated gzip" in note]
    assert delivery.left == "1 broken objects"
    assert not delivery.closed
    assert day.stand_in.merged_rows() == 40
    again = day.transform()
    assert again.nothing_new, "a broken object is tried again later, not at once"


def test_a_dead_letter_says_where_it_was_and_what_is_wrong(quick_day: DayInTest) -> None:
    fields = line(1).split(b"\t")
    fields[16], fields[124] = b"many", b"yesterday"
    key = quick_day.put("a.gz", line(0) + b"\n" + b"\t".join(fields) + b"\n")
    quick_day.transform()
    (name,) = dead_letter_files(quick_day.workspace, DAY, TRANSFORM)
    (letter,) = read_dead_letters(quick_day.workspace, DAY, TRANSFORM, name)
    assert letter["place"]["key"] == key
    assert (letter["place"]["line"], letter["place"]["offset"]) == (2, len(line(0)) + 1)
    assert {error["key"] for error in letter["data"]["failure"]["errors"]} == {"domain_sessionidx", "derived_tstamp"}
    assert letter["data"]["payload"].encode() == b"\t".join(fields)


def test_run_config_narrows_and_leaves_the_rest_visibly_pending(quick_day: DayInTest) -> None:
    quick_day.put("a.gz", lines(0, 20), hour=4)
    quick_day.put("b.gz", lines(20, 20), hour=5)
    transform, delivery = quick_day.run(hours=(4,), max_events=7)
    assert (transform.reads, delivery.events, delivery.counts.pending) == (1, 7, 13)
    assert not delivery.closed
    assert delivery.left == "1 objects to transform, 13 events to send"
    _, rest = quick_day.run()
    assert (rest.events, rest.counts.acknowledged) == (33, 40)
    assert rest.closed
    assert quick_day.stand_in.raw_rows() == 40, "nothing was sent twice"


def test_batches_can_be_made_alone_while_delivery_is_off(quick_day: DayInTest) -> None:
    quick_day.put("a.gz", lines(0, 4000))
    assert quick_day.transform().counts.pending == 4000
    assert quick_day.stand_in.raw_rows() == 0
    assert quick_day.deliver().events == 4000


def test_a_day_of_tiny_objects_does_not_become_a_day_of_tiny_requests(quick_day: DayInTest) -> None:
    for number in range(40):
        quick_day.put(f"{number}.gz", lines(number * 10, 10))
    _, delivery = quick_day.run()
    assert (delivery.events, delivery.posts) == (400, 1)


def test_a_refused_event_is_bisected_and_kept_with_posthogs_words(quick_day: DayInTest) -> None:
    quick_day.put("a.gz", lines(0, 50))
    quick_day.transform()
    log = DayLog(quick_day.workspace, DAY)
    (known,) = log.state().objects.values()
    (batch,) = known.batches.values()
    key = quick_day.workspace.batch_key(DAY, known.object_id, batch.note.id)
    poison(quick_day.workspace.bucket, key, position=17)
    _, delivery = quick_day.run()
    assert (delivery.counts.acknowledged, delivery.counts.delivery_dead_letters) == (49, 1)
    assert quick_day.stand_in.merged_rows() == 49
    assert delivery.closed


def poison(bucket: Bucket, key: str, position: int) -> None:
    """Put an event without a name into a stored batch, as no mapping of ours would."""
    run = run_of(bucket.get(key))
    events = events_of(run)
    events[position] = json.dumps({**json.loads(events[position]), "event": ""}).encode()
    builder = BatchBuilder()
    for event in events:
        builder.add(event, run.min_timestamp)
    batch = builder.finish()
    assert batch is not None
    bucket.put(key, batch.data)


def test_manifests_record_what_was_new_each_time(quick_day: DayInTest) -> None:
    quick_day.put("a.gz", lines(0, 1))
    quick_day.archive.bucket.put("output/2022/06/06/04/_SUCCESS", b"x")
    quick_day.archive.bucket.put("output/2022/06/06/04/x.lzo.index", b"x")
    quick_day.archive.bucket.put("output/2022/06/06/04/empty.gz", b"")
    report, listing = quick_day.load().list_new()
    assert [found.key for found in listing] == ["output/2022/06/06/04/a.gz"]
    assert not report.nothing_new
    assert quick_day.load().list_new()[0].nothing_new
    quick_day.put("b.gz", lines(1, 1), hour=23)
    quick_day.load().list_new()
    folder = quick_day.workspace.folder("manifests", DAY)
    manifests = [quick_day.workspace.read_lines(listed.key) for listed in quick_day.workspace.bucket.listing(folder)]
    assert sorted(json.loads(row)["hour"] for rows in manifests for row in rows) == [4, 23]


@pytest.mark.slow
def test_listing_is_paged(day: DayInTest) -> None:
    count = 1003
    for number in range(count):
        day.archive.bucket.put(f"output/2022/06/06/07/{number:05d}.gz", b"x")
    assert len(day.archive.list_day(DAY, [7])) == count


@pytest.mark.slow
def test_several_processes_do_what_one_does(quick_day: DayInTest) -> None:
    for number in range(6):
        quick_day.put(f"{number}.gz", lines(number * 500, 500))
    # Stored bytes decide whether a pool is worth starting; random titles make them large enough.
    big = b"".join(line(10_000 + n, title=os.urandom(2000).hex()) + b"\n" for n in range(5_000))
    quick_day.put("big.gz", big)
    report = quick_day.transform(processes=2)
    assert (report.reads, report.counts.mapped, report.counts.dead_letters) == (7, 8000, 0)
    assert state(quick_day).problems() == []
