"""The pace holds without bursts, and connections follow what the server takes."""

import threading
import time

from snowplow_posthog_dagster.posthog.pacing import AdaptiveConnections, Pace


def test_a_pace_spaces_bodies_and_never_saves_up() -> None:
    pace, stop = Pace(1000.0), threading.Event()
    started = time.monotonic()
    for _ in range(4):
        assert pace.wait(100, stop)
    assert 0.28 <= time.monotonic() - started < 0.6
    time.sleep(0.3)
    started = time.monotonic()
    for _ in range(3):
        pace.wait(100, stop)
    assert time.monotonic() - started >= 0.18


def test_no_cap_means_no_waiting() -> None:
    started = time.monotonic()
    pace = Pace(None)
    assert all(pace.wait(2000, threading.Event()) for _ in range(1000))
    assert time.monotonic() - started < 0.2


def test_waiting_for_the_pace_ends_when_the_run_is_stopped() -> None:
    pace, stop = Pace(1.0), threading.Event()
    pace.wait(100, stop)
    threading.Timer(0.1, stop.set).start()
    started = time.monotonic()
    assert not pace.wait(100, stop)
    assert time.monotonic() - started < 2


def test_connections_grow_slowly_and_halve_when_the_server_is_overloaded() -> None:
    now = [0.0]
    connections = AdaptiveConnections(16, clock=lambda: now[0])
    for _ in range(200):
        connections.succeeded()
    assert connections.allowed == 16
    now[0] += 2
    connections.overloaded()
    assert connections.allowed == 8
    connections.overloaded()
    assert connections.allowed == 8, "one incident is counted once"
    for _ in range(10):
        now[0] += 2
        connections.overloaded()
    assert connections.allowed == 1, "one connection is always left"


def test_no_more_bodies_are_in_flight_than_allowed() -> None:
    connections, stop = AdaptiveConnections(8, start=2), threading.Event()
    assert connections.enter(stop)
    assert connections.enter(stop)
    threading.Timer(0.15, connections.leave).start()
    started = time.monotonic()
    assert connections.enter(stop)
    assert time.monotonic() - started >= 0.1
    stop.set()
    assert not connections.enter(stop)
