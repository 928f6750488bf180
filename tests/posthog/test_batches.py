"""A batch is a gzip that anybody can read, and that delivery can join without inflating."""

import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowplow_posthog_dagster.errors import WorkspaceError
from snowplow_posthog_dagster.posthog.batches import (
    MAX_EVENTS,
    MAX_RAW_BYTES,
    Batch,
    BatchBuilder,
    events_of,
    part_of,
    run_of,
)
from snowplow_posthog_dagster.posthog.bodies import body, is_historical, joined
from snowplow_posthog_dagster.posthog.compression import compressor_factory

event_texts = st.builds(
    lambda number, text: json.dumps({"uuid": str(number), "properties": {"text": text}}).encode(),
    st.integers(0, 2**64),
    st.text(max_size=300),
)


def batches_of(events: list[bytes], codec: str = "isal", level: int = 1) -> list[Batch]:
    builder = BatchBuilder(codec=codec, level=level)
    made = [builder.add(event, 1_600_000_000_000 + number) for number, event in enumerate(events)]
    return [batch for batch in [*made, builder.finish()] if batch]


@given(st.lists(event_texts, min_size=1, max_size=60), st.sampled_from([("isal", 1), ("isal", 3), ("zlib", 6)]))
def test_a_batch_is_one_gzip_member_of_valid_json(events: list[bytes], codec: tuple[str, int]) -> None:
    (batch,) = batches_of(events, *codec)
    member = zlib.decompressobj(31)
    text = member.decompress(batch.data)
    assert member.eof
    assert not member.unused_data
    assert json.loads(text)["batch"] == [json.loads(event) for event in events]
    assert batch.run.events == len(events)


@given(st.lists(event_texts, min_size=1, max_size=20))
def test_a_batch_describes_itself_and_its_identity_does_not_depend_on_the_codec(events: list[bytes]) -> None:
    (first,), (second,) = batches_of(events, "isal", 1), batches_of(events, "zlib", 9)
    assert first.batch_id == second.batch_id
    run = run_of(first.data)
    assert run == first.run
    assert events_of(run) == events


def test_batches_hold_at_most_2000_events() -> None:
    batches = batches_of([b'{"n":%d}' % number for number in range(MAX_EVENTS * 2 + 1)])
    assert [batch.run.events for batch in batches] == [MAX_EVENTS, MAX_EVENTS, 1]


def test_batches_hold_at_most_8_mebibytes_of_raw_events() -> None:
    batches = batches_of([b'"' + b"x" * 900_000 + b'"'] * 20)
    assert sum(batch.run.events for batch in batches) == 20
    assert all(batch.run.raw_bytes <= MAX_RAW_BYTES for batch in batches)
    assert [batch.run.events for batch in batches] == [9, 9, 2]


def test_timestamps_of_a_batch_span_its_events() -> None:
    builder = BatchBuilder()
    for timestamp in (50, 20, 90, 40):
        builder.add(b"{}", timestamp)
    batch = builder.finish()
    assert batch
    assert (batch.run.min_timestamp, batch.run.max_timestamp) == (20, 90)


def test_a_damaged_batch_is_refused_by_name() -> None:
    (batch,) = batches_of([b'{"a":1}', b'{"a":2}'])
    middle = len(batch.data) - 20
    damaged = batch.data[:middle] + bytes([batch.data[middle] ^ 0xFF]) + batch.data[middle + 1 :]
    with pytest.raises(WorkspaceError, match=r"some-key is (damaged|not a batch)"):
        run_of(damaged, name="some-key")


def test_a_foreign_file_is_refused() -> None:
    with pytest.raises(WorkspaceError, match="not a batch"):
        run_of(gzip.compress(b'{"batch":[]}' * 50))


@given(st.lists(st.lists(event_texts, min_size=1, max_size=8), min_size=1, max_size=5), st.booleans(), st.text())
def test_a_body_joins_batches_into_one_gzip_member(groups: list[list[bytes]], historical: bool, key: str) -> None:
    runs = [run_of(batches_of(events)[0].data) for events in groups]
    member = zlib.decompressobj(31)
    sent = json.loads(member.decompress(body(runs, api_key=key, historical=historical)))
    assert member.eof
    assert not member.unused_data
    assert sent["batch"] == [json.loads(event) for events in groups for event in events]
    assert sent["api_key"] == key
    assert sent.get("historical_migration", False) is historical
    assert "sent_at" not in sent


@given(st.lists(event_texts, min_size=3, max_size=20), st.data())
def test_a_part_carries_byte_identical_events(events: list[bytes], data: st.DataObject) -> None:
    (batch,) = batches_of(events)
    chosen = sorted(data.draw(st.sets(st.integers(0, len(events) - 1), min_size=1)))
    part = part_of(batch.run, chosen, compressor_factory("isal", 1))
    assert events_of(part) == [events[position] for position in chosen]
    assert part.max_timestamp == batch.run.max_timestamp


def test_joining_respects_events_bytes_and_the_48_hour_line() -> None:
    items = [
        ("a", 900, 10, True),
        ("b", 900, 10, True),
        ("c", 300, 10, True),
        ("d", 1, 10, False),
        ("e", 5000, 9, False),
    ]
    assert list(joined(items)) == [["a", "b"], ["c"], ["d"], ["e"]]
    assert list(joined([("a", 1, MAX_RAW_BYTES, True), ("b", 1, 1, True)])) == [["a"], ["b"]]


def test_history_begins_at_exactly_48_hours() -> None:
    now = 1_700_000_000_000
    assert is_historical(now - 48 * 3_600_000, now)
    assert not is_historical(now - 48 * 3_600_000 + 1, now)


def test_an_empty_body_is_never_made() -> None:
    with pytest.raises(ValueError, match="at least one run"):
        body([], api_key="phc_x", historical=False)
