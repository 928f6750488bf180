"""What PostHog's capture makes of a batch: shapes, keys, the rules on each event, and what it never says."""

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowplow_posthog_dagster.sandbox.capture import LARGEST_ENVELOPE, uuid_of_time
from tests.sandbox.events import NOW, PEER, TOKEN, a_batch, an_event, captured, with_properties

OLD = "2021-03-02T19:05:11.123Z"


def the_event(*events, **envelope):
    """The one event of an accepted batch."""
    outcome = captured(a_batch(*events, **envelope))
    assert outcome.status == 200, outcome.text
    (event,) = outcome.events
    return event


def refusal(*events, **envelope):
    outcome = captured(a_batch(*events, **envelope))
    assert outcome.events == []
    return outcome.status, outcome.text


class TestShape:
    def test_a_batch_is_answered_as_posthog_answers(self):
        outcome = captured(a_batch(an_event(), an_event()))
        assert (outcome.status, outcome.text, len(outcome.events)) == (200, '{"status":"Ok"}', 2)

    def test_an_array_and_a_single_event_carry_the_key_themselves(self):
        array = [an_event(token=TOKEN), an_event(**{"$token": TOKEN}), an_event(api_key=TOKEN)]
        assert len(captured(json.dumps(array).encode(), "/e").events) == 3
        single = with_properties(token=TOKEN)
        assert captured(json.dumps(single).encode(), "/i/v0/e").events[0].token == TOKEN

    def test_unknown_keys_are_ignored(self):
        assert the_event(an_event(something="else"), something="else").event == "$pageview"

    @pytest.mark.parametrize("body", [b"", b"{}", b"1", b"null", b'"text"', b'{"batch":{}}'])
    def test_anything_else_is_refused(self, body):
        assert captured(body).status == 400

    @pytest.mark.parametrize("body", [a_batch(), b"[]"])
    def test_an_empty_batch_is_refused(self, body):
        assert (captured(body).status, captured(body).text) == (400, "request holds no event")

    @pytest.mark.parametrize("flag", ["true", 1, {}])
    def test_the_historical_flag_is_a_boolean(self, flag):
        assert refusal(an_event(), historical_migration=flag)[0] == 400

    def test_the_historical_flag_belongs_to_batches_alone(self):
        assert captured(a_batch(an_event(), historical_migration=True)).historical
        single = an_event(token=TOKEN, historical_migration=True)
        assert not captured(json.dumps(single).encode(), "/i/v0/e").historical


class TestToken:
    @pytest.mark.parametrize(
        ("token", "reason"),
        [
            ("", "empty"),
            ("   ", "empty"),
            ("p" * 65, "too_long"),
            ("phc_schlüssel", "not_ascii"),
            ("phx_personal", "personal_api_key"),
            ("phc_\0", "null_byte"),
        ],
    )
    def test_a_key_of_the_wrong_shape_is_401(self, token, reason):
        assert refusal(an_event(), api_key=token) == (401, f"API key is not valid: {reason}")

    def test_no_key_is_401(self):
        assert refusal(an_event(), api_key=...)[0] == 401

    def test_different_keys_in_one_request_are_401(self):
        assert refusal(an_event(token="phc_a"), an_event(token="phc_b"), api_key=...)[0] == 401

    def test_the_key_of_the_batch_wins(self):
        assert the_event(an_event(token="phc_other")).token == TOKEN

    def test_the_key_is_trimmed(self):
        assert the_event(an_event(), api_key=f" {TOKEN}\n").token == TOKEN

    def test_a_key_that_no_project_has_is_not_noticed(self):
        assert captured(a_batch(an_event(), api_key="phc_nobody")).status == 200


class TestOneBadEventCostsTheBatch:
    @pytest.mark.parametrize(
        "changes",
        [
            {"event": ""},
            {"event": ...},
            {"event": None},
            {"event": 7},
            {"distinct_id": ...},
            {"distinct_id": None},
            {"distinct_id": ""},
            {"distinct_id": " \t"},
            {"uuid": "1h2c6742-7a16-478d-b106-96f9a9a54547"},
            {"uuid": "not-a-uuid"},
            {"uuid": 7},
            {"uuid": "7a16478d-b106-96f9-a9a5"},
            {"properties": []},
            {"properties": "text"},
            {"properties": {"$cookieless_mode": "yes"}},
            {"timestamp": 1614711911},
            {"timestamp": {}},
            {"offset": "5"},
            {"offset": 1.5},
        ],
        ids=str,
    )
    def test_400_and_nothing_is_stored(self, changes):
        assert refusal(an_event(), an_event(**changes), an_event())[0] == 400

    def test_an_event_that_is_no_object(self):
        assert refusal(an_event(), "event")[0] == 400

    def test_a_time_of_sending_that_is_no_text(self):
        assert refusal(an_event(), sent_at=1)[0] == 400


