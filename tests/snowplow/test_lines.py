"""Bytes in, records out: however the bytes are cut, whatever they are, and in bounded memory."""

import itertools
import random
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowplow_posthog_dagster.errors import BrokenObjectError
from snowplow_posthog_dagster.snowplow.columns import COLUMN_COUNT, INDEX
from snowplow_posthog_dagster.snowplow.lines import HEAD_BYTES, Lines, records
from snowplow_posthog_dagster.snowplow.record import Record, Rejected
from tests.snowplow.samples import line, read

field_bytes = st.binary(max_size=12).map(lambda value: value.translate(None, b"\t\n"))


@st.composite
def any_line(draw: st.DrawFn) -> bytes:
    """A line of any number of columns, favouring those that mean something."""
    count = draw(st.sampled_from([0, 1, 2, 108, 130, 131, 131, 131, 132, 261, 262, 391]) | st.integers(0, 300))
    fields = [b""] * count
    for _ in range(draw(st.integers(0, 6))):
        if fields:
            fields[draw(st.integers(0, count - 1))] = draw(field_bytes)
    ending = draw(st.sampled_from([b"", b"", b"\r"]))
    return b"\t".join(fields) + ending


@st.composite
def cut_anywhere(draw: st.DrawFn, data: bytes) -> list[bytes]:
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=20)))
    return [data[start:end] for start, end in itertools.pairwise([0, *cuts, len(data)])]


@given(st.data(), st.lists(any_line(), max_size=6), st.booleans(), st.sampled_from([131, 140, 400, 10_000]))
def test_the_same_records_come_out_however_the_bytes_are_cut(
    data: st.DataObject, lines: list[bytes], ends_in_newline: bool, limit: int
) -> None:
    whole = b"\n".join(lines) + (b"\n" if ends_in_newline else b"")
    counted_whole, counted_cut = Lines(), Lines()
    expected = list(records([whole], max_record_bytes=limit, lines=counted_whole))
    chunks = data.draw(cut_anywhere(whole))
    assert list(records(chunks, max_record_bytes=limit, lines=counted_cut)) == expected
    assert counted_cut == counted_whole


@given(st.data(), st.binary(max_size=3000), st.sampled_from([10, 200, 10_000]))
def test_no_bytes_make_it_raise_or_yield_a_record_of_other_than_131_columns(
    data: st.DataObject, noise: bytes, limit: int
) -> None:
    for found in records(data.draw(cut_anywhere(noise)), max_record_bytes=limit):
        assert isinstance(found, Rejected) or len(found.fields) == COLUMN_COUNT


@given(st.lists(any_line().filter(lambda value: value.strip(b"\r")), max_size=6), st.booleans())
def test_every_record_lies_where_its_offset_says_and_they_are_numbered_without_gaps(
    lines: list[bytes], ends_in_newline: bool
) -> None:
    whole = b"\n".join(lines) + (b"\n" if ends_in_newline else b"")
    found = read(whole)
    assert [record.ordinal for record in found] == list(range(len(found)))
    for record in found:
        assert whole[record.offset : record.offset + len(record.raw)] == record.raw
        assert whole[: record.offset].count(b"\n") == record.line - 1


@given(st.lists(any_line().map(lambda value: value.rstrip(b"\r")).filter(bool), min_size=1, max_size=6))
def test_the_raw_records_and_newlines_are_the_file(lines: list[bytes]) -> None:
    whole = b"\n".join(lines) + b"\n"
    by_line = itertools.groupby(read(whole), key=lambda record: record.line)
    assert b"".join(b"".join(record.raw for record in group) + b"\n" for _, group in by_line) == whole


def test_an_empty_object_has_no_records() -> None:
    assert read(b"") == []
    assert list(records([])) == []
    assert list(records([b"", b""])) == []


def test_the_last_line_counts_without_a_newline() -> None:
    assert [found.line for found in read(line() + b"\n" + line())] == [1, 2]


