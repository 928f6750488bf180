"""Archive objects that are overwritten, deleted, back again, late, or frozen: counted, warned about, never lost."""

import contextlib
import gzip
import itertools
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.loading.day import Narrowing
from snowplow_posthog_dagster.loading.remap import plan, remap
from snowplow_posthog_dagster.loading.setup import blueprint_of, mapper_of
from snowplow_posthog_dagster.storage.s3 import Connection
from tests.ground import DAY, Ground, lines_of, user_line


def test_an_overwritten_object_that_was_delivered_leaves_nothing_to_withdraw(ground: Ground) -> None:
    first = lines_of(3)
    ground.put("a", first)
    ground.run()
    ground.put("a", [*first, *lines_of(2)])
    report = ground.transform()
    assert len(report.changed) == 1 and "overwritten" in report.changed[0]
    ground.deliver()
    counts = ground.counts()
    assert (counts.objects, counts.objects_done, counts.objects_superseded) == (2, 1, 1)
    assert (counts.mapped, counts.acknowledged, counts.withdrawn) == (8, 8, 0)
    assert len(ground.events()) == 5, "the copies collapse in PostHog"
    assert ground.state().problems() == [] and ground.is_closed()


def test_what_was_not_sent_of_an_overwritten_object_is_withdrawn_with_the_reason(ground: Ground) -> None:
    ground.put("a", [user_line("old") for _ in range(4)])
    ground.transform()
    ground.deliver(narrowing=Narrowing(max_events=1))
    ground.put("a", [user_line("new"), user_line("new")])
    assert "3 events" in ground.transform().changed[0]
    ground.deliver()
    counts = ground.counts()
    assert (counts.acknowledged, counts.withdrawn, counts.pending) == (3, 3, 0)
    assert dict(counts.withdrawn_by_reason) == {"superseded": 3}
    assert sorted(event["distinct_id"] for event in ground.events()) == ["new", "new", "old"]
    assert ground.state().problems() == [] and ground.is_closed()


def test_what_was_to_be_done_again_and_was_deleted_before_is_not_called_unread(ground: Ground) -> None:
    key = ground.put("a", lines_of(2))
    ground.run()
    load = ground.load()
    remap(load, plan(load, mapper_of(ground.settings), again=True), by="me", force=False)
    ground.delete(key)
    (told,) = ground.transform().changed
    assert told == f"{key} was deleted before it was done again: PostHog keeps its 2 events as they are"


def test_a_run_for_some_events_sends_those_of_the_oldest_files(ground: Ground) -> None:
    for hour in range(6):
        ground.put("a", [user_line(f"hour {hour}")], hour=hour)
    ground.transform()
    ground.deliver(narrowing=Narrowing(max_events=3))
    assert sorted(event["distinct_id"] for event in ground.events()) == ["hour 0", "hour 1", "hour 2"]


def test_a_transform_without_a_manifest_sees_the_changes_as_well(ground: Ground) -> None:
    key = ground.put("a", lines_of(1))
    ground.run()
    ground.delete(key)
    load = ground.load()
    report = load.transform(blueprint_of(ground.settings, ground.connection, DAY, load.writer))
    assert report.changed == [
        f"{key} was deleted after it was read: what was made of it stays, 0 events are still to send"
    ]


def test_bytes_that_come_back_go_on_where_they_stopped(ground: Ground) -> None:
    old, new = [user_line("old") for _ in range(4)], [user_line("new")]
    ground.put("a", old)
    ground.transform()
    ground.deliver(narrowing=Narrowing(max_events=1))
    ground.put("a", new)
    ground.run()
    ground.put("a", old)
    report = ground.transform()
    assert any("again" in line for line in report.changed) and report.reads == 0
    ground.deliver()
    assert sorted(event["distinct_id"] for event in ground.events()) == ["new", *["old"] * 4]
    counts = ground.counts()
    assert (counts.acknowledged, counts.withdrawn, counts.objects_superseded) == (5, 0, 1)
    assert ground.posthog.raw_rows() == 5 and ground.is_closed()
    ground.put("a", new)
    ground.run()
    ground.put("a", old)
    ground.run()
    assert ground.posthog.raw_rows() == 5 and ground.counts().acknowledged == 5


