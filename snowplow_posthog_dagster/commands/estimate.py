"""`estimate --from --to`: what a backfill would be, before it is started. Sends and writes nothing."""

import time
from typing import Annotated

import typer
from rich.filesize import decimal
from rich.table import Table

from snowplow_posthog_dagster.commands.days import From, To, days_between, logged_days
from snowplow_posthog_dagster.commands.terminal import err, forgotten_people, friendly_errors, out, plain, settings
from snowplow_posthog_dagster.loading import estimate as estimating
from snowplow_posthog_dagster.loading.estimate import POD_CORES, Estimate, Work
from snowplow_posthog_dagster.loading.setup import archive_of, connection_of, workspace_to_read
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.settings import Settings
from snowplow_posthog_dagster.storage.day_log import DayLog

_SHOWN = 15


def estimate(
    start: From,
    end: To,
    read: Annotated[int, typer.Option(min=1, help="Read and map so many archive objects.")] = 8,
) -> None:
    """Estimate events, money, S3 requests, workspace, pods and hours of a backfill; sends and writes nothing."""
    current = settings()
    with friendly_errors():
        days, section = days_between(start, end), current.file.transform
        archive = archive_of(current, connection_of(current))
        listings = estimating.list_days(archive, days)
        sample = estimating.read_objects(
            archive,
            Mapper(current.file.mapping, privacy_secret=current.privacy_secret, forgotten=forgotten_people(current)),
            estimating.choose(archive.list_day, listings, read),
            now_milliseconds=time.time_ns() // 1_000_000,
            max_record_bytes=section.max_record_bytes,
            max_object_bytes=section.max_object_bytes,
        )
        found = estimating.estimate(
            listings,
            sample,
            current.file.prices,
            events_per_second=current.events_per_second,
            historical=current.file.delivery.historical_migration == "auto",
        )
        acknowledged = _acknowledged(current, start, end)
    _show(found, current, acknowledged)


def _acknowledged(current: Settings, start: str, end: str) -> int:
    """Events of these days that are acknowledged already; 0 without a workspace."""
    workspace = workspace_to_read(current, connection_of(current))
    if workspace is None:
        return 0
    states = (DayLog(workspace, day).state() for day in logged_days(workspace, start, end))
    return sum(state.counts().acknowledged for state in states)


def _show(found: Estimate, current: Settings, acknowledged: int) -> None:
    sample = found.read
    out.print(
        f"{found.objects:,} archive objects of {decimal(found.stored_bytes)} on {found.days:,} days"
        f" ({found.days_without_objects:,} without any). Read for this: {sample.objects:,} objects,"
        f" {decimal(sample.stored_bytes)}, {sample.records:,} records."
    )
    for line in sample.broken:
        err.print(f"[bold yellow]could not be read[/]: {plain(line)}")
    if not sample.objects:
        out.print("Nothing could be read, so nothing is estimated.")
        raise typer.Exit(1)
    out.print(_events_table(found))
    currency = current.file.prices.currency
    rows = [
        ("records", f"{found.records:,}"),
        ("filtered, dead letters, repeats", f"{found.filtered:,}, {found.dead_letters:,}, {found.repeats:,}"),
        ("billable events, live", f"{found.live_events:,}"),
        ("billable events, historical", f"{found.historical_events:,}"),
        ("price of the events", _money(found.events_cost, currency)),
        ("S3 requests: lists, reads, writes", f"{found.s3_lists:,}, {found.s3_reads:,}, {found.s3_writes:,}"),
        ("price of the requests", _money(found.requests_cost, currency)),
        ("workspace", f"{decimal(found.workspace_bytes)} until it is purged"),
        ("price of the workspace", _money(found.storage_cost_per_month, currency, " a month")),
        *_work_rows(found.work, currency, current.events_per_second),
    ]
    table = Table(title="Estimate", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for row in rows:
        table.add_row(*row)
    out.print(table)
    if acknowledged:
        out.print(f"{acknowledged:,} events of these days are acknowledged already and will not be sent again.")


def _work_rows(work: Work, currency: str, cap: float | None) -> list[tuple[str, str]]:
    capped = "no cap is set" if work.hours is None else f"{work.hours:,.1f} at {cap:,.0f} events/s"
    return [
        ("core-hours: used, reserved by the pods", f"{work.core_hours:,.1f}, {work.reserved_core_hours:,.1f}"),
        (f"pods of {POD_CORES} cores", f"{work.pods:,}"),
        ("price of the pods", _money(work.cores_cost, currency)),
        ("sent to PostHog", decimal(work.sent_bytes)),
        ("price of the egress", _money(work.egress_cost, currency)),
        ("hours with the cap", capped),
        ("hours without it, these pods", f"{work.hours_without_cap:,.1f}"),
    ]


def _events_table(found: Estimate) -> Table:
    table = Table(title="Events", title_justify="left", header_style="bold")
    table.add_column("event", overflow="fold")
    table.add_column("number", justify="right")
    table.add_column("share", justify="right")
    for name, number in list(found.events.items())[:_SHOWN]:
        table.add_row(name, f"{number:,}", f"{number / max(found.billable, 1):.1%}")
    return table


def _money(value: float | None, currency: str, per: str = "") -> str:
    return "not reckoned: set `prices:` in the settings" if value is None else f"{value:,.2f} {currency}{per}"
