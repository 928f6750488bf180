"""Which records are sent at all: filters of the settings, page pings, and the sample of users.

A filter sees the record as it was collected, before privacy, so that one can filter by what must not leave. Every
record that is kept out is counted under the name of its rule. The sample is drawn by a hash of the distinct_id: the
same 10 % of the users on every day, with all their events, so that funnels and retention stay right.
"""

import re
from collections.abc import Callable, Container
from functools import lru_cache
from hashlib import sha256
from operator import attrgetter
from typing import Any

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.mapping.browser import YAUAA
from snowplow_posthog_dagster.mapping.columns import Columns
from snowplow_posthog_dagster.mapping.identity import PERSONAL_IDS, Found, legal, value_at
from snowplow_posthog_dagster.mapping.names import NameOf
from snowplow_posthog_dagster.mapping.page import host_and_port
from snowplow_posthog_dagster.mapping.paths import EntityPath, find_all, parse_path
from snowplow_posthog_dagster.mapping.privacy import digest
from snowplow_posthog_dagster.mapping.reading import Reading
from snowplow_posthog_dagster.mapping.settings import Condition, FilterRule, MappingSettings, Sample
from snowplow_posthog_dagster.snowplow.schema import parse_schema

IAB = "com.iab.snowplow/spiders_and_robots"

SAMPLE, PAGE_PING, FORGOTTEN = "sample", "page_ping", "forgotten"

_MISSING = (None,)

_BOT_WORDS = re.compile(
    r"bot|crawl|slurp|spider|archiv|spinn|sniff|seo|audit|survey|pingdom|worm|capture|browsershots|screenshots|analyz|"
    r"index|thumb|check|facebook|PhantomJS|Headless|BingPreview|360User-agent|semalt"
)
"""As in Snowplow's own web model (dbt-snowplow-utils `filter_bots`), so that counts agree with it: case matters."""

_LOCAL = re.compile(r"(?:.+\.)?localhost|127\.\d+\.\d+\.\d+|0\.0\.0\.0|\[?::1\]?|.+\.local", re.IGNORECASE)
_STAGING = re.compile(r"(?:^|[.-])(?:staging|stage|stg)(?:[.-]|$)", re.IGNORECASE)

Holds = Callable[[Reading, Found, str], bool]
"""Whether a condition holds for a record, the first entity of each schema that a rule reads, and the event's name."""


Admit = Callable[[Reading, Found], str | None]
"""None, or the name of the rule that keeps a record out."""


def compile_admission(
    settings: MappingSettings, *, name_of: NameOf, is_forgotten: Callable[[Any], bool] | None
) -> Admit | None:
    """What sees a record as it was collected: forgotten people, then the filters in their order. None if nothing."""
    rules = tuple(_compile_rule(rule) for rule in settings.filters)
    if not rules and is_forgotten is None:
        return None
    conditions = [condition for rule in settings.filters for condition in (rule.drop, rule.keep) if condition]
    asks_for_name = any(condition.event for condition in conditions)
    ids = [value_at(path) for path in dict.fromkeys((*settings.identity.distinct_id, *PERSONAL_IDS))]

    def admit(reading: Reading, found: Found) -> str | None:
        columns = reading.columns
        if is_forgotten is not None and any(is_forgotten(value_of(columns, found)) for value_of in ids):
            return FORGOTTEN
        name = name_of(columns, reading.event) if asks_for_name else ""
        for rule, holds, filters_out in rules:
            if holds(reading, found, name) is filters_out:
                return rule
        return None

    return admit


def compile_is_forgotten(forgotten: Container[str], secret: bytes | None) -> Callable[[Any], bool] | None:
    """Whether an id is on the list of forgotten ones, which holds digests; None when nobody is.

    Raises:
        SettingsError: there is a list and no secret.
    """
    if forgotten == frozenset():
        return None
    if not secret:
        raise SettingsError("SNOWPLOW_POSTHOG_PRIVACY_SECRET is not set; forgotten ids are kept as HMACs with it")
    return lambda value: bool(legal(value)) and digest(secret, legal(value)) in forgotten