def test_blank_lines_are_counted_and_have_no_ordinal_but_a_line_number() -> None:
    counted = Lines()
    found = list(records([b"\n" + line() + b"\n\r\n\n" + line() + b"\n"], lines=counted))
    assert [(record.ordinal, record.line) for record in found] == [(0, 2), (1, 5)]
    assert counted == Lines(physical=5, blank=3)


def test_the_return_before_a_newline_belongs_to_the_newline_and_others_are_data() -> None:
    (found,) = read(line(page_title="a\rb", true_tstamp="2022-06-06 04:29:38.123") + b"\r\n")
    assert isinstance(found, Record)
    assert found.fields[INDEX["page_title"]] == "a\rb"
    assert found.fields[INDEX["true_tstamp"]] == "2022-06-06 04:29:38.123"
    assert not found.raw.endswith(b"\r")


@pytest.mark.parametrize(
    "separator", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", '"', "'", "\\"]
)
def test_nothing_but_newline_and_tab_separates(separator: str) -> None:
    title = f"one{separator}two"
    (found,) = read(line(page_title=title) + b"\n")
    assert isinstance(found, Record)
    assert found.fields[INDEX["page_title"]] == title


def test_invalid_utf8_is_replaced_and_counted_and_the_bytes_are_kept() -> None:
    raw = line().replace(b"shop", b"caf\xe9")
    counted = Lines()
    (found,) = records([raw + b"\n"], lines=counted)
    assert isinstance(found, Record)
    assert found.fields[0] == "caf�"
    assert found.raw == raw
    assert counted.invalid_utf8 == 1


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (1, "no tab at all"),
        (2, "found 2"),
        (108, "release 62"),
        (125, "releases 63 to 70"),
        (128, "Redshift"),
        (129, "stripped"),
        (130, "stripped"),
        (132, "found 132"),
        (260, "found 260"),
        (262, "found 262"),
    ],
)
def test_a_wrong_number_of_columns_is_rejected_with_the_number(columns: int, words: str) -> None:
    raw = b"\t".join([b"x"] * columns)
    (found,) = read(raw + b"\n")
    assert isinstance(found, Rejected)
    assert found.raw == raw
    (error,) = found.errors
    assert error.column is None
    assert words in error.message


