"""Where and when the generated archives lie; apart, so that a measured load does not import the generator."""

import datetime as dt

DAY = dt.date(2022, 6, 6)
START = dt.datetime(2022, 6, 6, 4, tzinfo=dt.UTC)
BUCKET = "snowplow-archive"
