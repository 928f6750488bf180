"""One cap for all senders: measured at the server over any stretch of time, in threads and in processes.

The timing of the leases is shortened to a fifth (renewal each second), and with it the window of the bound: what holds
over any 60 s in production must hold here over any 12 s.
"""

import contextlib
import datetime as dt
import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Self

import pytest

from snowplow_posthog_dagster.errors import SettingsError, StorageUnavailableError
from snowplow_posthog_dagster.loading.pacing_leases import BACKFILL_WEIGHT, LIVE_WEIGHT, LeasedPace, shared_pace
from snowplow_posthog_dagster.posthog.batches import MAX_EVENTS
from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.reports import peak
from snowplow_posthog_dagster.storage.leases import DayLease
from snowplow_posthog_dagster.storage.s3 import Bucket, Connection, Listed, connect
from snowplow_posthog_dagster.storage.workspace import Workspace
from tests.faults.paced_sender import Orders, scaled

SCALE = 0.2
CAP = 4000.0
BODY = 200
WINDOW = 60 * SCALE


class FlakyBucket(Bucket):
    """A bucket that can be made to hang or to refuse."""

    def __init__(self, client: Any, name: str) -> None:
        super().__init__(client, name)
        object.__setattr__(self, "trouble", None)
        object.__setattr__(self, "calls", 0)

    def put(self, key: str, data: bytes) -> None:
        object.__setattr__(self, "calls", self.calls + 1)  # type: ignore[attr-defined]
        trouble = self.trouble  # type: ignore[attr-defined]
        if trouble is not None:
            raise trouble
        super().put(key, data)

    def listing(self, prefix: str, *, start_after: str = "") -> Iterator[Listed]:
        object.__setattr__(self, "calls", self.calls + 1)  # type: ignore[attr-defined]
        return super().listing(prefix, start_after=start_after)


@pytest.fixture
def workspace(fault_connection: Connection) -> Workspace:
    """An empty workspace."""
    client = connect(fault_connection)
    name = f"pacing-{uuid.uuid4().hex[:8]}"
    client.create_bucket(Bucket=name)
    return Workspace(FlakyBucket(client, name), "", "test")


class Sender:
    """A sender in a thread that notes when its bodies start."""

    def __init__(self, workspace: Workspace, name: str, weight: int = LIVE_WEIGHT, *, cap: float = CAP) -> None:
        self.pace = LeasedPace(workspace, cap=cap, sender=name, weight=weight, timing=scaled(SCALE))
        self.stop = threading.Event()
        self.hold = threading.Event()
        self.starts: list[tuple[float, int]] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            while not self.stop.is_set():
                if self.hold.is_set():
                    time.sleep(0.01)
                elif self.pace.wait(BODY, self.stop):
                    self.starts.append((time.monotonic(), BODY))
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.stop.set()
        self._thread.join()
        self.pace.__exit__(None, None, None)

    def rate(self, first: float, last: float) -> float:
        """Events a second between two moments."""
        return sum(count for at, count in self.starts if first <= at < last) / (last - first)


def highest(senders: list[Sender], window: float = WINDOW) -> int:
    """The most events that started within any such window, over all senders."""
    bodies = sorted((int(at * 1e6), count) for sender in senders for at, count in sender.starts)
    return peak(bodies, window)


def keys(workspace: Workspace) -> list[str]:
    folder = workspace.folder("leases")
    return sorted(item.key.removeprefix(folder) for item in workspace.bucket.listing(folder))


@pytest.mark.slow
def test_a_lone_sender_starts_at_once_reaches_the_cap_and_never_passes_it(workspace: Workspace) -> None:
    with Sender(workspace, "alone") as sender:
        began = time.monotonic()
        time.sleep(8)
        assert sender.starts[0][0] - began < 0.5
        assert 0.9 * CAP <= sender.rate(began + 1, began + 8) <= 1.05 * CAP
        assert keys(workspace) == ["alone/4"]
    assert highest([sender], 1.0) <= 1.05 * CAP + BODY
    assert keys(workspace) == [], "a sender that leaves takes its lease along"


