"""What a run says that it did, in the same words everywhere: metadata, terminal, page.

Pure: from log state and counters to numbers and tables.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from snowplow_posthog_dagster.storage.archive import ArchiveObject
from snowplow_posthog_dagster.storage.counts import Counts
from snowplow_posthog_dagster.storage.state import DayState


@dataclass(frozen=True)
class HourRow:
    """One hour of a day: what the archive has, and what became of it."""

    hour: str
    listed: int
    stored_bytes: int
    counts: Counts


def hour_rows(state: DayState, listing: Iterable[ArchiveObject]) -> list[HourRow]:
    """A row per hour that the listing or the log knows, in order."""
    listed: defaultdict[str, list[ArchiveObject]] = defaultdict(list)
    for found in listing:
        listed[_hour(found.hour)].append(found)
    counts: defaultdict[str, list[Counts]] = defaultdict(list)
    for known in state.objects.values():
        counts[_hour(known.hour)].append(known.counts())
    return [
        HourRow(hour, len(listed[hour]), sum(found.size for found in listed[hour]), Counts.total(counts[hour]))
        for hour in sorted({*listed, *counts})
    ]


def _hour(hour: int | None) -> str:
    return "day" if hour is None else f"{hour:02d}"


def hours_table(rows: Iterable[HourRow]) -> str:
    """The rows as a markdown table, as Dagster's metadata renders it."""
    lines = [
        "| hour | objects | bytes | records | mapped | dead letters | filtered | repeats | acknowledged | pending |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        numbers = (
            row.listed, row.stored_bytes, row.counts.records, row.counts.mapped, row.counts.dead_letters,
            row.counts.filtered, row.counts.repeats, row.counts.acknowledged, row.counts.pending,
        )  # fmt: skip
        lines.append(f"| {row.hour} | " + " | ".join(f"{number:,}" for number in numbers) + " |")
    return "\n".join(lines)


@dataclass
class StepReport:
    """What one step (manifest, transform, delivery) of a run did on a day."""

    nothing_new: bool = False
    reads: int = 0
    posts: int = 0
    events: int = 0
    stored_bytes: int = 0
    sent_bytes: int = 0
    retries: int = 0
    post_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    narrowed: bool = False
    closed: bool = False
    counts: Counts = field(default_factory=Counts)
    hours: list[HourRow] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    left: str = ""

    @property
    def rate(self) -> float:
        """Events a second over the step."""
        return self.events / self.seconds if self.seconds > 0 else 0.0

    def latency(self, percent: int) -> float:
        """Seconds within which so many percent of the POSTs were answered (nearest rank), 0 without any."""
        ordered = sorted(self.post_seconds)
        return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0.0

    def summary(self) -> str:
        """One line for people."""
        if self.nothing_new:
            return f"nothing new: {self.reads} reads, {self.posts} posts"
        return f"{self.counts.records:,} records = {self.counts.first_sum()}; mapped = {self.counts.second_sum()}"
