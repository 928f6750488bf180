"""Where it happened, and the only address that may say so.

PostHog locates every event by `$ip`, and stamps the address of the sender of the request when an event has none: a
loader in Virginia would put all users there. So `$geoip_disable` is on every event, unless `geo: posthog` is set and
the event has a public `$ip` of its own. Private addresses are never sent as `$ip` (PostHog turns 127.0.0.1 into a
Swedish one); they and pseudonyms stay under `user_ipaddress`. What is public stands here, because `ipaddress` says
otherwise from one version of Python to the next, and calls what nobody was given public (`fec0::1`).
"""

import ipaddress
from collections.abc import Callable
from socket import AF_INET, AF_INET6, inet_pton

from snowplow_posthog_dagster.mapping.columns import DEFAULTS, Columns
from snowplow_posthog_dagster.mapping.countries import COUNTRIES
from snowplow_posthog_dagster.mapping.properties import Properties
from snowplow_posthog_dagster.mapping.rules import Rule
from snowplow_posthog_dagster.mapping.settings import MappingSettings

RULES = (
    Rule("$ip", "user_ipaddress", "If it is a public address. Anything else stays as `user_ipaddress`."),
    Rule("$geoip_disable", "-", "Always true, unless `geo: posthog` is set and the event has `$ip`."),
    Rule(
        "$geoip_country_name, $geoip_continent_code, $geoip_continent_name",
        "geo_country",
        "Names as in PostHog's own lookup (GeoNames).",
    ),
)

GEO_COLUMNS = (
    *("geo_country", "geo_region", "geo_city", "geo_zipcode", "geo_region_name", "geo_timezone"),
    *("geo_latitude", "geo_longitude"),
)
_WHOLLY_PUBLIC_V4 = tuple(
    first not in {0, 10, 100, 127, 169, 172, 192, 198, 203} and first < 224 for first in range(256)
)
_SPECIAL_V4 = tuple(
    (int(network.network_address), int(network.netmask))
    for network in map(
        ipaddress.IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            "224.0.0.0/3",
        ),
    )
)
_GIVEN_V6 = ipaddress.IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
"""IANA's special-purpose addresses; all of IPv6 outside of 2000::/3 is special or was given to nobody."""
_WHOLLY_PUBLIC_V6 = tuple(first in {0x24, 0x26, 0x28, 0x2A, 0x2C} for first in range(256))


def is_public(address: str) -> bool:
    """Whether a text is an address of the internet; the first byte usually decides (0.3 us against 2 us)."""
    try:
        if ":" in address:
            return _WHOLLY_PUBLIC_V6[inet_pton(AF_INET6, address)[0]] or _is_global(address)
        return _WHOLLY_PUBLIC_V4[inet_pton(AF_INET, address)[0]] or _is_global(address)
    except (OSError, ValueError):  # no address, or one with NUL in it
        return False


def _is_global(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return parsed in _GIVEN_V6 and not any(parsed in network for network in _SPECIAL_V6)
        parsed = parsed.ipv4_mapped
    number = int(parsed)
    return not any(number & mask == first for first, mask in _SPECIAL_V4)


def constants(settings: MappingSettings) -> Properties:
    """What every event carries, whatever its record."""
    return {} if settings.geo == "posthog" else {"$geoip_disable": True}


def compile_geo(settings: MappingSettings) -> Callable[[Columns, Properties], None]:
    """The function that sets address and place."""
    by_posthog, nowhere = settings.geo == "posthog", settings.geo == "none"

    def locate(columns: Columns, properties: Properties) -> None:
        address = columns.user_ipaddress
        is_located = by_posthog
        if address and is_public(address):
            properties["$ip"], columns.user_ipaddress = address, ""
        elif by_posthog:
            properties["$geoip_disable"], is_located = True, False
        if nowhere or is_located:
            for name in GEO_COLUMNS:
                setattr(columns, name, DEFAULTS[name])
        country = COUNTRIES.get(columns.geo_country)
        if country is not None:
            properties.update(country)

    return locate
