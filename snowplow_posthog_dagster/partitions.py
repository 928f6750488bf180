"""The daily partition: a UTC day of the archive path.

The bounds come from a constant or the environment, never from the clock: Dagster evaluates them in every
process, and a start that moves kills running backfills. Today is a partition, because hourly loads
materialize it again and again.
"""

import datetime as dt

import dagster as dg

from snowplow_posthog_dagster.settings import Settings

DEFAULT_START = dt.date(2019, 1, 1)
"""Snowplow archives of today's 131-column layout rarely reach further back; set POSTHOG_BACKFILL_START_DATE."""


def daily_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """From POSTHOG_BACKFILL_START_DATE to POSTHOG_BACKFILL_END_DATE, both inclusive, or to today if that is earlier."""
    start = settings.environment.posthog_backfill_start_date or DEFAULT_START
    end = settings.environment.posthog_backfill_end_date
    # Dagster's end is exclusive, ours is the last day that is wanted; the offset makes a partition of today, which
    # Dagster would leave out until it is over, also under an end that lies ahead.
    exclusive = (end + dt.timedelta(days=1)).isoformat() if end else None
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), end_date=exclusive, end_offset=1, timezone="UTC")
