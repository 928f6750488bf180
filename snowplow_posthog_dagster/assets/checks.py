"""Checks of a day beside the accounting: is everything there, is it as much as usual, did it come in time?

    day log's state + listing ──judge_day──> verdicts ──check_results──> AssetCheckResult of posthog_events

They are judged inside the step that delivers, from what it has read anyway: a check of its own would cost a process
and two seconds. Dagster keeps check results per asset and shows the latest, so each one carries its partition.
All of them warn and hold nobody up: only a sum that does not add up blocks (see metadata.accounting_result).
`complete_in_time` is judged by the nightly job too, because it is about runs that did not happen.
"""

import datetime as dt
import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import dagster as dg

from snowplow_posthog_dagster.assets.metadata import acceptance
from snowplow_posthog_dagster.loading.day import DayLoad, what_is_left
from snowplow_posthog_dagster.loading.measures import newest_day_file, schema_now
from snowplow_posthog_dagster.loading.reports import HourRow, StepReport, hour_rows
from snowplow_posthog_dagster.loading.schema_profile import Drift, drift
from snowplow_posthog_dagster.loading.server_errors import errors_around
from snowplow_posthog_dagster.settings import ChecksSection
from snowplow_posthog_dagster.storage.archive import ArchiveObject
from snowplow_posthog_dagster.storage.state import DayState
from snowplow_posthog_dagster.storage.target import Pause, current_pause
from snowplow_posthog_dagster.storage.workspace import Workspace

RUNBOOK = "docs/runbook.md"
COMPLETE_IN_TIME = "complete_in_time"
_WEEKS = 4
_LIVE_DAYS = 2
"""Latency is judged for today and yesterday; a backfill of history is late by nature."""

DESCRIPTIONS = {
    "broken_objects": "Warns while archive objects of the day cannot be read to the end; they are tried again",
    "hours_present": "Warns when an hour that is over has no file in the archive",
    "records_present": "Warns when an hour that has files holds no record at all, or the day none",
    "volume": "Warns when a day that is over has far fewer or more records than its weekday had in four weeks",
    "dead_letter_share": "Warns when too large a share of the records became dead letters",
    "repeat_share": "Warns when too large a share of the records are exact copies within their object",
    "schema_drift": "Warns of a new event or entity, a property that went empty, or one of another JSON type",
    "latency": "Warns when events of today or yesterday reach PostHog too long after their collection",
    "posthog_errors": "Warns when PostHog answered with several server errors within five minutes, over all runs",
    "reconciled": "Warns when PostHog's query API does not have what it acknowledged",
    COMPLETE_IN_TIME: "Warns when a day is not complete by the hour of the next day that the settings name",
}


class Verdict(NamedTuple):
    """What one check says of a day: passed, in words for people, with its numbers."""

    check: str
    passed: bool
    words: str
    numbers: Mapping[str, int | float]


class DayFacts(NamedTuple):
    """What the checks look at. `hours` are the hours with files, None when the layout has no hours.

    `errors` are the most 5xx answers within the settings' minutes, `usual` the records of the same weekday in earlier
    weeks, `writer` the writer of this run's log entries, `now` UTC, `left` what of the listing is not loaded.
    """

    day: dt.date
    state: DayState
    hours: Collection[int] | None
    errors: int
    usual: list[int]
    writer: str
    now: dt.datetime
    drift: Drift = Drift()
    left: str = ""


def check_specs(key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """The checks of `posthog_events` that this module judges."""
    return [
        dg.AssetCheckSpec(name, asset=key, description=words, metadata={"runbook": f"{RUNBOOK}#{chapter(name)}"})
        for name, words in DESCRIPTIONS.items()
    ]


def check_results(
    verdicts: Iterable[Verdict], key: dg.AssetKey, day: dt.date, state: DayState
) -> list[dg.AssetCheckResult]:
    """The verdicts as Dagster takes them from a step; who accepted a failing one of this day is said."""
    return [
        dg.AssetCheckResult(
            passed=verdict.passed,
            check_name=verdict.check,
            asset_key=key,
            severity=dg.AssetCheckSeverity.WARN,
            description=_words(verdict, state),
            metadata=_metadata(verdict, day, state),
        )
        for verdict in verdicts
    ]


def check_evaluation(verdict: Verdict, key: dg.AssetKey, day: dt.date, state: DayState) -> dg.AssetCheckEvaluation:
    """A verdict outside of a step, for `instance.report_runless_asset_event`."""
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=verdict.check,
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=_words(verdict, state),
        metadata=_metadata(verdict, day, state),
    )


