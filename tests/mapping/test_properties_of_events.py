"""What holds for every event, whatever the record and the settings."""

import random
import uuid

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snowplow_posthog_dagster.mapping.event_time import DAY_MS
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.outcome import Mapped
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.mapping.size import MAX_EVENT_BYTES
from snowplow_posthog_dagster.snowplow.columns import COLUMNS, Kind
from tests.mapping.support import (
    CLIENT_SESSION,
    GITLAB_EXPERIMENT,
    GITLAB_STANDARD,
    MOBILE,
    SECRET,
    UA_PARSER,
    WEB_PAGE,
    YAUAA,
    unstruct,
)
from tests.snowplow.samples import contexts, record

TEXTS = st.text(max_size=30) | st.sampled_from(
    ["$identify", "null", " ", "0", "a=b&utm_source=%00", "8.8.8.8", "::1", "DE"]
)
VALUES = {
    Kind.TEXT: TEXTS,
    Kind.INTEGER: st.integers(-(2**31), 2**31 - 1).map(str),
    Kind.DOUBLE: st.floats(allow_nan=False, allow_infinity=False).map(str),
    Kind.BOOLEAN: st.sampled_from(["0", "1"]),
    Kind.TIMESTAMP: st.sampled_from(
        ["2022-06-06 23:59:59.999", "1970-01-01 00:00:00.000", "2022-06-07 00:00:00", "2999-01-01 00:00:00.0"]
    ),
}
KINDS = ["page_view", "page_ping", "struct", "unstruct", "transaction", "transaction_item", "", "odd"]
SCHEMAS = [
    WEB_PAGE,
    CLIENT_SESSION,
    UA_PARSER,
    MOBILE,
    YAUAA,
    GITLAB_STANDARD,
    GITLAB_EXPERIMENT,
    "iglu:a/b-c/jsonschema/0-1-0",
]
FIELDS = [
    *("id", "userId", "sessionId", "agentName", "agentVersion", "deviceClass", "operatingSystemName", "osType"),
    *("osVersion", "useragentFamily", "useragentMajor", "plan", "namespace_id", "experiment", "variant", "value"),
]
DATA = st.dictionaries(
    st.sampled_from(FIELDS) | st.text(max_size=5),
    st.none()
    | TEXTS
    | st.integers()
    | st.booleans()
    | st.lists(TEXTS, max_size=2)
    | st.dictionaries(TEXTS, TEXTS, max_size=2),
    max_size=5,
)
ENTITIES = st.lists(st.tuples(st.sampled_from(SCHEMAS), DATA | st.none() | st.lists(TEXTS, max_size=1)), max_size=4)


@st.composite
def made_records(draw):
    """Records that the parser accepts: any columns, any entities."""
    names = draw(st.lists(st.sampled_from([c for c in COLUMNS if c.kind in VALUES]), max_size=12, unique=True))
    columns = {column.name: draw(VALUES[column.kind]) for column in names}
    columns = {name: value.replace("\t", " ").replace("\n", " ") for name, value in columns.items()}
    columns["event"] = draw(st.sampled_from(KINDS))
    if draw(st.booleans()):
        columns["contexts"] = contexts(*draw(ENTITIES))
    if draw(st.booleans()):
        columns["derived_contexts"] = contexts(*draw(ENTITIES))
    if columns["event"] == "unstruct":
        columns |= unstruct(draw(st.sampled_from(SCHEMAS)), draw(DATA))
    columns.setdefault("collector_tstamp", "2022-06-06 12:00:00.000")
    return record(**columns)


