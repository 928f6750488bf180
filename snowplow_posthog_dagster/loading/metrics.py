"""Metrics for Prometheus and for log collectors, from the day logs alone.

    Measures ──families──> prometheus_client ──> HTTP scrape, text file, or one JSON line

Why not counted in the runs: a run is a few processes that live for seconds to hours, several at a time. Values pushed
to a gateway by one would overwrite those of another or outlive both, and nobody would see a Dagster that is dead. The
logs know every acknowledgement within two seconds, whoever wrote it; so one small process (`snowplow-posthog metrics`)
reads them at each scrape, also while Dagster is down, and any number of runs beside each other is counted right.

Counters are sums over log entries, which are only ever added: they never fall, and a restarted exporter goes on with
the same numbers. All names are in docs/metrics.md.
"""

import datetime as dt
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from snowplow_posthog_dagster.errors import SnowplowPostHogError
from snowplow_posthog_dagster.loading.measures import DayMeasure, Measures
from snowplow_posthog_dagster.storage.counts import Counts
from snowplow_posthog_dagster.storage.target import current_pause
from snowplow_posthog_dagster.storage.workspace import Workspace, timestamp_text

PREFIX = "snowplow_posthog_"
PLACES = (
    "mapped", "dead_letters", "filtered", "repeats",
    "acknowledged", "delivery_dead_letters", "pending", "withdrawn",
)  # fmt: skip
"""Where the records of a day are, in the words of the counting equation."""

_USUAL_STATUSES = ("0", "200", "408", "429", "500", "502", "503", "504")
"""Shown from the start: Prometheus sees no increase in a series that begins with its first error."""
_RETRIED_BELOW_500 = frozenset({"0", "404", "408", "425", "429"})

MeasuredDays = Mapping[dt.date, DayMeasure]


class MetricsOfTarget(Collector):
    """What Prometheus scrapes: the metrics of one target, read anew at every scrape.

    Days before `since` are not counted; the last `days` with a log have numbers of their own. A workspace that cannot
    be read gives `snowplow_posthog_readable 0` and nothing else, which has an alert of its own.
    """

    def __init__(self, workspace: Workspace, *, since: dt.date | None, days: int) -> None:
        self._workspace = workspace
        self._measures = Measures(workspace)
        self._since = since or dt.date.min
        self._days = days

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering reads no log."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read the logs and give every family."""
        target = self._workspace.target
        try:
            found = self._measures.days(self._since)
            paused = current_pause(self._workspace) is not None
        except SnowplowPostHogError as error:
            print(f"{timestamp_text()} {type(error).__name__}: {error}", file=sys.stderr, flush=True)  # noqa: T201
            yield _gauge("readable", "1 while the workspace can be read", target, 0)
            return
        yield _gauge("readable", "1 while the workspace can be read", target, 1)
        yield _gauge("paused", "1 while an operator has paused the target", target, int(paused))
        measured = {day: measure for day, measure in found.items() if measure is not None}
        yield from families(measured, target, now=dt.datetime.now(dt.UTC), days=self._days)


def families(measured: MeasuredDays, target: str, *, now: dt.datetime, days: int) -> Iterator[Metric]:
    """All metrics of these days; `days` of them, the newest, have numbers of their own."""
    yield from _counters(measured.values(), target)
    yield from _gauges(measured, target, now)
    per_day = GaugeMetricFamily(
        f"{PREFIX}day_records", "Records of a day by place, as `status` shows them", labels=["target", "day", "place"]
    )
    for day in sorted(measured)[-days:] if days else []:
        counts = measured[day].counts
        for place in ("records", *PLACES):
            per_day.add_metric([target, f"{day}", place], getattr(counts, place))
    yield per_day


def _counters(measures: Iterable[DayMeasure], target: str) -> Iterator[Metric]:
    found = list(measures)
    for name, words, numbers in (
        ("records", "Records read by transforms", (one.transformed for one in found)),
        ("archive_bytes", "Bytes of the transformed archive objects", (one.archive_bytes for one in found)),
        ("events_acknowledged", "Events that PostHog acknowledged", (one.acknowledged for one in found)),
        ("sent_bytes", "Bytes posted to PostHog, as they went over the wire", (one.bytes_sent for one in found)),
    ):
        family = CounterMetricFamily(PREFIX + name, words, labels=["target"])
        family.add_metric([target], sum(numbers))
        yield family
    statuses = _summed([dict.fromkeys(_USUAL_STATUSES, 0), *(one.statuses for one in found)])
    requests = CounterMetricFamily(
        f"{PREFIX}requests", "Answers of PostHog by HTTP status", labels=["target", "status"]
    )
    retries = CounterMetricFamily(
        f"{PREFIX}retries", "Answers after which a body is sent again, by HTTP status", labels=["target", "status"]
    )
    for status, number in statuses.items():
        requests.add_metric([target, status], number)
        if status in _RETRIED_BELOW_500 or int(status) >= 500:
            retries.add_metric([target, status], number)
    letters = CounterMetricFamily(
        f"{PREFIX}dead_letters", "Dead letters ever made, by reason", labels=["target", "stage", "reason"]
    )
    for reason, number in _summed(one.reasons for one in found).items():
        letters.add_metric([target, "transform", reason], number)
    letters.add_metric([target, "delivery", "refused by PostHog"], sum(one.refused for one in found))
    yield from (requests, retries, letters)


