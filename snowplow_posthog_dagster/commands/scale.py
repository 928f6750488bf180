"""`scale`: N generated events through Dagster, end to end, and PostHog itself asked whether exactly N arrived.

    generate (tag, seed) --> sandbox's S3 --Dagster run--> sandbox's PostHog, or your test project --HogQL--> counts

Every run has a seed of its own, so its events are new to any project, and a tag in the column `etl_tags` by which they
are found again. What arrived is counted per archive object and in all; every batch of the log must be acknowledged
whole, and of some batches each uuid is looked up.
"""

import contextlib
import datetime as dt
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import orjson
import typer
from rich.table import Table

from snowplow_posthog_dagster.commands.generate import generate_with_progress
from snowplow_posthog_dagster.commands.load import ASSETS, instance, materialize, progress_bar
from snowplow_posthog_dagster.commands.sandbox import start
from snowplow_posthog_dagster.commands.terminal import announce_sending, err, friendly_errors, out, plain
from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.generator import FolderSink, GeneratorSettings, Profile
from snowplow_posthog_dagster.generator.truth import Truth
from snowplow_posthog_dagster.loading.setup import connection_of, workspace_of
from snowplow_posthog_dagster.posthog.batches import events_of, run_of
from snowplow_posthog_dagster.posthog.query import QueryClient, quoted
from snowplow_posthog_dagster.sandbox.servers import ARCHIVE_BUCKET, Sandbox
from snowplow_posthog_dagster.settings import Settings
from snowplow_posthog_dagster.settings import load as load_settings
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.state import BatchState, DayState
from snowplow_posthog_dagster.storage.workspace import Workspace

FIRST_DAY = dt.date(2021, 2, 1)
_DAYS = 600
_BATCHES_LOOKED_UP = 10
_ROWS = 50_000
_LOOK_EVERY_SECONDS = 5.0
_QUERY_SECONDS = 900.0


@dataclass(frozen=True)
class Check:
    """One thing that was compared, and whether both sides agree."""

    name: str
    expected: str
    found: str

    @property
    def holds(self) -> bool:
        """Whether they are the same."""
        return self.expected == self.found


def scale(
    events: Annotated[int, typer.Option(min=1, help="How many events.")] = 1_000_000,
    per_object: Annotated[int, typer.Option(min=1, help="Records an object.")] = 20_000,
    profile: Annotated[Profile, typer.Option(help="gitlab: 1.2 KB a line; wide: 3.3 KB.")] = Profile.GITLAB,
    folder: Annotated[Path, typer.Option(help="Where this test's sandbox lives.")] = Path(".sandbox-scale"),
    seed: Annotated[int | None, typer.Option(help="Makes the events; a new one each time by default.")] = None,
    project: Annotated[
        bool, typer.Option("--project", help="Send to the PostHog project of your POSTHOG_* instead of the sandbox's.")
    ] = False,
    patience: Annotated[float, typer.Option(help="Seconds to wait until all have arrived.")] = 600.0,
    report: Annotated[Path, typer.Option(help="Where the numbers go.")] = Path("build/scale.json"),
    yes: Annotated[bool, typer.Option("--yes", help="Go on although the target is marked production.")] = False,
) -> None:
    """Load generated events end to end and ask PostHog whether exactly these arrived."""
    seed = int(time.time()) if seed is None else seed
    tag, day = f"scale-{seed}", FIRST_DAY + dt.timedelta(days=seed % _DAYS)
    with friendly_errors(), _stopped_at_the_end(folder):
        report.parent.mkdir(parents=True, exist_ok=True)  # before the work and not after it
        current = _settings(folder, project=project)
        if project:
            announce_sending(current, f"{events:,} generated events of {day}, tagged {tag},", yes=yes)
        truth = _generate(current, folder, tag, seed, day, events, per_object, profile)
        numbers = _load(current, day)
        state, workspace = _log(current, day)
        # What failed is not waited for.
        checks = verify(current, truth, tag, state, workspace, day, 0 if numbers["errors"] else patience)
    counts = state.counts()
    result = {
        "tag": tag,
        "events": truth.sums["must_arrive"],
        "objects": truth.sums["objects"],
        "raw_megabytes": truth.sums["raw_bytes"] / 1e6,
        **numbers,
        "cpu_seconds_per_million": numbers["cpu_seconds"] * 1e6 / max(1, truth.sums["records"]),
        "checks": [{**vars(check), "holds": check.holds} for check in checks],
        "acknowledged": counts.acknowledged,
        "dead_letters": counts.dead_letters,
    }
    _show(result, checks)
    with friendly_errors():
        report.write_text(json.dumps(result, indent=1) + "\n")
    out.print(f"written: {report}")
    out.print(f"What the sandbox holds stays in {folder}; `snowplow-posthog up --folder {folder}` starts it again.")
    if not all(check.holds for check in checks) or numbers["errors"]:
        raise typer.Exit(1)