class TestDistinctId:
    @pytest.mark.parametrize(
        ("event", "distinct_id"),
        [
            (an_event(distinct_id=42), "42"),
            (an_event(distinct_id=[1, "a"]), '[1,"a"]'),
            (an_event(distinct_id={"id": True}), '{"id":true}'),
            (an_event(**{"distinct_id": ..., "$distinct_id": "aliased"}), "aliased"),
            (an_event(distinct_id=..., properties={"distinct_id": "inside"}), "inside"),
        ],
        ids=["number", "array", "object", "alias", "property"],
    )
    def test_other_types_and_places_are_taken(self, event, distinct_id):
        assert the_event(event).distinct_id == distinct_id

    def test_nul_is_replaced_and_noted(self):
        event = the_event(an_event(distinct_id="a\0b"))
        assert (event.distinct_id, event.violations) == ("a\ufffdb", ("distinct_id_held_nul",))

    def test_more_than_200_characters_are_cut_and_noted(self):
        event = the_event(an_event(distinct_id="ü" * 201))
        assert (event.distinct_id, event.violations) == ("ü" * 200, ("distinct_id_cut",))

    @pytest.mark.parametrize(
        "nobody", ["anonymous", "NULL", "0", "'undefined'", '"None"', " guest ", "[object Object]"]
    )
    def test_an_id_of_nobody_is_accepted_and_noted(self, nobody):
        assert the_event(an_event(distinct_id=nobody)).violations == ("illegal_distinct_id",)


class TestEvent:
    def test_a_name_over_200_characters_is_cut_and_noted(self):
        event = the_event(an_event(event="e" * 201))
        assert (event.event, event.violations) == ("e" * 200, ("event_name_cut",))

    @pytest.mark.parametrize(
        "form",
        [
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "urn:uuid:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ],
    )
    def test_every_textual_form_of_a_uuid_is_the_same(self, form):
        assert the_event(an_event(uuid=form)).uuid == "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"

    @pytest.mark.parametrize("absent", ["", None, ...])
    def test_without_a_uuid_one_is_made_of_the_events_time(self, absent):
        made = UUID(the_event(an_event(uuid=absent)).uuid)
        assert made.version == 7
        assert made.int >> 80 == 1614711911123

    def test_a_uuid_of_a_time_before_1970_is_still_legal(self):
        assert uuid_of_time(-5).version == 7

    def test_performance_events_are_filtered(self):
        assert [e.event for e in captured(a_batch(an_event(event="$performance_event"), an_event())).events] == [
            "$pageview"
        ]
        outcome = captured(a_batch(an_event(event="$performance_event")))
        assert (outcome.status, outcome.events) == (200, [])

    @pytest.mark.parametrize(
        "name", ["$exception", "$$heatmap", "$snapshot_items", "$ai_generation", "$merge_dangerously"]
    )
    def test_reserved_names_are_noted(self, name):
        assert the_event(an_event(event=name)).violations == ("reserved_event_name",)

    def test_what_makes_a_heatmap_twin_is_noted(self):
        event = with_properties(_dollar_current_url="https://a/", _dollar_prev_pageview_pathname="/")
        assert the_event(event).violations == ("heatmap_twin",)

    def test_set_and_set_once_of_the_top_level_join_the_properties(self):
        event = an_event(properties={"$set": {"a": 1, "b": 1}, "$ip": "8.8.8.8", "$geoip_disable": True})
        event |= {"$set": {"b": 2}, "$set_once": {"c": 3}}
        properties = json.loads(the_event(event).properties)
        assert (properties["$set"], properties["$set_once"]) == ({"a": 1, "b": 2}, {"c": 3})

    @pytest.mark.parametrize("own", [None, 7, "text"])
    def test_a_set_of_the_properties_that_is_no_object_gives_way_to_that_of_the_top_level(self, own):
        event = an_event(properties={"$set": own}) | {"$set": {"b": 2}}
        assert json.loads(the_event(event).properties)["$set"] == {"b": 2}

    def test_an_event_over_a_megabyte_is_413_after_those_before_it_were_stored(self):
        large = an_event(properties={"text": "x" * LARGEST_ENVELOPE})
        outcome = captured(a_batch(an_event(), an_event(), large, an_event()))
        assert (outcome.status, len(outcome.events)) == (413, 2)

    def test_quotes_count_twice_towards_the_megabyte(self):
        quotes = an_event(properties={"text": '"' * 300_000})
        letters = an_event(properties={"text": "x" * 600_000})
        assert (captured(a_batch(quotes)).status, captured(a_batch(letters)).status) == (413, 200)


class TestPersons:
    def test_only_false_turns_the_profile_off(self):
        modes = [
            the_event(an_event(properties={"$process_person_profile": value, "$geoip_disable": True})).person_mode
            for value in (False, True, "false", 0, None)
        ]
        assert modes == ["propertyless", "full", "full", "full", "full"]

    def test_an_event_without_a_profile_loses_person_and_group_properties(self):
        event = with_properties(
            _dollar_set={"a": 1}, _dollar_set_once={}, _dollar_unset=[], _dollar_group_0="g", kept=1
        )
        properties = json.loads(the_event(event).properties)
        assert set(properties) == {"$geoip_disable", "$process_person_profile", "$ip", "kept"}


class TestAddress:
    def test_the_clients_address_is_stamped_and_noted_when_geoip_is_on(self):
        event = the_event(an_event(properties={}))
        assert json.loads(event.properties)["$ip"] == PEER
        assert event.violations == ("ip_stamped_with_geoip_on",)

    def test_with_geoip_off_the_stamped_address_does_no_harm(self):
        event = the_event(an_event(properties={"$geoip_disable": True}))
        assert (json.loads(event.properties)["$ip"], event.violations) == (PEER, ())

    def test_an_address_that_was_sent_stays(self):
        event = the_event(an_event(properties={"$ip": "203.0.113.7"}))
        assert (json.loads(event.properties)["$ip"], event.violations) == ("203.0.113.7", ())

    def test_loopback_would_be_located_in_sweden(self):
        assert the_event(an_event(properties={"$ip": "127.0.0.1"})).violations == ("loopback_ip_with_geoip_on",)


class TestSessionId:
    def test_a_uuidv7_makes_a_session(self):
        session_id = str(uuid_of_time(1614643200 * 1_000_000))
        event = the_event(with_properties(_dollar_session_id=session_id.upper()))
        assert (event.session_id, event.violations) == (session_id, ())

    @pytest.mark.parametrize("session_id", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "free text", 7, ""])
    def test_anything_else_makes_none_and_is_noted(self, session_id):
        event = the_event(with_properties(_dollar_session_id=session_id))
        assert (event.session_id, event.violations) == (None, ("session_id_not_uuidv7",))


