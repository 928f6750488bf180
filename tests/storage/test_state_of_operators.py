"""What operators and a changing archive write lies over results: no order, no repetition, no loss of a count."""

import random
from collections import Counter
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from snowplow_posthog_dagster.storage.entries import (
    BatchNote,
    Delivered,
    Done,
    Entry,
    Forget,
    Gone,
    Posted,
    Purged,
    Reconciled,
    Replayed,
    Skip,
    Superseded,
    Unskip,
)
from snowplow_posthog_dagster.storage.state import BATCHES, ObjectState, fold

AT = "2022-06-06T04:00:00Z"
KEY = "output/a.gz"
DEAD = 8


def note(name: str, events: int) -> BatchNote:
    return BatchNote(id=name, events=events, raw=events, stored=events, first=1, last=2)


FIRST = Done(
    object="a", revision=0, key=KEY, etag="e", bytes=1, lines=33, records=33, mapped=20, dead_letters=DEAD,
    filtered={"noise": 3}, repeats=2, batches=[note("x", 12), note("y", 8)], identity_version="i",
    mapping_version="m", writer="w", at=AT,
)  # fmt: skip


def known(log: list[Entry]) -> ObjectState:
    return fold(log).objects["a"]


def deliver(log: list[Entry], chance: random.Random) -> list[Entry]:
    """PostHog answers to a range of a batch that is open."""
    state = known(log)
    if not state.deliverable or state.done is None:
        return []
    batch = chance.choice(state.deliverable)
    first, end = chance.choice(batch.open.intervals)
    status = chance.choice(["acknowledged", "acknowledged", "refused"])
    return [Delivered("a", state.done.revision, batch.note.id, first, chance.randint(1, end - first), status)]


def replay(log: list[Entry], chance: random.Random) -> list[Entry]:
    """Dead letters that are none any more: events, filtered, or repeats."""
    state = known(log)
    if state.done is None or state.done.revision:  # numbers of letters are known for the first result only
        return []
    left = sorted(set(range(DEAD)) - state.replayed_records)
    chosen = left[: chance.randint(0, len(left))]
    if not chosen:
        return []
    common: dict[str, Any] = {
        "object": "a",
        "revision": state.done.revision,
        "records": chosen,
        "at": f"{AT}{chance.random()}",
    }
    kind = chance.choice(["batch", "filtered", "repeats"])
    if kind == "batch":
        # A batch's name is the digest of its events, so two of one name hold as many.
        return [Replayed(**common, batch=note(f"r{len(chosen)}-{chance.randint(0, 3)}", len(chosen)))]
    if kind == "filtered":
        return [Replayed(**common, filtered={"noise": len(chosen)})]
    return [Replayed(**common, repeats=len(chosen))]


def overlay(log: list[Entry], chance: random.Random) -> list[Entry]:
    """An operator or the archive: never a change of what was acknowledged."""
    state = known(log)
    kind = chance.choice(["skip", "unskip", "superseded", "gone"])
    if kind == "skip":
        return [Skip(object="a", revision=state.revision + 1, reason="r", by="me", at=AT)]
    if kind == "unskip" and state.withdrawn:
        return [Unskip(object="a", revision=state.revision + 1, by="me", at=AT)]
    if kind == "superseded":
        return [Superseded(object="a", revision=state.revision, key=KEY, replaced_by="b", at=AT)]
    return [Gone(object="a", revision=state.revision, key=KEY, at=AT)]


def forget(log: list[Entry], chance: random.Random) -> list[Entry]:
    """The result once more from its own batches, without somebody's unsent events."""
    state = known(log)
    if state.done is None or state.withdrawn:
        return []
    counts = state.counts()
    unsent = counts.pending + counts.delivery_dead_letters
    theirs, letters = chance.randint(0, unsent), chance.randint(0, counts.dead_letters)
    refused = min(counts.delivery_dead_letters, unsent - theirs)
    filtered = Counter(counts.filtered_by_rule)
    filtered["forgotten"] += theirs + letters
    name = f"f{state.revision + 1}"
    result = msgspec.structs.replace(
        state.done,
        revision=state.revision + 1,
        mapped=counts.mapped - theirs,
        dead_letters=counts.dead_letters - letters,
        filtered=dict(filtered),
        repeats=counts.repeats,
        carried=counts.acknowledged,
        batches=[note(name, unsent - theirs)] if unsent > theirs else [],
    )
    entries: list[Entry] = [Forget(object="a", revision=state.revision + 1, by="me", at=AT), result]
    if refused:
        entries.append(Delivered("a", state.revision + 1, name, 0, refused, "refused"))
    return entries


