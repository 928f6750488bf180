"""Browser, operating system and device, in PostHog's words.

Four sources, the better one first, and the next one only for what is still missing:

1. the YAUAA enrichment, 2. the ua_parser enrichment, 3. the deprecated columns br_*, os_*, dvce_* (user-agent-utils),
4. the user agent itself, read by ua-parser's expressions. That takes 0.1 ms and more, so the answers are kept for 4,096
user agents; where an enrichment has found browser and system it is never asked.

An app has a system and a device but no browser: its user agent is that of its HTTP library. With mobile_context, from
which app.py has set them, nothing here is asked; without it, system and device are taken from here and the browser not.
"""

import re
from functools import lru_cache
from operator import attrgetter

from snowplow_posthog_dagster.mapping.columns import Columns
from snowplow_posthog_dagster.mapping.identity import Found
from snowplow_posthog_dagster.mapping.properties import Properties
from snowplow_posthog_dagster.mapping.reading import Data
from snowplow_posthog_dagster.mapping.rules import Rule
from snowplow_posthog_dagster.mapping.vocabulary import (
    ON_IOS,
    TYPE_OF_SYSTEM,
    browser_name,
    device_name,
    device_type,
    system_name,
    system_version,
    version_number,
)

_SOURCES = "yauaa_context, ua_parser_context, {}, useragent"

RULES = (
    Rule(
        "$browser",
        _SOURCES.format("br_name, br_family"),
        "The first source that knows, in PostHog's names. Apps have none: events with mobile_context, and those of the "
        "platform `mob` without page_url.",
    ),
    Rule("$browser_version", _SOURCES.format("br_version"), "Major and minor version as a number."),
    Rule("$os", _SOURCES.format("os_family, os_name"), "The first source that knows, in PostHog's names."),
    Rule("$os_version", _SOURCES.format("os_name"), "Windows by the name people know (7, 8.1, 10)."),
    Rule(
        "$device_type", _SOURCES.format("dvce_type, dvce_ismobile"), "Mobile, Tablet, Desktop, Console, Wearable or TV."
    ),
    Rule("$device, $device_manufacturer", "yauaa_context, ua_parser_context", "Name and brand, when known."),
)

YAUAA = "nl.basjes/yauaa_context"
UA_PARSER = "com.snowplowanalytics.snowplow/ua_parser_context"

_ANDROID_TRACKER = re.compile(r"snowplow/andr-\S+ android/([\d.]+)")
"""The user agent that Snowplow's Android tracker makes up, which no list of browsers knows."""

_CONSOLE = re.compile("Xbox|PlayStation|Nintendo")
"""Systems by the user agent alone: ua_parser calls an Xbox `Windows`, and the others nothing."""

_OF_COLUMNS = attrgetter("br_name", "br_family", "os_name", "os_family", "dvce_type", "dvce_ismobile")

_TRAILING_VERSION = re.compile(r"\s+[\d.x]+$")


Agent = tuple[str, float | int | None, str, str, str, str, str]
"""What a source says: browser, its version, system, its version, kind of device, device, brand; empty if unknown."""


NOTHING: Agent = ("", None, "", "", "", "", "")


def describe_browser(columns: Columns, properties: Properties, found: Found, *, parse_user_agent: bool) -> None:
    """Set what the sources know, the better source first."""
    yauaa = found.get(YAUAA)
    if yauaa and _apply(properties, _from_yauaa(yauaa)):
        return
    parsed = found.get(UA_PARSER)
    if parsed:
        _apply(properties, _from_ua_parser(parsed, columns.useragent))
    if any(_OF_COLUMNS(columns)):
        _apply(properties, _from_columns(columns))
    # ua_parser has read the user agent by the same expressions already.
    if parse_user_agent and columns.useragent and not (parsed or _is_known(properties)):
        _apply(properties, _from_user_agent(columns.useragent))


def _is_known(properties: Properties) -> bool:
    return "$browser" in properties and "$os" in properties


def has_no_browser(properties: Properties) -> None:
    """Take off what was found for an app, whose user agent names its HTTP library (`MyApp/6 CFNetwork/1220.1`)."""
    properties.pop("$browser", None)
    properties.pop("$browser_version", None)


