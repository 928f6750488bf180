"""Who did it, and which event it is: `uuid`, `distinct_id`, `$process_person_profile`, `$device_id`.

PostHog finds duplicates by (day, event, distinct_id, uuid), so all of these are pure functions of the record: a
replay, a retry or another split of the archive makes the same event again.

An id that many people share (`anonymous`, `null`, `0`) would glue them into one person for good, so it counts as
missing and the next of the chain is asked. `network_userid` is asked for browsers only: trackers on servers get a new
one with every request. A record without any id becomes an event of nobody: its uuid is the distinct_id, and PostHog
makes no person of it.
"""

import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

from snowplow_posthog_dagster.mapping.columns import Columns
from snowplow_posthog_dagster.mapping.paths import find, parse_path
from snowplow_posthog_dagster.mapping.reading import Data
from snowplow_posthog_dagster.mapping.rules import Rule
from snowplow_posthog_dagster.mapping.settings import IdentitySettings
from snowplow_posthog_dagster.snowplow.columns import INDEX, NAMES
from snowplow_posthog_dagster.snowplow.record import Record

RULES = (
    Rule(
        "uuid",
        "event_id",
        "In lower case if it is a UUID and not all zeros, else a version 5 UUID of the digest of the record's bytes. "
        "`identity.duplicates: keep_all` makes one of event_id and the content instead.",
    ),
    Rule(
        "distinct_id",
        "user_id, domain_userid, client_session.userId, network_userid",
        "The first legal one (`identity.distinct_id`); network_userid only on the platform `web`. None: the uuid, and "
        "no person. More than 200 characters are cut, as PostHog does.",
    ),
    Rule(
        "$process_person_profile",
        "the source of distinct_id",
        "True if distinct_id came from one of `identity.identified_by` (default user_id); `identity.person_profiles` "
        "sets `never` or `always`.",
    ),
    Rule("$user_id", "user_id", "If it is legal: what stands for nobody is not sent."),
    Rule(
        "$device_id",
        "domain_userid, client_session.userId, network_userid",
        "The first legal one; network_userid only on the platform `web`.",
    ),
    Rule("$set, $set_once", "`identity.person_properties`", "An allow-list, empty by default."),
)

Found = Mapping[str, Data]
"""Schema `name` or `vendor/name` -> data of the first entity of it."""

NIL = "00000000-0000-0000-0000-000000000000"
"""What trackers write who are told not to track."""

ILLEGAL_IDS = frozenset(
    {
        *("anonymous", "guest", "distinctid", "distinct_id", "id", "not_authenticated", "email", "undefined"),
        *("true", "false", "nan", "none", "null", "0", "[object object]"),
        *(NIL, "anonymous-user", "backend", "system", "user"),
    }
)
"""Both lists of PostHog (person-utils.ts and v1/analytics/constants.rs), without case, blanks and quotes around."""

MAX_ID = 200
"""PostHog cuts a distinct_id after 200 characters; doing it here keeps events and their key the same."""

PERSONAL_IDS = ("user_id", "domain_userid", "network_userid", "client_session.userId")
"""Where ids of a person lie, whatever the chain of distinct_id is; `forget` looks at all of them."""

SESSION_IDS = ("domain_sessionid", "client_session.sessionId")
"""Where the id of a session lies."""

CLIENT_SESSION = "com.snowplowanalytics.snowplow/client_session"

_NAMESPACE = uuid.UUID("6c1f7d0e-5f0a-5b6e-9d57-0c8f4a3e2b11")
_BROWSER_PLATFORM = "web"
_AROUND = "\"' "
# Everything that is neither a hexadecimal digit nor a hyphen becomes a dot, the letter h included.
_HEX = bytes(ord("h" if chr(byte) in "0123456789abcdef" else "-" if byte == 45 else ".") for byte in range(256))
_UUID_SHAPE = b"hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh"
_OF_THE_TRANSPORT = [
    "collector_tstamp",
    "etl_tstamp",
    "derived_tstamp",
    "dvce_sent_tstamp",
    "v_collector",
    "v_etl",
    "network_userid",
    "user_ipaddress",
]
_CONTENT = tuple(index for index, name in enumerate(NAMES) if name not in _OF_THE_TRANSPORT)
_EVENT_ID = INDEX["event_id"]


def compile_uuid(settings: IdentitySettings) -> Callable[[Record], str]:
    """The function that gives an event its uuid."""
    return _uuid_of_content if settings.duplicates == "keep_all" else _uuid_of_event_id


def _uuid_of_event_id(record: Record) -> str:
    event_id = record.fields[_EVENT_ID].lower()
    if event_id.encode().translate(_HEX) == _UUID_SHAPE and event_id != NIL:
        return event_id
    return str(uuid.uuid5(_NAMESPACE, hashlib.sha256(record.raw).hexdigest()))