@pytest.mark.slow
def test_live_loads_are_not_starved_and_a_backfill_takes_what_is_left(workspace: Workspace) -> None:
    with Sender(workspace, "backfill", BACKFILL_WEIGHT) as backfill:
        time.sleep(2)
        joined = time.monotonic()
        with Sender(workspace, "live", LIVE_WEIGHT) as live:
            time.sleep(8)
            assert live.starts[0][0] - joined >= scaled(SCALE).join, "the backfill has seen it by then, or stopped"
            now = time.monotonic()
            assert live.rate(now - 4, now) == pytest.approx(0.8 * CAP, rel=0.15)
            assert backfill.rate(now - 4, now) == pytest.approx(0.2 * CAP, rel=0.25)
        time.sleep(4)
        now = time.monotonic()
        assert backfill.rate(now - 2, now) >= 0.9 * CAP, "when the live load is done the backfill has all of it again"
    for window in (1.0, WINDOW):
        assert highest([backfill, live], window) <= 1.05 * CAP * window + 2 * BODY


@pytest.mark.slow
def test_senders_that_start_at_the_same_moment_stay_below_the_cap(workspace: Workspace) -> None:
    with contextlib.ExitStack() as stack:
        senders = [stack.enter_context(Sender(workspace, f"sender-{number}")) for number in range(5)]
        time.sleep(8)
        now = time.monotonic()
        assert sum(sender.rate(now - 4, now) for sender in senders) >= 0.9 * CAP
    for window in (1.0, WINDOW):
        assert highest(senders, window) <= 1.05 * CAP * window + 5 * BODY


@pytest.mark.slow
def test_a_sender_whose_renewals_stall_stops_before_others_take_its_share(workspace: Workspace) -> None:
    stalling = Workspace(FlakyBucket(workspace.bucket.client, workspace.bucket.name), "", "test")
    with Sender(stalling, "stalling") as stalled, Sender(workspace, "well") as well:
        time.sleep(5)
        at = time.monotonic()
        object.__setattr__(stalling.bucket, "trouble", StorageUnavailableError("no answer"))
        time.sleep(6)
        assert max(start for start, _ in stalled.starts) - at <= scaled(SCALE).valid + 0.1
        now = time.monotonic()
        assert well.rate(now - 2, now) >= 0.9 * CAP
        object.__setattr__(stalling.bucket, "trouble", None)
        back = time.monotonic()
        time.sleep(5)
        resumed = min(start for start, _ in stalled.starts if start > back)
        assert resumed - back >= scaled(SCALE).join, "one that was stalled joins like a new one"
    assert highest([stalled, well], WINDOW) <= 1.05 * CAP * WINDOW + 2 * BODY
    assert highest([stalled, well], 1.0) <= 1.05 * CAP + 2 * BODY


@pytest.mark.slow
def test_a_sender_without_work_leaves_its_share_to_the_others(workspace: Workspace) -> None:
    with Sender(workspace, "idle") as idle, Sender(workspace, "busy") as busy:
        time.sleep(4)
        idle.hold.set()
        time.sleep(scaled(SCALE).idle + 3)
        assert "idle/0" in keys(workspace) and "idle/4" not in keys(workspace)
        now = time.monotonic()
        assert busy.rate(now - 1, now) >= 0.9 * CAP
        idle.hold.clear()
        back = time.monotonic()
        time.sleep(4)
        assert min(start for start, _ in idle.starts if start > back) - back >= scaled(SCALE).join
    assert highest([idle, busy], 1.0) <= 1.05 * CAP + 2 * BODY


def test_a_lease_that_may_not_be_written_ends_the_sender_with_the_reason(workspace: Workspace) -> None:
    object.__setattr__(workspace.bucket, "trouble", SettingsError("grant s3:PutObject"))
    with Sender(workspace, "refused") as sender:
        deadline = time.monotonic() + 5
        while sender.error is None and time.monotonic() < deadline:
            time.sleep(0.01)
    assert isinstance(sender.error, SettingsError)


