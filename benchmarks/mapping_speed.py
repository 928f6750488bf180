"""CPU time of the mapping alone: Record -> PostHog event, on repeated and on varied data.

    python benchmarks/mapping_speed.py [--records 8000] [--rounds 5]

The records are about 3.2 KB with about 70 filled columns and three to five entities: 40 % page views, 22 %
page pings, 23 % structured and 15 % self-describing events. "Repeated" draws from 200 pages and 200 user
agents, as one site does; "varied" gives every record its own page, user and user agent, so that no cache of
values can help. Splitting lines is outside of the clock. Goal: 25 CPU-seconds per million records.
"""

import argparse
import json
import random
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.outcome import Mapped
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.snowplow.columns import NAMES
from snowplow_posthog_dagster.snowplow.record import Record

LABELS = ["Größe", "naïve", 'a "quoted" one', *(f"label-{number}" for number in range(20))]
COUNTRIES = ["US", "DE", "GB", "FR", "NL", "PL", "IN", "BR", "JP", "AU"]
VENDOR = "iglu:com.snowplowanalytics.snowplow"


def _envelope(entities: list[tuple[str, dict[str, Any]]]) -> str:
    data = [{"schema": f"iglu:{schema}", "data": data} for schema, data in entities]
    return json.dumps(
        {"schema": f"{VENDOR}/contexts/jsonschema/1-0-0", "data": data}, separators=(",", ":"), ensure_ascii=False
    )


def _user_agent(chance: random.Random) -> dict[str, str]:
    major, patch = chance.randint(70, 140), chance.randint(0, 6000)
    version = f"{major}.0.{patch}.{chance.randint(0, 200)}"
    system, name, os_version = chance.choice(
        [
            ("Windows NT 10.0; Win64; x64", "Windows NT", "10.0"),
            ("Macintosh; Intel Mac OS X 10_15_7", "Mac OS", "10.15.7"),
            ("X11; Linux x86_64", "Linux", "Intel x86_64"),
            ("Linux; Android 13; Pixel 7", "Android", "13"),
        ]
    )
    return {
        "raw": f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version} Safari/537.36",
        "major": str(major),
        "version": version,
        "os": name,
        "os_version": os_version,
        "class": "Phone" if name == "Android" else "Desktop",
    }


def _derived(agent: dict[str, str]) -> str:
    yauaa = {
        "deviceBrand": "Unknown", "deviceName": "Desktop", "deviceClass": agent["class"],
        "operatingSystemClass": "Desktop", "operatingSystemName": agent["os"],
        "operatingSystemVersion": agent["os_version"],
        "operatingSystemVersionMajor": agent["os_version"].split(".")[0],
        "operatingSystemNameVersion": f"{agent['os']} {agent['os_version']}",
        "operatingSystemVersionBuild": "??", "layoutEngineClass": "Browser", "layoutEngineName": "Blink",
        "layoutEngineVersion": agent["major"], "layoutEngineVersionMajor": agent["major"],
        "layoutEngineNameVersion": f"Blink {agent['major']}",
        "layoutEngineNameVersionMajor": f"Blink {agent['major']}", "agentClass": "Browser", "agentName": "Chrome",
        "agentVersion": agent["version"], "agentVersionMajor": agent["major"],
        "agentNameVersion": f"Chrome {agent['version']}", "agentNameVersionMajor": f"Chrome {agent['major']}",
    }  # fmt: skip
    parser = {
        "useragentFamily": "Chrome", "useragentMajor": agent["major"], "useragentMinor": "0",
        "useragentPatch": agent["version"].split(".")[2], "useragentVersion": f"Chrome {agent['version']}",
        "osFamily": agent["os"], "osMajor": agent["os_version"].split(".")[0], "osMinor": None, "osPatch": None,
        "osPatchMinor": None, "osVersion": f"{agent['os']} {agent['os_version']}", "deviceFamily": "Other",
    }  # fmt: skip
    return _envelope(
        [
            ("com.snowplowanalytics.snowplow/ua_parser_context/jsonschema/1-0-0", parser),
            ("nl.basjes/yauaa_context/jsonschema/1-0-4", yauaa),
        ]
    )


