"""What PostHog's capture service (v0) makes of one request: an answer, and the events that it takes on.

The rules are those of the public source, gathered in the design's reference (posthog.md 1.2 to 1.8, 7.2). Two
of them shape any loader: one event that is malformed costs the whole batch a 400, and an answer of 200 says
nothing about projects, billing or filters, which are decided later (`projects.py`).

Beside the events go the names of violations: what PostHog accepts without a word although the data are then
not what was sent, or glue persons together. A loader of history must never cause one; the sandbox counts them.
"""

import re
import secrets
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from snowplow_posthog_dagster.sandbox.bodies import RefusedError, read_body
from snowplow_posthog_dagster.sandbox.timestamps import HOUR, event_time, parse

LONGEST_TOKEN = 64
LONGEST_DISTINCT_ID = 200
LONGEST_EVENT_NAME = 200
# Kafka's message.max.bytes; the message holds the event as a JSON string inside JSON.
LARGEST_ENVELOPE = 1_000_000
# Escaping at most doubles an event, so a smaller one needs no look at its envelope.
CERTAINLY_FITS = 450_000
ENVELOPE_OVERHEAD = 400
# serde_json reads 128 levels; the body and its batch take two, the event is the third.
DEEPEST_EVENT = 125
# `historical_migration` is for events that are older than this; younger ones are billed twice or refused.
HISTORICAL_AGE = 48 * HOUR

CANONICAL_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
CANONICAL_LENGTH = 36
ANY_UUID = re.compile(rf"(?:urn:uuid:)?{CANONICAL_UUID.pattern}|\{{{CANONICAL_UUID.pattern}\}}|[0-9a-fA-F]{{32}}")
UUID_V7 = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?7[0-9a-fA-F]{3}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}")

# Accepted, and then shared by everybody who is nobody: one person with the events of all of them.
ILLEGAL_DISTINCT_IDS = frozenset(
    {
        "anonymous", "guest", "distinctid", "distinct_id", "id", "not_authenticated", "email", "undefined", "true",
        "false", "nan", "none", "null", "0", "[object object]", "00000000-0000-0000-0000-000000000000",
        "anonymous-user", "backend", "system", "user",
    }
)  # fmt: skip
# Names with a pipeline, a quota or irreversible effects of their own.
RESERVED_EVENTS = frozenset({"$exception", "$$heatmap", "$$client_ingestion_warning", "$merge_dangerously"})
RESERVED_PREFIXES = ("$snapshot", "$ai_")
# An event without person processing loses these.
PERSON_PROPERTIES = ("$set", "$set_once", "$unset", "$group_0", "$group_1", "$group_2", "$group_3", "$group_4")


class Request(NamedTuple):
    """One capture request as it came in.

    `now` is its arrival in microseconds since 1970 UTC, `peer` the address of the client.
    """

    path: str
    body: bytes
    now: int
    peer: str
    query_sent_at: int | None = None


class CapturedEvent(NamedTuple):
    """One event as PostHog keeps it; times in microseconds since 1970 UTC, properties as JSON text."""

    token: str
    uuid: str
    event: str
    distinct_id: str
    timestamp: int
    session_id: str | None
    person_mode: str
    properties: str
    violations: tuple[str, ...]


class Outcome(NamedTuple):
    """The answer to a request and the events that were taken on, which may be some although the answer is an error."""

    status: int
    text: str
    events: list[CapturedEvent]
    received: int
    raw_bytes: int
    token: str | None
    historical: bool


class _Batch(NamedTuple):
    """What is the same for all events of a request."""

    token: str
    historical: bool
    sent_at: int | None
    now: int
    peer: str


def capture(request: Request) -> Outcome:
    """The answer and the events of one request. Never raises: what is wrong becomes the answer."""
    received = raw_bytes = 0
    token: str | None = None
    historical = False
    try:
        value, raw_bytes = read_body(request.body, request.path)
        events, envelope = _shape(value)
        received = len(events)
        token = _token(envelope, events)
        historical = _historical(envelope)
        batch = _Batch(token, historical, _sent_at(envelope, request), request.now, request.peer)
        taken = [_event(event, batch) for event in events]
    except RefusedError as refused:
        return Outcome(refused.status, refused.text, [], received, raw_bytes, token, historical)
    kept = [event for event, _ in taken if event.event != "$performance_event"]
    for position, (event, size) in enumerate(taken):
        if size > LARGEST_ENVELOPE:
            text = f"maximum event size exceeded: event {event.uuid} takes {size} bytes"
            before = [other for other, _ in taken[:position] if other.event != "$performance_event"]
            return Outcome(413, text, before, received, raw_bytes, token, historical)
    return Outcome(200, '{"status":"Ok"}', kept, received, raw_bytes, token, historical)


