"""The last days, hour by hour: what arrived, what was delivered, what is missing, what is broken.

    Measures (logs) + listings (archive) ──rows_of──> DayRow ──> text for a message, picture.py for the eye

An hour is green only when every file that the archive lists in it is settled, so the listing decides where there is
one; without it the log's word is taken, which is what the archive had when the day was last looked at.
"""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum

from snowplow_posthog_dagster.loading.measures import WHOLE_DAY, DayMeasure, Measures
from snowplow_posthog_dagster.storage.archive import Archive
from snowplow_posthog_dagster.storage.counts import Counts
from snowplow_posthog_dagster.storage.workspace import Workspace

HOURS = 24
_LISTERS = 4
"""Days that are listed at once; each lists its 24 hours by 12 threads."""


class Fate(Enum):
    """What became of an hour: its sign in text, and its words."""

    DELIVERED = ("█", "delivered")
    ARRIVED = ("▒", "arrived, not all delivered")
    MISSING = ("·", "missing: over, and no file")
    BROKEN = ("X", "broken: a file cannot be read")
    NOTHING = (" ", "not due, or not asked for")

    @property
    def sign(self) -> str:
        """One character."""
        return self.value[0]

    @property
    def words(self) -> str:
        """For a legend."""
        return self.value[1]


@dataclass(frozen=True)
class DayRow:
    """One day: the fate of its 24 hours, or of the day as a whole in a layout without hours."""

    day: dt.date
    hours: tuple[Fate, ...]
    files: int
    counts: Counts
    unread: bool = False

    @property
    def note(self) -> str:
        """What should catch the eye, in few words."""
        counts = self.counts
        if self.unread:
            return "log not read"
        missing = sum(fate is Fate.MISSING for fate in self.hours)
        letters = counts.dead_letters + counts.delivery_dead_letters
        parts = (
            (counts.objects_broken, f"broken file{_s(counts.objects_broken)}"),
            (missing, f"hour{_s(missing)} missing" if len(self.hours) > 1 else "missing"),
            (counts.pending, "to send"),
            (letters, f"dead letter{_s(letters)}"),
        )
        return ", ".join(f"{number:,} {words}" for number, words in parts if number)


def _s(number: int) -> str:
    return "" if number == 1 else "s"


@dataclass(frozen=True)
class LoadReport:
    """The rows of some days of one target, oldest first."""

    target: str
    at: dt.datetime
    rows: tuple[DayRow, ...]

    def totals(self) -> dict[Fate, int]:
        """Hours by fate, those that are not due left out."""
        found = Counter(fate for row in self.rows for fate in row.hours)
        return {fate: found[fate] for fate in Fate if fate is not Fate.NOTHING}

    @property
    def counts(self) -> Counts:
        """The counting equation of all rows."""
        return Counts.total(row.counts for row in self.rows)

    def summary(self) -> str:
        """One line: hours by fate, and the records."""
        hours = ", ".join(f"{number:,} {fate.name.lower()}" for fate, number in self.totals().items() if number)
        counts = self.counts
        return f"{counts.records:,} records, {counts.acknowledged:,} acknowledged; hours: {hours or 'none'}"


def report_of(
    workspace: Workspace,
    archive: Archive | None,
    *,
    now: dt.datetime,
    days: int,
    last: dt.date | None = None,
    grace_minutes: int,
    seconds: float | None = None,
    measures: Measures | None = None,
) -> LoadReport:
    """The last `days` up to `last`, by default today, or the newest loaded day when that lies further back.

    Days before the first that was ever loaded are left out.

    With an archive every hour is listed (24 LISTs a day). `seconds` bounds the reading of logs. Raises what reading
    archive and workspace raises.
    """
    measures = measures or Measures(workspace)
    known = measures.logged()
    today = now.date()
    end = last or (known[-1] if known and known[-1] < today - dt.timedelta(days=days) else today)
    first = end - dt.timedelta(days=days - 1)
    begun = known[0] if known else end
    first = min(max(first, begun), end)
    shown = [first + dt.timedelta(days=number) for number in range((end - first).days + 1)]
    found = measures.days(first, end, seconds=seconds)
    listed = _listed(archive, shown) if archive else {}
    rows = (_row(day, found, listed, now, grace_minutes) for day in shown)
    return LoadReport(workspace.target, now, tuple(rows))


def _listed(archive: Archive, days: Sequence[dt.date]) -> dict[dt.date, Counter[str]]:
    """Files by hour, from the archive."""

    def files(day: dt.date) -> Counter[str]:
        return Counter(WHOLE_DAY if one.hour is None else f"{one.hour:02d}" for one in archive.list_day(day))

    held = [day for day in days if any(entry.holds(day) for entry in archive.entries)]
    with ThreadPoolExecutor(_LISTERS) as pool:
        return dict(zip(held, pool.map(files, held), strict=True))


def _row(
    day: dt.date,
    measures: Mapping[dt.date, DayMeasure | None],
    listed: Mapping[dt.date, Counter[str]],
    now: dt.datetime,
    grace_minutes: int,
) -> DayRow:
    measure = measures.get(day)
    unread = day in measures and measure is None
    known = measure or DayMeasure()
    files = listed.get(day)
    # Earlier releases did not note the hour of an object that was skipped, deleted or replaced before it was read.
    whole = {*known.hours, *(files or ())} == {WHOLE_DAY}
    names = [WHOLE_DAY] if whole else [f"{hour:02d}" for hour in range(HOURS)]
    due = now - dt.datetime.combine(day, dt.time(), dt.UTC) - dt.timedelta(minutes=grace_minutes)
    over = max(0, int(due.total_seconds() // 3600))
    fates = []
    for place, name in enumerate(names):
        is_due = over >= HOURS if whole else place < over
        arrived = files[name] if files is not None else None
        fate = _fate(known.hour(name), arrived, known.left.get(name, 0), due=is_due)
        fates.append(Fate.NOTHING if unread else fate)
    number = sum(files.values()) if files is not None else known.counts.objects
    return DayRow(day, tuple(fates), number, known.counts, unread)


def _fate(counts: Counts, arrived: int | None, left: int, *, due: bool) -> Fate:
    """`arrived` is how many files the archive lists, None when it was not asked; it lists none that `left`."""
    settled = counts.objects_done + counts.objects_skipped - (0 if arrived is None else left)
    files = arrived
    if files is None:  # an archive that was asked lists neither what was replaced nor what nobody can read any more
        settled += counts.objects_superseded
        files = counts.objects - counts.objects_gone
    if counts.objects_broken:
        return Fate.BROKEN
    if not files and not counts.objects_done:
        return Fate.MISSING if due else Fate.NOTHING
    return Fate.ARRIVED if counts.pending or settled < files else Fate.DELIVERED


def as_text(report: LoadReport) -> str:
    """The picture in letters, for a message: in Slack between three backticks. 24 signs a day, and its numbers."""
    head = f"{'':11}{''.join(f'{hour:<6}' for hour in range(0, HOURS, 6))}"
    lines = [
        f"{row.day} {''.join(fate.sign for fate in row.hours):<{HOURS}} {row.counts.records:>13,} {row.note}".rstrip()
        for row in report.rows
    ]
    legend = "  ".join(f"{fate.sign} {fate.words}" for fate in Fate if fate is not Fate.NOTHING)
    return "\n".join([f"{report.target}: {report.summary()}", head, *lines, legend])
