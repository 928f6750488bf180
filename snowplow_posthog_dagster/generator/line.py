"""Lines of 131 columns, fast: what a visit's events have in common is laid out once, the rest is filled in per event.

    row of a visit (131 cells, constant ones filled) --template()--> bytes with 13 holes --% values--> one line

A line is 1 to 3 KB of which an event changes some 500 bytes, and `bytes % tuple` copies the constant stretches at the
speed of memcpy.
"""

from typing import NamedTuple

from snowplow_posthog_dagster.snowplow.columns import COLUMNS

WIDTH = len(COLUMNS)
INDEX = {column.name: number for number, column in enumerate(COLUMNS)}

_HOLE = b"\0"  # never in a line: Enrich removes control characters

# The stretches of neighbouring columns that change from event to event, as (first, behind the last).
_CLOCKS = (INDEX["etl_tstamp"], INDEX["event_id"] + 1)  # etl, collector, created, event, event_id: five holes
_PAGE = (INDEX["page_url"], INDEX["contexts"])  # page, referrer and campaign: one hole
_CONTEXTS = INDEX["contexts"]
_ACTION = (INDEX["se_category"], INDEX["useragent"])  # struct, unstruct, legacy ecommerce, page ping: one hole
_CLICK = (INDEX["mkt_clickid"], INDEX["etl_tags"])  # click id and network: one hole
_SENT = INDEX["dvce_sent_tstamp"]
_DERIVED = INDEX["derived_tstamp"]
_SCHEMA = (INDEX["event_vendor"], INDEX["event_fingerprint"])  # vendor, name, format, version: one hole
_FINGERPRINT = INDEX["event_fingerprint"]

PAGE_CELLS = _PAGE[1] - _PAGE[0]
ACTION_CELLS = _ACTION[1] - _ACTION[0]
NO_PAGE = b"\t" * (PAGE_CELLS - 1)
NO_ACTION = b"\t" * (ACTION_CELLS - 1)
NO_CLICK = b"\t"


class Event(NamedTuple):
    """What one event adds to the line of its visit; cells of neighbouring columns are joined by tabs."""

    name: bytes  # the column `event`: page_view, struct, unstruct, ...
    page: bytes  # page_url .. mkt_campaign
    contexts: bytes
    action: bytes  # se_category .. pp_yoffset_max
    schema: bytes  # event_vendor .. event_version
    click: bytes = NO_CLICK  # mkt_clickid, mkt_network


def empty_row() -> list[bytes]:
    """131 empty cells."""
    return [b""] * WIDTH


def template(row: list[bytes]) -> bytes:
    """The line of a visit with its holes.

    In this order: etl, collector, created, event, event_id, page, contexts, action, click, sent, derived, schema,
    fingerprint.
    """
    cells = [
        *row[: _CLOCKS[0]],
        *[_HOLE] * 5,
        *row[_CLOCKS[1] : _PAGE[0]],
        *[_HOLE] * 3,
        *row[_ACTION[1] : _CLICK[0]],
        _HOLE,
        *row[_CLICK[1] : _SENT],
        _HOLE,
        *row[_SENT + 1 : _DERIVED],
        *[_HOLE] * 3,
        *row[_FINGERPRINT + 1 :],
    ]
    return b"\t".join(cells).replace(b"%", b"%%").replace(_HOLE, b"%b")


def stretch(first: str, behind: str, cells: dict[str, bytes]) -> bytes:
    """The columns from `first` up to but without `behind`, joined, with these cells filled."""
    return b"\t".join(cells.get(column.name, b"") for column in COLUMNS[INDEX[first] : INDEX[behind]])


def action(**cells: bytes) -> bytes:
    """The stretch from se_category to pp_yoffset_max with these columns filled."""
    return stretch("se_category", "useragent", cells)


def schema_cells(vendor: str, name: str, version: str) -> bytes:
    """The stretch event_vendor, event_name, event_format, event_version."""
    return f"{vendor}\t{name}\tjsonschema\t{version}".encode()


STRUCT = schema_cells("com.google.analytics", "event", "1-0-0")  # what Enrich writes for every struct event
PAGE_VIEW = schema_cells("com.snowplowanalytics.snowplow", "page_view", "1-0-0")
PAGE_PING = schema_cells("com.snowplowanalytics.snowplow", "page_ping", "1-0-0")
TRANSACTION = schema_cells("com.snowplowanalytics.snowplow", "transaction", "1-0-0")
TRANSACTION_ITEM = schema_cells("com.snowplowanalytics.snowplow", "transaction_item", "1-0-0")

_SE_CELLS = INDEX["unstruct_event"] - INDEX["se_category"]
_BEFORE_UNSTRUCT = b"\t" * _SE_CELLS
_BEHIND_UNSTRUCT = b"\t" * (ACTION_CELLS - 1 - _SE_CELLS)
_BEHIND_STRUCT = b"\t" * (ACTION_CELLS - 5)
_BEFORE_PING = b"\t" * (ACTION_CELLS - 4)


def struct(category: bytes, verb: bytes, label: bytes = b"", prop: bytes = b"", value: bytes = b"") -> bytes:
    """The action of a struct event."""
    return b"\t".join((category, verb, label, prop, value)) + _BEHIND_STRUCT


def unstruct(schema: bytes, data: bytes) -> bytes:
    """The action of a self-describing event; `data` is its JSON."""
    return (
        _BEFORE_UNSTRUCT
        + b'{"schema":"iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0","data":{"schema":"iglu:'
        + schema
        + b'","data":'
        + data
        + b"}}"
        + _BEHIND_UNSTRUCT
    )


def ping(offsets: tuple[int, int, int, int]) -> bytes:
    """The action of a page ping: smallest and largest x, smallest and largest y since the last one, in pixels."""
    return _BEFORE_PING + b"%d\t%d\t%d\t%d" % offsets


def contexts(*entities: bytes) -> bytes:
    """The envelope around entities."""
    return (
        b'{"schema":"iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-1","data":['
        + b",".join(entities)
        + b"]}"
    )


def entity(schema: bytes, data: bytes) -> bytes:
    """One self-describing JSON."""
    return b'{"schema":"iglu:' + schema + b'","data":' + data + b"}"