def aside(log: list[Entry], chance: random.Random) -> list[Entry]:
    """Entries that count nothing."""
    state = known(log)
    at = f"{AT}{chance.random()}"
    choices: list[Entry] = [
        Reconciled(result="agree", sampled=1, found=1, differing=0, cause="", at=at),
        Posted(writer="w", started=AT, ended=at, posts=1, retries=0, bytes=5, events=2),
        Purged(object="a", revision=state.done.revision if state.done else 0, what=BATCHES, at=at),
    ]
    return [chance.choice(choices)]


STEPS = {"deliver": deliver, "replay": replay, "overlay": overlay, "forget": forget, "aside": aside}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=25), st.randoms(use_true_random=False))
def test_after_every_step_each_record_is_in_one_place_and_nothing_acknowledged_is_lost(
    steps: list[str], chance: random.Random
) -> None:
    log: list[Entry] = [FIRST]
    acknowledged = 0
    for step in steps:
        before = known(log).counts()
        log += STEPS[step](log, chance)
        counts = fold(log).counts()
        assert fold(log).problems() == []
        assert counts.records == FIRST.records and counts.resent == 0
        assert counts.acknowledged >= acknowledged
        if step != "deliver":
            assert counts.acknowledged == before.acknowledged
        acknowledged = counts.acknowledged
    again = [*log, *chance.sample(log, k=len(log) // 2)]
    chance.shuffle(again)
    assert fold(again) == fold(log)


def test_bytes_that_come_back_after_a_skip_stay_skipped() -> None:
    skipped = Skip(object="a", revision=1, reason="r", by="me", at=AT)
    replaced = Superseded(object="a", revision=1, key=KEY, at=AT)
    state = known([FIRST, skipped, replaced])
    assert (state.status, state.skipped, state.superseded) == ("skipped", True, True)


def test_a_replacement_of_an_earlier_revision_is_over_when_the_object_is_back() -> None:
    replaced = Superseded(object="a", revision=0, key=KEY, at=AT)
    back = Unskip(object="a", revision=1, by="the archive", at=AT)
    assert known([FIRST, replaced]).withdrawn
    late = Superseded(object="a", revision=0, key=KEY, at=f"{AT}, by a slow run")
    state = known([FIRST, replaced, back, late])
    assert (state.status, state.withdrawn, state.counts().pending) == ("done", False, 20)


def test_of_two_replays_of_a_record_the_one_that_was_sent_counts() -> None:
    one = Replayed(object="a", revision=0, records=[1, 2], batch=note("r1", 2), at=AT)
    two = Replayed(object="a", revision=0, records=[2, 3], batch=note("r2", 2), at=AT)
    for sent, records in (("r1", {1, 2}), ("r2", {2, 3})):
        log: list[Entry] = [FIRST, one, two, Delivered("a", 0, sent, 0, 2, "acknowledged")]
        assert known(log).replayed_records == records and fold(log).problems() == []


def test_two_replays_that_made_the_same_events_of_different_records_are_sent_once() -> None:
    one = Replayed(object="a", revision=0, records=[1, 2], batch=note("r", 2), at=AT)
    two = Replayed(object="a", revision=0, records=[3, 4], batch=note("r", 2), at=AT)
    counts = fold([FIRST, one, two]).counts()
    assert (counts.mapped, counts.repeats, counts.dead_letters, counts.pending) == (22, 4, DEAD - 4, 22)
    assert fold([FIRST, one, two]).problems() == []
