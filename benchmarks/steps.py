"""The transform's steps on the files of one workload, each measurement with one step more than the one before.

    python -m benchmarks.steps FOLDER [--files N] [--rounds N]

Nothing is read from S3 here and nothing is stored: GET, PUT and POST are what `load.py` costs on top. The steps take
turns within a round, so that a noisy neighbour meets all of them; the median round counts. Prints one line of JSON, in
CPU seconds per million records.
"""

import argparse
import json
import statistics
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from snowplow_posthog_dagster.loading.transform import RepeatWindow
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.outcome import Mapped
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.posthog.batches import BatchBuilder
from snowplow_posthog_dagster.snowplow.lines import records
from snowplow_posthog_dagster.snowplow.record import Record, Rejected
from snowplow_posthog_dagster.storage.inflate import inflate

_READ_BYTES = 256 * 1024


def chunks(data: bytes) -> Iterator[bytes]:
    """A file in the pieces in which S3 is read."""
    return (data[start : start + _READ_BYTES] for start in range(0, len(data), _READ_BYTES))


def zlib_decompress(files: list[bytes]) -> None:
    """The yardstick: `zlib.decompress` of whole files."""
    for data in files:
        zlib.decompress(data, 31)


def inflated(files: list[bytes]) -> None:
    """Inflate."""
    for data in files:
        for _ in inflate(chunks(data)):
            pass


def split(files: list[bytes]) -> None:
    """Inflate and split into records and columns."""
    for data in files:
        for _ in records(inflate(chunks(data))):
            pass


def checked(files: list[bytes]) -> None:
    """The same, and look for repeats."""
    for data in files:
        window = RepeatWindow(20_000)
        for record in records(inflate(chunks(data))):
            window.seen(record.raw)


def mapped(files: list[bytes], *, build: bool = False) -> None:
    """The same, and map to PostHog events; with `build` batches are made of them."""
    mapper = Mapper(MappingSettings())
    for data in files:
        window, builder = RepeatWindow(20_000), BatchBuilder()
        event = mapper.for_object(object_id="0" * 32, archive_day="2022-06-06")
        for record in records(inflate(chunks(data))):
            if isinstance(record, Rejected) or window.seen(record.raw):
                continue
            outcome = event(record)
            if build and isinstance(outcome, Mapped):
                builder.add(outcome.event, outcome.timestamp)
        builder.finish()


def batched(files: list[bytes]) -> None:
    """Everything but S3 and PostHog."""
    mapped(files, build=True)


STEPS: dict[str, Callable[[list[bytes]], None]] = {
    "zlib.decompress": zlib_decompress,
    "inflate": inflated,
    "split": split,
    "repeats": checked,
    "map": mapped,
    "batch": batched,
}


def measure(files: list[bytes], rounds: int) -> dict[str, float]:
    """CPU seconds per million records of each step, without the steps before it; `sum` is all of ours."""
    count = sum(isinstance(record, Record) for data in files for record in records(inflate(chunks(data))))
    taken: dict[str, list[float]] = {name: [] for name in STEPS}
    for _ in range(rounds):
        for name, step in STEPS.items():
            began = time.process_time()
            step(files)
            taken[name].append((time.process_time() - began) * 1e6 / count)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    names = list(STEPS)[1:]
    before = [0.0, *(medians[name] for name in names)]
    alone = {name: medians[name] - earlier for name, earlier in zip(names, before, strict=False)}
    ratios = [ours / theirs for ours, theirs in zip(taken["batch"], taken["zlib.decompress"], strict=True)]
    return {
        "zlib.decompress": medians["zlib.decompress"],
        **alone,
        "sum": medians["batch"],
        "ratio": statistics.median(ratios),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    paths = sorted(options.folder.rglob("*.gz"))[: options.files]
    print(json.dumps(measure([path.read_bytes() for path in paths], options.rounds)))


if __name__ == "__main__":
    main()
