"""Which days the night is about: the past days that this target carries, and what backfills have just loaded.

    past `days`: loaded, or begun after the sensor's first start ──┐
    any other day whose log was written to in that time ───────────┼─> days, newest first; the others after them
    any other day that PostHog has not agreed on yet, by turns ────┘   (the nightly job only)

A day that this target never loaded is nobody's: it needs a backfill, and nothing here asks for one.
"""

import datetime as dt
import re
from concurrent.futures import ThreadPoolExecutor

from snowplow_posthog_dagster.automation.archive_watch import SENSOR_START
from snowplow_posthog_dagster.loading.measures import newest_day_file
from snowplow_posthog_dagster.partitions import DEFAULT_START
from snowplow_posthog_dagster.settings import Settings
from snowplow_posthog_dagster.storage.workspace import Workspace

MOST_BACKFILLED_DAYS = 60
"""Of a backfill of years a night takes so many days, those untouched for longest first; PostHog allows 2,400 queries
an hour, and a day takes up to 24."""

MOST_UNSETTLED_DAYS = 40
"""Of a backfill of years a night compares so many more with PostHog: with the others at most 2,400 queries."""

_READERS = 16
_DAY = re.compile(r"dt=(\d{4}-\d\d-\d\d)/")


def night_days(settings: Settings, workspace: Workspace, now: dt.datetime, days: int) -> list[dt.date]:
    """The past days, newest first, then the days outside of them that were worked on within as many days."""
    past = [now.date() - dt.timedelta(days=back) for back in range(1, days + 1)]
    written = _last_written(workspace)
    live = live_from(workspace)
    chosen = [day for day in past if day >= live or day in written]
    since = now.timestamp() - days * 86_400
    others = [day for day in written if day < past[-1] and written[day] >= since]
    others = sorted(others, key=lambda day: written[day])[:MOST_BACKFILLED_DAYS]
    # Dagster refuses every run of a tick that asks for a day which is no partition (any more).
    return [day for day in [*chosen, *others] if _is_partition(settings, day)]


def unsettled_days(settings: Settings, workspace: Workspace, now: dt.datetime, days: int) -> list[dt.date]:
    """Days before the past ones on which PostHog has not agreed since they were last worked on, so many a night.

    They take turns by the date of the night, so that days which never agree do not keep the others waiting.
    """
    before = now.date() - dt.timedelta(days=days)
    old = sorted(day for day in _last_written(workspace) if day < before and _is_partition(settings, day))
    with ThreadPoolExecutor(_READERS) as pool:
        files = pool.map(lambda day: newest_day_file(workspace, day), old)
        left = [
            day for day, file in zip(old, files, strict=True) if not (file and file.measure and file.measure.agreed)
        ]
    turn = now.date().toordinal() * MOST_UNSETTLED_DAYS % max(len(left), 1)
    return [*left[turn:], *left[:turn]][:MOST_UNSETTLED_DAYS]


def _is_partition(settings: Settings, day: dt.date) -> bool:
    environment = settings.environment
    first = environment.posthog_backfill_start_date or DEFAULT_START
    return first <= day <= (environment.posthog_backfill_end_date or dt.date.max)


def live_from(workspace: Workspace) -> dt.date:
    """The first day that began after the sensor's first start; never without one."""
    started = [entry["at"] for entry in workspace.control_entries() if entry["kind"] == SENSOR_START]
    return dt.date.fromisoformat(min(started)[:10]) + dt.timedelta(days=1) if started else dt.date.max


def _last_written(workspace: Workspace) -> dict[dt.date, float]:
    """Each day that has a log, and when its newest segment was written, in seconds since 1970 by S3's clock."""
    found: dict[dt.date, float] = {}
    for listed in workspace.bucket.listing(workspace.folder("log")):
        match = _DAY.search(listed.key)
        if match:
            day = dt.date.fromisoformat(match.group(1))
            found[day] = max(found.get(day, 0.0), listed.modified)
    return found
