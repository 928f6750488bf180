"""The columns of a record, typed, ready to be sent.

    Record.fields --typed_columns--> Columns --msgspec--> JSON

`Columns` is a msgspec Struct, because this is the fastest way that Python has: columns become attributes by position
(itemgetter and map, no loop), `omit_defaults` leaves out what is empty while encoding, and renaming costs nothing. It
takes 5 us per record where a dict of the same columns takes 10. Setting an attribute afterwards is seven times slower
than setting a key of a dict, so rules change columns only where they must.

A default is never sent: to leave a column out is to set `""` or `None`. No column is NaN, infinite, or holds NUL.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import product
from operator import itemgetter
from typing import Any, TypeVar

import msgspec

from snowplow_posthog_dagster.mapping.properties import POSTHOG_NAMES
from snowplow_posthog_dagster.snowplow.columns import COLUMNS, INDEX, Kind
from snowplow_posthog_dagster.snowplow.numbers import to_double, to_integer
from snowplow_posthog_dagster.snowplow.timestamps import to_iso

Value = TypeVar("Value")


class Columns(msgspec.Struct, omit_defaults=True, gc=False, rename=POSTHOG_NAMES):
    """The columns of a record, by kind; within a kind in the order of the TSV, since they are filled by position."""

    # text
    app_id: str = ""
    platform: str = ""
    event: str = ""
    event_id: str = ""
    name_tracker: str = ""
    v_tracker: str = ""
    v_collector: str = ""
    v_etl: str = ""
    user_id: str = ""
    user_ipaddress: str = ""
    user_fingerprint: str = ""
    domain_userid: str = ""
    network_userid: str = ""
    geo_country: str = ""
    geo_region: str = ""
    geo_city: str = ""
    geo_zipcode: str = ""
    geo_region_name: str = ""
    ip_isp: str = ""
    ip_organization: str = ""
    ip_domain: str = ""
    ip_netspeed: str = ""
    page_url: str = ""
    page_title: str = ""
    page_referrer: str = ""
    page_urlscheme: str = ""
    page_urlhost: str = ""
    page_urlpath: str = ""
    page_urlquery: str = ""
    page_urlfragment: str = ""
    refr_urlscheme: str = ""
    refr_urlhost: str = ""
    refr_urlpath: str = ""
    refr_urlquery: str = ""
    refr_urlfragment: str = ""
    refr_medium: str = ""
    refr_source: str = ""
    refr_term: str = ""
    mkt_medium: str = ""
    mkt_source: str = ""
    mkt_term: str = ""
    mkt_content: str = ""
    mkt_campaign: str = ""
    se_category: str = ""
    se_action: str = ""
    se_label: str = ""
    se_property: str = ""
    tr_orderid: str = ""
    tr_affiliation: str = ""
    tr_city: str = ""
    tr_state: str = ""
    tr_country: str = ""
    ti_orderid: str = ""
    ti_sku: str = ""
    ti_name: str = ""
    ti_category: str = ""
    useragent: str = ""
    br_name: str = ""
    br_family: str = ""
    br_version: str = ""
    br_type: str = ""
    br_renderengine: str = ""
    br_lang: str = ""
    br_colordepth: str = ""
    os_name: str = ""
    os_family: str = ""
    os_manufacturer: str = ""
    os_timezone: str = ""
    dvce_type: str = ""
    doc_charset: str = ""
    tr_currency: str = ""
    ti_currency: str = ""
    base_currency: str = ""
    geo_timezone: str = ""
    mkt_clickid: str = ""
    mkt_network: str = ""
    etl_tags: str = ""
    refr_domain_userid: str = ""
    domain_sessionid: str = ""
    event_vendor: str = ""
    event_name: str = ""
    event_format: str = ""
    event_version: str = ""
    event_fingerprint: str = ""
    # integers
    txn_id: int | None = None
    domain_sessionidx: int | None = None
    page_urlport: int | None = None
    refr_urlport: int | None = None
    ti_quantity: int | None = None
    pp_xoffset_min: int | None = None
    pp_xoffset_max: int | None = None
    pp_yoffset_min: int | None = None
    pp_yoffset_max: int | None = None
    br_viewwidth: int | None = None
    br_viewheight: int | None = None
    dvce_screenwidth: int | None = None
    dvce_screenheight: int | None = None
    doc_width: int | None = None
    doc_height: int | None = None
    # booleans
    br_features_pdf: bool | None = None
    br_features_flash: bool | None = None
    br_features_java: bool | None = None
    br_features_director: bool | None = None
    br_features_quicktime: bool | None = None
    br_features_realplayer: bool | None = None
    br_features_windowsmedia: bool | None = None
    br_features_gears: bool | None = None
    br_features_silverlight: bool | None = None
    br_cookies: bool | None = None
    dvce_ismobile: bool | None = None
    # doubles
    geo_latitude: float | None = None
    geo_longitude: float | None = None
    se_value: float | None = None
    tr_total: float | None = None
    tr_tax: float | None = None
    tr_shipping: float | None = None
    ti_price: float | None = None
    tr_total_base: float | None = None
    tr_tax_base: float | None = None
    tr_shipping_base: float | None = None
    ti_price_base: float | None = None
    # timestamps, as RFC 3339 with `Z` and milliseconds
    etl_tstamp: str = ""
    collector_tstamp: str = ""
    dvce_created_tstamp: str = ""
    dvce_sent_tstamp: str = ""
    refr_dvce_tstamp: str = ""
    derived_tstamp: str = ""
    true_tstamp: str = ""


DEFAULTS: dict[str, Any] = dict(zip(Columns.__struct_fields__, Columns.__struct_defaults__, strict=True))
"""Column -> the value that is never sent."""


class _Table(dict[str, Value | None]):
    """Text -> value, with a strict function for every text that is not in the table.

    Looking up the usual texts ("", 0 to 9999) runs in C and checks them at the same time: `007` is not in the table,
    so the function decides. Nothing is added later, so the table cannot grow.
    """

    def __init__(self, usual: Iterable[tuple[str, Value]], read: Callable[[str], Value | None]) -> None:
        super().__init__(usual)
        self[""] = None
        self._read = read

    def __missing__(self, text: str) -> Value:
        value = self._read(text)
        if value is None:
            raise ValueError(text)
        return value


def columns_of(kind: Kind) -> tuple[str, ...]:
    """Names of the columns of a kind, in the order of the TSV."""
    return tuple(column.name for column in COLUMNS if column.kind is kind)


def _columns(kind: Kind) -> Callable[[list[str]], tuple[str, ...]]:
    return itemgetter(*(INDEX[name] for name in columns_of(kind)))


_texts, _integers, _booleans, _doubles, _timestamps = map(
    _columns, (Kind.TEXT, Kind.INTEGER, Kind.BOOLEAN, Kind.DOUBLE, Kind.TIMESTAMP)
)
_to_integer = _Table(((str(number), number) for number in range(10_000)), to_integer).__getitem__
_to_double = _Table((("0", 0.0), ("0.0", 0.0)), to_double).__getitem__
_to_boolean = _Table((("0", False), ("1", True)), lambda _: None).__getitem__

_DIGITS_TO_ZERO = bytes(ord("0") if ord("0") <= byte <= ord("9") else byte for byte in range(256))
_TIMESTAMPS = len(columns_of(Kind.TIMESTAMP))


def _arrangements() -> dict[bytes, Callable[[list[str]], tuple[str, ...]]]:
    """Shape of all timestamps, with tabs between -> the function that puts "" where a column is empty."""
    arrangements: dict[bytes, Callable[[list[str]], tuple[str, ...]]] = {}
    for filled in product((True, False), repeat=_TIMESTAMPS):
        shape = b"\t".join(b"0000-00-00 00:00:00.000" if is_filled else b"" for is_filled in filled)
        arrangements[shape] = itemgetter(*(place if filled[place] else _TIMESTAMPS for place in range(_TIMESTAMPS)))
    return arrangements


_arrangement = _arrangements().get


def typed_columns(fields: list[str]) -> Columns:
    """The columns with their types; the three JSON columns are read elsewhere (reading.py).

    Raises:
        ValueError: a column is not of its type. Which ones and why is `snowplow.parse`'s to say.
    """
    values: tuple[Any, ...] = (
        *_texts(fields),
        *map(_to_integer, _integers(fields)),
        *map(_to_boolean, _booleans(fields)),
        *map(_to_double, _doubles(fields)),
        *_iso(_timestamps(fields)),
    )
    return Columns(*values)


def _iso(texts: tuple[str, ...]) -> Iterable[str]:
    """Timestamps as RFC 3339. Usually all are `yyyy-mm-dd hh:mm:ss.SSS`: then they are checked and written at once."""
    joined = "\t".join(texts)
    arrange = _arrangement(joined.encode().translate(_DIGITS_TO_ZERO))
    if arrange is None:
        return map(_iso_one, texts)
    try:
        all(map(datetime.fromisoformat, filter(None, texts)))  # no 30th of February; nor year 0, which Snowplow knows
    except ValueError:
        return map(_iso_one, texts)
    written = f"{joined}\t".replace(" ", "T").replace("\t", "Z\t").split("\t")
    written[-1] = ""
    return arrange(written)


def _iso_one(text: str) -> str:
    if not text:
        return ""
    written = to_iso(text)
    if written is None:
        raise ValueError(text)
    return written