class TestGluedRecords:
    """Firehose without a delimiter joins records with nothing between them."""

    @pytest.mark.parametrize(
        ("true_tstamp", "app_id"),
        [
            ("", "shop"),
            ("", ""),
            ("2022-06-06 04:29:38.123", "shop"),
            ("2022-06-06 04:29:38.123", ""),
            ("2022-06-06 04:29:38.123", "2048-game"),
            ("2022-06-06 04:29:38", "shop"),
            ("2022-06-06 04:29:38", "2048-game"),
            ("", "2048-game"),
            ("", "日本"),
        ],
    )
    @pytest.mark.parametrize("count", [2, 3, 7])
    def test_are_taken_apart(self, true_tstamp: str, app_id: str, count: int) -> None:
        single = line(true_tstamp=true_tstamp, app_id=app_id)
        counted = Lines()
        found = list(records([single * count + b"\n" + single + b"\n"], lines=counted))
        assert [record.raw for record in found] == [single] * (count + 1)
        assert [record.line for record in found] == [1] * count + [2]
        assert [record.offset for record in found] == [len(single) * i for i in range(count)] + [
            len(single) * count + 1
        ]
        assert counted == Lines(physical=2, glued=1)

    def test_the_rows_other_timestamps_tell_how_many_decimals_belong_to_the_boundary(self) -> None:
        nine_digits = line(
            collector_tstamp="2022-06-06 04:29:38.123456789", true_tstamp="2022-06-06 04:29:38.123456789"
        )
        assert [record.raw for record in read(nine_digits + line(app_id="2048-game"))] == [
            nine_digits,
            line(app_id="2048-game"),
        ]

    def test_a_return_at_the_end_of_a_glued_line_is_dropped(self) -> None:
        assert [record.raw for record in read(line() * 2 + b"\r\n")] == [line()] * 2

    def test_a_line_that_is_not_a_whole_number_of_records_is_rejected_as_one(self) -> None:
        (found,) = read(line() + line() + b"\tx")
        assert isinstance(found, Rejected)
        assert "found 262" in found.errors[0].message

    def test_a_glued_object_far_beyond_the_record_limit_is_taken_apart_in_bounded_memory(self) -> None:
        single = line(page_title="x" * 3000)
        count = 4000  # 13 MB on one line, the limit is 64 KiB

        def chunks() -> Iterator[bytes]:
            for _ in range(count // 20):
                yield single * 20

        tracemalloc.start()
        counted = Lines()
        total = sum(
            record.raw == single and isinstance(record, Record)
            for record in records(chunks(), max_record_bytes=64 * 1024, lines=counted)
        )
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert total == count
        assert counted == Lines(physical=1, glued=1)
        assert peak < 2_000_000


class TestRecordsThatAreTooLong:
    """One monstrous line must not cost the memory of the worker."""

    def test_only_the_head_is_kept_and_the_next_line_is_read(self) -> None:
        long = line(page_title="x" * 50_000)
        first, second = records([long + b"\n" + line() + b"\n"], max_record_bytes=10_000)
        assert isinstance(first, Rejected)
        assert first.raw == long[:HEAD_BYTES]
        assert first.too_long is not None
        assert (first.too_long.size, first.too_long.limit) == (len(long), 10_000)
        assert isinstance(second, Record)
        assert (second.ordinal, second.line, second.offset) == (1, 2, len(long) + 1)

    def test_the_limit_itself_is_allowed(self) -> None:
        whole = line()
        assert isinstance(next(records([whole], max_record_bytes=len(whole))), Record)
        assert isinstance(next(records([whole], max_record_bytes=len(whole) - 1)), Rejected)

    def test_memory_stays_flat_while_a_line_without_end_streams_by(self) -> None:
        chunk = b"x" * 100_000
        tracemalloc.start()
        (found,) = records((chunk for _ in range(2000)), max_record_bytes=1_000_000)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert isinstance(found, Rejected)
        assert found.too_long is not None
        assert found.too_long.size == 200_000_000
        assert peak < 5_000_000

    @pytest.mark.parametrize("over", [-2, -1, 0, 1, 2])
    def test_at_the_very_limit_it_makes_no_difference_where_glued_bytes_are_cut(self, over: int) -> None:
        single = line(true_tstamp="2022-06-06 04:29:38.123")
        whole, limit = single * 2 + b"\n", len(single) + over
        expected = list(records([whole], max_record_bytes=limit))
        assert len(expected) == (2 if over >= 0 else 1)
        for cut in range(len(whole) + 1):
            assert list(records([whole[:cut], whole[cut:]], max_record_bytes=limit)) == expected

    def test_a_glued_record_that_is_too_long_ends_its_line_but_not_the_object(self) -> None:
        long = line(page_title="x" * 50_000)
        found = list(records([line() * 3 + long + line() + b"\n" + line()], max_record_bytes=10_000))
        assert [type(record) for record in found] == [Record, Record, Record, Rejected, Record]
        assert found[3].offset == 3 * len(line())


def test_complete_lines_before_a_broken_end_are_read_and_the_torn_one_is_not() -> None:
    def chunks() -> Iterator[bytes]:
        yield line() + b"\n" + line()[:50]
        raise BrokenObjectError("truncated gzip")

    stream = records(chunks())
    assert isinstance(next(stream), Record)
    with pytest.raises(BrokenObjectError):
        next(stream)


def test_a_hundred_thousand_random_lines_agree_with_a_plain_split() -> None:
    randomly = random.Random(7)
    whole = b"\n".join(line(page_title="é" * randomly.randrange(30)) for _ in range(100_000))
    chunks = [whole[start : start + 65_536] for start in range(0, len(whole), 65_536)]
    for found, raw in zip(records(chunks), whole.split(b"\n"), strict=True):
        assert isinstance(found, Record)
        assert found.fields == raw.decode().split("\t")
