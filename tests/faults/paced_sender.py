"""A sender of its own process: bodies of good events to the stand-in, paced by leases, until it is told to end.

    python -m tests.faults.paced_sender '<JSON of Orders>'      ends with its standard input

Prints how many events it sent.
"""

import gzip
import json
import os
import sys
import threading
from dataclasses import asdict, dataclass

from snowplow_posthog_dagster.loading.pacing_leases import LeasedPace, LeaseTiming
from snowplow_posthog_dagster.posthog.capture import CaptureClient, Verdict
from snowplow_posthog_dagster.storage.s3 import Bucket, Connection, connect
from snowplow_posthog_dagster.storage.workspace import Workspace
from tests.faults.world import events


@dataclass(frozen=True)
class Orders:
    """What a sender is to do."""

    connection: dict[str, str]
    bucket: str
    host: str
    api_key: str
    sender: str
    weight: int
    cap: float
    body_events: int
    scale: float


def scaled(scale: float) -> LeaseTiming:
    """The timing of production, all of it shortened alike."""
    return LeaseTiming(**{name: seconds * scale for name, seconds in asdict(LeaseTiming()).items()})


def send(orders: Orders, stop: threading.Event) -> int:
    """Send until `stop`; returns the events that were taken."""
    workspace = Workspace(Bucket(connect(Connection(**orders.connection)), orders.bucket), "", "test")  # type: ignore[arg-type]
    client = CaptureClient(orders.host, timeout_seconds=10)
    # Its own events for each process, over and over: what counts here is when they arrive.
    batch = events(orders.body_events, first=os.getpid() * 1000)
    body = gzip.compress(json.dumps({"api_key": orders.api_key, "batch": batch}).encode(), 1)
    sent = 0
    with LeasedPace(
        workspace, cap=orders.cap, sender=orders.sender, weight=orders.weight, timing=scaled(orders.scale)
    ) as pace:
        while pace.wait(orders.body_events, stop):
            if client.post(body).verdict is Verdict.ACKNOWLEDGED:
                sent += orders.body_events
    return sent


def main() -> None:
    """Serve one order."""
    stop = threading.Event()
    orders = Orders(**json.loads(sys.argv[1]))

    def end_with_input() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=end_with_input, daemon=True).start()
    print(send(orders, stop))


if __name__ == "__main__":
    main()
