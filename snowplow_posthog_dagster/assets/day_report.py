"""The load report of a day and the picture of the last 30, as one sees them beside a materialization.

Both are markdown: a table of the checks and of the hours, and an image from a `data:` address, the only kind that
Dagster's UI shows without another server. The picture takes the logs' word for what arrived (listing a month would be
720 requests a run); the nightly job and `snowplow-posthog report` ask the archive.
"""

import datetime as dt
from collections.abc import Iterable, Sequence

import dagster as dg

from snowplow_posthog_dagster.assets.checks import RUNBOOK, Verdict, chapter
from snowplow_posthog_dagster.assets.metadata import Metadata
from snowplow_posthog_dagster.errors import SnowplowPostHogError
from snowplow_posthog_dagster.loading.day import DayLoad
from snowplow_posthog_dagster.loading.load_report import LoadReport, report_of
from snowplow_posthog_dagster.loading.picture import markdown
from snowplow_posthog_dagster.loading.reports import StepReport, hours_table
from snowplow_posthog_dagster.settings import Settings

PICTURE = "last_30_days"
DAYS = 30
_READ_SECONDS = 5.0
"""Days that are being worked on have their logs read, 2 s for one of 22,000 objects; the picture waits no longer."""


def report_metadata(
    load: DayLoad, report: StepReport, verdicts: Sequence[Verdict], settings: Settings, log: dg.DagsterLogManager
) -> Metadata:
    """The report of the day, the picture, and the latency as a number that plots.

    Trouble with another day's log must not fail this day: then there is no picture and a warning.
    """
    latency = next((one.numbers for one in verdicts if one.check == "latency"), {})
    metadata: Metadata = {"load_report": dg.MetadataValue.md(day_report(load.day, report, verdicts)), **latency}
    try:
        month = report_of(
            load.workspace,
            None,
            now=dt.datetime.now(dt.UTC),
            days=DAYS,
            grace_minutes=settings.file.checks.hour_grace_minutes,
            seconds=_READ_SECONDS,
        )
    except (SnowplowPostHogError, OSError) as error:
        log.warning(f"the picture of the last {DAYS} days could not be drawn: {error}")
        return metadata
    return {**metadata, **picture_metadata(month)}


def picture_metadata(month: LoadReport) -> Metadata:
    """The picture, with its summary as text for those who cannot see it."""
    return {PICTURE: dg.MetadataValue.md(f"{month.summary()}\n\n{markdown(month)}")}


def day_report(day: dt.date, report: StepReport, verdicts: Iterable[Verdict]) -> str:
    """What became of a day, in markdown: the sums, the run, the checks, the hours."""
    counts = report.counts
    state = f"left: {report.left}" if report.left else ("complete" if report.closed else "open")
    retries, size = f"{report.retries:,} retries", f"{report.sent_bytes / 1e6:,.1f} MB sent"
    parts = [
        f"**{day}**: {state}",
        f"records {counts.records:,} = {counts.first_sum()}",
        f"mapped {counts.mapped:,} = {counts.second_sum()}",
        f"This run: {report.events:,} events at {report.rate:,.0f}/s, {report.posts:,} posts, {retries}, {size}",
        "\n".join(["| check | result | says |", "|---|---|---|", *map(_line, verdicts)]),
        hours_table(report.hours) if report.hours else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _line(verdict: Verdict) -> str:
    where = "" if verdict.passed else f" ({RUNBOOK}#{chapter(verdict.check)})"
    words = f"{verdict.words}{where}".replace("|", "\\|")
    return f"| {verdict.check} | {'ok' if verdict.passed else 'WARNS'} | {words} |"
