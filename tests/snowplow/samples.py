"""Records for tests: a small valid one, and variations of it by column name."""

import json
from pathlib import Path
from typing import Any

from snowplow_posthog_dagster.snowplow.columns import INDEX, NAMES
from snowplow_posthog_dagster.snowplow.lines import read_record, records
from snowplow_posthog_dagster.snowplow.record import Record, Rejected

DATA = Path(__file__).parent / "data"
EDGE_CASES = DATA / "edge-cases"

SMALL = {
    "app_id": "shop",
    "platform": "web",
    "etl_tstamp": "2022-06-06 04:30:00.000",
    "collector_tstamp": "2022-06-06 04:29:38.123",
    "event": "page_view",
    "event_id": "c6ef3124-b53a-4b13-a233-0088f79dcbcb",
    "v_collector": "ssc-2.8.0-kinesis",
    "v_etl": "enrich-3.8.0",
    "derived_tstamp": "2022-06-06 04:29:37.999",
}


def line(**columns: str) -> bytes:
    """A line of 131 columns without its newline."""
    fields = [""] * len(NAMES)
    for name, value in {**SMALL, **columns}.items():
        fields[INDEX[name]] = value
    return "\t".join(fields).encode()


def record(**columns: str) -> Record:
    """The record of `line`."""
    found = read_record(line(**columns), 0, 1, 0)
    assert isinstance(found, Record)
    return found


def contexts(*entities: tuple[str, Any]) -> str:
    """The JSON of a contexts column, as Enrich writes it."""
    return json.dumps(
        {
            "schema": "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-0",
            "data": [{"schema": schema, "data": data} for schema, data in entities],
        },
        separators=(",", ":"),
    )


def unstruct(schema: str, data: Any) -> str:
    """The JSON of an unstruct_event column."""
    return json.dumps(
        {
            "schema": "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0",
            "data": {"schema": schema, "data": data},
        },
        separators=(",", ":"),
    )


def read(data: bytes) -> list[Record | Rejected]:
    """All records of a whole object."""
    return list(records([data]))


def edge_case(name: str) -> list[Record | Rejected]:
    """All records of one of the edge-case files."""
    return read((EDGE_CASES / name).read_bytes())