def _shape(value: Any) -> tuple[list[Any], dict[str, Any]]:
    """The events of a body and what stands beside them: a batch, an array or a single event."""
    if value == [] or (isinstance(value, dict) and value.get("batch") == []):
        raise RefusedError(400, "request holds no event")
    if isinstance(value, list):
        return value, {}
    if isinstance(value, dict):
        if isinstance(value.get("batch"), list):
            return value["batch"], value
        if "event" in value:
            # The flag of a single event is not read, only its time of sending.
            return [value], {key: value[key] for key in ("sent_at",) if key in value}
    raise RefusedError(400, "failed to parse request: data did not match any variant of untagged enum RawRequest")


def _historical(envelope: dict[str, Any]) -> bool:
    flag = envelope.get("historical_migration")
    if flag is None or isinstance(flag, bool):
        return bool(flag)
    raise RefusedError(400, "failed to parse request: historical_migration is not a boolean")


def _sent_at(envelope: dict[str, Any], request: Request) -> int | None:
    """Microseconds of the client's clock; one that cannot be read counts as absent."""
    sent_at = envelope.get("sent_at")
    if sent_at is None:
        return request.query_sent_at
    if not isinstance(sent_at, str):
        raise RefusedError(400, "failed to parse request: sent_at is not a string")
    return parse(sent_at)[0]


def _token(envelope: dict[str, Any], events: list[Any]) -> str:
    """The project key of the batch, or the one that all events share."""
    if (token := envelope.get("api_key", envelope.get("token"))) is not None:
        return _legal_token(token)
    tokens = {_legal_token(token) for event in events if (token := _event_token(event)) is not None}
    if not tokens:
        raise RefusedError(401, "event submitted without an api_key")
    if len(tokens) > 1:
        raise RefusedError(401, "batch submitted with inconsistent api_key values")
    return tokens.pop()


def _event_token(event: Any) -> Any:
    if not isinstance(event, dict):
        return None
    for name in ("token", "$token", "api_key"):
        if event.get(name) is not None:
            return event[name]
    properties = event.get("properties")
    return properties.get("token") if isinstance(properties, dict) else None


def _legal_token(token: Any) -> str:
    if not isinstance(token, str):
        raise RefusedError(401, "API key is not valid: not_string")
    key: str = token.strip()
    reason = None
    if not key:
        reason = "empty"
    elif len(key.encode()) > LONGEST_TOKEN:
        reason = "too_long"
    elif not key.isascii():
        reason = "not_ascii"
    elif key.startswith("phx_"):
        reason = "personal_api_key"
    elif "\0" in key:
        reason = "null_byte"
    if reason:
        raise RefusedError(401, f"API key is not valid: {reason}")
    return key


def _event(event: Any, batch: _Batch) -> tuple[CapturedEvent, int]:
    """The event as it is kept, and the size of its message, 0 when that is certainly small enough."""
    if not isinstance(event, dict):
        raise RefusedError(400, "failed to parse request: an event is not an object")
    properties = _properties(event)
    name = _name(event)
    violations: list[str] = []
    distinct_id = _distinct_id(event, properties, violations)
    sent_at = None if properties.get("$ignore_sent_at") is True else batch.sent_at
    moment = event_time(_timestamp(event), now=batch.now, sent_at=sent_at, offset=_offset(event))
    uuid = _uuid(event.get("uuid"), moment.timestamp)
    if moment.violations:
        violations.extend(moment.violations)
    if len(name) > LONGEST_EVENT_NAME:
        name = name[:LONGEST_EVENT_NAME]
        violations.append("event_name_cut")
    if batch.historical and moment.timestamp > batch.now - HISTORICAL_AGE:
        violations.append("historical_flag_on_fresh_event")
    session_id = _session_id(properties, violations)
    person_mode = _person_mode(properties)
    _stamp_ip(properties, batch.peer, violations)
    _reserved(name, properties, violations)
    text = orjson.dumps(properties)
    captured = CapturedEvent(
        batch.token,
        uuid,
        name,
        distinct_id,
        moment.timestamp,
        session_id,
        person_mode,
        text.decode(),
        tuple(violations),
    )
    return captured, _envelope_size(event, text)


def _properties(event: dict[str, Any]) -> dict[str, Any]:
    """The event's properties, with `$set` and `$set_once` of its top level merged into them."""
    properties = event.get("properties")
    if properties is None:
        properties = {}
    elif not isinstance(properties, dict):
        raise RefusedError(400, "failed to parse request: properties is not an object")
    if not isinstance(properties.get("$cookieless_mode", False), bool):
        raise RefusedError(400, "invalid $cookieless_mode: must be a boolean")
    for name in ("$set", "$set_once"):
        if isinstance(event.get(name), dict):
            own = properties.get(name)
            properties[name] = {**own, **event[name]} if isinstance(own, dict) else event[name]
    return properties


def _name(event: dict[str, Any]) -> str:
    name = event.get("event")
    if not isinstance(name, str):
        raise RefusedError(400, "failed to parse request: event is not a string")
    if not name:
        raise RefusedError(400, "event submitted with an empty event name")
    return name


def _timestamp(event: dict[str, Any]) -> str | None:
    timestamp = event.get("timestamp")
    if timestamp is None or isinstance(timestamp, str):
        return timestamp
    raise RefusedError(400, "failed to parse request: timestamp is not a string")


