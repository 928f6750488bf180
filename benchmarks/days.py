"""A day of 22,000 tiny objects: its manifest, and a run over it when it is finished.

    python -m benchmarks.days [--objects N] [--all]

By default the log of the finished day is written directly (a result, a batch and its acknowledgement an object, as a
load leaves them), because what is measured is what a run pays that has nothing to do. With `--all` the day is loaded
first: that takes minutes, and tells CPU milliseconds an object.
"""

import argparse
import contextlib
import datetime as dt
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.load import cpu_seconds
from benchmarks.place import BUCKET, DAY
from benchmarks.servers import ROOT, WORKSPACE_BUCKET, measured, servers
from benchmarks.workload import CLEAN
from snowplow_posthog_dagster.generator import FolderSink, GeneratorSettings, generate
from snowplow_posthog_dagster.loading.day import DayLoad
from snowplow_posthog_dagster.storage.archive import Archive, ArchiveEntry, ArchiveObject
from snowplow_posthog_dagster.storage.entries import BatchNote, Delivered, Done, Entry
from snowplow_posthog_dagster.storage.s3 import Bucket, Connection, connect
from snowplow_posthog_dagster.storage.state import ACKNOWLEDGED
from snowplow_posthog_dagster.storage.workspace import Workspace, timestamp_text

EVENTS_PER_OBJECT = 20


def make_day(folder: Path, objects: int, events_per_object: int) -> None:
    """The archive of the day, unless it lies there."""
    if (folder / "truth").exists():
        return
    settings = GeneratorSettings(
        start=dt.datetime.combine(DAY, dt.time(), dt.UTC),
        hours=24,
        events=objects * events_per_object,
        records_per_object=events_per_object,
        **{**CLEAN, "repeats": 0},
    )
    generate(settings, FolderSink(folder / BUCKET), folder / "truth")


def finished_log(found: ArchiveObject) -> Iterator[Entry]:
    """What a load of one tiny object leaves in the log."""
    note = BatchNote(found.object_id, EVENTS_PER_OBJECT, 40_000, 6_000, 1_654_488_000_000, 1_654_491_600_000)
    yield Done(
        object=found.object_id, revision=0, key=found.key, etag=found.etag, bytes=found.size, hour=found.hour,
        lines=EVENTS_PER_OBJECT, records=EVENTS_PER_OBJECT, mapped=EVENTS_PER_OBJECT, batches=[note],
        identity_version="0" * 16, mapping_version="0" * 16, writer="benchmark", at=timestamp_text(),
    )  # fmt: skip
    yield Delivered(found.object_id, 0, note.id, 0, EVENTS_PER_OBJECT, ACKNOWLEDGED)


def day_load(environment: dict[str, str], prefix: str) -> DayLoad:
    """The day, through clients of this process."""
    connection = Connection(
        endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
        region=environment["AWS_REGION"],
        access_key_id=environment["AWS_ACCESS_KEY_ID"],
        secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    client = connect(connection)
    workspace = Workspace(Bucket(client, WORKSPACE_BUCKET), prefix, "default")
    workspace.check_layout()
    return DayLoad(Archive(Bucket(client, BUCKET), [ArchiveEntry(prefix="output/")]), workspace, DAY, "benchmark")


@contextlib.contextmanager
def timed(name: str, found: dict[str, float]) -> Iterator[None]:
    """Charge the block to a name, in CPU and wall seconds."""
    cpu, wall = cpu_seconds(), time.monotonic()
    yield
    found[f"{name}_cpu_s"], found[f"{name}_s"] = cpu_seconds() - cpu, time.monotonic() - wall


def measure(home: Path, objects: int, *, whole: bool) -> dict[str, float]:
    """Seconds for the manifest, for closing the day, and for a run over the finished day."""
    folder = home / f"tiny-{objects}-{whole}"
    make_day(folder, objects, EVENTS_PER_OBJECT if whole else 1)
    found: dict[str, float] = {}
    with servers(folder) as environment:
        prefix = f"days-{os.getpid()}/"
        place = f"s3://{WORKSPACE_BUCKET}/{prefix.rstrip('/')}"
        if whole:
            done = measured("benchmarks.load", place, environment=environment, timeout=3600)
            found |= {f"{phase}_cpu_s": seconds for phase, seconds in done["cpu"].items()}
            found |= {"objects": done["objects"], "posts": done["posts"]}
        else:
            load = day_load(environment, prefix)
            with timed("manifest", found):
                _, listing = load.list_new()
            found["objects"] = len(listing)
            for start in range(0, len(listing), 500):
                load.log.write(
                    (entry for one in listing[start : start + 500] for entry in finished_log(one)), writer="benchmark"
                )
            with timed("close", found):
                load.close(listing)
        again = measured("benchmarks.load", place, environment=environment)
        if again["reads"] or again["posts"] or not again["closed"]:
            raise RuntimeError(f"the finished day was not recognised: {again}")
        found |= {f"again_{phase}_s": seconds for phase, seconds in again["wall"].items()}
        found["again_s"], found["again_cpu_s"] = sum(again["wall"].values()), sum(again["cpu"].values())
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--objects", type=int, default=22_000)
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    found = measure(ROOT / "build" / "benchmarks", options.objects, whole=options.all)
    print(json.dumps({name: round(value, 2) for name, value in found.items()}), file=sys.stdout)


if __name__ == "__main__":
    main()
