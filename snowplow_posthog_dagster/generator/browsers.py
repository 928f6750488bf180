"""User agents, with what Enrich derives from them: the deprecated br_/os_/dvce_ columns and three entities.

The number of different user agents matters to whoever measures a cache: it is a setting, and each one made here is
another string (versions and builds differ).
"""

from random import Random
from typing import NamedTuple

import orjson

from snowplow_posthog_dagster.generator.line import contexts, entity, stretch


class Family(NamedTuple):
    """One kind of browser on one kind of device."""

    agent: str  # the user agent string; {major} and {build} vary
    browser: str
    engine: str
    os: str
    os_version: str
    device_class: str
    device: str
    brand: str
    screen: tuple[int, int]
    weight: int


_CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{major}.0.{build}.{patch}"
FAMILIES = (
    Family("Mozilla/5.0 (Windows NT 10.0; Win64; x64) " + _CHROME + " Safari/537.36",
           "Chrome", "Blink", "Windows", "10", "Desktop", "Desktop", "Unknown", (1920, 1080), 34),
    Family("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) " + _CHROME + " Safari/537.36",
           "Chrome", "Blink", "Mac OS X", "10.15.7", "Desktop", "Apple Macintosh", "Apple", (1440, 900), 18),
    Family("Mozilla/5.0 (X11; Linux x86_64) " + _CHROME + " Safari/537.36",
           "Chrome", "Blink", "Linux", "", "Desktop", "Linux Desktop", "Unknown", (2560, 1440), 8),
    Family("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:{major}.0) Gecko/20100101 Firefox/{major}.{build}",
           "Firefox", "Gecko", "Windows", "10", "Desktop", "Desktop", "Unknown", (1366, 768), 8),
    Family("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.{patch}.15 (KHTML, like Gecko) "
           "Version/{major}.{build} Safari/605.1.15",
           "Safari", "AppleWebKit", "Mac OS X", "10.15.7", "Desktop", "Apple Macintosh", "Apple", (1680, 1050), 8),
    Family("Mozilla/5.0 (Windows NT 10.0; Win64; x64) " + _CHROME + " Safari/537.36 Edg/{major}.0.{build}.{patch}",
           "Edge", "Blink", "Windows", "10", "Desktop", "Desktop", "Unknown", (1536, 864), 8),
    Family("Mozilla/5.0 (iPhone; CPU iPhone OS 15_5 like Mac OS X) AppleWebKit/605.1.{patch} (KHTML, like Gecko) "
           "Version/{major}.5 Mobile/{build}E148 Safari/604.1",
           "Safari", "AppleWebKit", "iOS", "15.5", "Phone", "Apple iPhone", "Apple", (390, 844), 9),
    Family("Mozilla/5.0 (Linux; Android 12; SM-G991B) " + _CHROME + " Mobile Safari/537.36",
           "Chrome", "Blink", "Android", "12", "Phone", "Samsung SM-G991B", "Samsung", (360, 800), 6),
    Family("Mozilla/5.0 (compatible; Examplebot/{major}.{build}; +http://bot.example/{patch})",
           "Examplebot", "Unknown", "Cloud", "??", "Robot", "Examplebot", "Example", (1024, 768), 1),
)  # fmt: skip


class Browser(NamedTuple):
    """One user agent, ready to be put into lines."""

    cells: bytes  # useragent .. doc_height, with holes for language and time zone
    derived: bytes  # the column derived_contexts
    bot: bool


def browsers(random: Random, count: int, *, wide: bool) -> list[Browser]:
    """That many different user agents, common families more often."""
    weighted = [family for family in FAMILIES for _ in range(family.weight)]
    made: dict[str, Browser] = {}
    while len(made) < count:
        family = weighted[int(random.random() * len(weighted))]
        version = {
            "major": 80 + int(random.random() * 45),
            "build": 1000 + int(random.random() * 4000),
            "patch": int(random.random() * 400),
        }
        agent = family.agent.format(**version)
        if agent not in made:
            made[agent] = browser(family, agent, str(version["major"]), wide=wide)
    return list(made.values())


def browser(family: Family, agent: str, major: str, *, wide: bool) -> Browser:
    """The cells and entities of one user agent."""
    bot = family.device_class == "Robot"
    cells = {
        "useragent": agent,
        "br_lang": "{language}",
        "os_timezone": "{timezone}",
        "br_cookies": "1",
        "br_colordepth": "24",
        "br_viewwidth": str(family.screen[0] - 15),
        "br_viewheight": str(family.screen[1] - 121),
        "dvce_screenwidth": str(family.screen[0]),
        "dvce_screenheight": str(family.screen[1]),
        "doc_charset": "UTF-8",
        "doc_width": str(family.screen[0] - 15),
        "doc_height": str(family.screen[1] * 3 + 17),
    }
    if wide:
        cells |= deprecated_cells(family, major, bot=bot)
    return Browser(
        cells=stretch("useragent", "tr_currency", {name: value.encode() for name, value in cells.items()}),
        derived=derived_contexts(family, major, bot=bot) if wide else b"",
        bot=bot,
    )