@contextlib.contextmanager
def _stopped_at_the_end(folder: Path) -> Iterator[None]:
    """Stop the servers of the sandbox, also after an error or SIGTERM: nobody looks at its page as after the demo."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        Sandbox(folder).down()
        signal.signal(signal.SIGTERM, before)


def _settings(folder: Path, *, project: bool) -> Settings:
    """The sandbox's settings; with `project` PostHog is that of the environment, and only S3 is the sandbox's.

    Of the settings file its section `delivery` holds then: what is production, the pace, the way to PostHog. Days that
    the environment bounds do not: the test's day is none of the archive's.
    """
    given = {name: value for name, value in os.environ.items() if name.startswith("POSTHOG_")}
    delivery = load_settings().file.delivery if project else None
    _, current = start(folder)
    if delivery is None:
        return current
    for name in ("POSTHOG_HOST", "POSTHOG_PROJECT_API_KEY", "POSTHOG_PERSONAL_API_KEY", "POSTHOG_PROJECT_ID"):
        if name not in given:
            raise SettingsError(f"{name} is not set; --project needs it to send and to ask what arrived")
    theirs = {name: value for name, value in given.items() if not name.startswith("POSTHOG_BACKFILL_")}
    os.environ.update({**theirs, "POSTHOG_TARGET": given.get("POSTHOG_TARGET", "scale")})
    loaded = load_settings()
    return Settings(loaded.environment, loaded.file.model_copy(update={"delivery": delivery}))


def _generate(
    current: Settings, folder: Path, tag: str, seed: int, day: dt.date, events: int, per_object: int, profile: Profile
) -> Truth:
    # Repeats across the border of two objects would count twice per object; broken ones show in the counts.
    settings = GeneratorSettings(
        start=dt.datetime.combine(day, dt.time(), dt.UTC), hours=24, events=events, records_per_object=per_object,
        profile=profile, seed=seed, tag=tag, repeats=0, broken=0.0005,
        prefix=current.archive_entries[0].prefix, layout=current.archive_entries[0].layout,
    )  # fmt: skip
    began = time.monotonic()
    truth = generate_with_progress(settings, FolderSink(folder / "s3" / ARCHIVE_BUCKET), folder / "truth" / tag)
    out.print(
        f"Generated {truth.sums['records']:,} records in {truth.sums['objects']:,} objects"
        f" ({truth.sums['raw_bytes'] / 1e6:,.0f} MB raw) in {time.monotonic() - began:.0f} s, tag {tag}"
    )
    return truth


def _load(current: Settings, day: dt.date) -> dict[str, Any]:
    """Materialize the day in this process; what it took."""
    cpu, wall = _cpu_seconds(), time.monotonic()
    with instance() as dagster_instance, progress_bar(), _Watch() as watch:
        result = materialize(current, day, dagster_instance)
    seconds = time.monotonic() - wall
    for line in result.errors:
        err.print(f"[bold red]failed[/]: {plain(line)}")
    sent = result.metadata.get(ASSETS[2], {})
    return {
        "errors": result.errors,
        "seconds": seconds,
        "cpu_seconds": _cpu_seconds() - cpu,
        "transform_seconds": result.metadata.get(ASSETS[1], {}).get("run_seconds"),
        "deliver_seconds": sent.get("run_seconds"),
        "posts": sent.get("run_posts"),
        "retries": sent.get("run_retries"),
        **{f"post_seconds_p{percent}": sent.get(f"run_post_seconds_p{percent}") for percent in (50, 95, 99)},
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "peak_mb_of_a_worker": watch.peak_megabytes,
    }


class _Watch(threading.Thread):
    """The most memory that any pool worker had, by the kernel's own high-water mark (Linux; elsewhere 0)."""

    def __init__(self) -> None:
        super().__init__(name="memory-watch", daemon=True)
        self._over = threading.Event()
        self.peak_megabytes = 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        """Look twice a second until the block ends."""
        while not self._over.wait(0.5):
            for listed in Path("/proc/self/task").glob("*/children"):
                with contextlib.suppress(OSError):  # the thread or the process has ended
                    for process in listed.read_text().split():
                        self._look(Path("/proc") / process)

    def _look(self, process: Path) -> None:
        if b"loading.worker" in (process / "cmdline").read_bytes():
            status = (process / "status").read_text()
            peak = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
            self.peak_megabytes = max(self.peak_megabytes, int(peak.split()[1]) / 1024)


def _cpu_seconds() -> float:
    both = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def _log(current: Settings, day: dt.date) -> tuple[DayState, Workspace]:
    workspace = workspace_of(current, connection_of(current))
    return DayLog(workspace, day).state(), workspace


