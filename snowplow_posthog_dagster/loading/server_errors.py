"""How often PostHog answered 5xx within a few minutes, by one run or by several together.

The log has the time of each such answer (`posted` entries, written when a delivery ends). A run that met one looks at
the other runs of its day and at every day whose log grew lately; so of several runs that each met one or two, the one
that ends last sees all. A run that met none has nothing to say of earlier ones. What a running delivery meets is known
to it at once.
"""

import datetime as dt
import re
from collections.abc import Iterable

from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.state import DayState
from snowplow_posthog_dagster.storage.workspace import Workspace

_DAY = re.compile(r"dt=(\d{4}-\d\d-\d\d)/")


def most_within(times: Iterable[str], window: dt.timedelta) -> int:
    """The largest number of these times (UTC text) that lie within so long."""
    moments = sorted(map(dt.datetime.fromisoformat, times))
    most = first = 0
    for last, moment in enumerate(moments):
        while moment - moments[first] > window:
            first += 1
        most = max(most, last - first + 1)
    return most


def error_times(state: DayState) -> list[str]:
    """When PostHog answered 5xx to deliveries of a day, as far as the log keeps it."""
    return [at for posted in state.posted for at in posted.errors_at]


def errors_around(workspace: Workspace, day: dt.date, state: DayState, writer: str, window: dt.timedelta) -> int:
    """Most 5xx within the window around those that this run met, other runs' included; 0 when it met none."""
    own = [at for posted in state.posted if posted.writer == writer for at in posted.errors_at]
    if not own:
        return 0
    first, last = (dt.datetime.fromisoformat(at) for at in (min(own), max(own)))
    times = error_times(state)
    for other in _busy_days(workspace, first - window):
        if other != day:
            times += error_times(DayLog(workspace, other).state())
    near = (at for at in times if first - window <= dt.datetime.fromisoformat(at) <= last + window)
    return most_within(near, window)


def _busy_days(workspace: Workspace, since: dt.datetime) -> set[dt.date]:
    """The days whose log was written to since then: one LIST."""
    return {
        dt.date.fromisoformat(match.group(1))
        for listed in workspace.bucket.listing(workspace.folder("log"))
        if listed.modified >= since.timestamp() and (match := _DAY.search(listed.key))
    }
