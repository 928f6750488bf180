"""The part of the demo that proves the promise: an hour of 100,000 lines, killed on the way and run again.

    generate --> load, a process of its own --SIGKILL when a third has arrived--> load again --> compare with the truth

The truth file is counted where the records are made; what PostHog holds is asked of PostHog's query API. Nothing that
must arrive may be missing, nothing may be there twice, and how much was sent twice is said: what PostHog had taken and
the log did not know yet when the kill came.
"""

import datetime as dt
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from snowplow_posthog_dagster.commands.load import instance, materialize
from snowplow_posthog_dagster.commands.terminal import err, out
from snowplow_posthog_dagster.errors import TransientError
from snowplow_posthog_dagster.generator import (
    FolderSink,
    GeneratorSettings,
    Truth,
    generate,
    read_truth,
    read_uuids,
)
from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.servers import ARCHIVE_BUCKET
from snowplow_posthog_dagster.settings import Settings

DAY = dt.date(2022, 7, 4)
HOUR = 14
EVENTS = 100_000
TAG = "demo-hour"
_KILL_SHARE = 1 / 3
_LOOK_SECONDS = 0.02
_LONGEST_SECONDS = 120.0
_ROWS = 50_000


class Comparison(NamedTuple):
    """What PostHog holds beside what had to arrive."""

    equal: bool
    resent: int  # rows beyond the first of an event: PostHog merges them
    lost: int  # had to arrive and is not there
    doubled: int  # there under two keys, which PostHog would count twice


def killed_hour(folder: Path, current: Settings, client: StandInClient) -> bool:
    """Load the hour, kill the load, load again; prints the comparison and returns whether it is as promised."""
    truth = _generate(folder)
    if _rows(client) == 0:
        killed = _load_and_kill(client, truth.sums["must_arrive"])
        out.print(
            f"\nAn hour of {truth.sums['records']:,} generated lines: the load was killed {killed}, and runs again"
        )
    with instance() as dagster_instance:
        run = materialize(current, DAY, dagster_instance, {"now": True})
    for error in run.errors:
        err.print(f"[bold red]failed[/]: {error}")
    found = compare(client, set(read_uuids(_truth_folder(folder))), set(truth.oversized_uuids))
    out.print(f"truth file: {'equal' if found.equal else 'DIFFERENT'}")
    out.print(f"re-sent {found.resent:,}, lost {found.lost:,}, doubled {found.doubled:,}")
    return found.equal and not run.errors and not found.doubled


def _truth_folder(folder: Path) -> Path:
    return folder / "truth" / TAG


def _generate(folder: Path) -> Truth:
    """The hour's objects and their truth, unless they lie there."""
    settings = GeneratorSettings(
        start=dt.datetime.combine(DAY, dt.time(HOUR), dt.UTC), events=EVENTS, records_per_object=5_000, tag=TAG
    )
    if (_truth_folder(folder) / "truth.json").exists():
        known = read_truth(_truth_folder(folder))
        if known.settings == settings.model_dump(mode="json"):
            return known
    return generate(settings, FolderSink(folder / "s3" / ARCHIVE_BUCKET), _truth_folder(folder))


def _rows(client: StandInClient) -> int:
    return int(client.query("SELECT count() FROM events WHERE properties.etl_tags = {tag}", {"tag": TAG})[0][0])


def _load_and_kill(client: StandInClient, must_arrive: int) -> str:
    """Start a load of the day and kill it when PostHog has a third; says when that was.

    Raises TransientError when nothing arrives.
    """
    before, started = client.raw_rows(), time.monotonic()
    load = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", "snowplow_posthog_dagster.cli", "load", f"{DAY}", "--now"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while load.poll() is None and client.raw_rows() - before < must_arrive * _KILL_SHARE:
            if time.monotonic() - started > _LONGEST_SECONDS:
                raise TransientError(f"nothing arrived within {_LONGEST_SECONDS:.0f} s")
            time.sleep(_LOOK_SECONDS)
    finally:
        if load.poll() is None:
            os.killpg(load.pid, signal.SIGKILL)
        load.wait()
    return f"after {time.monotonic() - started:.1f} s with {client.raw_rows() - before:,} events in PostHog"


def compare(client: StandInClient, must_arrive: set[str], may_arrive: set[str]) -> Comparison:
    """Compare the uuids in PostHog with those that must be there."""
    keys: dict[str, int] = {}
    copies = offset = 0
    while True:
        rows = client.query(
            "SELECT uuid, event, distinct_id, toDate(timestamp) AS day, count() FROM events"  # noqa: S608 - two numbers
            " WHERE properties.etl_tags = {tag} GROUP BY uuid, event, distinct_id, day"
            f" ORDER BY uuid LIMIT {_ROWS} OFFSET {offset}",
            {"tag": TAG},
        )
        for uuid, _, _, _, count in rows:
            keys[uuid] = keys.get(uuid, 0) + 1
            copies += int(count)
        if len(rows) < _ROWS:
            break
        offset += _ROWS
    lost = must_arrive - keys.keys()
    return Comparison(
        equal=must_arrive <= keys.keys() <= must_arrive | may_arrive,
        resent=copies - sum(keys.values()),
        lost=len(lost),
        doubled=sum(number - 1 for number in keys.values()),
    )