def deprecated_cells(family: Family, major: str, *, bot: bool) -> dict[str, str]:
    """The columns of Enrich's old user agent library."""
    mobile = family.device_class == "Phone"
    return {
        "br_name": f"{family.browser} {major}",
        "br_family": family.browser,
        "br_version": f"{major}.0",
        "br_type": "Robot" if bot else "Browser (mobile)" if mobile else "Browser",
        "br_renderengine": family.engine.upper(),
        "br_features_pdf": "0" if mobile else "1",
        "br_features_flash": "0",
        "br_features_java": "0",
        "br_features_director": "0",
        "br_features_quicktime": "0",
        "br_features_realplayer": "0",
        "br_features_windowsmedia": "0",
        "br_features_gears": "0",
        "br_features_silverlight": "0",
        "os_name": f"{family.os} {family.os_version}".strip(),
        "os_family": family.os,
        "os_manufacturer": family.brand,
        "dvce_type": "Mobile" if mobile else "Computer",
        "dvce_ismobile": "1" if mobile else "0",
    }


def derived_contexts(family: Family, major: str, *, bot: bool) -> bytes:
    """What the IAB, ua_parser and YAUAA enrichments add."""
    iab = {
        "spiderOrRobot": bot,
        "category": "SPIDER_OR_ROBOT" if bot else "BROWSER",
        "reason": "FAILED_UA_INCLUDE" if bot else "PASSED_ALL",
        "primaryImpact": "UNKNOWN" if bot else "NONE",
    }
    ua_parser = {
        "useragentFamily": family.browser,
        "useragentMajor": major,
        "useragentMinor": "0",
        "useragentPatch": "0",
        "useragentVersion": f"{family.browser} {major}.0.0",
        "osFamily": family.os,
        "osMajor": family.os_version.partition(".")[0] or None,
        "osMinor": None,
        "osPatch": None,
        "osPatchMinor": None,
        "osVersion": f"{family.os} {family.os_version}".strip(),
        "deviceFamily": family.device,
    }
    return contexts(
        entity(b"com.iab.snowplow/spiders_and_robots/jsonschema/1-0-0", orjson.dumps(iab)),
        entity(b"com.snowplowanalytics.snowplow/ua_parser_context/jsonschema/1-0-0", orjson.dumps(ua_parser)),
        entity(b"nl.basjes/yauaa_context/jsonschema/1-0-3", orjson.dumps(yauaa(family, major, bot=bot))),
    )


def yauaa(family: Family, major: str, *, bot: bool) -> dict[str, str]:
    """YAUAA's reading of the user agent."""
    agent_class = "Robot" if bot else "Browser"
    os_version = family.os_version or "??"
    return {
        "deviceBrand": family.brand,
        "deviceName": family.device,
        "deviceClass": family.device_class,
        "deviceVersion": major,
        "deviceCpu": "Intel x86_64",
        "deviceCpuBits": "64",
        "operatingSystemName": family.os,
        "operatingSystemVersion": os_version,
        "operatingSystemNameVersion": f"{family.os} {os_version}",
        "operatingSystemVersionBuild": "??",
        "operatingSystemVersionMajor": os_version.partition(".")[0],
        "operatingSystemNameVersionMajor": f"{family.os} {os_version.partition('.')[0]}",
        "operatingSystemClass": "Mobile" if family.device_class == "Phone" else "Desktop",
        "layoutEngineClass": agent_class,
        "layoutEngineName": family.engine,
        "layoutEngineVersion": major,
        "layoutEngineVersionMajor": major,
        "layoutEngineNameVersion": f"{family.engine} {major}",
        "layoutEngineNameVersionMajor": f"{family.engine} {major}",
        "agentClass": agent_class,
        "agentName": family.browser,
        "agentVersion": major,
        "agentVersionMajor": major,
        "agentNameVersion": f"{family.browser} {major}",
        "agentNameVersionMajor": f"{family.browser} {major}",
        "webviewAppName": "Unknown",
        "webviewAppVersion": "??",
        "webviewAppVersionMajor": "??",
        "agentInformationEmail": "Unknown",
    }