def _contexts(chance: random.Random, page: int, user: int) -> str:
    standard = {
        "environment": "production", "source": "gitlab-javascript", "plan": "ultimate", "project_id": page,
        "namespace_id": page * 7, "user_id": f"{user:064x}", "is_gitlab_team_member": False, "realm": "saas",
        "instance_id": "ea8bf810-1d6f-4a6a-b4fd-93e8cbd8b57f", "host_name": "gitlab.example.com",
        "instance_version": "17.4.0", "correlation_id": f"01HZ{chance.getrandbits(64):016X}",
        "context_generated_at": "2022-06-06T04:29:38.482Z",
        "extra": {"page_type": "issue", "label": chance.choice(LABELS), "count": chance.randint(0, 99)},
    }  # fmt: skip
    entities: list[tuple[str, dict[str, Any]]] = [
        ("com.snowplowanalytics.snowplow/web_page/jsonschema/1-0-0", {"id": str(_uuid(chance))}),
        ("com.gitlab/gitlab_standard/jsonschema/1-0-8", standard),
    ]
    if chance.random() < 0.08:
        entities.append(
            ("com.gitlab/gitlab_experiment/jsonschema/1-0-0",
             {"experiment": "trial_form", "key": "4f2c", "variant": chance.choice(["control", "candidate"])})
        )  # fmt: skip
    return _envelope(entities)


def _uuid(chance: random.Random) -> uuid.UUID:
    return uuid.UUID(int=chance.getrandbits(128), version=4)


def make_row(chance: random.Random, number: int, *, varied: bool) -> list[str]:
    """The 131 columns of one realistic web record."""
    page = number if varied else chance.randint(1, 200)
    user = number if varied else chance.randint(1, 5000)
    agents = random.Random(number if varied else chance.randint(1, 200))
    agent = _user_agent(agents)
    when = datetime(2022, 6, 6, 4) + timedelta(milliseconds=number * 97 % 3_600_000)  # noqa: DTZ001 - as the TSV has it

    def at(milliseconds: int) -> str:
        return (when + timedelta(milliseconds=milliseconds)).isoformat(" ", "milliseconds")

    kind = chance.choices(["page_view", "page_ping", "struct", "unstruct"], [40, 22, 23, 15])[0]
    path = f"/group-{page % 97}/project-{page}/-/issues/{page * 3}"
    query = "tab=activity&scope=all" if number % 2 else ""
    campaign = {}
    if number % 5 == 0:
        query = f"utm_source=newsletter&utm_medium=email&utm_campaign=spring-{page % 9}&gclid={number:x}"
        campaign = {"mkt_source": "newsletter", "mkt_medium": "email", "mkt_campaign": f"spring-{page % 9}",
                    "mkt_clickid": f"{number:x}", "mkt_network": "Google"}  # fmt: skip
    row = {
        "app_id": "gitlab", "platform": "web", "etl_tstamp": at(900), "collector_tstamp": at(100),
        "dvce_created_tstamp": at(-20), "event": kind, "event_id": str(_uuid(chance)), "txn_id": "",
        "name_tracker": "gl", "v_tracker": "js-3.23.0", "v_collector": "ssc-2.9.2-kinesis",
        "v_etl": "snowplow-enrich-kinesis-3.8.0", "user_id": f"user-{user}" if user % 3 else "",
        "user_ipaddress": f"81.{user % 250}.{page % 250}.{number % 250}", "user_fingerprint": str(user * 7919),
        "domain_userid": str(_uuid(random.Random(user))), "domain_sessionidx": str(user % 40 + 1),
        "network_userid": str(_uuid(random.Random(user + 1))), "geo_country": chance.choice(COUNTRIES),
        "geo_region": "NW", "geo_city": "Düsseldorf", "geo_zipcode": "40213",
        "geo_latitude": f"{chance.uniform(-60, 60):.4f}", "geo_longitude": f"{chance.uniform(-170, 170):.4f}",
        "geo_region_name": "North Rhine-Westphalia",
        "page_url": f"https://gitlab.example.com{path}{query and '?'}{query}#note_{page}",
        "page_title": f"Größe der Warteschlange ({page}) · Issues · Group / Project · GitLab",
        "page_referrer": f"https://www.google.com/search?q=gitlab+{page}", "page_urlscheme": "https",
        "page_urlhost": "gitlab.example.com", "page_urlport": "443", "page_urlpath": path, "page_urlquery": query,
        "page_urlfragment": f"note_{page}", "refr_urlscheme": "https", "refr_urlhost": "www.google.com",
        "refr_urlport": "443", "refr_urlpath": "/search", "refr_urlquery": f"q=gitlab+{page}",
        "refr_medium": "search", "refr_source": "Google", "refr_term": f"gitlab {page}",
        "contexts": _contexts(chance, page, user), "useragent": agent["raw"],
        "br_lang": "de-DE", "br_features_pdf": "1", "br_features_flash": "0", "br_features_java": "0",
        "br_cookies": "1", "br_colordepth": "24", "br_viewwidth": "1904", "br_viewheight": "948",
        "os_timezone": "Europe/Berlin", "dvce_screenwidth": "1920", "dvce_screenheight": "1080",
        "doc_charset": "UTF-8",
        "doc_width": "1889", "doc_height": str(2000 + page), "geo_timezone": "Europe/Berlin",
        "dvce_sent_tstamp": at(-10), "derived_contexts": _derived(agent),
        "domain_sessionid": str(_uuid(random.Random(user + 2))), "derived_tstamp": at(90),
        "event_vendor": "com.snowplowanalytics.snowplow", "event_name": kind, "event_format": "jsonschema",
        "event_version": "1-0-0", "event_fingerprint": f"{chance.getrandbits(128):032x}",
    }  # fmt: skip
    row |= campaign
    if kind == "page_ping":
        row |= {"pp_xoffset_min": "0", "pp_xoffset_max": "0", "pp_yoffset_min": "120", "pp_yoffset_max": "1840"}
    elif kind == "struct":
        row |= {"se_category": "projects:issues:show", "se_action": "click_button", "se_label": "sidebar_toggle",
                "se_property": "expanded", "se_value": "1.5", "event_vendor": "com.google.analytics",
                "event_name": "event"}  # fmt: skip
    elif kind == "unstruct":
        link = {"targetUrl": f"https://docs.example.org/{page}", "elementId": "docs-link",
                "elementClasses": ["btn", "btn-link"], "elementTarget": "_blank"}  # fmt: skip
        row |= {"event_name": "link_click", "event_version": "1-0-1", "unstruct_event": json.dumps(
            {"schema": f"{VENDOR}/unstruct_event/jsonschema/1-0-0",
             "data": {"schema": f"{VENDOR}/link_click/jsonschema/1-0-1", "data": link}},
            separators=(",", ":"))}  # fmt: skip
    return [row.get(name, "") for name in NAMES]


