"""What holds for every event, whatever the record and the settings."""

import random
import uuid
from collections import Counter

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snowplow_posthog_dagster.mapping.event_time import DAY_MS
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.outcome import Mapped
from snowplow_posthog_dagster.mapping.properties import SENT_COLUMNS
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.mapping.size import MAX_EVENT_BYTES
from snowplow_posthog_dagster.mapping.table import fields
from snowplow_posthog_dagster.snowplow.columns import COLUMNS, NAMES, Kind
from tests.mapping.support import (
    CLIENT_SESSION,
    GITLAB_EXPERIMENT,
    GITLAB_STANDARD,
    MOBILE,
    SECRET,
    UA_PARSER,
    WEB_PAGE,
    YAUAA,
    event,
    unstruct,
)
from tests.sandbox.events import TOKEN, captured
from tests.snowplow.samples import SMALL, contexts, record

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

OFTEN = {
    "user_id": st.sampled_from(["ada", "null", "x" * 255]),
    "domain_userid": st.sampled_from(["d-1", "00000000-0000-0000-0000-000000000000"]),
    "domain_sessionid": st.sampled_from(["s-1", "4d3c", "00000000-0000-0000-0000-000000000000"]),
    "derived_tstamp": VALUES[Kind.TIMESTAMP],
    "page_url": st.sampled_from(["https://a.org:8080/p?utm_source=%00&gclid=g#f", "no url"]),
    "se_value": VALUES[Kind.DOUBLE],
}
"""What decides an event's key, and would be met too seldom among 131 columns."""


@st.composite
def made_records(draw):
    """Records that the parser accepts: any columns, any entities."""
    names = draw(st.lists(st.sampled_from([c for c in COLUMNS if c.kind in VALUES]), max_size=12, unique=True))
    columns = {column.name: draw(VALUES[column.kind]) for column in names}
    columns = {name: value.replace("\t", " ").replace("\n", " ") for name, value in columns.items()}
    columns["event"] = draw(st.sampled_from(KINDS))
    columns |= draw(st.fixed_dictionaries({}, optional=OFTEN))
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
    {"privacy": {"drop": ["event_id", "event_name", "page_url", "page_referrer"],
                 "truncate": {"user_ipaddress": "ip", "page_title": 3}},
     "properties": {"drop": ["useragent", "$device_type"], "parse_user_agent": False},
     "identity": {"person_properties": {"set": {"plan": "gitlab_standard.plan"}, "force_history": True}},
     "events": {"struct": "{se_category} {se_action}", "self_describing": {"web_page": "page {id}"}}},
]  # fmt: skip
PARSED = [MappingSettings.model_validate(each) for each in ALL_SETTINGS]
MAPPERS = [Mapper(each, privacy_secret=SECRET) for each in PARSED]
QUICK = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,  # what must have been met at least is the same in every run
    suppress_health_check=[HealthCheck.too_slow],
)


PROVENANCE = ("snowplow_object", "snowplow_archive_day")


def mapped(mapper, made, object_id="0" * 32):
    outcome = mapper.for_object(object_id=object_id, archive_day="2022-06-06")(made)
    return outcome if isinstance(outcome, Mapped) else None


def holds_for_many_events(check, *, at_least):
    """Run `check(outcome, made, mapper, seen)` for every event of made records under all settings.

    `seen` counts what the check met; `at_least` says how much it must have met, so that no property holds because
    nothing was looked at.
    """
    seen = Counter()

    @QUICK
    @given(made_records(), st.sampled_from(MAPPERS))
    def run(made, mapper):
        outcome = mapped(mapper, made)
        if outcome is not None:
            seen["event"] += 1
            check(outcome, made, mapper, seen)

    run()
    wanting = {what: (seen[what], number) for what, number in at_least.items() if seen[what] < number}
    assert wanting == {}, "met, and wanted at least"


def test_every_event_is_what_posthogs_capture_takes():
    def check(outcome, made, mapper, seen):
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
        seen["of nobody"] += event["distinct_id"] == event["uuid"]
        seen["of somebody"] += event["distinct_id"] != event["uuid"]
        seen["page view"] += event["event"] == "$pageview"

    holds_for_many_events(check, at_least={"event": 60, "of nobody": 10, "of somebody": 20, "page view": 5})


def test_the_stand_in_for_posthog_takes_every_event_without_a_violation():
    def check(outcome, made, mapper, seen):
        answer = captured(b'{"api_key":"%s","batch":[%s]}' % (TOKEN.encode(), outcome.event))
        assert answer.status == 200, answer.text
        (event,) = answer.events
        assert event.violations == ()
        sent = orjson.loads(outcome.event)
        assert (event.uuid, event.event, event.distinct_id) == (sent["uuid"], sent["event"], sent["distinct_id"])
        assert event.timestamp == outcome.timestamp * 1000
        assert event.session_id == sent["properties"].get("$session_id")
        seen["in a session"] += event.session_id is not None
        seen["with a person"] += event.person_mode == "full"

    holds_for_many_events(check, at_least={"event": 60, "in a session": 15, "with a person": 5})


