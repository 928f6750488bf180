"""`demo`, `dev`, `up` and `down`: the sandbox on this machine.

The demo does the real job on real Snowplow files: the sandbox's S3 is a real S3 server over plain files, the
load is a Dagster run into the home that `make dev` shows, and the stand-in for PostHog enforces PostHog's
rules. Only the project at the end is not PostHog's.
"""

import datetime as dt
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from snowplow_posthog_dagster.commands.killed_hour import killed_hour
from snowplow_posthog_dagster.commands.load import ASSETS, instance, materialize
from snowplow_posthog_dagster.commands.preview import show
from snowplow_posthog_dagster.commands.terminal import counts_table, err, friendly_errors, out
from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.loading.setup import archive_of, connection_of, mapper_of, workspace_of
from snowplow_posthog_dagster.sandbox import samples
from snowplow_posthog_dagster.sandbox.processes import is_free
from snowplow_posthog_dagster.sandbox.servers import Sandbox
from snowplow_posthog_dagster.settings import Settings, load
from snowplow_posthog_dagster.snowplow.lines import records
from snowplow_posthog_dagster.snowplow.record import Record
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.dead_letters import TRANSFORM, dead_letter_files, read_dead_letters
from snowplow_posthog_dagster.storage.s3 import connect
from snowplow_posthog_dagster.storage.workspace import Workspace

Folder = Annotated[Path, typer.Option(help="Where the sandbox lives.")]
DEFAULT_FOLDER = Path(".sandbox")
SAMPLE_DAYS = tuple(dt.date.fromisoformat(day) for day in samples.SAMPLE_DAYS)
_LETTERS_SHOWN = 8
_SESSIONS_SHOWN = 5


def demo(folder: Folder = DEFAULT_FOLDER) -> None:
    """Load real Snowplow files into the sandbox through Dagster, and show what became of every record."""
    started = time.monotonic()
    with friendly_errors():
        sandbox, current = start(folder)
        written = samples.write_sample_archive(connect(connection_of(current)), current.archive_bucket)
        out.print(
            f"Archive: {written.written + written.unchanged} objects with {written.records:,} lines in"
            f" s3://{current.archive_bucket}/output/, {written.written} of them new ({folder / 's3'} holds the files)"
        )
        runs = _load_days(current)
        failed = [error for run in runs for error in run.errors]
        for error in failed:
            err.print(f"[bold red]failed[/]: {error}")
        _show(current, sandbox, runs, time.monotonic() - started)
        kept_its_promise = killed_hour(folder, current, sandbox.client())
    if failed or not kept_its_promise:
        raise typer.Exit(1)


def dev(folder: Folder = DEFAULT_FOLDER, port: Annotated[int, typer.Option(help="Port of the UI.")] = 3000) -> None:
    """Dagster's UI on the sandbox: http://127.0.0.1:3000."""
    with friendly_errors():
        _refuse_taken(port)
        _, current = start(folder)
        samples.write_sample_archive(connect(connection_of(current)), current.archive_bucket)
    # In production sensors and schedules ship stopped; on the sandbox they run from the first start.
    os.environ["SNOWPLOW_POSTHOG_START_AUTOMATION"] = "true"
    program = str(Path(sys.executable).with_name("dagster"))
    os.execv(program, [program, "dev", "-h", "127.0.0.1", "-p", str(port)])  # noqa: S606


def _refuse_taken(port: int) -> None:
    """Raise SettingsError for a port that is in use: `dagster dev` goes on without its UI, and one daemon too many."""
    if not is_free(port):
        raise SettingsError(
            f"port {port} is taken; is another `make dev` running?"
            f" `snowplow-posthog dev --port {port + 1}` takes another port"
        )


def up(folder: Folder = DEFAULT_FOLDER) -> None:
    """Start the sandbox and print its environment, for `eval $(snowplow-posthog up)`."""
    with friendly_errors():
        sandbox, _ = start(folder)
    for name, value in sandbox.environment().items():
        typer.echo(f"export {name}={value}")


def down(folder: Folder = DEFAULT_FOLDER) -> None:
    """Stop the sandbox; what it holds stays."""
    with friendly_errors():
        Sandbox(folder).down()


def start(folder: Path) -> tuple[Sandbox, Settings]:
    """Start the sandbox, take over its environment, and prepare its Dagster home."""
    sandbox = Sandbox(folder)
    sandbox.up()
    for name in [name for name in os.environ if name.startswith(("POSTHOG_", "SNOWPLOW_POSTHOG_"))]:
        del os.environ[name]
    os.environ.update(sandbox.environment())
    home = Path(os.environ["DAGSTER_HOME"])
    if Path("dagster.yaml").exists():
        shutil.copy("dagster.yaml", home / "dagster.yaml")
    elif not (home / "dagster.yaml").exists():
        # Outside a checkout (the image, an installed package): a sandbox reports to nobody.
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    return sandbox, load()