def _gauges(measured: MeasuredDays, target: str, now: dt.datetime) -> Iterator[Metric]:
    counts = Counts.total(one.counts for one in measured.values())
    yield _gauge("pending_events", "Events in batches that PostHog has not acknowledged", target, counts.pending)
    yield _gauge("broken_objects", "Archive objects that cannot be read", target, counts.objects_broken)
    unaccounted = sum(one.unaccounted for one in measured.values())
    yield _gauge("unaccounted_objects", "Objects whose sums do not add up; always 0", target, unaccounted)
    gaps = sum(one.reconciled == "gap" for one in measured.values())
    yield _gauge("reconciliation_gaps", "Days of which PostHog lacks acknowledged events", target, gaps)
    hour = _last_hour(measured)
    if hour is not None:
        words = "Begin of the newest hour of the archive of which anything was acknowledged, in seconds since 1970"
        yield _gauge("last_acknowledged_hour", words, target, hour.timestamp())
    arrivals = [one.newest_arrival for one in measured.values() if one.newest_arrival]
    if arrivals:
        words = "Seconds since the newest collector time that is wholly acknowledged"
        yield _gauge("lag_seconds", words, target, round(now.timestamp() - max(arrivals) / 1000, 1))
    last = max((one for one in measured.values() if one.last_delivery), key=lambda one: one.last_delivery, default=None)
    if last is not None:
        yield _gauge("delivery_rate", "Events per second of the last delivery", target, last.last_rate or 0.0)
        words = "When a delivery last sent anything, in seconds since 1970"
        yield _gauge("last_delivery_timestamp_seconds", words, target, _seconds(last.last_delivery))
    runs = [one.last_run for one in measured.values() if one.last_run]
    if runs:
        words = "When a run last did anything, in seconds since 1970"
        yield _gauge("last_run_timestamp_seconds", words, target, _seconds(max(runs)))


def _last_hour(measured: MeasuredDays) -> dt.datetime | None:
    for day in sorted(measured, reverse=True):
        hour = measured[day].last_acknowledged_hour
        if hour is not None:
            return dt.datetime.combine(day, dt.time(hour), dt.UTC)
    return None


def _gauge(name: str, words: str, target: str, value: float) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, words, labels=["target"])
    family.add_metric([target], value)
    return family


def _summed(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, number in part.items():
            total[name] = total.get(name, 0) + number
    return dict(sorted(total.items()))


def _seconds(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


# -- structured logs --------------------------------------------------------------------------------------


def json_line(metrics: Iterable[Metric], **known: Any) -> str:
    """Metrics as one JSON object: their names, with values by label, zeros left out, where they have labels."""
    line: dict[str, Any] = {"time": timestamp_text(), **known}
    for metric in metrics:
        for sample in metric.samples:
            rest = [value for label, value in sample.labels.items() if label not in {"target", "day"}]
            if rest and sample.value:
                line.setdefault(sample.name, {})[" ".join(rest)] = sample.value
            elif not rest:
                line[sample.name] = sample.value
    return json.dumps(line, ensure_ascii=False)


def log_day(where: str | None, workspace: Workspace, day: dt.date, measure: DayMeasure, **known: Any) -> None:
    """Write the metrics of one day as a JSON line to `stderr` or to the end of a file; None writes nothing.

    A line is written with one call, so that runs beside each other do not mix theirs.
    """
    if where is None:
        return
    metrics = families({day: measure}, workspace.target, now=dt.datetime.now(dt.UTC), days=1)
    line = json_line(metrics, target=workspace.target, day=f"{day}", **known) + "\n"
    if where == "stderr":
        sys.stderr.write(line)
        sys.stderr.flush()
        return
    with Path(where).open("a", encoding="utf-8") as file:
        file.write(line)