def _apply(properties: Properties, agent: Agent) -> bool:
    """Fill what is still missing, a version only with the name that it belongs to; whether the source knew all."""
    browser, browser_version, os, os_version, kind, device, manufacturer = agent
    if os and "$os" not in properties:
        properties["$os"] = os
        if os_version:
            properties["$os_version"] = os_version
    if browser and "$browser" not in properties:
        on_ios = properties.get("$os") == "iOS"
        properties["$browser"] = ON_IOS.get(browser, browser) if on_ios else browser
        if browser_version is not None:
            properties["$browser_version"] = browser_version
    if kind:
        properties.setdefault("$device_type", kind)
    if device:
        properties.setdefault("$device", device)
    if manufacturer:
        properties.setdefault("$device_manufacturer", manufacturer)
    return bool(browser and os and kind)


def _from_yauaa(data: Data) -> Agent:
    value = data.get
    try:
        system = system_name(value("operatingSystemName"))
        return (
            browser_name(value("agentName")),
            version_number(value("agentVersion")),
            system,
            system_version(system, value("operatingSystemVersion")),
            device_type(value("deviceClass")),
            device_name(value("deviceName")),
            device_name(value("deviceBrand")),
        )
    except TypeError:  # a list or an object where YAUAA has text; it cannot be looked up
        return NOTHING


def _from_ua_parser(data: Data, useragent: str) -> Agent:
    value = data.get
    major, minor = _text(value("useragentMajor")), _text(value("useragentMinor"))
    parts = (_text(value("osMajor")), _text(value("osMinor")), _text(value("osPatch")))
    return _agent(
        (_text(value("useragentFamily")), f"{major}.{minor}"),
        (_text(value("osFamily")), ".".join(filter(None, parts))),
        _text(value("deviceFamily")),
        useragent,
    )


def _from_columns(columns: Columns) -> Agent:
    system = system_name(columns.os_family) or system_name(_TRAILING_VERSION.sub("", columns.os_name))
    name = _TRAILING_VERSION.sub("", columns.br_name)
    kind = device_type(columns.dvce_type) or ("Mobile" if columns.dvce_ismobile else "")
    return (
        browser_name(name) or browser_name(columns.br_family),
        version_number(columns.br_version),
        system,
        system_version(system, columns.os_name.removeprefix(f"{columns.os_family} ").partition(" ")[0]),
        kind or TYPE_OF_SYSTEM.get(system, ""),
        "",
        "",
    )


@lru_cache(4096)
def _from_user_agent(useragent: str) -> Agent:
    tracker = _ANDROID_TRACKER.fullmatch(useragent)
    if tracker:
        return "", None, "Android", tracker[1], "Mobile", "", ""
    from snowplow_posthog_dagster.mapping import user_agents  # 0.3 s and 30 MB, which only data without them needs

    browser, system, device = user_agents.parse(useragent)
    version = ".".join(filter(None, (system.major, system.minor, system.patch))) if system else ""
    return _agent(
        (browser.family, f"{browser.major or ''}.{browser.minor or ''}") if browser else ("", ""),
        (system.family, version) if system else ("", ""),
        device.family if device else "",
        useragent,
    )


def _agent(browser: tuple[str, str], system: tuple[str, str], device: str, useragent: str) -> Agent:
    """What the names of ua_parser mean; it knows no kind of device, so system and user agent tell."""
    console = _CONSOLE.search(useragent)
    os = console[0] if console else system_name(system[0])
    return (
        browser_name(browser[0]),
        version_number(browser[1]),
        os,
        "" if console else system_version(os, system[1]) or system_version(os, system[0]),
        _kind_of_device(os, device, useragent),
        device_name(device),
        "",
    )


def _kind_of_device(system: str, device: str, useragent: str) -> str:
    if system == "iOS":
        return "Tablet" if device.startswith("iPad") or "iPad" in useragent else "Mobile"
    if system == "Android":
        return "Mobile" if "Mobile" in useragent else "Tablet"
    return TYPE_OF_SYSTEM.get(system, "")


def _text(value: object) -> str:
    return value if type(value) is str else ""