def test_an_error_that_nobody_foresaw_ends_the_sender_instead_of_leaving_it_waiting(workspace: Workspace) -> None:
    object.__setattr__(workspace.bucket, "trouble", ZeroDivisionError("a defect"))
    with Sender(workspace, "surprised") as sender:
        deadline = time.monotonic() + 5
        while sender.error is None and time.monotonic() < deadline:
            time.sleep(0.01)
    assert isinstance(sender.error, ZeroDivisionError)


def test_an_s3_that_stays_away_ends_the_sender_in_the_end(workspace: Workspace) -> None:
    object.__setattr__(workspace.bucket, "trouble", StorageUnavailableError("no answer"))
    pace = LeasedPace(workspace, cap=CAP, sender="away", weight=1, timing=scaled(0.01))
    with pace, pytest.raises(StorageUnavailableError, match="could not be renewed"):
        pace.wait(1, threading.Event())


def test_without_a_cap_nothing_is_written_or_listed(workspace: Workspace) -> None:
    with shared_pace(workspace, None, sender="run", weight=LIVE_WEIGHT) as pace:
        assert all(pace.wait(2000, threading.Event()) for _ in range(100))
        assert pace.body_events == MAX_EVENTS
    assert workspace.bucket.calls == 0  # type: ignore[attr-defined]


def test_a_pace_that_is_never_used_writes_nothing(workspace: Workspace) -> None:
    with shared_pace(workspace, CAP, sender="run", weight=LIVE_WEIGHT):
        pass
    assert workspace.bucket.calls == 0  # type: ignore[attr-defined]


def test_day_leases_beside_it_are_no_senders(workspace: Workspace) -> None:
    day = DayLease(workspace, dt.date(2022, 6, 6), sender="run", who="run 1")
    with day, Sender(workspace, "alone") as sender:
        time.sleep(0.5)
        assert sender.pace.share() == CAP


@pytest.mark.parametrize(("cap", "largest"), [(100.0, 200), (10_000.0, MAX_EVENTS), (0.1, 1)])
def test_a_joined_body_is_at_most_two_seconds_of_the_share(workspace: Workspace, cap: float, largest: int) -> None:
    with Sender(workspace, "alone", cap=cap) as sender:
        time.sleep(0.4)
        assert sender.pace.body_events == largest


def processes(orders: list[Orders]) -> list["subprocess.Popen[bytes]"]:
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.paced_sender", json.dumps(asdict(one))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for one in orders
    ]


@pytest.mark.slow
def test_four_processes_together_reach_the_cap_and_never_pass_it(
    workspace: Workspace, fault_connection: Connection, fault_posthog: StandInClient
) -> None:
    fault_posthog.reset()
    connection = {name: value for name, value in vars(fault_connection).items() if isinstance(value, str)}
    orders = [
        Orders(
            connection, workspace.bucket.name, fault_posthog.host, fault_posthog.project_api_key, f"process-{number}",
            LIVE_WEIGHT, CAP, BODY, SCALE,
        )
        for number in range(4)
    ]  # fmt: skip
    children = processes(orders[:1])
    time.sleep(3)
    children += processes(orders[1:])
    try:
        time.sleep(18)
    finally:
        for child in children:
            assert child.stdin is not None
            child.stdin.close()
    sent = [int(child.stdout.read()) for child in children if child.stdout]
    assert all(child.wait(10) == 0 for child in children)
    bodies = [(request["arrived"], request["received"]) for request in fault_posthog.requests()]
    assert sum(sent) == sum(count for _, count in bodies)
    last = max(at for at, _ in bodies)
    steady = sum(count for at, count in bodies if at > last - 8e6) / 8
    assert steady >= 0.9 * CAP
    assert max(sent[1:]) < 1.2 * min(sent[1:]), "equal weights, equal shares"
    assert peak(bodies, WINDOW) <= 1.05 * CAP * WINDOW + 4 * BODY
