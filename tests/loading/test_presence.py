"""Batches that are still to be sent must lie in the workspace: what is missing is named, and can be made again."""

import contextlib
from collections.abc import Iterator

import pytest

from snowplow_posthog_dagster.errors import WorkspaceError
from snowplow_posthog_dagster.loading.day import Narrowing
from snowplow_posthog_dagster.loading.presence import missing_batches, missing_words
from snowplow_posthog_dagster.loading.remap import plan, remap
from snowplow_posthog_dagster.loading.setup import mapper_of
from snowplow_posthog_dagster.storage.entries import Skip
from snowplow_posthog_dagster.storage.s3 import Bucket
from tests.ground import DAY, Ground, lines_of


def missing(ground: Ground) -> list[tuple[str, int]]:
    return [(batch.key, batch.events) for batch in missing_batches(ground.workspace, DAY, ground.state())]


def batches_of(ground: Ground, key: str) -> list[str]:
    """Where the batches of an archive key lie."""
    known = next(known for known in ground.state().objects.values() if known.key == key)
    return [ground.workspace.batch_key(DAY, known.object_id, name) for name in known.batches]


@contextlib.contextmanager
def counted_requests(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the requests to S3 within the block."""
    made: list[str] = []
    call = ground.s3._make_api_call

    def note(name: str, arguments: object) -> object:
        made.append(name)
        return call(name, arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ground.s3, "_make_api_call", note)
        yield made


def test_nothing_is_missing_of_a_day_that_was_just_transformed(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        ground.put(f"o-{number}", lines_of(3))
    ground.transform()
    state, workspace = ground.state(), ground.workspace
    with counted_requests(ground, monkeypatch) as made:
        assert missing_batches(workspace, DAY, state) == []
    assert made == ["ListObjectsV2"], "one listing and no read, however many batches"


def test_a_day_of_which_everything_is_sent_costs_no_listing(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.put("a", lines_of(3))
    ground.run()
    state, workspace = ground.state(), ground.workspace
    with counted_requests(ground, monkeypatch) as made:
        assert missing_batches(workspace, DAY, state) == []
    assert made == []


def test_a_missing_batch_with_events_to_send_is_named_with_what_to_do(ground: Ground) -> None:
    keys = [ground.put(f"o-{number}", lines_of(number + 1)) for number in range(5)]
    ground.transform()
    for key in keys[1:4]:
        ground.workspace.bucket.delete(batches_of(ground, key))
    assert sorted(missing(ground)) == [(keys[1], 2), (keys[2], 3), (keys[3], 4)]
    words = missing_words(missing_batches(ground.workspace, DAY, ground.state()), DAY)
    assert sorted(words[:3]) == [
        f"{keys[number]}: batches with {number + 1} events to send are not in the workspace" for number in (1, 2, 3)
    ]
    assert f"snowplow-posthog remap --from {DAY} --to {DAY} --damaged" in words[-1] and "skip" in words[-1]


@pytest.mark.parametrize("position", [0, -1])
def test_the_first_and_the_last_batch_of_the_listing_are_looked_for_too(ground: Ground, position: int) -> None:
    for number in range(4):
        ground.put(f"o-{number}", lines_of(1))
    ground.transform()
    assert missing(ground) == []
    ground.workspace.bucket.delete([ground.stored("batches")[position]])
    assert len(missing(ground)) == 1


def test_a_batch_that_was_sent_or_is_not_wanted_may_be_gone(ground: Ground) -> None:
    sent, skipped = ground.put("a", lines_of(3)), ground.put("b", lines_of(2), hour=5)
    ground.transform()
    ground.deliver(narrowing=Narrowing(hours=(4,)))
    ground.workspace.bucket.delete(batches_of(ground, sent))
    assert missing(ground) == []
    ground.workspace.bucket.delete(batches_of(ground, skipped))
    assert missing(ground) == [(skipped, 2)]
    known = next(known for known in ground.state().objects.values() if known.key == skipped)
    entry = Skip(object=known.object_id, revision=1, key=skipped, reason="lost", by="me", at="2022-06-07T00:00:00Z")
    ground.load().log.write([entry], writer="operator")
    assert missing(ground) == []


def test_half_a_batch_that_was_sent_counts_with_the_rest_of_it(ground: Ground) -> None:
    key = ground.put("a", lines_of(5))
    ground.transform()
    ground.deliver(narrowing=Narrowing(max_events=2))
    ground.workspace.bucket.delete(batches_of(ground, key))
    assert missing(ground) == [(key, 3)]


@pytest.mark.parametrize("harm", ["deleted", "changed"])
def test_remap_damaged_makes_again_what_cannot_be_sent_and_nothing_else(ground: Ground, harm: str) -> None:
    keys = [ground.put(f"o-{number}", lines_of(3)) for number in range(3)]
    ground.transform()
    (place,) = batches_of(ground, keys[1])
    bucket: Bucket = ground.workspace.bucket
    if harm == "deleted":
        bucket.delete([place])
    else:
        data = bytearray(bucket.get(place))
        data[-40] ^= 255
        bucket.put(place, bytes(data))
    with pytest.raises(WorkspaceError, match=f"remap --from {DAY} --to {DAY} --damaged"):
        ground.deliver()
    assert ground.posthog.raw_rows() == 6, "its neighbours were sent"
    load = ground.load()
    made = plan(load, mapper_of(ground.settings, ground.workspace), damaged=True)
    assert [known.key for known in made.chosen] == [keys[1]]
    assert remap(load, made, by="me", force=False) == 1
    assert ground.run().closed
    assert len(ground.events()) == ground.posthog.raw_rows() == 9
    assert ground.state().problems() == []
