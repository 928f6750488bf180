"""A server whose capacity changes while a delivery runs: the rate that it takes is found within a minute."""

import threading
import time

import pytest

from snowplow_posthog_dagster.posthog.pacing import AdaptivePace
from tests.faults.world import World, events


class Server:
    """A server in simulated time that takes `capacity` events a second, a second's worth at once."""

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self._free_at = 0.0

    def takes(self, count: int, now: float) -> bool:
        backlog = max(0.0, self._free_at - now)
        if backlog > 0 and backlog + count / self.capacity > 1.0:
            return False
        self._free_at = max(self._free_at, now) + count / self.capacity
        return True


def simulate(phases: list[tuple[float, float]], *, body: int = 500) -> list[tuple[float, int, bool]]:
    """Send as fast as the adaptive pace allows, at most 20,000 events a second, through phases of (seconds, capacity).

    Returns (time, events, taken) of every body.
    """
    now = [0.0]
    pace = AdaptivePace(clock=lambda: now[0])
    server, sent = Server(phases[0][1]), []
    end = 0.0
    for seconds, capacity in phases:
        server.capacity, end = capacity, end + seconds
        while now[0] < end:
            taken = server.takes(body, now[0])
            sent.append((now[0], body, taken))
            if taken:
                pace.taken(body)
            else:
                pace.overloaded()
            now[0] += body / min(pace.rate() or 20_000.0, 20_000.0)
    return sent


def goodput(sent: list[tuple[float, int, bool]], first: float, last: float) -> float:
    return sum(count for at, count, taken in sent if taken and first <= at < last) / (last - first)


@pytest.mark.parametrize("capacity", [1000.0, 3000.0, 15_000.0])
def test_a_steady_limit_is_used_to_more_than_four_fifths(capacity: float) -> None:
    sent = simulate([(120.0, capacity)])
    assert goodput(sent, 30, 120) >= 0.8 * capacity
    refused = [at for at, _, taken in sent if not taken and at >= 30]
    assert len(refused) <= 0.25 * 90, "an objection every few seconds, not with every body"


@pytest.mark.parametrize(("before", "after"), [(10_000.0, 1000.0), (1000.0, 10_000.0), (500.0, 15_000.0)])
def test_a_new_capacity_is_found_within_a_minute(before: float, after: float) -> None:
    sent = simulate([(60.0, before), (90.0, after)])
    assert goodput(sent, 110, 150) >= 0.75 * after


def test_the_first_objection_halves_the_rate() -> None:
    now = [0.0]
    pace = AdaptivePace(clock=lambda: now[0])
    assert pace.rate() is None
    for _ in range(50):
        pace.taken(200)
        now[0] += 0.1
    pace.overloaded()
    assert pace.rate() == pytest.approx(0.5 * 10_000 / 5, rel=0.1)
    rate = pace.rate()
    pace.overloaded()
    assert pace.rate() == rate, "one incident strikes many bodies and is counted once"
    now[0] += 60
    assert pace.rate() is None, "a minute without an objection: no limit"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_delivery_follows_a_server_that_changes_its_capacity(world: World) -> None:
    world.add_object(*(events(500, first=first) for first in range(0, 120_000, 500)))
    world.posthog.limit(3000)
    outcome: list[object] = []
    running = threading.Thread(target=lambda: outcome.append(world.deliver()), daemon=True)
    began = time.time()
    running.start()
    time.sleep(16)
    world.posthog.limit(800, over="503")
    lowered = time.time()
    time.sleep(16)
    world.posthog.limit(5000)
    raised = time.time()
    running.join(90)
    assert outcome
    taken = [(request["arrived"] / 1e6, request["stored"], request["answer"]) for request in world.posthog.requests()]

    def rate(first: float, last: float) -> float:
        return float(sum(stored for at, stored, _ in taken if first <= at < last)) / (last - first)

    ended = max(at for at, _, _ in taken)
    # Bodies of up to 2,000 events fit badly into a server that takes a second's worth at once: hence no more.
    assert rate(began + 6, lowered) >= 0.6 * 3000
    # Ten seconds at 800/s are four bodies: one more or less is a quarter of the rate (measured 400 to 800/s).
    assert rate(lowered + 6, raised) >= 0.35 * 800
    # The rate rises again within the minute that is given to it: the last events go at the new capacity.
    assert ended - raised < 60
    assert max(rate(at, at + 4) for at in (ended - 8, ended - 6, ended - 4)) >= 0.6 * 5000
    world.posthog.limit(None)
    world.assert_complete()
