"""What lines and entities of different kinds of visits have in common."""

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from snowplow_posthog_dagster.generator import line
from snowplow_posthog_dagster.generator.line import INDEX, Event
from snowplow_posthog_dagster.generator.vocabulary import EXPERIMENTS
from snowplow_posthog_dagster.generator.world import Visit, World

SNOWPLOW = b"com.snowplowanalytics.snowplow/"


class Journey(NamedTuple):
    """One visit under way."""

    visit: Visit
    line: bytes
    events: Iterator[Event]


def pick(random: Random, choices: "tuple[str, ...] | list[str]") -> bytes:
    """One of these, as bytes."""
    return choices[int(random.random() * len(choices))].encode()


def person_row(world: World, visit: Visit, platform: bytes, tracker: bytes) -> list[bytes]:
    """A row with who, where and by which software."""
    user, place = visit.user, visit.user.place
    row = line.empty_row()
    row[INDEX["app_id"]] = world.settings.app_id.encode()
    row[INDEX["platform"]] = platform
    row[INDEX["name_tracker"]] = b"gl" if platform == b"srv" else b"sp"
    row[INDEX["v_tracker"]] = tracker
    row[INDEX["v_collector"]] = b"ssc-2.7.0-kinesis"
    row[INDEX["v_etl"]] = b"stream-enrich-3.2.3-common-3.2.3"
    row[INDEX["network_userid"]] = user.network_id.encode()
    row[INDEX["user_ipaddress"]] = user.address.encode()
    geography = (
        place.country,
        place.region,
        place.city,
        place.zipcode,
        place.latitude,
        place.longitude,
        place.region_name,
    )
    row[INDEX["geo_country"] : INDEX["geo_region_name"] + 1] = [cell.encode() for cell in geography]
    row[INDEX["geo_timezone"]] = place.timezone.encode()
    row[INDEX["etl_tags"]] = world.settings.tag.encode()
    if world.settings.wide and user.number % 3 == 0:
        row[INDEX["ip_isp"] : INDEX["ip_netspeed"] + 1] = [cell.encode() for cell in world.provider(user)]
    return row


def browser_line(world: World, visit: Visit) -> bytes:
    """The line of a visit in a browser."""
    user = visit.user
    row = person_row(world, visit, b"web", b"js-3.5.0")
    row[INDEX["user_id"]] = user.pseudonym[:20].encode() if user.signed_in and world.settings.wide else b""
    row[INDEX["domain_userid"]] = user.device_id.encode()
    row[INDEX["domain_sessionidx"]] = b"%d" % visit.session_number
    row[INDEX["domain_sessionid"]] = visit.session_id.encode()
    cells = user.browser.cells.replace(b"{language}", user.place.language.encode())
    cells = cells.replace(b"{timezone}", user.place.timezone.encode())
    row[INDEX["useragent"] : INDEX["tr_currency"]] = cells.split(b"\t")
    row[INDEX["derived_contexts"]] = user.browser.derived
    return line.template(row)


def browser_entity(visit: Visit) -> bytes:
    """Snowplow's browser_context of JavaScript tracker 3."""
    place = visit.user.place
    return line.entity(
        SNOWPLOW + b"browser_context/jsonschema/2-0-0",
        (
            f'{{"viewport":"1425x779","documentSize":"1425x2717","resolution":"1440x900","colorDepth":24,'
            f'"devicePixelRatio":2,"cookiesEnabled":true,"online":true,"browserLanguage":"{place.language}",'
            f'"documentLanguage":"en","webdriver":false,"deviceMemory":8,"hardwareConcurrency":8,"tabId":"{visit.session_id}"}}'
        ).encode(),
    )


def gitlab_standard(random: Random, visit: Visit, source: str) -> bytes:
    """GitLab's entity on every event: environment, plan, who and which project."""
    namespace = 1000 + visit.user.number % 5000
    project = namespace * 7 + int(random.random() * 7)
    plan = ("free", "premium", "ultimate")[namespace % 3]
    data = (
        f'{{"environment":"production","source":"{source}","plan":"{plan}","extra":{{}},'
        f'"user_id":"{visit.user.pseudonym}","namespace_id":{namespace},"project_id":{project},'
        f'"context_generated_at":"2022-06-06 04:00:06 UTC"}}'
    )
    return line.entity(b"com.gitlab/gitlab_standard/jsonschema/1-0-8", data.encode())


def experiment(visit: Visit) -> bytes:
    """One of GitLab's experiments that the user is in."""
    name = EXPERIMENTS[visit.user.number % len(EXPERIMENTS)]
    return line.entity(
        b"com.gitlab/gitlab_experiment/jsonschema/1-0-0",
        f'{{"experiment":"{name}","key":"{visit.user.pseudonym[:32]}","variant":"candidate","migration_keys":[]}}'.encode(),
    )