def _uuid_of_content(record: Record) -> str:
    """One per content: what a resend of the same event changes on its way through the pipeline does not count."""
    fields = record.fields
    content = "\t".join([fields[index] for index in _CONTENT])
    digest = hashlib.sha256(content.encode()).hexdigest()
    return str(uuid.uuid5(_NAMESPACE, f"{fields[_EVENT_ID].lower()}\t{digest}"))


def compile_legal(illegal_ids: Iterable[str] = ()) -> Callable[[Any], str]:
    """The function that gives an id without blanks around it, empty if it stands for nobody."""
    illegal = ILLEGAL_IDS | {text.strip(_AROUND).lower() for text in illegal_ids}
    # Nearly all ids are longer than any of these words, which is the quickest thing to know of them.
    longest = max(len(text) for text in illegal if text != NIL) + len("''")

    def legal(value: Any) -> str:
        if type(value) is not str:
            if type(value) is not int:
                return ""
            value = str(value)
        identifier: str = value.strip()
        if len(identifier) > longest:
            return "" if NIL in identifier and identifier.strip(_AROUND) == NIL else identifier
        return "" if not identifier or identifier.strip(_AROUND).lower() in illegal else identifier

    return legal


legal = compile_legal()
"""`compile_legal` for PostHog's own list."""


def compile_distinct_id(settings: IdentitySettings) -> Callable[[Columns, Found], tuple[str, bool]]:
    """The function that gives distinct_id and whether it is a known person's; empty when no id is legal."""
    is_legal = compile_legal(settings.illegal_ids)
    chain = [
        (value_at(source), source == "network_userid", source in settings.identified_by)
        for source in settings.distinct_id
    ]

    def distinct_id(columns: Columns, found: Found) -> tuple[str, bool]:
        for value_of, browsers_only, identified in chain:
            identifier = is_legal(value_of(columns, found))
            if identifier and not (browsers_only and columns.platform != _BROWSER_PLATFORM):
                return identifier[:MAX_ID], identified
        return "", False

    return distinct_id


def compile_person_profile(settings: IdentitySettings) -> Callable[[bool], bool]:
    """Whether PostHog makes a person of an event that has a legal id."""
    if settings.person_profiles == "identified_only":
        return bool
    always = settings.person_profiles == "always"
    return lambda identified: always


def compile_device_id(settings: IdentitySettings) -> Callable[[Columns, Found], str]:
    """The function that gives the id of the browser or the app's installation, empty when there is none."""
    is_legal = compile_legal(settings.illegal_ids)

    def device_id(columns: Columns, found: Found) -> str:
        first = is_legal(columns.domain_userid)
        if first:
            return first
        session = found.get(CLIENT_SESSION)
        installation = is_legal(session.get("userId")) if session else ""
        if not installation and columns.platform == _BROWSER_PLATFORM:
            return is_legal(columns.network_userid)
        return installation

    return device_id


def compile_session_id(settings: IdentitySettings) -> Callable[[Columns, Found], str]:
    """The function that gives Snowplow's id of the session, empty when there is none or it stands for nobody's."""
    is_legal = compile_legal(settings.illegal_ids)

    def session_id(columns: Columns, found: Found) -> str:
        own = is_legal(columns.domain_sessionid)
        if own:
            return own
        session = found.get(CLIENT_SESSION)
        return is_legal(session.get("sessionId")) if session else ""

    return session_id


def value_at(path: str) -> Callable[[Columns, Found], Any]:
    """The function that finds a column or a field of an entity (paths.py)."""
    parsed = parse_path(path)
    if isinstance(parsed, str):
        column = attrgetter(parsed)
        return lambda columns, found: column(columns)
    schema, fields = parsed
    return lambda columns, found: find(found.get(schema), fields)


def compile_person_properties(
    settings: IdentitySettings,
) -> Callable[[Columns, Found, str], dict[str, dict[str, Any]]] | None:
    """The function that gives `$set` and `$set_once` of an event with a person, None when nothing is allowed."""
    person = settings.person_properties
    if not person.set and not person.set_once:
        return None
    since = person.since.isoformat() if person.since else ""
    parts = [("$set", _getters(person.set.items())), ("$set_once", _getters(person.set_once.items()))]

    def person_properties(columns: Columns, found: Found, timestamp: str) -> dict[str, dict[str, Any]]:
        if timestamp[:10] < since:
            return {}
        values = {part: {name: value_of(columns, found) for name, value_of in getters} for part, getters in parts}
        filled = {
            part: {k: v for k, v in given.items() if v not in (None, "", [], {})} for part, given in values.items()
        }
        return {part: given for part, given in filled.items() if given}

    return person_properties


def _getters(named: Iterable[tuple[str, str]]) -> list[tuple[str, Callable[[Columns, Found], Any]]]:
    return [(name, value_at(path)) for name, path in named]