def _words(verdict: Verdict, state: DayState) -> str:
    accepted = [] if verdict.passed else list(acceptance(state, verdict.check).values())
    return ", ".join([verdict.words, *accepted])


def _metadata(verdict: Verdict, day: dt.date, state: DayState) -> dict[str, dg.MetadataValue]:
    numbers = {name: dg.MetadataValue.float(float(value)) for name, value in verdict.numbers.items()}
    runbook = dg.MetadataValue.text(f"{RUNBOOK}#{chapter(verdict.check)}")
    accepted = {} if verdict.passed else acceptance(state, verdict.check)
    words = {name: dg.MetadataValue.text(text) for name, text in accepted.items()}
    return {"partition": dg.MetadataValue.text(f"{day}"), "runbook": runbook, **numbers, **words}


def chapter(check: str) -> str:
    """Where the runbook speaks of a check."""
    return check.replace("_", "-")


# -- judging ----------------------------------------------------------------------------------------------


def judge_day(facts: DayFacts, limits: ChecksSection) -> list[Verdict]:
    """All verdicts about a day, from what its log says. Pure."""
    return [
        _broken(facts),
        _hours_present(facts, limits),
        _records_present(facts, limits),
        _volume(facts, limits),
        _share(facts, "dead_letter_share", limits.dead_letter_share),
        _share(facts, "repeat_share", limits.repeat_share),
        _schema_drift(facts),
        _latency(facts, limits),
        _errors(facts, limits),
        _reconciled(facts),
    ]


def _broken(facts: DayFacts) -> Verdict:
    broken = [known for known in facts.state.objects.values() if known.status == "broken"]
    named = "; ".join(f"{known.key} ({known.reason}, next try {known.next_try})" for known in broken[:3])
    words = (
        f"{len(broken)} objects cannot be read: {named}. They are tried again by themselves; to give one up:"
        f" `snowplow-posthog skip {facts.day} KEY --reason ...`"
    )
    return Verdict("broken_objects", not broken, words if broken else "every object was read", {"broken": len(broken)})