class TestHistory:
    def test_the_flag_on_an_event_younger_than_48_hours_is_noted(self):
        events = [an_event(timestamp="2026-06-13T11:59:59Z"), an_event(timestamp="2026-06-13T12:00:01Z")]
        outcome = captured(a_batch(*events, historical_migration=True), now=NOW)
        assert [event.violations for event in outcome.events] == [(), ("historical_flag_on_fresh_event",)]

    def test_fresh_events_without_the_flag_are_fine(self):
        assert the_event(an_event(timestamp="2026-06-15T11:59:59Z"), historical_migration=False).violations == ()


class TestTimeOfSending:
    def test_it_shifts_the_timestamp_and_is_noted(self):
        event = the_event(an_event(timestamp=OLD), sent_at="2026-06-15T11:00:00Z")
        assert event.violations == ("timestamp_shifted",)
        assert event.timestamp == 1614711911123000 + 3600 * 1_000_000

    def test_ignore_sent_at_keeps_the_timestamp(self):
        event = the_event(with_properties(_dollar_ignore_sent_at=True), sent_at="2026-06-15T11:00:00Z")
        assert (event.timestamp, event.violations) == (1614711911123000, ())


# Names that the rules look at, so that odd values meet them.
NAMES = st.sampled_from(
    ["event", "distinct_id", "uuid", "timestamp", "properties", "offset", "token", "$set", "$ip", "$session_id", "x"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(NAMES | st.text(max_size=3), values, max_size=4),
    max_leaves=20,
)


@given(JSON, st.dictionaries(NAMES, JSON))
def test_whatever_comes_is_answered(value, changes):
    bodies = [json.dumps(value).encode(), a_batch(value, api_key=TOKEN), a_batch(an_event(**changes))]
    for body in bodies:
        outcome = captured(body)
        assert outcome.status in {200, 400, 401}
        assert bool(outcome.events) <= (outcome.status == 200)


@given(st.binary(max_size=60))
def test_whatever_bytes_come_are_answered(body):
    for start in (b"", b"\x1f\x8b\x08"):
        assert captured(start + body).status in {400, 401}
