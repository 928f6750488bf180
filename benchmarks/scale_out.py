"""Several run workers at once, against Ceph and the stand-in: how throughput grows, and whether the cap holds.

    python -m benchmarks.scale_out                     # throughput with 1, 2 and 4 workers, the best of three each
    python -m benchmarks.scale_out --cap 2000          # the pace that the server sees under one cap for all of them

Every worker is a process that does what a run does without Dagster: it lists, transforms and delivers days, each with
one transform process, so that it stands for a pod of one core. The days are shared out among the workers and they begin
together once all are up, so neither the start of Python nor Dagster's is counted. The server answers each POST after
250 ms and a worker has two connections, as a pod far from PostHog waits for it; without that the first worker would
have nothing to wait for and the second nothing to win.
"""

import argparse
import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import yaml

from benchmarks.load import cpu_seconds
from benchmarks.place import BUCKET
from benchmarks.servers import ROOT, WORKSPACE_BUCKET
from benchmarks.workload import Workload, make
from snowplow_posthog_dagster.loading.day import DayLoad
from snowplow_posthog_dagster.loading.pacing_leases import BACKFILL_WEIGHT, shared_pace
from snowplow_posthog_dagster.loading.setup import (
    archive_of,
    blueprint_of,
    capture_client_of,
    connection_of,
    delivery_options_of,
    workspace_of,
)
from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.reports import peak
from snowplow_posthog_dagster.sandbox.servers import running_posthog
from snowplow_posthog_dagster.settings import load as load_settings
from tests.integration.servers import S3Server, ceph

FIRST = dt.date(2022, 6, 6)
POST_MILLISECONDS = 250
CONNECTIONS = 2
WINDOW = 60.0


def worker(days: list[str]) -> None:
    """Wait for the word, load the days one after the other, and say in a line of JSON what it took."""
    settings = load_settings()
    connection, client = connection_of(settings), capture_client_of(settings)
    archive, workspace = archive_of(settings, connection), workspace_of(settings, connection)
    print("ready", flush=True)
    sys.stdin.readline()
    cpu, acknowledged = cpu_seconds(), 0
    with shared_pace(workspace, settings.events_per_second, sender="worker", weight=BACKFILL_WEIGHT) as pace:
        for day in map(dt.date.fromisoformat, days):
            load = DayLoad(archive, workspace, day, writer=f"worker-{os.getpid()}")
            load.list_new()
            load.transform(blueprint_of(settings, connection, day, load.writer), processes=1)
            load.deliver(client, api_key=settings.project_api_key, pacer=pace, options=delivery_options_of(settings))
            acknowledged += load.log.state().counts().acknowledged
    print(json.dumps({"cpu": cpu_seconds() - cpu, "acknowledged": acknowledged}), flush=True)


def upload(workload: Workload, server: S3Server, days: list[dt.date]) -> None:
    """The same objects under every day: what differs is where they lie."""
    client = server.client()
    for bucket in (BUCKET, WORKSPACE_BUCKET):
        client.create_bucket(Bucket=bucket)
    for day in days:
        for file in workload.files():
            key = f"output/{day:%Y/%m/%d}/04/{file.name}"
            client.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes())


@contextlib.contextmanager
def workers(shares: list[list[dt.date]], environment: dict[str, str]) -> Iterator[list["subprocess.Popen[str]"]]:
    """One process for each share, up and waiting for the word."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.scale_out", "--worker", *map(str, share)],
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for share in shares
    ]
    try:
        for process in started:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RuntimeError("a worker did not start; its words are above")
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait(20)


def measured(count: int, days: list[dt.date], environment: dict[str, str]) -> dict[str, float]:
    """Load all days with so many workers into a workspace of its own: events, wall and CPU seconds of the workers."""
    fresh = {"SNOWPLOW_POSTHOG_WORKSPACE": f"s3://{WORKSPACE_BUCKET}/{uuid.uuid4().hex}"}
    shares = [days[number::count] for number in range(count)]
    with workers(shares, {**environment, **fresh}) as started:
        began = time.monotonic()
        for process in started:
            if process.stdin:
                process.stdin.write("go\n")
                process.stdin.flush()
        told = [json.loads(process.communicate(timeout=900)[0].splitlines()[-1]) for process in started]
        wall = time.monotonic() - began
    return {
        "workers": count,
        "events": sum(one["acknowledged"] for one in told),
        "wall": wall,
        "cpu": sum(one["cpu"] for one in told),
    }


def variables(server: S3Server, posthog: StandInClient, settings: Path) -> dict[str, str]:
    """The environment of a worker."""
    return {
        **server.environment(),
        "AWS_S3_SNOWPLOW_BUCKET": BUCKET,
        "POSTHOG_HOST": posthog.host,
        "POSTHOG_PROJECT_API_KEY": posthog.project_api_key,
        "POSTHOG_PROJECT_ID": posthog.project_id,
        "POSTHOG_BACKFILL_START_DATE": f"{FIRST}",
        "SNOWPLOW_POSTHOG_SETTINGS": str(settings),
    }


def paces(posthog: StandInClient) -> dict[str, float]:
    """What the server saw: events a second from the first body to the last, and in the busiest minute."""
    bodies = [(request["arrived"], request["received"]) for request in posthog.requests() if request["received"]]
    seconds = (bodies[-1][0] - bodies[0][0]) / 1e6
    return {"seen": sum(events for _, events in bodies) / seconds, "busiest": peak(bodies, WINDOW) / WINDOW}


def main() -> None:
    """Measure, and print a line of JSON for each number of workers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--worker", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--days", type=int, default=4)
    parser.add_argument("--events", type=int, default=40_000, help="a day")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--cap", type=float, help="events a second for all workers; the stand-in then stores")
    options = parser.parse_args()
    if options.worker is not None:
        worker(options.worker)
        return
    days = [FIRST + dt.timedelta(days=number) for number in range(options.days)]
    workload = make(ROOT / "build" / "benchmarks", "gitlab", events=options.events, objects=8)
    delivery = {"events_per_second": options.cap} if options.cap else {"max_connections": CONNECTIONS}
    null = () if options.cap else ("--null", "--delay-ms", str(POST_MILLISECONDS))
    with tempfile.TemporaryDirectory() as folder, ceph() as server, running_posthog(None, *null) as posthog:
        settings = Path(folder) / "settings.yaml"
        settings.write_text(yaml.safe_dump({"archive": [{"prefix": "output/"}], "delivery": delivery}))
        upload(workload, server, days)
        for count in options.workers:
            found = []
            for _ in range(1 if options.cap else options.repeat):
                posthog.reset()
                found.append(measured(count, days, variables(server, posthog, settings)))
            best = min(found, key=lambda one: one["wall"])
            rates = {"events/s": best["events"] / best["wall"], "cores": best["cpu"] / best["wall"]}
            print(json.dumps({**best, **rates, **(paces(posthog) if options.cap else {})}), flush=True)


if __name__ == "__main__":
    main()
