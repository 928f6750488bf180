"""Who did it, and which event it is."""

import uuid

import pytest

from snowplow_posthog_dagster.mapping.identity import ILLEGAL_IDS, NIL, legal
from tests.mapping.support import CLIENT_SESSION, GITLAB_STANDARD, event, mapped, properties
from tests.snowplow.samples import SMALL

SESSION = (CLIENT_SESSION, {"userId": "phone-1", "sessionId": "s"})


def test_the_event_id_in_lower_case_is_the_uuid():
    found = event(event_id="C6EF3124-B53A-4B13-A233-0088F79DCBCB")
    assert found["uuid"] == "c6ef3124-b53a-4b13-a233-0088f79dcbcb"
    assert "event_id" not in found["properties"]


@pytest.mark.parametrize(
    "event_id", ["", "not-a-uuid", "c6ef3124b53a4b13a2330088f79dcbcb", "ｃ6ef3124-b53a-4b13-a233-0088f79dcbc"]
)
def test_without_one_the_uuid_comes_from_the_bytes_of_the_record(event_id):
    first, again = event(event_id=event_id), event(event_id=event_id)
    other = event(event_id=event_id, app_id="other")
    assert uuid.UUID(first["uuid"]).version == 5
    assert first["uuid"] == again["uuid"] != other["uuid"]
    assert first["properties"].get("event_id", "") == event_id


def test_synthetic_duplicates_are_one_event_or_all_are_kept():
    keep_all = {"identity": {"duplicates": "keep_all"}}
    assert event(page_title="a")["uuid"] == event(page_title="b")["uuid"]
    assert event(keep_all, page_title="a")["uuid"] != event(keep_all, page_title="b")["uuid"]


def test_a_resend_of_one_event_stays_one_when_all_duplicates_are_kept():
    keep_all = {"identity": {"duplicates": "keep_all"}}
    resent = event(keep_all, collector_tstamp="2022-06-06 05:00:00.000", etl_tstamp="", user_ipaddress="8.8.8.8",
                   network_userid="n2", derived_tstamp="2022-06-06 04:29:38.000")  # fmt: skip
    assert event(keep_all)["uuid"] == resent["uuid"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"user_id": "u", "domain_userid": "d", "network_userid": "n"}, "u"),
        ({"domain_userid": "d", "network_userid": "n"}, "d"),
        ({"entities": [SESSION], "network_userid": "n"}, "phone-1"),
        ({"network_userid": "n"}, "n"),
        ({"user_id": "anonymous", "domain_userid": "d"}, "d"),
        ({"user_id": "  u  "}, "u"),
    ],
)
def test_the_first_legal_id_of_the_chain_is_the_distinct_id(given, expected):
    assert event(**given)["distinct_id"] == expected


def test_network_userid_counts_for_browsers_only():
    found = mapped(platform="srv", network_userid="n")
    assert found.notes == ("no_distinct_id",)
    assert "$device_id" not in properties(platform="srv", network_userid="n")


def test_a_record_without_any_id_is_nobodys_event():
    found = event({"identity": {"person_profiles": "always"}})
    assert found["distinct_id"] == found["uuid"] == SMALL["event_id"]
    assert found["properties"]["$process_person_profile"] is False


@pytest.mark.parametrize(
    "text", [*sorted(ILLEGAL_IDS), *map(str.upper, sorted(ILLEGAL_IDS)), '"null"', "'0'", " None ", "[object Object]"]
)
def test_ids_that_many_people_share_are_none(text):
    assert legal(text) == ""


def test_further_illegal_ids_are_a_setting():
    assert (
        event({"identity": {"illegal_ids": ["Guest-User"]}}, user_id="guest-user", domain_userid="d")["distinct_id"]
        == "d"
    )


def test_the_chain_may_lead_into_entities():
    settings = {"identity": {"distinct_id": ["gitlab_standard.user_id", "domain_userid"]}}
    assert event(settings, entities=[(GITLAB_STANDARD, {"user_id": 42})], domain_userid="d")["distinct_id"] == "42"
    assert event(settings, entities=[(GITLAB_STANDARD, {"user_id": None})], domain_userid="d")["distinct_id"] == "d"
    with_vendor = {"identity": {"distinct_id": ["com.gitlab/gitlab_standard.user_id"]}}
    assert event(with_vendor, entities=[(GITLAB_STANDARD, {"user_id": "g"})])["distinct_id"] == "g"