def _offset(event: dict[str, Any]) -> int | None:
    offset = event.get("offset")
    if offset is None or (isinstance(offset, int) and not isinstance(offset, bool)):
        return offset
    raise RefusedError(400, "failed to parse request: offset is not an integer")


def _distinct_id(event: dict[str, Any], properties: dict[str, Any], violations: list[str]) -> str:
    distinct_id = event.get("distinct_id")
    if distinct_id is None:
        distinct_id = event.get("$distinct_id")
    if distinct_id is None:
        distinct_id = properties.get("distinct_id")
    if not isinstance(distinct_id, str):
        if distinct_id is None:
            raise RefusedError(400, "event submitted without a distinct_id")
        distinct_id = orjson.dumps(distinct_id).decode()
    if "\0" in distinct_id:
        distinct_id = distinct_id.replace("\0", "\ufffd")
        violations.append("distinct_id_held_nul")
    if not distinct_id or distinct_id.isspace():
        raise RefusedError(400, "event submitted with an empty distinct_id")
    if len(distinct_id) > LONGEST_DISTINCT_ID:
        distinct_id = distinct_id[:LONGEST_DISTINCT_ID]
        violations.append("distinct_id_cut")
    if is_illegal(distinct_id):
        violations.append("illegal_distinct_id")
    return distinct_id


def is_illegal(distinct_id: str) -> bool:
    """Whether PostHog would take the id for nobody's: the union of its lists, in any case, with and without quotes."""
    return distinct_id.strip().strip("\"'").casefold() in ILLEGAL_DISTINCT_IDS


def _uuid(value: Any, timestamp: int) -> str:
    """The uuid in lower case with hyphens; a UUIDv7 of the event's own time when none was sent."""
    if value is None or value == "":
        return str(uuid_of_time(timestamp))
    if isinstance(value, str):
        if CANONICAL_UUID.fullmatch(value):
            return value.lower()
        if ANY_UUID.fullmatch(value):
            return str(UUID(value))
    raise RefusedError(400, "failed to parse request: uuid is not a UUID")


def uuid_of_time(timestamp: int) -> UUID:
    """A random UUIDv7 of a time in microseconds; times before 1970 count as 1970."""
    milliseconds = max(timestamp // 1000, 0) & (2**48 - 1)
    low = secrets.randbits(74)
    return UUID(int=milliseconds << 80 | 7 << 76 | (low >> 62) << 64 | 2 << 62 | (low & (2**62 - 1)))


def _envelope_size(event: dict[str, Any], properties: bytes) -> int:
    """Bytes of the message that carries the event, 0 when they certainly fit.

    Raises:
        RefusedError: 400 when the event is nested too deeply.
    """
    if properties.count(b"{") + properties.count(b"[") >= DEEPEST_EVENT and _depth(event) > DEEPEST_EVENT:
        raise RefusedError(400, "failed to parse request: recursion limit exceeded")
    if len(properties) < CERTAINLY_FITS:
        return 0
    return len(orjson.dumps(orjson.dumps(event).decode())) + ENVELOPE_OVERHEAD


def _depth(value: Any) -> int:
    """Levels of objects and arrays in `value`, itself included."""
    deepest = 0
    pending = [(value, 1)]
    while pending:
        item, level = pending.pop()
        if isinstance(item, dict | list):
            deepest = max(deepest, level)
            pending.extend((child, level + 1) for child in (item.values() if isinstance(item, dict) else item))
    return deepest


def _session_id(properties: dict[str, Any], violations: list[str]) -> str | None:
    """The session that PostHog counts the event to: only a UUIDv7 makes one."""
    session_id = properties.get("$session_id")
    if session_id is None:
        return None
    if isinstance(session_id, str) and UUID_V7.fullmatch(session_id):
        return session_id.lower() if len(session_id) == CANONICAL_LENGTH else str(UUID(session_id))
    violations.append("session_id_not_uuidv7")
    return None


def _person_mode(properties: dict[str, Any]) -> str:
    """`propertyless` when the event says so; its person and group properties are then removed."""
    if properties.get("$process_person_profile") is not False:
        return "full"
    for name in PERSON_PROPERTIES:
        properties.pop(name, None)
    return "propertyless"


def _stamp_ip(properties: dict[str, Any], peer: str, violations: list[str]) -> None:
    """Without `$ip` PostHog takes the client's address, and with GeoIP on it locates the user at the loader."""
    located = not properties.get("$geoip_disable")
    ip = properties.get("$ip")
    if not ip:
        properties["$ip"] = peer
        if located:
            violations.append("ip_stamped_with_geoip_on")
    elif located and ip == "127.0.0.1":
        violations.append("loopback_ip_with_geoip_on")


def _reserved(name: str, properties: dict[str, Any], violations: list[str]) -> None:
    if name in RESERVED_EVENTS or name.startswith(RESERVED_PREFIXES):
        violations.append("reserved_event_name")
    if "$prev_pageview_pathname" in properties and "$current_url" in properties:
        # Capture makes a second event, `$$heatmap`, of such a pair.
        violations.append("heatmap_twin")
