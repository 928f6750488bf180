"""The source: Snowplow's enriched events. Bytes in, records or the reasons against them out.

    inflated bytes --lines.records--> Record    --mapping-----------> PostHog event        (the hot path)
                                      Record    --parse.parse-------> dict of the SDKs' shape (CLI, preview)
                                      Rejected  --bad_rows.bad_row--> dead letter

* `columns` names the 131 columns and their kinds, `record` holds what passes between the parts.
* `lines` splits bytes into records in bounded memory and does not look into the columns.
* `timestamps`, `numbers`, `entities` and `schema` read one column each, strictly; parse and mapping share them, so
  that both agree on what is valid.
* `parse` reads a whole record and collects everything that is wrong with it.
* `bad_rows` writes a rejected record in the shape of Snowplow's own bad rows and reads it back for replay.

Nothing here knows S3, HTTP, Dagster or PostHog.
"""

from snowplow_posthog_dagster.snowplow.bad_rows import bad_row, reread
from snowplow_posthog_dagster.snowplow.lines import Lines, records
from snowplow_posthog_dagster.snowplow.parse import ParsedEvent, parse
from snowplow_posthog_dagster.snowplow.record import FieldError, Record, Rejected

__all__ = [
    "FieldError",
    "Lines",
    "ParsedEvent",
    "Record",
    "Rejected",
    "bad_row",
    "parse",
    "records",
    "reread",
]