def _load_days(current: Settings) -> list[Any]:
    runs = []
    with instance() as dagster_instance:
        for day in SAMPLE_DAYS:
            started = time.monotonic()
            run = materialize(current, day, dagster_instance)
            runs.append(run)
            summary = run.metadata.get(ASSETS[-1], {}).get("summary", "failed")
            out.print(f"  {day}  {summary}  ({time.monotonic() - started:.1f} s)")
    return runs


def _show(current: Settings, sandbox: Sandbox, runs: list[Any], seconds: float) -> None:
    workspace = workspace_of(current, connection_of(current))
    rows = [(f"{day}", DayLog(workspace, day).state().counts()) for day in SAMPLE_DAYS]
    out.print()
    out.print(counts_table(rows, "The counting equation, per day: every record is in exactly one place"))
    _show_dead_letters(workspace)
    _show_one_record(current)
    _show_landed(sandbox)
    reads = sum(run.metadata.get(ASSETS[1], {}).get("run_reads") or 0 for run in runs)
    posts = sum(run.metadata.get(ASSETS[2], {}).get("run_posts") or 0 for run in runs)
    out.print(f"\n{len(runs)} days in {seconds:.0f} s: {reads} reads of archive objects, {posts} posts to PostHog.")
    if not reads and not posts:
        out.print("[bold green]There was nothing new: 0 reads, 0 posts.[/] Everything was acknowledged before.")
    _show_next_steps(sandbox)


def _show_dead_letters(workspace: Workspace) -> None:
    table = Table(title="\nDead letters: kept with their reason, never in anybody's way", title_justify="left")
    for name in ("file", "line", "reason"):
        table.add_column(name, overflow="fold")
    letters = [
        letter
        for day in SAMPLE_DAYS
        for name in dead_letter_files(workspace, day, TRANSFORM)
        for letter in read_dead_letters(workspace, day, TRANSFORM, name)
    ]
    for letter in letters[:_LETTERS_SHOWN]:
        place = letter["place"]
        table.add_row(place["key"].rsplit("/", 1)[-1], str(place["line"]), letter["reason"][:160])
    out.print(table if letters else "\nNo dead letters.")


def _show_one_record(current: Settings) -> None:
    out.print("\n[bold]One record beside the PostHog event that it became[/]")
    name, record = next(_page_views(current))
    outcome = mapper_of(current).for_object(object_id="shown", archive_day=f"{SAMPLE_DAYS[0]}")(record)
    show(name, record, outcome, whole_entities=False)


def _page_views(current: Settings) -> Iterator[tuple[str, Record]]:
    archive = archive_of(current, connection_of(current))
    for day in SAMPLE_DAYS:
        for found in archive.list_day(day):
            for record in records(archive.read(found)):
                if isinstance(record, Record) and record.fields[5] == "page_view":
                    yield found.key.rsplit("/", 1)[-1], record


def _show_landed(sandbox: Sandbox) -> None:
    client = sandbox.client()
    sessions = sorted(client.sessions(), key=lambda session: -session["events"])
    out.print(
        f"\nPostHog (the sandbox's): {client.raw_rows():,} rows received,"
        f" {client.merged_rows():,} events after its deduplication, {len(sessions):,} sessions,"
        f" violations of its rules: {sum(client.violations().values())}"
    )
    table = Table(title=f"The {_SESSIONS_SHOWN} longest of its sessions", title_justify="left")
    for name in ("$session_id", "start", "minutes", "events", "pageviews", "screens"):
        table.add_column(name, justify="left" if name in {"$session_id", "start"} else "right")
    for session in sessions[:_SESSIONS_SHOWN]:
        start, end = session["start"], session["end"]
        began = dt.datetime.fromtimestamp(start / 1_000_000, dt.UTC)
        minutes = f"{(end - start) / 60_000_000:.1f}"
        numbers = [str(session[name]) for name in ("events", "pageviews", "screens")]
        table.add_row(session["session_id"], f"{began:%Y-%m-%d %H:%M:%S}", minutes, *numbers)
    out.print(table)


def _show_next_steps(sandbox: Sandbox) -> None:
    address = sandbox.environment()["POSTHOG_HOST"]
    out.print(f"\nThe landed events:   [bold]{address}/events[/]")
    out.print("Dagster's UI on them: [bold]make dev[/]")
    out.print("\nYour own bucket, in two commands (.env.example says what to set):")
    out.print("  .venv/bin/snowplow-posthog preview s3://YOUR-BUCKET/output/2022/06/06/04/    # sends nothing")
    out.print("  .venv/bin/snowplow-posthog load 2022-06-06 --hour 4 --max-events 1000        # into a test project")