def make_lines(count: int, *, varied: bool, seed: int = 1) -> list[bytes]:
    """`count` lines of one archive object; the same arguments give the same bytes."""
    chance = random.Random(seed)
    return ["\t".join(make_row(chance, number, varied=varied)).encode() for number in range(count)]


def cpu_microseconds(mapping: Callable[[Record], Any], lines: list[bytes], rounds: int) -> float:
    """Least CPU time per record over `rounds` rounds; noise of a shared machine only ever adds.

    A record is made right before it is mapped, as the reader of lines does it, and what making it costs is measured
    alone and taken off. A list of ready records would be colder in the processor's cache than they ever are.
    """
    with_mapping = without = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for line in lines:
            mapping(Record(0, 1, 0, line, line.decode().split("\t")))
        middle = time.process_time()
        for line in lines:
            Record(0, 1, 0, line, line.decode().split("\t"))
        without = min(without, time.process_time() - middle)
        with_mapping = min(with_mapping, middle - start)
    return (with_mapping - without) / len(lines) * 1e6


def main() -> None:
    """Print CPU-seconds per million records for repeated and for varied data."""
    parser = argparse.ArgumentParser(description="CPU time of the default mapping")
    parser.add_argument("--records", type=int, default=8_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for varied in (False, True):
        lines = make_lines(arguments.records, varied=varied)
        mapping = Mapper(MappingSettings()).for_object(object_id="0" * 32, archive_day="2022-06-06")
        records = [Record(0, 1, 0, line, line.decode().split("\t")) for line in lines]
        outcomes = list(map(mapping, records))
        sizes = [len(outcome.event) for outcome in outcomes if isinstance(outcome, Mapped)]
        filled = sum(sum(map(bool, record.fields)) for record in records) / len(records)
        length = sum(map(len, lines)) / len(lines)
        print(
            f"{'varied' if varied else 'repeated':9} {cpu_microseconds(mapping, lines, arguments.rounds):6.1f} "
            f"CPU-s per million  ({length:,.0f} B a record, {filled:.0f} columns filled, "
            f"{sum(sizes) / len(sizes):,.0f} B an event, {len(sizes)} of {len(records)} mapped)"
        )


if __name__ == "__main__":
    main()
