"""Records that must not arrive, each wrong in one way that real archives show."""

from collections.abc import Callable
from random import Random

from snowplow_posthog_dagster.generator import line
from snowplow_posthog_dagster.generator.line import INDEX

OVERSIZED_BYTES = 1_200_000  # PostHog takes 1,000,000 for the whole event


def _with_cell(record: bytes, column: str, value: bytes) -> bytes:
    cells = record.split(b"\t")
    cells[INDEX[column]] = value
    return b"\t".join(cells)


def _without_last_column(record: bytes) -> bytes:
    """What a tool leaves that strips trailing white space: 130 columns."""
    return record.rpartition(b"\t")[0]


def _with_another_column(record: bytes) -> bytes:
    return record + b"\t"


def _of_2013(record: bytes) -> bytes:
    """The 108 columns of Snowplow's first years."""
    return b"\t".join(record.split(b"\t")[:108])


def _torn(record: bytes) -> bytes:
    """A line that ends in the middle."""
    return record[: len(record) // 2]


def _bad_timestamp(record: bytes) -> bytes:
    return _with_cell(record, "collector_tstamp", b"29th May 2022 18:04:12")


def _bad_number(record: bytes) -> bytes:
    return _with_cell(_with_cell(record, "br_viewwidth", b"12px"), "geo_latitude", b"north")


def _bad_boolean(record: bytes) -> bytes:
    return _with_cell(record, "br_cookies", b"yes")


def _bad_json(record: bytes) -> bytes:
    return _with_cell(record, "contexts", record.split(b"\t")[INDEX["contexts"]][:-3])


BREAKAGES: tuple[Callable[[bytes], bytes], ...] = (
    _without_last_column,
    _with_another_column,
    _of_2013,
    _torn,
    _bad_timestamp,
    _bad_number,
    _bad_boolean,
    _bad_json,
)


def broken(random: Random, record: bytes) -> bytes:
    """The record, made unreadable in one of the ways."""
    return BREAKAGES[int(random.random() * len(BREAKAGES))](record)


def oversized(random: Random, record: bytes) -> bytes:
    """The record as an application error with a stack trace of 1.2 MB."""
    frame = f"  at handler_{random.getrandbits(32):08x} (app/services/request_service.rb:42)\\n"
    trace = frame * (OVERSIZED_BYTES // len(frame))
    data = f'{{"message":"stack level too deep","programmingLanguage":"RUBY","stackTrace":"{trace}"}}'
    schema = b"com.snowplowanalytics.snowplow/application_error/jsonschema/1-0-2"
    cells = record.split(b"\t")
    cells[INDEX["event"]] = b"unstruct"
    cells[INDEX["se_category"] : INDEX["useragent"]] = line.unstruct(schema, data.encode()).split(b"\t")
    names = line.schema_cells("com.snowplowanalytics.snowplow", "application_error", "1-0-2")
    cells[INDEX["event_vendor"] : INDEX["event_fingerprint"]] = names.split(b"\t")
    return b"\t".join(cells)