def test_no_property_is_null_nan_or_empty():
    def check(outcome, made, mapper, seen):
        properties = orjson.loads(outcome.event)["properties"]  # refuses NaN and infinity
        assert [name for name, value in properties.items() if value is None or value in ("", [], {})] == []
        assert type(properties["$process_person_profile"]) is bool
        assert properties.get("$geoip_disable") is True or "$ip" in properties
        assert not {"distinct_id", "token", "$cookieless_mode", "$sent_at"} & set(properties)
        for part in ("$set", "$set_once", "$groups"):
            assert all(value not in (None, "", [], {}) for value in properties.get(part, {}).values())
        seen["number"] += any(type(value) is float for value in properties.values())
        seen["entity"] += any(name.startswith("contexts_") for name in properties)

    holds_for_many_events(check, at_least={"event": 60, "number": 10, "entity": 15})


def test_the_list_for_a_security_review_names_every_property_that_leaves():
    listed = {id(mapper): leaving(parsed) for mapper, parsed in zip(MAPPERS, PARSED, strict=True)}

    def check(outcome, made, mapper, seen):
        names, prefixes = listed[id(mapper)]
        properties = orjson.loads(outcome.event)["properties"]
        assert [name for name in properties if name not in names and not name.startswith(prefixes)] == []
        for name in properties:
            seen["entity" if name.startswith("contexts_") else "column"] += 1

    holds_for_many_events(check, at_least={"event": 60, "entity": 15, "column": 600})


def leaving(parsed):
    """Names of properties, and beginnings of names, that `fields` lists under given settings."""
    targets = {name for row in fields(parsed) for name in row.target.split(", ") if name != "-"}
    beginnings = {target.removesuffix("...") for target in targets if target.endswith("...")}
    if "contexts_... or unstruct_event_..." in targets:
        beginnings |= {"contexts_", "unstruct_event_"}
    return {name.partition(".")[0] for name in targets}, tuple(beginnings)


def test_a_replay_gives_the_same_bytes_and_only_the_provenance_knows_the_object():
    def check(outcome, made, mapper, seen):
        again = Mapper(PARSED[MAPPERS.index(mapper)], privacy_secret=SECRET)
        assert mapped(mapper, made) == mapped(again, made) == outcome
        elsewhere = mapped(mapper, made, object_id="f" * 32)
        assert elsewhere is not None
        assert outcome.event.replace(b"0" * 32, b"f" * 32) == elsewhere.event

    holds_for_many_events(check, at_least={"event": 60})


def test_the_rules_on_time_hold_for_every_session():
    def check(outcome, made, mapper, seen):
        session = orjson.loads(outcome.event)["properties"].get("$session_id")
        if session:
            identifier = uuid.UUID(session)
            assert identifier.version == 7
            assert (identifier.int >> 80) <= outcome.timestamp < (identifier.int >> 80) + DAY_MS
            seen["session"] += 1
            seen["replaced time"] += "timestamp_replaced" in outcome.notes

    holds_for_many_events(check, at_least={"session": 20, "replaced time": 2})


def without_provenance(outcome):
    event = orjson.loads(outcome.event)
    for name in PROVENANCE:
        del event["properties"][name]
    return orjson.dumps(event)


def test_neither_order_nor_split_of_the_records_matters():
    seen = Counter()

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(st.lists(made_records(), min_size=2, max_size=12), st.sampled_from(ALL_SETTINGS), st.randoms())
    def run(made, given_settings, chance: random.Random):
        """All in one object and in their order; then each in an object and a mapper of its own, in another order."""
        parsed = MappingSettings.model_validate(given_settings)
        one = Mapper(parsed, privacy_secret=SECRET).for_object(object_id="0" * 32, archive_day="2022-06-06")
        shuffled = list(made)
        chance.shuffle(shuffled)
        apart = [
            Mapper(parsed, privacy_secret=SECRET).for_object(object_id=f"{number:032x}", archive_day="2022-06-07")(each)
            for number, each in enumerate(shuffled)
        ]
        together = sorted(without_provenance(each) for each in map(one, made) if isinstance(each, Mapped))
        assert together == sorted(without_provenance(each) for each in apart if isinstance(each, Mapped))
        seen["event"] += len(together)
        seen["in another order"] += made != shuffled

    run()
    assert seen["event"] > 30
    assert seen["in another order"] > 5


def test_an_event_without_any_column_is_json_as_well():
    bare = dict.fromkeys(NAMES, "") | {"event_id": SMALL["event_id"], "derived_tstamp": "2022-06-06 04:29:38.000"}
    found = event(**bare)
    assert found["properties"]["$process_person_profile"] is False
    dropped = {"properties": {"drop": [name for name in SENT_COLUMNS if name not in {"event_id", "derived_tstamp"}]}}
    assert event(dropped, user_id="u")["distinct_id"] == "u"
