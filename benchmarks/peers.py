"""The same files the way that others would take them.

    python -m benchmarks.peers inflate FILE LINES     zlib.decompress of the whole file, again and again: the yardstick
    python -m benchmarks.peers offline FILE LINES     gzip, snowplow-analytics-sdk, json, gzip at its default level 9
    python -m benchmarks.peers capture FILE LINES     posthog-python's capture() in a loop, against POSTHOG_HOST

Prints one line of JSON, in CPU seconds per million records. `capture` gets its dictionaries ready made: parsing is not
charged to it.
"""

import argparse
import gzip
import json
import os
import tempfile
import time
import uuid
import warnings
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any


def transformed(file: Path, limit: int) -> Iterator[dict[str, Any]]:
    """Events as Snowplow's Python SDK makes them; lines that it refuses are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from snowplow_analytics_sdk.event_transformer import transform
        from snowplow_analytics_sdk.snowplow_event_transformation_exception import (
            SnowplowEventTransformationException,
        )
    with gzip.open(file, "rt", encoding="utf-8", newline="\n") as lines:
        for line in islice(lines, limit):
            try:
                yield transform(line.rstrip("\n"))
            except SnowplowEventTransformationException:
                continue


def inflate(file: Path, limit: int) -> tuple[float, int]:
    """`zlib.decompress` until so many lines have been inflated."""
    data, count = file.read_bytes(), 0
    lines = zlib.decompress(data, 31).count(b"\n")
    began = time.process_time()
    while count < limit:
        zlib.decompress(data, 31)
        count += lines
    return time.process_time() - began, count


def offline(file: Path, limit: int) -> tuple[float, int]:
    """Files in, files out: what a script of ten lines would do."""
    count = 0
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder, gzip.open(Path(folder) / "out.gz", "wt") as out:
        for event in transformed(file, limit):
            out.write(json.dumps(event) + "\n")
            count += 1
    return time.process_time() - began, count


def capture(file: Path, limit: int) -> tuple[float, int]:
    """posthog-python with its defaults, waiting whenever its queue is full (it would drop events in silence)."""
    from posthog import Posthog

    events = list(transformed(file, limit))
    client = Posthog("phc_sandbox", host=os.environ["POSTHOG_HOST"], disable_geoip=True)
    began = time.process_time()
    for event in events:
        given = {"distinct_id": event.get("domain_userid") or "nobody", "properties": event, "uuid": str(uuid.uuid4())}
        while client.capture(event["event"], **given) is None:
            time.sleep(0.01)
    client.flush()
    client.shutdown()
    return time.process_time() - began, len(events)


def main() -> None:
    """Measure one of them and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=("inflate", "offline", "capture"))
    parser.add_argument("file", type=Path)
    parser.add_argument("lines", type=int)
    options = parser.parse_args()
    seconds, count = {"inflate": inflate, "offline": offline, "capture": capture}[options.way](
        options.file, options.lines
    )
    print(json.dumps({"cpu_s_per_million": seconds * 1e6 / count, "events": count}))


if __name__ == "__main__":
    main()
