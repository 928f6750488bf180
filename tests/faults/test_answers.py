"""Whatever PostHog, a proxy or the network answers: an event arrives once, is a dead letter, or stays open."""

import time

import pytest

from snowplow_posthog_dagster.errors import (
    AuthenticationError,
    CaptureUnavailableError,
    PoisonedError,
    SettingsError,
    WorkspaceError,
)
from snowplow_posthog_dagster.sandbox import faults
from snowplow_posthog_dagster.sandbox.faults import Fault, on
from tests.faults.world import NOT_HERE, World, event, events, oversized, poisoned

pytestmark = pytest.mark.usefixtures("quick_retries")

TWO = on(1, 3)
PASSING = {
    "429": faults.status(429, TWO),
    "429, Retry-After in seconds": faults.status(429, TWO, retry_after=1),
    "429, Retry-After as a date": faults.retry_after_date(2, TWO),
    "500": faults.status(500, TWO),
    "503": faults.status(503, TWO),
    "408": faults.status(408, TWO),
    "404 of a proxy": faults.status(404, TWO),
    "a proxy's 502 page": faults.bad_gateway(TWO),
    "a proxy's 400 page": Fault(name="page", status=400, body="<html>400 Bad Request</html>", requests=(1, 3)),
    "200 with a login page": faults.other_answer(TWO),
    "200 with nothing": faults.other_answer(TWO, body=""),
    "200 with other JSON": faults.other_answer(TWO, body='{"status":"queued"}', content_type="application/json"),
    "reset while it reads": faults.reset_while_reading(TWO),
    "reset before it stores": faults.reset_before_store(TWO),
    "reset after it stored": faults.reset_after_store(TWO),
    "503 after a part was stored": faults.unavailable_after_part(TWO),
    "time-out after all was stored": faults.timeout_after_store(TWO, seconds=1.5),
    "an answer that trickles in": faults.trickle(30, TWO),
    "an answer that trickles in too slowly": faults.trickle(2, TWO),
    "a body that is read slowly": faults.slow_read(200_000, TWO),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_a_fault_that_passes_costs_nothing_but_time(world: World, fault: Fault) -> None:
    for first in range(0, 4000, 1000):
        world.add_object(events(1000, first=first))
    world.posthog.play(fault)
    report = world.deliver(timeout_seconds=1.0)
    world.posthog.play()
    world.assert_complete()
    assert report.closed
    if fault.status != 200 or fault.action != "answer" or fault.name == "other_answer":
        assert report.retries >= 1


def test_a_retry_after_is_waited_for(world: World) -> None:
    world.add_object(events(10))
    world.posthog.play(faults.status(429, on(1), retry_after=2))
    world.deliver()
    first, second = (request["arrived"] for request in world.posthog.requests())
    assert (second - first) / 1e6 >= 2.0
    world.assert_complete()


def test_a_run_sends_only_what_is_not_acknowledged(world: World) -> None:
    world.add_object(events(2000), events(2000, first=2000))
    world.deliver()
    sent = world.posthog.progress()["received"]
    world.add_object(events(500, first=4000))
    assert world.deliver().events == 500
    assert world.posthog.progress()["received"] == sent + 500
    assert world.deliver().nothing_new
    assert world.posthog.progress()["received"] == sent + 500
    world.assert_complete()


def test_a_poisoned_event_is_found_and_the_rest_is_delivered(world: World) -> None:
    bad = poisoned(777)
    world.add_object([*events(777), bad, *events(1222, first=778)])
    report = world.deliver()
    world.assert_complete(refused=[bad["uuid"]])
    (letter,) = world.dead_letters()
    assert "empty distinct_id" in letter["reason"] and letter["position"] == 777
    assert letter["event"] == bad
    # Each of eleven halvings posts both halves.
    assert report.posts <= 1 + 2 * 11
    assert world.deliver().nothing_new


def test_poisoned_events_at_the_ends_and_side_by_side_are_found(world: World) -> None:
    bad = [poisoned(number) for number in (0, 1, 500, 998, 999)]
    good = {number: event(number) for number in range(1000)}
    world.add_object([next((one for one in bad if one["properties"]["number"] == n), good[n]) for n in range(1000)])
    world.deliver()
    world.assert_complete(refused=[one["uuid"] for one in bad])


def test_a_refused_joined_body_is_first_sent_batch_by_batch(world: World) -> None:
    bad = poisoned(5000)
    for first in range(0, 400, 100):
        world.add_object(events(100, first=first))
    world.add_object([bad, *events(99, first=401)])
    world.deliver()
    world.assert_complete(refused=[bad["uuid"]])
    received = [request["received"] for request in world.posthog.requests()]
    assert received[0] == 500, "one body of five batches"
    assert max(received[1:6]) == 100, "then the batches singly"
    assert received.count(100) == 5


def test_too_many_poisoned_events_stop_the_run_with_posthogs_words(world: World) -> None:
    world.add_object([poisoned(number) if number % 20 == 0 else event(number) for number in range(2000)])
    with pytest.raises(PoisonedError, match="empty distinct_id"):
        world.deliver(max_refused_share=0.01)
    world.assert_nothing_lost()
    # With a larger share allowed the same day ends, and what was refused before is not tried again.
    world.deliver(max_refused_share=0.2)
    world.assert_complete(refused=[poisoned(number)["uuid"] for number in range(0, 2000, 20)])


def test_a_few_poisoned_events_at_the_beginning_do_not_stop_a_run_that_is_well_below_the_share(world: World) -> None:
    world.add_object([poisoned(number) if number < 15 else event(number) for number in range(2000)])
    world.deliver(max_refused_share=0.01)
    world.assert_complete(refused=[poisoned(number)["uuid"] for number in range(15)])


def test_a_413_splits_down_to_the_one_event_that_is_too_large(world: World) -> None:
    big = oversized(50)
    world.add_object([*events(50), big, *events(149, first=51)])
    world.deliver()
    world.assert_complete(refused=[big["uuid"]])
    assert "maximum event size exceeded" in world.dead_letters()[0]["reason"]


def test_a_proxy_that_takes_only_small_bodies_gets_small_ones(world: World) -> None:
    world.add_object(events(2000))
    world.posthog.play(Fault(name="too_large", status=413, body="<html>413 Request Entity Too Large</html>", last=7))
    world.deliver()
    world.assert_complete()


def test_splits_and_retries_carry_identical_events_and_the_same_flag(world: World) -> None:
    world.add_object([*events(60), poisoned(60), *events(60, first=61)])
    world.posthog.play(faults.reset_after_store(on(2, 5)), faults.unavailable_after_part(on(3, 6)))
    world.deliver()
    copies: dict[str, set[tuple[str, str, bool]]] = {}
    for row in world.posthog.raw():
        told = (row["timestamp"], str(row["properties"]), row["historical"])
        copies.setdefault(row["uuid"], set()).add(told)
    assert world.posthog.raw_rows() > len(copies), "the faults made copies"
    assert all(len(different) == 1 for different in copies.values())
    assert {historical for different in copies.values() for _, _, historical in different} == {True}
    world.assert_complete(refused=[poisoned(60)["uuid"]])


def test_a_401_stops_the_run_at_once(world: World) -> None:
    for first in range(0, 20_000, 2000):
        world.add_object(events(2000, first=first))
    world.posthog.play(faults.status(401, body="API key is not valid: too_long"))
    with pytest.raises(AuthenticationError, match=r"too_long.*POSTHOG_PROJECT_API_KEY"):
        world.deliver()
    assert world.posthog.progress()["requests"] <= 2, "no more than the two that start at once"
    assert world.state().counts().pending == 20_000
    world.posthog.play()
    world.deliver()
    world.assert_complete()


def test_a_spent_budget_ends_the_run_with_the_resume_point(world: World) -> None:
    world.add_object(events(2000))
    world.add_object(events(2000, first=2000))
    world.posthog.play(faults.status(503, faults.When(first=2)))
    with pytest.raises(CaptureUnavailableError, match=r"retry budget.*503.*materialize this partition") as raised:
        world.deliver(retry_seconds_per_body=0.5)
    assert "2022-06-06" in str(raised.value) and "\n" not in str(raised.value)
    world.assert_nothing_lost()
    assert world.state().counts().acknowledged == 2000
    world.posthog.play()
    assert world.deliver().events == 2000
    world.assert_complete()


def test_requests_that_time_out_count_towards_the_budget(world: World) -> None:
    world.add_object(events(100))
    world.posthog.play(faults.timeout_after_store(seconds=5))
    started = time.monotonic()
    with pytest.raises(CaptureUnavailableError):
        world.deliver(timeout_seconds=0.5, retry_seconds_per_body=2.0)
    assert time.monotonic() - started < 4.0
    world.posthog.play()
    world.deliver()
    world.assert_complete()


def test_the_budget_of_the_run_ends_one_that_mostly_waits(world: World) -> None:
    for first in range(0, 400, 10):
        world.add_object(events(10, first=first))
    world.posthog.play(faults.status(503, faults.sometimes(0.9)), seed=3)
    with pytest.raises(CaptureUnavailableError, match="over the run"):
        world.deliver(retry_seconds_per_run=0.1, max_connections=1)
    world.posthog.play()
    world.deliver()
    world.assert_complete()


def test_nobody_listening_is_tried_within_the_budget_only(world: World) -> None:
    world.add_object(events(10))
    with pytest.raises(CaptureUnavailableError, match="Connection refused"):
        world.deliver(host=NOT_HERE, retry_seconds_per_body=0.5)
    assert world.state().counts().pending == 10


def test_a_redirect_or_another_status_is_a_wrong_host(world: World) -> None:
    world.add_object(events(10))
    world.posthog.play(faults.status(302))
    with pytest.raises(SettingsError, match="POSTHOG_HOST"):
        world.deliver()
    assert world.posthog.progress()["requests"] == 1


@pytest.mark.parametrize("damage", ["missing", "cut", "another file"])
def test_a_damaged_batch_is_named_and_its_neighbours_are_delivered(world: World, damage: str) -> None:
    world.add_object(events(2000), events(2000, first=2000))
    wrong = world.add_object(events(10, first=9000))
    (key,) = (
        item.key for item in world.workspace.bucket.listing(world.workspace.folder("batches")) if wrong in item.key
    )
    data = world.workspace.bucket.get(key)
    if damage == "missing":
        world.workspace.bucket.delete([key])
    else:
        world.workspace.bucket.put(key, data[:-60] if damage == "cut" else b"hello")
    with pytest.raises(WorkspaceError, match=rf"(?s){wrong}.*remap"):
        world.deliver()
    counts = world.state().counts()
    assert (counts.acknowledged, counts.pending) == (4000, 10)
    world.workspace.bucket.put(key, data)
    world.deliver()
    world.assert_complete()


def test_many_faults_at_once_lose_and_double_nothing(world: World) -> None:
    for first in range(0, 20_000, 500):
        world.add_object(events(500, first=first))
    every = faults.sometimes(0.08)
    world.posthog.play(
        faults.status(429, every), faults.bad_gateway(every), faults.other_answer(every),
        faults.reset_while_reading(every), faults.reset_before_store(every), faults.reset_after_store(every),
        faults.unavailable_after_part(every), faults.timeout_after_store(every, seconds=1.5), seed=11,
    )  # fmt: skip
    report = world.deliver(timeout_seconds=1.0)
    world.posthog.play()
    assert report.retries > 0
    world.assert_complete()