def hours_due(day: dt.date, now: dt.datetime, limits: ChecksSection) -> range:
    """The hours of a day whose files should have come by `now` (UTC)."""
    over = now - dt.datetime.combine(day, dt.time(), dt.UTC) - dt.timedelta(minutes=limits.hour_grace_minutes)
    return range(max(0, min(24, int(over.total_seconds() // 3600))))


def _hours_present(facts: DayFacts, limits: ChecksSection) -> Verdict:
    if facts.hours is None:
        return Verdict("hours_present", True, "the archive's layout has no hours", {})
    due = hours_due(facts.day, facts.now, limits)
    return hours_verdict(len(facts.hours), [hour for hour in due if hour not in facts.hours])


def hours_verdict(present: int, missing: Collection[int]) -> Verdict:
    """The verdict on so many hours with files, and these that should have some and have none."""
    named = ", ".join(f"{hour:02d}" for hour in missing)
    words = (
        f"no file in the hours {named} (UTC): look at Snowplow's loader for that time; files that come later are"
        " loaded by the sensor or by materializing the day again"
    )
    numbers = {"hours": present, "missing": len(missing)}
    return Verdict("hours_present", not missing, words if missing else "every hour that is over has files", numbers)


def _records_present(facts: DayFacts, limits: ChecksSection) -> Verdict:
    by_hour: dict[int | None, int] = {}
    for known in facts.state.objects.values():
        if known.done:
            by_hour[known.hour] = by_hour.get(known.hour, 0) + known.done.records
    due = hours_due(facts.day, facts.now, limits)
    empty = sorted(hour for hour, records in by_hour.items() if hour is not None and hour in due and not records)
    nothing = bool(due) and not sum(by_hour.values())
    if nothing:
        words = "the day has no record at all: is the archive's prefix right, and does the collector collect?"
    elif empty:
        words = (
            f"no record in the files of the hours {', '.join(f'{hour:02d}' for hour in empty)}: look at the collector"
        )
    else:
        words = "every hour with files has records"
    return Verdict("records_present", not (nothing or empty), words, {"records": sum(by_hour.values())})


def _volume(facts: DayFacts, limits: ChecksSection) -> Verdict:
    records = facts.state.counts().records
    over = facts.now >= dt.datetime.combine(facts.day + dt.timedelta(days=1), dt.time(), dt.UTC)
    if not over or facts.left or len(facts.usual) < 2:
        why = "fewer than two earlier weeks are loaded" if over else "the day is not over"
        why = f"the day is not wholly loaded ({facts.left})" if over and facts.left else why
        return Verdict("volume", True, f"not judged: {why}", {"records": records})
    usual = statistics.median(facts.usual)
    share = records / usual if usual else 1.0
    good = limits.volume_low_share <= share <= limits.volume_high_share
    weekday = f"{facts.day:%A}"
    words = f"{records:,} records are {share:.0%} of the {usual:,.0f} that a {weekday} usually has"
    cure = "; compare the trackers' releases and the hours of the day" if not good else ""
    return Verdict("volume", good, words + cure, {"records": records, "usual": usual, "share": share})


def _share(facts: DayFacts, check: str, limit: float) -> Verdict:
    counts = facts.state.counts()
    number = counts.repeats if check == "repeat_share" else counts.dead_letters + counts.delivery_dead_letters
    share = number / counts.records if counts.records else 0.0
    what, cure = (
        ("repeats", "an upstream job writes records twice")
        if check == "repeat_share"
        else ("dead letters", "read them with `snowplow-posthog dead-letters`, mend the cause, then replay")
    )
    words = f"{number:,} {what} of {counts.records:,} records ({share:.2%}, allowed {limit:.2%})"
    good = share <= limit
    return Verdict(check, good, words if good else f"{words}: {cure}", {"share": share, "number": number})


def _schema_drift(facts: DayFacts) -> Verdict:
    found = facts.drift
    numbers = {"new": len(found.new), "gone": len(found.gone), "changed": len(found.changed)}
    if not found.days or not found.events:
        why = "no event is stored" if found.days else "no earlier day has a profile"
        return Verdict("schema_drift", True, f"not judged: {why}", {})
    against = f"in {found.events:,} events looked at, against {found.days} earlier days"
    kinds = (("new", found.new), ("empty now", found.gone), ("of another type", found.changed))
    parts = [f"{kind}: {_some(names)}" for kind, names in kinds if names]
    words = (
        f"{'; '.join(parts)} ({against}): ask the owners of the trackers whether this was released on purpose; if so it"
        " is usual from the next days on, if not, insights that filter by it are wrong from today on"
    )
    return Verdict(
        "schema_drift", not parts, words if parts else f"nothing new, empty or of another type {against}", numbers
    )


def _some(names: list[str], most: int = 5) -> str:
    named = ", ".join(names[:most])
    return named if len(names) <= most else f"{named} and {len(names) - most} more"


def _latency(facts: DayFacts, limits: ChecksSection) -> Verdict:
    """Collector time of the oldest record that this run transformed, until now, when all is acknowledged."""
    arrivals = [
        known.done.oldest_arrival
        for known in facts.state.objects.values()
        if known.done and known.done.writer == facts.writer and known.done.oldest_arrival is not None
    ]
    live = facts.now.date() - facts.day < dt.timedelta(days=_LIVE_DAYS)
    if not live or not arrivals:
        why = "nothing new in this run" if live else "the day is history"
        return Verdict("latency", True, f"not judged: {why}", {})
    minutes = (facts.now.timestamp() - min(arrivals) / 1000) / 60
    allowed = f"allowed {limits.latency_minutes:,.0f}"
    words = f"the oldest event of this run was collected {minutes:,.0f} minutes ago ({allowed})"
    late = minutes > limits.latency_minutes
    cure = ": look at when its file landed in the archive, and at runs that waited" if late else ""
    return Verdict("latency", not late, words + cure, {"latency_minutes": minutes})


def _errors(facts: DayFacts, limits: ChecksSection) -> Verdict:
    return judge_errors(facts.errors, limits)


def judge_errors(errors: int, limits: ChecksSection) -> Verdict:
    """Whether PostHog answered 5xx so often within five minutes; judged while a delivery runs, too."""
    good = errors < limits.server_errors
    words = f"PostHog answered {errors} times with a server error (5xx) within {limits.server_error_minutes:g} minutes"
    cure = ": look at PostHog's status page; everything was or will be sent again" if not good else ""
    return Verdict("posthog_errors", good, words + cure, {"server_errors": errors})


def error_window(limits: ChecksSection) -> dt.timedelta:
    """Within how long so many server errors are too many."""
    return dt.timedelta(minutes=limits.server_error_minutes)


def _reconciled(facts: DayFacts) -> Verdict:
    last = facts.state.reconciled[-1] if facts.state.reconciled else None
    if last is None:
        return Verdict("reconciled", True, "not compared with PostHog yet; the nightly job does it", {})
    numbers = {"sampled": last.sampled, "found": last.found, "differing": last.differing}
    found = f"{last.found:,} of {last.sampled:,} sampled events found, {last.differing:,} differ"
    cause = f"; likely cause: {last.cause}" if last.cause else ""
    return Verdict("reconciled", last.result != "gap", f"{last.result} at {last.at}: {found}{cause}", numbers)


def judge_completeness(
    day: dt.date, *, complete: bool, left: str, now: dt.datetime, limits: ChecksSection, pause: Pause | None = None
) -> Verdict:
    """Whether a day was complete in time; before the hour that the settings name, and during a pause, it passes."""
    due = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(limits.complete_by_hour), dt.UTC)
    if complete:
        return Verdict(COMPLETE_IN_TIME, True, f"{day} is complete", {})
    words = f"{day} is not complete ({left or 'nothing was loaded'}), due {due:%Y-%m-%d %H:%M} UTC"
    if now < due:
        return Verdict(COMPLETE_IN_TIME, True, words, {})
    if pause:
        return Verdict(COMPLETE_IN_TIME, True, f"{words}; deliveries are paused by {pause.by}: {pause.reason}", {})
    return Verdict(COMPLETE_IN_TIME, False, f"{words}: materialize the day, and look at why no run did", {})


# -- facts ------------------------------------------------------------------------------------------------


def usual_records(workspace: Workspace, day: dt.date) -> list[int]:
    """The records of the same weekday in the last four weeks, as far as those days were closed."""
    return list(_closed_records(workspace, [day - dt.timedelta(weeks=back) for back in range(1, _WEEKS + 1)]))


def _closed_records(workspace: Workspace, days: Iterable[dt.date]) -> Iterator[int]:
    for day in days:
        closed = newest_day_file(workspace, day)
        if closed:
            yield closed.records


def hours_with_files(state: DayState, rows: Iterable[HourRow] = (), *, hourly: bool = True) -> set[int] | None:
    """The hours with files, by the log and by a listing's rows; None for a layout that is not `hourly`."""
    if not hourly:
        return None
    listed = {int(row.hour) for row in rows if row.listed and row.hour.isdigit()}
    logged = [known for known in state.objects.values() if known.hour is not None and known.status != "gone"]
    return listed | {known.hour for known in logged if known.hour is not None}


def night_facts(
    load: DayLoad, state: DayState, listing: Sequence[ArchiveObject], now: dt.datetime, limits: ChecksSection
) -> DayFacts:
    """What `judge_day` needs outside of a run, which has no server errors of its own."""
    return DayFacts(
        day=load.day,
        state=state,
        hours=hours_with_files(state, hour_rows(state, listing), hourly=load.archive.entry_for(load.day).hourly),
        errors=0,
        usual=usual_records(load.workspace, load.day),
        writer=load.writer,
        now=now,
        drift=schema_drift(load, state, now, limits),
        left=what_is_left(state, listing),
    )


def schema_drift(
    load: DayLoad, state: DayState, now: dt.datetime, limits: ChecksSection, *, closed: bool = False
) -> Drift:
    """The day's profile against those of the finished days before it. A day that is closed has it in its file."""
    days = [load.day - dt.timedelta(days=back) for back in range(limits.schema_days + 1)]
    with ThreadPoolExecutor(len(days)) as pool:
        own, *files = pool.map(lambda day: newest_day_file(load.workspace, day), days)
    earlier = [file.schema for file in files if file and file.schema]
    if not earlier:
        return Drift()
    today = own.schema if closed and own and own.schema else schema_now(load.workspace, load.day, state)
    shares = {"new_share": limits.schema_new_share, "usual_share": limits.schema_usual_share}
    return drift(today, earlier, over=now.date() > load.day, **shares)


def judge_run(load: DayLoad, state: DayState, report: StepReport, limits: ChecksSection) -> list[Verdict]:
    """All verdicts about the day of a run that has just delivered."""
    now = dt.datetime.now(dt.UTC)
    facts = DayFacts(
        day=load.day,
        state=state,
        hours=hours_with_files(state, report.hours, hourly=load.archive.entry_for(load.day).hourly),
        errors=errors_around(load.workspace, load.day, state, load.writer, error_window(limits)),
        usual=usual_records(load.workspace, load.day),
        writer=load.writer,
        now=now,
        drift=schema_drift(load, state, now, limits, closed=report.closed),
        left=report.left,
    )
    # A narrowed run closes no day, and may meet one of which nothing is left.
    complete = report.closed or (report.narrowed and bool(state.objects) and not report.left)
    pause = current_pause(load.workspace, now)
    in_time = judge_completeness(load.day, complete=complete, left=report.left, now=now, limits=limits, pause=pause)
    return [*judge_day(facts, limits), in_time]
