"""One load of one day, from archive to acknowledged, in this process and its pool workers.

    python -m benchmarks.load WORKSPACE [--processes N]

It does what the three assets do, without Dagster: list, transform, deliver, close. Prints one line of JSON: CPU seconds
by phase (this process and the workers that it waited for), wall seconds, events, requests. `start` is everything from
the start of the interpreter to the first request: imports, settings, clients.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.place import DAY
from snowplow_posthog_dagster.loading.day import DayLoad
from snowplow_posthog_dagster.loading.setup import (
    archive_of,
    blueprint_of,
    capture_client_of,
    connection_of,
    delivery_options_of,
    workspace_of,
)
from snowplow_posthog_dagster.posthog.pacing import Pace
from snowplow_posthog_dagster.settings import load as load_settings


def cpu_seconds() -> float:
    """User and system time of this process and of its children that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


class Clock:
    """CPU and wall seconds by phase."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {"start": cpu_seconds()}
        self.wall: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charge the block to a phase."""
        cpu, wall = cpu_seconds(), time.monotonic()
        yield
        self.cpu[name], self.wall[name] = cpu_seconds() - cpu, time.monotonic() - wall


def load(workspace: str, processes: int | None) -> dict[str, object]:
    """Load the day; what it cost."""
    os.environ["SNOWPLOW_POSTHOG_WORKSPACE"] = workspace
    settings = load_settings()
    connection, client = connection_of(settings), capture_client_of(settings)
    archive, workspace_ = archive_of(settings, connection), workspace_of(settings, connection)
    day, clock = DayLoad(archive, workspace_, DAY, writer="benchmark"), Clock()
    with clock.phase("list"):
        listed, listing = day.list_new()
    with clock.phase("transform"):
        transformed = day.transform(blueprint_of(settings, connection, DAY, day.writer), processes=processes)
    with clock.phase("deliver"):
        delivered = day.deliver(
            client, api_key=settings.project_api_key, pacer=Pace(None), options=delivery_options_of(settings)
        )
    counts = day.log.state().counts()
    return {
        "cpu": clock.cpu,
        "wall": clock.wall,
        "objects": len(listing),
        "new": not listed.nothing_new,
        "reads": transformed.reads,
        "posts": delivered.posts,
        "closed": delivered.closed,
        "counts": {
            name: getattr(counts, name)
            for name in ("records", "mapped", "acknowledged", "dead_letters", "repeats", "pending")
        },
        "problems": counts.problems(),
    }


def main() -> None:
    """Load and print what it cost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workspace", help="s3://bucket/prefix")
    parser.add_argument("--processes", type=int, default=None)
    options = parser.parse_args()
    print(json.dumps(load(options.workspace, options.processes)))


if __name__ == "__main__":
    main()
