"""The state of a day is a union: order, repetition and compaction do not matter."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snowplow_posthog_dagster.errors import WorkspaceError
from snowplow_posthog_dagster.storage.entries import (
    BatchNote,
    Broken,
    Delivered,
    Done,
    Entry,
    Gone,
    Remap,
    Replayed,
    Skip,
    Superseded,
    Unskip,
    entry_of,
    line_of,
)
from snowplow_posthog_dagster.storage.ranges import Ranges
from snowplow_posthog_dagster.storage.state import _any_state, _ordinary_state, fold

AT = "2022-06-06T04:00:00Z"


def note(name: str, events: int) -> BatchNote:
    return BatchNote(id=name, events=events, raw=events * 10, stored=events, first=1, last=2)


def done(name: str, batches: list[BatchNote], revision: int = 0, dead: int = 0, writer: str = "w") -> Done:
    mapped = sum(batch.events for batch in batches)
    return Done(
        object=name, revision=revision, key=f"output/{name}.gz", etag="e", bytes=1, lines=mapped + dead,
        records=mapped + dead, mapped=mapped, dead_letters=dead, batches=batches, identity_version="i",
        mapping_version="m", writer=writer, at=AT,
    )  # fmt: skip


def delivered(
    name: str, batch: str, first: int, events: int, revision: int = 0, status: str = "acknowledged"
) -> Delivered:
    return Delivered(name, revision, batch, first, events, status)


def broken(name: str, at: str, revision: int = 0) -> Broken:
    return Broken(object=name, revision=revision, key="k", etag="e", reason="truncated", next_try=at, writer="w", at=at)


names = st.sampled_from(["a", "b"])
revisions = st.integers(0, 2)
batch_names = st.sampled_from(["x", "y", "z"])
entries = st.one_of(
    st.builds(
        lambda name, batches, revision, dead, writer: done(
            name, [note(batch, 10) for batch in sorted(batches)], revision, dead, writer
        ),
        names, st.sets(batch_names), revisions, st.integers(0, 3), st.sampled_from(["w1", "w2"]),
    ),
    st.builds(delivered, names, batch_names, st.integers(0, 9), st.integers(1, 10), revisions,
              st.sampled_from(["acknowledged", "refused"])),
    st.builds(broken, names, st.sampled_from(["2022-06-06T05", "2022-06-06T06"]), revisions),
    st.builds(lambda name, revision: Skip(object=name, revision=revision, reason="", by="me", at=AT), names, revisions),
    st.builds(lambda name, revision: Unskip(object=name, revision=revision, by="me", at=AT), names, revisions),
    st.builds(lambda name, revision: Remap(object=name, revision=revision, by="me", at=AT), names, revisions),
    st.builds(lambda name, revision: Gone(object=name, revision=revision, key="k", at=AT), names, revisions),
    st.builds(lambda name, revision: Superseded(object=name, revision=revision, key="k", at=AT), names, revisions),
    st.builds(
        lambda name, revision, records, batch: Replayed(
            object=name, revision=revision, records=sorted(records), batch=note(batch, len(records)), at=AT
        ),
        names, revisions, st.sets(st.integers(0, 2), min_size=1), st.sampled_from(["r1", "r2"]),
    ),
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(entries, max_size=25), st.randoms(use_true_random=False))
def test_any_order_and_any_repetition_give_the_same_state(log: list[Entry], chance: random.Random) -> None:
    again = [*log, *chance.sample(log, k=len(log) // 2)]
    chance.shuffle(again)
    assert fold(again) == fold(log)


@given(st.lists(entries, max_size=25))
def test_reading_an_entry_back_gives_the_same_bytes(log: list[Entry]) -> None:
    for entry in log:
        assert entry_of(line_of(entry)) == entry
        assert line_of(entry_of(line_of(entry))) == line_of(entry)


@settings(max_examples=300)
@given(
    st.lists(entries.filter(lambda entry: not isinstance(entry, (Delivered, Replayed))), max_size=20),
    st.lists(st.builds(delivered, names, batch_names, st.integers(0, 4), st.integers(1, 6), revisions), max_size=10),
)
def test_every_record_ends_in_exactly_one_place(log: list[Entry], deliveries: list[Entry]) -> None:
    assert fold([*log, *deliveries]).problems() == []


ordinary = st.one_of(
    st.builds(
        lambda batches, revision, carried: msgspec.structs.replace(
            done("a", [note(batch, 10) for batch in sorted(batches)], revision), carried=carried
        ),
        st.sets(batch_names), st.integers(0, 1), st.integers(0, 3),
    ),
    st.builds(delivered, st.just("a"), batch_names, st.integers(0, 9), st.integers(1, 10), st.integers(0, 1),
              st.sampled_from(["acknowledged", "refused"])),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(ordinary, max_size=5, unique_by=line_of))
def test_the_short_way_of_an_ordinary_object_comes_to_the_same(log: list[Entry]) -> None:
    log.sort(key=line_of)
    short = _ordinary_state("a", log)
    if short is None:
        return
    long = _any_state("a", log)
    assert short == long
    assert short.counts() == long.counts()
    assert [batch.open for batch in short.batches.values()] == [
        Ranges([*batch.acknowledged.intervals, *batch.refused.intervals]).missing(10) for batch in long.batches.values()
    ]


def test_the_short_way_is_for_ordinary_objects_only() -> None:
    one, other = done("a", [note("x", 10)]), done("a", [note("x", 10)], writer="w2")
    acknowledged = delivered("a", "x", 0, 10)
    assert _ordinary_state("a", [acknowledged, one]) is not None
    for beside in ([other], [broken("a", AT)], [delivered("a", "y", 0, 1)], [delivered("a", "x", 0, 1, revision=1)]):
        assert _ordinary_state("a", [acknowledged, *beside, one]) is None
    assert _ordinary_state("a", [acknowledged]) is None


def test_an_object_without_entries_is_not_known_and_one_with_a_result_is_done() -> None:
    state = fold([done("a", [note("x", 10)])])
    assert list(state.objects) == ["a"]
    assert state.objects["a"].status == "done"
    assert state.counts().pending == 10


def test_acknowledged_is_the_union_of_ranges_within_a_batch() -> None:
    log: list[Entry] = [
        done("a", [note("x", 10)]),
        delivered("a", "x", 0, 4),
        delivered("a", "x", 2, 4),
        delivered("a", "x", 0, 4),
    ]
    state = fold(log).objects["a"]
    assert state.batches["x"].acknowledged == Ranges([(0, 6)])
    assert state.batches["x"].open == Ranges([(6, 10)])
    assert (state.counts().acknowledged, state.counts().pending) == (6, 4)


def test_an_acknowledgement_beats_a_refusal_of_the_same_event() -> None:
    log: list[Entry] = [
        done("a", [note("x", 10)]),
        delivered("a", "x", 3, 1, status="refused"),
        delivered("a", "x", 0, 10),
    ]
    counts = fold(log).counts()
    assert (counts.acknowledged, counts.delivery_dead_letters, counts.pending) == (10, 0, 0)


def test_of_two_results_the_one_with_acknowledgements_wins() -> None:
    first, second = done("a", [note("x", 10)], writer="w1"), done("a", [note("y", 12)], writer="w2")
    for acknowledged, expected in (("x", 10), ("y", 12)):
        assert fold([first, second, delivered("a", acknowledged, 0, 1)]).counts().mapped == expected


def test_acknowledgements_of_a_losing_result_are_re_sent_and_never_added() -> None:
    log: list[Entry] = [
        done("a", [note("x", 10)], writer="w1"),
        done("a", [note("y", 10)], writer="w2"),
        delivered("a", "x", 0, 10),
        delivered("a", "y", 0, 3),
    ]
    counts = fold(log).counts()
    assert counts.acknowledged + counts.pending == 10
    assert counts.resent in (3, 10)
    assert counts.problems() == []


def test_a_broken_object_that_was_read_after_all_is_done() -> None:
    state = fold([broken("a", "2022-06-06T05"), done("a", [note("x", 1)])]).objects["a"]
    assert (state.status, state.attempts) == ("done", 1)


def test_attempts_count_distinct_broken_entries_of_the_revision() -> None:
    log: list[Entry] = [broken("a", "2022-06-06T05"), broken("a", "2022-06-06T07"), broken("a", "2022-06-06T07")]
    state = fold(log).objects["a"]
    assert (state.status, state.attempts, state.next_try) == ("broken", 2, "2022-06-06T07")
    assert fold([*log, Unskip(object="a", revision=1, by="me", at=AT)]).objects["a"].status == "pending"


def test_a_skip_withdraws_what_was_not_sent() -> None:
    log: list[Entry] = [
        done("a", [note("x", 10)]),
        delivered("a", "x", 0, 4),
        Skip(object="a", revision=0, reason="r", by="me", at=AT),
    ]
    state = fold(log)
    assert state.objects["a"].status == "skipped"
    assert state.objects["a"].deliverable == []
    assert (state.counts().acknowledged, state.counts().withdrawn, state.counts().pending) == (4, 6, 0)


def test_an_unskip_goes_on_where_the_skip_stopped() -> None:
    log: list[Entry] = [
        done("a", [note("x", 10)]),
        delivered("a", "x", 0, 4),
        Skip(object="a", revision=1, reason="r", by="me", at=AT),
    ]
    skipped = fold(log).counts()
    assert (skipped.acknowledged, skipped.withdrawn, skipped.resent) == (4, 6, 0)
    again = fold([*log, Unskip(object="a", revision=2, by="me", at=AT)])
    assert again.objects["a"].status == "done"
    assert again.objects["a"].revision == 2
    assert (again.counts().acknowledged, again.counts().pending, again.counts().resent) == (4, 6, 0)


def test_an_unskip_of_a_broken_object_makes_it_pending_at_once() -> None:
    log: list[Entry] = [
        broken("a", "2099-01-01"),
        Skip(object="a", revision=1, reason="r", by="me", at=AT),
        Unskip(object="a", revision=2, by="me", at=AT),
    ]
    assert fold(log).objects["a"].status == "pending"


def test_a_remap_makes_the_object_pending_until_it_is_done_again() -> None:
    log: list[Entry] = [
        done("a", [note("x", 10)]),
        delivered("a", "x", 0, 10),
        Remap(object="a", revision=1, by="me", at=AT),
    ]
    assert fold(log).objects["a"].status == "pending"
    again = fold([*log, done("a", [note("y", 10)], revision=1), delivered("a", "y", 0, 10, revision=1)])
    assert (again.counts().acknowledged, again.counts().resent) == (10, 10)


def test_replaying_twice_is_once() -> None:
    replay = Replayed(object="a", revision=0, records=[3, 7], batch=note("r", 2), at=AT)
    log: list[Entry] = [done("a", [note("x", 10)], dead=3), replay]
    assert fold([*log, replay]) == fold(log)
    counts = fold(log).counts()
    assert (counts.mapped, counts.dead_letters, counts.pending) == (12, 1, 12)


def test_a_sum_that_does_not_add_up_is_named_with_its_numbers() -> None:
    wrong = done("a", [note("x", 10)])
    state = fold([Done(**{**{f: getattr(wrong, f) for f in wrong.__struct_fields__}, "records": 11})])
    assert state.problems() == ["output/a.gz: records 11 != 10 mapped + 0 dead letters + 0 filtered + 0 repeats = 10"]


def test_an_unknown_kind_of_entry_stops_with_words() -> None:
    with pytest.raises(WorkspaceError, match="does not understand"):
        entry_of(b'{"kind":"teleported","object":"a","revision":0}')


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12), st.integers(0, 80))
def test_ranges_are_sets_of_positions(intervals: list[tuple[int, int]], total: int) -> None:
    ranges, model = Ranges(), set()
    for first, count in intervals:
        ranges.add(first, count)
        model |= set(range(first, first + count))
    assert set(ranges.positions()) == model
    assert len(ranges) == len(model)
    assert set(ranges.missing(total).positions()) == set(range(total)) - model
    assert set(ranges.take(5).positions()) == set(sorted(model)[:5])