def test_long_ids_are_cut_as_posthog_cuts_them():
    assert event(user_id="x" * 255)["distinct_id"] == "x" * 200


@pytest.mark.parametrize(
    ("profiles", "known", "anonymous"),
    [("identified_only", True, False), ("never", False, False), ("always", True, True)],
)
def test_who_gets_a_person_profile_is_a_setting(profiles, known, anonymous):
    settings = {"identity": {"person_profiles": profiles}}
    assert properties(settings, user_id="u")["$process_person_profile"] is known
    assert properties(settings, domain_userid="d")["$process_person_profile"] is anonymous


def test_which_ids_stand_for_a_known_person_is_a_setting():
    settings = {"identity": {"distinct_id": ["gitlab_standard.user_id"], "identified_by": ["gitlab_standard.user_id"]}}
    assert properties(settings, entities=[(GITLAB_STANDARD, {"user_id": 42})])["$process_person_profile"] is True


def test_device_and_user_id_are_kept_beside_the_distinct_id():
    assert properties(user_id="u", domain_userid="d").items() >= {"$user_id": "u", "$device_id": "d"}.items()
    assert properties(entities=[SESSION])["$device_id"] == "phone-1"
    assert properties(network_userid="n")["$device_id"] == "n"


PERSON = {"set": {"plan": "gitlab_standard.plan"}, "set_once": {"first_app": "app_id"}}


def test_person_properties_are_an_allow_list_from_a_day_on():
    settings = {"identity": {"person_properties": {**PERSON, "since": "2022-06-06"}}}
    standard = [(GITLAB_STANDARD, {"plan": "gold"})]
    found = properties(settings, user_id="u", entities=standard)
    assert (found["$set"], found["$set_once"]) == ({"plan": "gold"}, {"first_app": "shop"})
    older = properties(settings, user_id="u", entities=standard, derived_tstamp="2022-06-05 23:59:59.999")
    assert "$set" not in older
    assert "$set" not in properties(settings, domain_userid="anonymous-device", entities=standard)
    assert "$set" not in properties(settings, user_id="u")


def test_history_may_be_forced_to_set_person_properties():
    settings = {"identity": {"person_properties": {**PERSON, "force_history": True}}}
    assert properties(settings, user_id="u")["$set_once"] == {"first_app": "shop"}


def test_what_the_envelope_says_can_be_a_person_property_as_well():
    given = {"set": {"last_event": "event_id", "last_seen": "derived_tstamp"}, "set_once": {"since": "derived_tstamp"}}
    settings = {"identity": {"person_properties": {**given, "force_history": True}}}
    found = event(settings, user_id="u", derived_tstamp="2022-06-06 04:00:00.000")
    assert found["properties"]["$set"] == {"last_event": found["uuid"], "last_seen": "2022-06-06T04:00:00.000Z"}
    assert found["properties"]["$set_once"] == {"since": "2022-06-06T04:00:00.000Z"}
    assert not {"event_id", "derived_tstamp"} & set(found["properties"])


def test_an_event_id_of_zeros_is_none():
    first, other = event(event_id=NIL), event(event_id=NIL, app_id="other")
    assert uuid.UUID(first["uuid"]).version == 5 and first["uuid"] != other["uuid"]


def test_an_illegal_user_id_is_not_sent_as_the_users_id():
    assert "$user_id" not in properties(user_id="undefined", domain_userid="d")
    assert properties({"identity": {"distinct_id": ["domain_userid"]}}, user_id="u")["$user_id"] == "u"
    chain = ["gitlab_standard.user_id", "user_id"]
    known = {"identity": {"distinct_id": chain, "identified_by": chain}}
    assert "$user_id" not in properties(known, user_id="null", entities=[(GITLAB_STANDARD, {"user_id": "ada"})])


def test_illegal_ids_of_the_settings_are_no_device_and_no_session_either():
    settings = {"identity": {"illegal_ids": ["DUMMY"]}}
    found = properties(settings, user_id="bob", domain_userid="dummy", domain_sessionid="Dummy")
    assert not {"$device_id", "$session_id"} & set(found)


def test_a_device_is_known_where_nobody_is():
    found = event({"identity": {"distinct_id": ["user_id"]}}, domain_userid="d")
    assert (found["distinct_id"], found["properties"]["$device_id"]) == (found["uuid"], "d")