def test_an_object_overwritten_before_it_was_read_and_back_again_is_loaded(ground: Ground) -> None:
    old = lines_of(2)
    ground.put("a", old)
    ground.load().list_new()
    ground.put("a", lines_of(1))
    assert "overwritten" in ground.load().list_new()[0].changed[0]
    ground.put("a", old)
    ground.run()
    assert len(ground.events()) == 2 and ground.counts().pending == 0


def test_an_object_deleted_before_it_was_read_is_warned_about_and_holds_nobody_up(ground: Ground) -> None:
    key = ground.put("a", lines_of(2))
    ground.put("b", lines_of(1))
    ground.load().list_new()
    ground.delete(key)
    report, _ = ground.load().list_new()
    assert report.changed == [f"{key} was deleted after it was listed, and was never read: its events are not loaded"]
    ground.run()
    counts = ground.counts()
    assert (counts.objects_gone, counts.objects_done, counts.acknowledged) == (1, 1, 1)
    assert ground.is_closed()
    assert ground.load().list_new()[0].changed == [], "said once"


def test_an_object_deleted_after_it_was_read_is_still_delivered(ground: Ground) -> None:
    key = ground.put("a", lines_of(3))
    ground.transform()
    ground.delete(key)
    assert "3 events are still to send" in ground.transform().changed[0]
    ground.deliver()
    assert len(ground.events()) == 3 and ground.counts().acknowledged == 3


def test_an_object_deleted_and_put_again_is_read(ground: Ground) -> None:
    lines = lines_of(2)
    key = ground.put("a", lines)
    ground.load().list_new()
    ground.delete(key)
    ground.run()
    assert ground.counts().objects_gone == 1
    ground.put("a", lines)
    ground.run()
    counts = ground.counts()
    assert (counts.objects_gone, counts.objects_done, len(ground.events())) == (0, 1, 2)


def test_a_late_object_reopens_the_day(ground: Ground) -> None:
    ground.put("a", lines_of(1))
    ground.run()
    assert ground.is_closed()
    ground.put("late", lines_of(2), hour=23)
    assert not ground.is_closed()
    report = ground.run()
    assert report.posts == 1 and ground.is_closed() and len(ground.events()) == 3


def test_a_narrowed_run_does_not_take_other_hours_for_deleted(ground: Ground) -> None:
    ground.put("a", lines_of(1), hour=4)
    ground.put("b", lines_of(1), hour=5)
    ground.run()
    load = ground.load(narrowing=Narrowing(hours=(5,)))
    assert load.transform(blueprint_of(ground.settings, ground.connection, DAY, load.writer)).changed == []
    assert ground.counts().objects_gone == 0