def _compile_rule(rule: FilterRule) -> tuple[str, Holds, bool]:
    """Name, condition, and whether records are filtered when it holds or when it does not."""
    if rule.drop is not None:
        return rule.name, _compile_condition(rule.drop), True
    if rule.keep is not None:
        return rule.name, _compile_condition(rule.keep), False
    raise SettingsError(f"mapping.filters: {rule.name} has no condition")


def compile_sample(sample: Sample) -> Callable[[str], bool] | None:
    """Whether a distinct_id belongs to the sample; None when everybody does."""
    if sample.percent >= 100:
        return None
    limit = int(sample.percent / 100 * 2**64)
    salt = sample.salt.encode()

    def belongs(distinct_id: str) -> bool:
        return int.from_bytes(sha256(salt + distinct_id.encode()).digest()[:8], "big") < limit

    return belongs


def _compile_condition(condition: Condition) -> Holds:
    parts: list[Holds] = []
    if condition.app_id:
        parts.append(_column_is_one_of("app_id", condition.app_id))
    if condition.platform:
        parts.append(_column_is_one_of("platform", condition.platform))
    if condition.event:
        parts.append(_event_is_one_of(condition.event))
    if condition.bot:
        signs = tuple(_BOT_SIGNS[sign] for sign in condition.bot)
        parts.append(lambda reading, found, event: any(sign(reading.columns, found) for sign in signs))
    if condition.host:
        hosts = tuple(_HOSTS[kind] for kind in condition.host)
        parts.append(lambda reading, found, event: any(host(_host(reading.columns)) for host in hosts))
    parts.extend(_compile_match(path, pattern) for path, pattern in condition.matches.items())
    return lambda reading, found, event: all(part(reading, found, event) for part in parts)


def _host(columns: Columns) -> str:
    return columns.page_urlhost or host_and_port(columns.page_url)[0]


def _column_is_one_of(column: str, values: tuple[str, ...]) -> Holds:
    wanted = frozenset(values)
    return lambda reading, found, event: getattr(reading.columns, column) in wanted


def _event_is_one_of(names: tuple[str, ...]) -> Holds:
    wanted = frozenset(names)
    return lambda reading, found, event: event in wanted


def _compile_match(path: str, pattern: str) -> Holds:
    search, parsed = re.compile(pattern).search, parse_path(path)
    if isinstance(parsed, str):
        column = attrgetter(parsed)
        return lambda reading, found, event: search(as_text(column(reading.columns))) is not None

    values_of = _compile_values(parsed)

    def matches(reading: Reading, found: Found, event: str) -> bool:
        return any(map(search, map(as_text, values_of(reading) or _MISSING)))

    return matches


def _compile_values(path: EntityPath) -> Callable[[Reading], list[Any]]:
    """The values at a path in all entities of its schema and in the event's own data, not only in the first."""

    @lru_cache(4096)  # of each event all schemas are asked for, and they are few
    def is_of(uri: str) -> bool:
        schema = parse_schema(uri)
        return schema is not None and path.schema in {schema.name, f"{schema.vendor}/{schema.name}"}

    def values(reading: Reading) -> list[Any]:
        data = [entity.data for entity in reading.entities if is_of(entity.schema)]
        if reading.event is not None and is_of(reading.event.schema):
            data.append(reading.event.data)
        return [value for each in data for value in find_all(each, path.fields)] if data else data

    return values


def as_text(value: object) -> str:
    """A value as filters see it: booleans as in JSON, nothing as empty text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _iab_says_bot(columns: Columns, found: Found) -> bool:
    data = found.get(IAB)
    return data is not None and data.get("spiderOrRobot") is True


def _yauaa_says_bot(columns: Columns, found: Found) -> bool:
    data = found.get(YAUAA)
    if not data:
        return False
    classes = (str(data.get("deviceClass", "")), str(data.get("agentClass", "")))
    return any(name.startswith(("Robot", "Hacker")) for name in classes)


def _user_agent_says_bot(columns: Columns, found: Found) -> bool:
    return _BOT_WORDS.search(columns.useragent) is not None


_BOT_SIGNS = {"iab": _iab_says_bot, "yauaa": _yauaa_says_bot, "useragent": _user_agent_says_bot}
_HOSTS: dict[str, Callable[[str], object]] = {"localhost": _LOCAL.fullmatch, "staging": _STAGING.search}
