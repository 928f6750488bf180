"""The properties of a PostHog event by name: which column is called how, and what the rules add.

Columns are sent under PostHog's name where it has one (`POSTHOG_NAMES`) and under Snowplow's canonical name otherwise;
columns.py holds them. What the rules add goes into a dict, `Properties`, under PostHog's own names, and every one of
these names is listed here, so that data cannot take one and docs/mapping.md misses none.
"""

from typing import Any

from snowplow_posthog_dagster.snowplow.columns import COLUMNS, Kind

POSTHOG_NAMES: dict[str, str] = {
    # page and referrer: posthog-js, utils/event-utils.ts
    "page_url": "$current_url",
    "page_urlhost": "$host",
    "page_urlpath": "$pathname",
    "page_title": "title",
    "page_referrer": "$referrer",
    "refr_urlhost": "$referring_domain",
    # campaign: posthog-js, CAMPAIGN_PARAMS
    "mkt_source": "utm_source",
    "mkt_medium": "utm_medium",
    "mkt_campaign": "utm_campaign",
    "mkt_term": "utm_term",
    "mkt_content": "utm_content",
    # browser, system and device: packages/core/src/utils/user-agent-utils.ts
    "useragent": "$raw_user_agent",
    "br_lang": "$browser_language",
    "os_timezone": "$timezone",
    "br_viewwidth": "$viewport_width",
    "br_viewheight": "$viewport_height",
    "dvce_screenwidth": "$screen_width",
    "dvce_screenheight": "$screen_height",
    # place: the names of PostHog's GeoIP transformation
    "geo_country": "$geoip_country_code",
    "geo_region": "$geoip_subdivision_1_code",
    "geo_region_name": "$geoip_subdivision_1_name",
    "geo_city": "$geoip_city_name",
    "geo_zipcode": "$geoip_postal_code",
    "geo_latitude": "$geoip_latitude",
    "geo_longitude": "$geoip_longitude",
    "geo_timezone": "$geoip_time_zone",
    # identity
    "user_id": "$user_id",
}
"""Column -> the name under which PostHog gets it; the names are PostHog's taxonomy (taxonomy.py, posthog-js)."""

Properties = dict[str, Any]
"""What the rules add to the columns, by PostHog's names; never anything empty."""

ADDED_PROPERTIES = frozenset(
    {
        # identity.py, session.py
        *("$process_person_profile", "$device_id", "$session_id", "$set", "$set_once"),
        # page.py
        *("$pageview_id", "$browser_language_prefix", "$external_click_url"),
        # referrer.py
        *("$search_engine", "ph_keyword"),
        # campaign.py: CAMPAIGN_PROPERTIES of PostHog's taxonomy
        *("gclid", "gclsrc", "dclid", "gad_source", "gbraid", "wbraid", "fbclid", "msclkid", "twclid", "li_fat_id"),
        *("mc_cid", "igshid", "ttclid", "rdt_cid", "irclid", "_kx", "epik", "qclid", "sccid", "utm_name"),
        # browser.py, after posthog-js (packages/core/src/utils/user-agent-utils.ts)
        *("$browser", "$browser_version", "$os", "$os_version"),
        *("$device", "$device_type", "$device_model", "$device_manufacturer"),
        # geo.py: the names of PostHog's GeoIP transformation
        *("$ip", "$geoip_disable", "$geoip_country_name", "$geoip_continent_code", "$geoip_continent_name"),
        # app.py
        *("$screen_name", "$app_version", "$app_build", "$app_name", "$app_namespace", "$lib", "$lib_version"),
        *("$network_carrier", "$network_wifi", "$network_cellular"),
        # commerce.py, entities.py
        *("revenue", "currency", "$groups"),
        # of size.py and mapper.py
        *("snowplow_shed", "snowplow_archive_day", "snowplow_object", "snowplow_mapping_version"),
    }
)
"""Every name under which a rule adds something, beside those that entities give themselves."""

KEPT_PROPERTIES = frozenset(
    {"$geoip_disable", "$process_person_profile", "snowplow_archive_day", "snowplow_object", "snowplow_mapping_version"}
)
"""Without these PostHog would locate, make persons, or nobody would know where an event came from."""


SENT_COLUMNS = tuple(column.name for column in COLUMNS if column.kind not in {Kind.CONTEXTS, Kind.UNSTRUCT})
"""All columns but the three of JSON."""


def property_name(column: str) -> str:
    """Under which name a column is sent."""
    return POSTHOG_NAMES.get(column, column)


TAKEN_UP = {
    "event_id": "The uuid; a property of its own only when it is no UUID.",
    "derived_tstamp": "The timestamp; a property of its own only when it was replaced.",
    "user_ipaddress": "`$ip` when it is a public address, else a property of its own.",
    "contexts": "One property per schema, see below.",
    "derived_contexts": "Joined with `contexts`.",
    "unstruct_event": "One property, see below.",
}
"""Columns that are not simply sent, and what becomes of them."""


PROPERTY_NAMES: frozenset[str] = ADDED_PROPERTIES | set(map(property_name, SENT_COLUMNS))
"""Every name that a property of our own can have; flattened data keeps off them."""

COLUMN_OF_PROPERTY = {property_name(column): column for column in SENT_COLUMNS}
"""Name under which a column is sent -> the column."""