RULES = {
    "gitlab_standard": {"carry": "flatten", "groups": {"namespace": "namespace_id"}},
    "gitlab_experiment": {"carry": "drop", "features": {"experiment": "variant"}},
}
ALL_SETTINGS = [
    {},
    {"privacy": {"preset": "strict"}, "geo": "none"},
    {"entities": {"rules": RULES}, "geo": "posthog",
     "identity": {"duplicates": "keep_all", "person_profiles": "always"}},
    {"privacy": {"drop": ["event_id", "event_name"], "truncate": {"user_ipaddress": "ip", "page_title": 3}},
     "properties": {"drop": ["useragent", "$device_type"], "parse_user_agent": False},
     "identity": {"person_properties": {"set": {"plan": "gitlab_standard.plan"}, "force_history": True}},
     "events": {"struct": "{se_category} {se_action}", "self_describing": {"web_page": "page {id}"}}},
]  # fmt: skip
MAPPERS = [Mapper(MappingSettings.model_validate(each), privacy_secret=SECRET) for each in ALL_SETTINGS]
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def mapped(mapper, made, object_id="0" * 32):
    outcome = mapper.for_object(object_id=object_id, archive_day="2022-06-06")(made)
    return outcome if isinstance(outcome, Mapped) else None


@QUICK
@given(made_records(), st.sampled_from(MAPPERS))
def test_every_event_is_what_posthogs_capture_takes(made, mapper):
    outcome = mapped(mapper, made)
    if outcome is None:
        return
    assert b"\n" not in outcome.event
    assert len(outcome.event) <= MAX_EVENT_BYTES
    event = orjson.loads(outcome.event)
    assert list(event) == ["uuid", "event", "distinct_id", "timestamp", "properties"]
    assert event["uuid"] == outcome.uuid == str(uuid.UUID(outcome.uuid))
    assert 0 < len(event["event"].encode()) <= 200
    assert event["event"] in {"$pageview", "$screen"} or not event["event"].startswith("$")
    assert 0 < len(event["distinct_id"]) <= 200
    assert "\x00" not in outcome.event.decode()
    assert b"\\u0000" not in outcome.event.replace(b"\\\\", b"")


@QUICK
@given(made_records(), st.sampled_from(MAPPERS))
def test_no_property_is_null_or_empty(made, mapper):
    outcome = mapped(mapper, made)
    if outcome is not None:
        properties = orjson.loads(outcome.event)["properties"]
        assert [name for name, value in properties.items() if value is None or value in ("", [], {})] == []
        assert type(properties["$process_person_profile"]) is bool
        assert properties.get("$geoip_disable") is True or "$ip" in properties
        assert not {"distinct_id", "token", "$cookieless_mode", "$sent_at"} & set(properties)


@QUICK
@given(made_records(), st.sampled_from(MAPPERS))
def test_a_replay_gives_the_same_bytes_and_only_the_provenance_knows_the_object(made, mapper):
    first, again = mapped(mapper, made), mapped(mapper, made)
    assert first == again
    elsewhere = mapped(mapper, made, object_id="f" * 32)
    if first is not None and elsewhere is not None:
        assert first.event.replace(b"0" * 32, b"f" * 32) == elsewhere.event


@QUICK
@given(made_records(), st.sampled_from(MAPPERS))
def test_the_rules_on_time_hold_for_every_session(made, mapper):
    outcome = mapped(mapper, made)
    if outcome is not None:
        session = orjson.loads(outcome.event)["properties"].get("$session_id")
        if session:
            identifier = uuid.UUID(session)
            assert identifier.version == 7
            assert (identifier.int >> 80) <= outcome.timestamp < (identifier.int >> 80) + DAY_MS


@settings(max_examples=25, deadline=None)
@given(st.lists(made_records(), min_size=2, max_size=12), st.sampled_from(ALL_SETTINGS), st.randoms())
def test_neither_order_nor_split_of_the_records_matters(made, given_settings, chance: random.Random):
    def events(records, mappers):
        return {
            outcome.event for each, mapper in zip(records, mappers, strict=True) if (outcome := mapped(mapper, each))
        }

    one = Mapper(MappingSettings.model_validate(given_settings), privacy_secret=SECRET)
    others = [Mapper(MappingSettings.model_validate(given_settings), privacy_secret=SECRET) for _ in made]
    shuffled = list(made)
    chance.shuffle(shuffled)
    assert events(made, [one] * len(made)) == events(shuffled, others)
