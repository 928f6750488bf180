"""The 131 columns of an enriched event, in the order of the TSV.

Snowplow froze the list in 2015 (R73): new information arrives as entities, never as a column, so the position
of a column is its identity. Order and types are those of Enrich and of the Scala analytics SDK; column 121 is
`refr_dvce_tstamp` as in Enrich, Scala, JavaScript and .NET (Python and Go call it `refr_device_tstamp`).

An empty string is null for every kind: Enrich writes nothing else for a missing value.
"""

from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """How the text of a column is to be read."""

    TEXT = "text"
    INTEGER = "integer"  # Java Integer: 32 bit, signed
    DOUBLE = "double"  # Float.toString or BigDecimal.toString: may be 1.0E-5 or 1E+3
    BOOLEAN = "boolean"  # 0 or 1
    TIMESTAMP = "timestamp"  # yyyy-MM-dd HH:mm:ss.SSS, UTC
    CONTEXTS = "contexts"  # self-describing JSON whose data is a list of entities
    UNSTRUCT = "unstruct"  # self-describing JSON whose data is one self-describing JSON


class Column(NamedTuple):
    """Name and kind of one column."""

    name: str
    kind: Kind


COLUMNS: tuple[Column, ...] = (
    Column("app_id", Kind.TEXT),
    Column("platform", Kind.TEXT),
    Column("etl_tstamp", Kind.TIMESTAMP),
    Column("collector_tstamp", Kind.TIMESTAMP),
    Column("dvce_created_tstamp", Kind.TIMESTAMP),
    Column("event", Kind.TEXT),
    Column("event_id", Kind.TEXT),
    Column("txn_id", Kind.INTEGER),
    Column("name_tracker", Kind.TEXT),
    Column("v_tracker", Kind.TEXT),
    Column("v_collector", Kind.TEXT),
    Column("v_etl", Kind.TEXT),
    Column("user_id", Kind.TEXT),
    Column("user_ipaddress", Kind.TEXT),
    Column("user_fingerprint", Kind.TEXT),
    Column("domain_userid", Kind.TEXT),
    Column("domain_sessionidx", Kind.INTEGER),
    Column("network_userid", Kind.TEXT),
    Column("geo_country", Kind.TEXT),
    Column("geo_region", Kind.TEXT),
    Column("geo_city", Kind.TEXT),
    Column("geo_zipcode", Kind.TEXT),
    Column("geo_latitude", Kind.DOUBLE),
    Column("geo_longitude", Kind.DOUBLE),
    Column("geo_region_name", Kind.TEXT),
    Column("ip_isp", Kind.TEXT),
    Column("ip_organization", Kind.TEXT),
    Column("ip_domain", Kind.TEXT),
    Column("ip_netspeed", Kind.TEXT),
    Column("page_url", Kind.TEXT),
    Column("page_title", Kind.TEXT),
    Column("page_referrer", Kind.TEXT),
    Column("page_urlscheme", Kind.TEXT),
    Column("page_urlhost", Kind.TEXT),
    Column("page_urlport", Kind.INTEGER),
    Column("page_urlpath", Kind.TEXT),
    Column("page_urlquery", Kind.TEXT),
    Column("page_urlfragment", Kind.TEXT),
    Column("refr_urlscheme", Kind.TEXT),
    Column("refr_urlhost", Kind.TEXT),
    Column("refr_urlport", Kind.INTEGER),
    Column("refr_urlpath", Kind.TEXT),
    Column("refr_urlquery", Kind.TEXT),
    Column("refr_urlfragment", Kind.TEXT),
    Column("refr_medium", Kind.TEXT),
    Column("refr_source", Kind.TEXT),
    Column("refr_term", Kind.TEXT),
    Column("mkt_medium", Kind.TEXT),
    Column("mkt_source", Kind.TEXT),
    Column("mkt_term", Kind.TEXT),
    Column("mkt_content", Kind.TEXT),
    Column("mkt_campaign", Kind.TEXT),
    Column("contexts", Kind.CONTEXTS),
    Column("se_category", Kind.TEXT),
    Column("se_action", Kind.TEXT),
    Column("se_label", Kind.TEXT),
    Column("se_property", Kind.TEXT),
    Column("se_value", Kind.DOUBLE),
    Column("unstruct_event", Kind.UNSTRUCT),
    Column("tr_orderid", Kind.TEXT),
    Column("tr_affiliation", Kind.TEXT),
    Column("tr_total", Kind.DOUBLE),
    Column("tr_tax", Kind.DOUBLE),
    Column("tr_shipping", Kind.DOUBLE),
    Column("tr_city", Kind.TEXT),
    Column("tr_state", Kind.TEXT),
    Column("tr_country", Kind.TEXT),
    Column("ti_orderid", Kind.TEXT),
    Column("ti_sku", Kind.TEXT),
    Column("ti_name", Kind.TEXT),
    Column("ti_category", Kind.TEXT),
    Column("ti_price", Kind.DOUBLE),
    Column("ti_quantity", Kind.INTEGER),
    Column("pp_xoffset_min", Kind.INTEGER),
    Column("pp_xoffset_max", Kind.INTEGER),
    Column("pp_yoffset_min", Kind.INTEGER),
    Column("pp_yoffset_max", Kind.INTEGER),
    Column("useragent", Kind.TEXT),
    Column("br_name", Kind.TEXT),
    Column("br_family", Kind.TEXT),
    Column("br_version", Kind.TEXT),
    Column("br_type", Kind.TEXT),
    Column("br_renderengine", Kind.TEXT),
    Column("br_lang", Kind.TEXT),
    Column("br_features_pdf", Kind.BOOLEAN),
    Column("br_features_flash", Kind.BOOLEAN),
    Column("br_features_java", Kind.BOOLEAN),
    Column("br_features_director", Kind.BOOLEAN),
    Column("br_features_quicktime", Kind.BOOLEAN),
    Column("br_features_realplayer", Kind.BOOLEAN),
    Column("br_features_windowsmedia", Kind.BOOLEAN),
    Column("br_features_gears", Kind.BOOLEAN),
    Column("br_features_silverlight", Kind.BOOLEAN),
    Column("br_cookies", Kind.BOOLEAN),
    Column("br_colordepth", Kind.TEXT),
    Column("br_viewwidth", Kind.INTEGER),
    Column("br_viewheight", Kind.INTEGER),
    Column("os_name", Kind.TEXT),
    Column("os_family", Kind.TEXT),
    Column("os_manufacturer", Kind.TEXT),
    Column("os_timezone", Kind.TEXT),
    Column("dvce_type", Kind.TEXT),
    Column("dvce_ismobile", Kind.BOOLEAN),
    Column("dvce_screenwidth", Kind.INTEGER),
    Column("dvce_screenheight", Kind.INTEGER),
    Column("doc_charset", Kind.TEXT),
    Column("doc_width", Kind.INTEGER),
    Column("doc_height", Kind.INTEGER),
    Column("tr_currency", Kind.TEXT),
    Column("tr_total_base", Kind.DOUBLE),
    Column("tr_tax_base", Kind.DOUBLE),
    Column("tr_shipping_base", Kind.DOUBLE),
    Column("ti_currency", Kind.TEXT),
    Column("ti_price_base", Kind.DOUBLE),
    Column("base_currency", Kind.TEXT),
    Column("geo_timezone", Kind.TEXT),
    Column("mkt_clickid", Kind.TEXT),
    Column("mkt_network", Kind.TEXT),
    Column("etl_tags", Kind.TEXT),
    Column("dvce_sent_tstamp", Kind.TIMESTAMP),
    Column("refr_domain_userid", Kind.TEXT),
    Column("refr_dvce_tstamp", Kind.TIMESTAMP),
    Column("derived_contexts", Kind.CONTEXTS),
    Column("domain_sessionid", Kind.TEXT),
    Column("derived_tstamp", Kind.TIMESTAMP),
    Column("event_vendor", Kind.TEXT),
    Column("event_name", Kind.TEXT),
    Column("event_format", Kind.TEXT),
    Column("event_version", Kind.TEXT),
    Column("event_fingerprint", Kind.TEXT),
    Column("true_tstamp", Kind.TIMESTAMP),
)

COLUMN_COUNT = 131

NAMES: tuple[str, ...] = tuple(column.name for column in COLUMNS)

INDEX: dict[str, int] = {name: index for index, name in enumerate(NAMES)}

OLDER_LAYOUTS: dict[int, str] = {
    108: "the layout up to release 62",
    125: "the layout of releases 63 to 70",
    128: "a Redshift extract without the three JSON columns",
    129: "trailing empty columns were stripped",
    130: "a trailing empty column was stripped",
}
"""Column counts that are met in practice and what makes them. None can be mapped safely to the 131 columns, say
the maintainers of the SDKs (snowplow-scala-analytics-sdk#5), so they only make the message of a dead letter."""
