"""`preview --profile`: what an analyst would get of some records, and what it would cost. Nothing is sent."""

import itertools
from collections.abc import Iterable, Mapping
from operator import itemgetter

from rich.table import Table

from snowplow_posthog_dagster.commands.terminal import err, forgotten_people, out, plain
from snowplow_posthog_dagster.loading.transform import RepeatWindow
from snowplow_posthog_dagster.mapping.profile import Profile, Report
from snowplow_posthog_dagster.settings import Settings
from snowplow_posthog_dagster.snowplow.record import Record, Rejected

_SHOWN = 15


def show_profile(current: Settings, records: Iterable[tuple[str, Record | Rejected]], most: int) -> None:
    """Count at most so many records, each with the name of its object, under the settings, and print the report."""
    profile = Profile(current.file.mapping, current.privacy_secret, forgotten_people(current))
    for _, found in itertools.groupby(itertools.islice(records, most), key=itemgetter(0)):
        repeats = RepeatWindow(current.file.transform.repeat_window)
        for _, record in found:
            if isinstance(record, Record) and repeats.seen(record.raw):
                profile.add_repeat()
            else:
                profile.add(record)
    report = profile.report()
    _print(report, current)
    if report.records >= most:
        err.print(f"Only the first {most:,} records were read; --most reads more.")
    err.print("Nothing was sent.")


def _print(report: Report, current: Settings) -> None:
    sent = sum(report.events.values())
    out.print(
        f"{report.records:,} records: {sent:,} events of {report.users:,} users in {report.sessions:,} sessions,"
        f" {report.repeats:,} repeats, {report.dead_letters:,} dead letters, {sum(report.filtered.values()):,} filtered"
        + "".join(f"; {rule}: {number:,}" for rule, number in report.filtered.items())
    )
    out.print(_counts("Events", "event", report.events, of=sent))
    shares = Table(title="Events that have", title_justify="left", header_style="bold")
    for name in report.shares:
        shares.add_column(name.replace("_", " "), justify="right")
    shares.add_row(*(f"{share:.1%}" for share in report.shares.values()))
    out.print(shares)
    out.print(_counts("Entities", "property", report.entities, of=sent))
    total = sum(report.bytes_by_property.values())
    out.print(_counts("Bytes by property: what to drop to save money", "property", report.bytes_by_property, of=total))
    if report.notes:
        out.print(_counts("Notes", "note", report.notes, of=sent))
    out.print(_billable(report, current))


def _counts(title: str, name: str, counts: Mapping[str, int], *, of: int) -> Table:
    more = f" (the first {_SHOWN} of {len(counts):,})" if len(counts) > _SHOWN else ""
    table = Table(title=title + more, title_justify="left", header_style="bold")
    table.add_column(name, overflow="fold")
    table.add_column("number", justify="right")
    table.add_column("share", justify="right")
    for item, number in itertools.islice(counts.items(), _SHOWN):
        table.add_row(plain(item), f"{number:,}", f"{number / of:.1%}" if of else "")
    return table


def _billable(report: Report, current: Settings) -> Table:
    """Billable events under each policy; PostHog bills by event, and by the day at the rate of these records."""
    prices = current.file.prices
    table = Table(title="Billable events under other settings", title_justify="left", header_style="bold")
    table.add_column("settings", overflow="fold")
    for name in ("of these records", "a day", "a month"):
        table.add_column(name, justify="right")
    if prices.live_events_per_million is not None:
        table.add_column(f"{prices.currency} a month", justify="right")
    has_rate = report.per_day(1) > 0  # records of a few seconds say nothing about a day, and 0 would be a promise
    for policy, number in report.billable.items():
        month = report.per_month(number)
        cells = [f"{report.per_day(number):,.0f}", f"{month:,.0f}"]
        if prices.live_events_per_million is not None:
            cells.append(f"{month / 1e6 * prices.live_events_per_million:,.2f}")
        table.add_row(policy, f"{number:,}", *(cells if has_rate else ["-"] * len(cells)))
    return table