@pytest.fixture
def icy_ground(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    """A ground on moto, which has storage classes and restores."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    with mock_aws(config={"core": {"passthrough": {"urls": [".*127.0.0.1.*"]}}}):
        client: Any = boto3.client("s3", region_name="us-east-1")
        made = Ground(Connection(region="us-east-1"), ground.posthog, ground.buckets)
        for bucket in made.buckets:
            client.create_bucket(Bucket=bucket)
        yield made


def freeze(ground: Ground, lines: list[bytes]) -> str:
    key = f"output/{DAY:%Y/%m/%d}/04/frozen file.gz"
    body = gzip.compress(b"".join(line + b"\n" for line in lines))
    ground.s3.put_object(Bucket=ground.buckets[0], Key=key, Body=body, StorageClass="GLACIER")
    return key


def test_frozen_objects_fail_the_run_before_it_begins_with_the_restore_command(icy_ground: Ground) -> None:
    key = freeze(icy_ground, lines_of(2))
    icy_ground.put("b", lines_of(1))
    with pytest.raises(SettingsError, match=f"restore-object --bucket {icy_ground.buckets[0]} --key '{key}'"):
        icy_ground.transform()
    assert icy_ground.counts().objects == 0
    (manifest,) = icy_ground.stored("manifests")
    lines = [line for line in icy_ground.workspace.read_lines(manifest) if b"GLACIER" in line]
    assert len(lines) == 1 and b"restore-object" in lines[0]


def test_frozen_objects_are_skipped_by_setting_and_stay_pending(icy_ground: Ground) -> None:
    freeze(icy_ground, lines_of(2))
    icy_ground.put("b", lines_of(1))
    icy_ground.transform(frozen="skip")
    icy_ground.deliver()
    assert len(icy_ground.events()) == 1 and not icy_ground.is_closed()


def test_a_restored_object_is_read_although_its_listing_says_glacier(icy_ground: Ground) -> None:
    key = freeze(icy_ground, lines_of(2))
    with contextlib.suppress(SettingsError):
        icy_ground.transform()
    icy_ground.s3.restore_object(Bucket=icy_ground.buckets[0], Key=key, RestoreRequest={"Days": 7})
    icy_ground.run()
    assert len(icy_ground.events()) == 2 and icy_ground.is_closed()


def test_a_listing_that_is_older_than_the_log_takes_nothing_back(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step of a run holds no lease: while it lists, another run may load what has overwritten a key."""
    ground.put("a", [user_line("old") for _ in range(4)])
    ground.transform()
    slow = ground.load()
    now, before = slow.archive.list_day, slow.archive.list_day(DAY)
    ground.put("a", [user_line("new")])
    ground.transform()
    listings = itertools.chain([before], iter(lambda: now(DAY), None))
    monkeypatch.setattr(slow.archive, "list_day", lambda *_: next(listings))
    assert slow.list_new()[0].changed == []
    ground.deliver()
    assert [event["distinct_id"] for event in ground.events()] == ["new"]
    assert (ground.counts().withdrawn, ground.is_closed()) == (4, True)


def test_a_delivery_alone_does_not_send_what_was_overwritten_since_the_transform(ground: Ground) -> None:
    ground.put("a", [user_line("old") for _ in range(4)])
    ground.put("b", [user_line("other")])
    ground.transform()
    ground.put("a", [user_line("new")])
    report = ground.deliver()
    assert len(report.changed) == 1 and "4 events of the old one" in report.changed[0]
    assert [event["distinct_id"] for event in ground.events()] == ["other"]
    counts = ground.counts()
    assert (counts.acknowledged, counts.withdrawn, counts.pending) == (1, 4, 0)
    assert report.left == "1 objects to transform" and not ground.is_closed()
    assert ground.deliver().changed == [], "it is said once"
    ground.run()
    assert sorted(event["distinct_id"] for event in ground.events()) == ["new", "other"]
    assert ground.is_closed()


def test_a_delivery_alone_sends_what_was_deleted_since_the_transform_and_warns(ground: Ground) -> None:
    key = ground.put("a", lines_of(2))
    ground.transform()
    ground.delete(key)
    report = ground.deliver()
    assert report.changed == [
        f"{key} was deleted after it was read: what was made of it stays, 2 events are still to send"
    ]
    assert len(ground.events()) == 2


def test_a_delivery_of_one_hour_heeds_the_changes_of_that_hour_alone(ground: Ground) -> None:
    ground.put("a", [user_line("old")], hour=4)
    ground.put("b", [user_line("old")], hour=5)
    ground.transform()
    ground.put("a", [user_line("new")], hour=4)
    ground.put("b", [user_line("new")], hour=5)
    report = ground.deliver(narrowing=Narrowing(hours=(4,)))
    assert len(report.changed) == 1 and ground.posthog.raw_rows() == 0
    assert ground.counts().pending == 1
