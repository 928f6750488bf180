"""Campaigns: utm parameters and click ids, where PostHog's channel types and attribution look for them.

Snowplow's campaign enrichment fills `mkt_*`. Where it was off or did not know a parameter, the query string of the
page is read as posthog-js would: only on events whose URL has the parameter, first value wins, the enrichment before
the URL.
"""

from collections.abc import Container
from urllib.parse import unquote_plus

from snowplow_posthog_dagster.mapping.columns import Columns
from snowplow_posthog_dagster.mapping.properties import COLUMN_OF_PROPERTY, Properties
from snowplow_posthog_dagster.mapping.rules import Rule

CLICK_IDS = [
    "gclid",
    "gad_source",
    "gclsrc",
    "dclid",
    "gbraid",
    "wbraid",
    "fbclid",
    "msclkid",
    "twclid",
    "li_fat_id",
    "mc_cid",
    "igshid",
    "ttclid",
    "rdt_cid",
    "irclid",
    "_kx",
    "epik",
    "qclid",
    "sccid",
]

PARAMETERS = frozenset({"utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "utm_name", *CLICK_IDS})
"""Query parameters that mean something to PostHog (CAMPAIGN_PROPERTIES of its taxonomy)."""

RULES = (
    Rule(
        "utm_source, utm_medium, utm_campaign, utm_term, utm_content, utm_name",
        "page_urlquery",
        "If mkt_* is empty, unless privacy drops it.",
    ),
    Rule(
        ", ".join(CLICK_IDS),
        "mkt_clickid with mkt_network, page_urlquery",
        "By the network's name, else the query parameter of that name.",
    ),
)

_COLUMN_OF_PARAMETER = {name: column for name, column in COLUMN_OF_PROPERTY.items() if name in PARAMETERS}
_DROPPED_WITH = {**_COLUMN_OF_PARAMETER, **dict.fromkeys(CLICK_IDS, "mkt_clickid")}

NETWORKS = {
    "google": "gclid",
    "doubleclick": "dclid",
    "microsoft": "msclkid",
    "bing": "msclkid",
    "facebook": "fbclid",
    "meta": "fbclid",
    "twitter": "twclid",
    "linkedin": "li_fat_id",
    "tiktok": "ttclid",
    "reddit": "rdt_cid",
}
"""mkt_network in lower case -> PostHog's name of its click id; the first three are Snowplow's own."""


def attribute(columns: Columns, properties: Properties, dropped: Container[str]) -> None:
    """Set what the `mkt_*` columns do not say themselves, but nothing that privacy `dropped`."""
    if columns.mkt_clickid:
        click_id = NETWORKS.get(columns.mkt_network.lower())
        if click_id is not None:
            properties[click_id] = columns.mkt_clickid
    if "=" in columns.page_urlquery:
        _from_query(columns, properties, dropped)


def _from_query(columns: Columns, properties: Properties, dropped: Container[str]) -> None:
    for pair in columns.page_urlquery.split("&"):
        name, _, value = pair.partition("=")
        if name in PARAMETERS and value and name not in properties:
            column = _COLUMN_OF_PARAMETER.get(name)
            if _DROPPED_WITH.get(name) not in dropped and not (column and getattr(columns, column)):
                properties[name] = unquote_plus(value).replace("\x00", "\ufffd")
