"""What of an object is kept for reconciliation, and how much memory that may take."""

import pytest

from snowplow_posthog_dagster.storage import samples
from snowplow_posthog_dagster.storage.entries import BatchNote
from snowplow_posthog_dagster.storage.samples import SMALL_OBJECT_EVENTS, Sample, read_sample
from tests.ground import DAY, Ground

NOTE = BatchNote("b" * 32, 1, 1, 1, 0, 0)


def sampled(ground: Ground, events: int, size: int = 100) -> list[bytes]:
    """What is kept of so many events of so many bytes, every hundredth with a uuid that is chosen."""
    sample = Sample()
    for number in range(events):
        sample.add(b"%0*d" % (size, number), f"{number:04}" if number % 100 else "f000")
    sample.write(ground.workspace, DAY, "a" * 32, [NOTE])
    return read_sample(ground.workspace, DAY, "a" * 32, NOTE.id) or []


def test_a_small_object_is_sampled_whole_and_a_larger_one_by_the_end_of_the_uuid(ground: Ground) -> None:
    assert [int(event) for event in sampled(ground, SMALL_OBJECT_EVENTS)] == list(range(SMALL_OBJECT_EVENTS))
    assert [int(event) for event in sampled(ground, SMALL_OBJECT_EVENTS + 1)] == [0, 100, 200]


def test_of_few_enormous_events_the_first_are_kept(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "SMALL_OBJECT_BYTES", 5_000)
    assert [int(event) for event in sampled(ground, 50, size=1_000)] == [0, 1, 2, 3, 4]