def verify(
    current: Settings, truth: Truth, tag: str, state: DayState, workspace: Workspace, day: dt.date, patience: float
) -> list[Check]:
    """Compare truth, log and what PostHog answers. Waits until as many have arrived as must, or patience ends."""
    personal, section = current.environment.posthog_personal_api_key, current.file.delivery
    client = QueryClient(
        current.host,
        str(current.target_identity.project_id),
        personal.get_secret_value() if personal else "",
        timeout_seconds=_QUERY_SECONDS,
        ca_bundle=section.ca_bundle,
        proxy=section.proxy,
    )
    wanted = truth.sums["must_arrive"]
    arrived = _arrived(client, tag, wanted, patience)
    by_object = _by_object(client, tag, truth.sums["objects"])
    keys = {known.key: name for name, known in state.objects.items()}
    differing = [made.key for made in truth.objects if by_object.get(keys.get(made.key, ""), 0) != made.must_arrive]
    whole = [
        (known.object_id, batch)
        for known in state.objects.values()
        for batch in known.batches.values()
        if len(batch.acknowledged) == batch.note.events
    ]
    batches = sum(len(known.batches) for known in state.objects.values())
    chosen = whole[:: max(1, len(whole) // _BATCHES_LOOKED_UP)]
    found = [_looked_up(client, workspace, day, name, batch) for name, batch in chosen]
    return [
        Check("distinct events with the tag, in PostHog", f"{wanted:,}", f"{arrived:,}"),
        Check("objects with other counts than generated", "0", f"{len(differing):,}"),
        Check("batches acknowledged whole, by the log", f"{batches:,}", f"{len(whole):,}"),
        Check(
            f"uuids of {len(chosen)} batches, looked up in PostHog",
            f"{sum(batch.note.events for _, batch in chosen):,}",
            f"{sum(found):,}",
        ),
    ]


def _arrived(client: QueryClient, tag: str, wanted: int, patience: float) -> int:
    """Distinct uuids with the tag; asked again until there are enough, because PostHog stores with a delay."""
    until = time.monotonic() + patience
    query = f"SELECT count(DISTINCT uuid) FROM events WHERE properties.etl_tags = {quoted(tag)}"  # noqa: S608 - quoted
    while True:
        arrived = int(client.rows(query)[0][0])
        if arrived >= wanted or time.monotonic() > until:
            return arrived
        time.sleep(_LOOK_EVERY_SECONDS)


def _by_object(client: QueryClient, tag: str, objects: int) -> dict[str, int]:
    """Object-id -> distinct uuids of it. Pages of 50,000, the most that PostHog answers."""
    found: dict[str, int] = {}
    for offset in range(0, objects, _ROWS):
        rows = client.rows(
            "SELECT properties.snowplow_object AS object, count(DISTINCT uuid) FROM events"  # noqa: S608 - quoted
            f" WHERE properties.etl_tags = {quoted(tag)} GROUP BY object ORDER BY object LIMIT {_ROWS} OFFSET {offset}"
        )
        found.update({row[0]: int(row[1]) for row in rows})
    return found


def _looked_up(client: QueryClient, workspace: Workspace, day: dt.date, object_id: str, batch: BatchState) -> int:
    """How many of a batch's uuids PostHog knows."""
    key = workspace.batch_key(day, object_id, batch.note.id)
    events = [orjson.loads(event) for event in events_of(run_of(workspace.bucket.get(key), name=key))]
    uuids = ", ".join(quoted(event["uuid"]) for event in events)
    times = sorted(event["timestamp"] for event in events)
    rows = client.rows(
        f"SELECT count(DISTINCT uuid) FROM events WHERE timestamp >= {quoted(times[0])}"  # noqa: S608 - quoted
        f" AND timestamp <= {quoted(times[-1])} AND uuid IN ({uuids})"
    )
    return int(rows[0][0])


def _show(result: dict[str, Any], checks: list[Check]) -> None:
    table = Table(title=f"{result['events']:,} events, {result['objects']:,} objects, tag {result['tag']}",
                  title_justify="left", header_style="bold")  # fmt: skip
    for name in ("what", "expected", "found", ""):
        table.add_column(name, justify="left" if name in {"what", ""} else "right")
    for check in checks:
        table.add_row(check.name, check.expected, check.found, "equal" if check.holds else "[bold red]DIFFERENT[/]")
    out.print(table)
    rate = result["events"] / result["seconds"]
    out.print(
        f"{result['seconds']:.1f} s from archive to acknowledged ({rate:,.0f} events/s), of these transform"
        f" {result['transform_seconds'] or 0:.1f} s and delivery {result['deliver_seconds'] or 0:.1f} s;"
        f" {result['cpu_seconds']:.1f} CPU-s ({result['cpu_seconds_per_million']:.0f} per million, Dagster included)"
    )
    out.print(
        f"{result['posts']} POSTs, {result['retries']} retries, answered within {result['post_seconds_p50'] or 0:.3f} s"
        f" (p50), {result['post_seconds_p95'] or 0:.3f} s (p95), {result['post_seconds_p99'] or 0:.3f} s (p99);"
        f" peak memory {result['peak_mb']:.0f} MB, of a worker {result['peak_mb_of_a_worker']:.0f} MB"
    )
