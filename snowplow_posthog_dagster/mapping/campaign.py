"""Campaigns: utm parameters and click ids, where PostHog's channel types and attribution look for them.

Snowplow's campaign enrichment fills `mkt_*`. Where it was off or did not know a parameter, the query string of the
page is read as posthog-js would: only on events whose URL has the parameter, first value wins, the enrichment before
the URL.
"""

from urllib.parse import unquote_plus

from snowplow_posthog_dagster.mapping.properties import POSTHOG_NAMES, Properties
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
        "utm_source, utm_medium, utm_campaign, utm_term, utm_content, utm_name", "page_urlquery", "If mkt_* is empty."
    ),
    Rule(
        ", ".join(CLICK_IDS),
        "mkt_clickid with mkt_network, page_urlquery",
        "By the network's name, else the query parameter of that name.",
    ),
)

_ATTRIBUTES = {POSTHOG_NAMES.get(name, name): name for name in Properties.__struct_fields__}
_ATTRIBUTE_OF_PARAMETER = {name: _ATTRIBUTES[name] for name in PARAMETERS}

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


def attribute(properties: Properties) -> None:
    """Set what the `mkt_*` columns do not say themselves."""
    if properties.mkt_clickid:
        click_id = NETWORKS.get(properties.mkt_network.lower())
        if click_id is not None:
            setattr(properties, click_id, properties.mkt_clickid)
    query = properties.page_urlquery
    if "=" in query:
        _from_query(query, properties)


def _from_query(query: str, properties: Properties) -> None:
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        attribute_name = _ATTRIBUTE_OF_PARAMETER.get(name)
        if attribute_name is not None and value and not getattr(properties, attribute_name):
            setattr(properties, attribute_name, unquote_plus(value).replace("\x00", "\ufffd"))
