"""Persons in the order of arrival, as PostHog would hold them."""

from tests.sandbox.events import a_batch, an_event, post


def send(stand_in, *events):
    assert post(stand_in.host, a_batch(*events)).status == 200


def profiled(distinct_id, event="$pageview", **properties):
    properties = {name.replace("_dollar_", "$"): value for name, value in properties.items()}
    return an_event(event=event, distinct_id=distinct_id, properties={"$geoip_disable": True} | properties)


def test_an_event_without_a_profile_makes_no_person(stand_in):
    send(stand_in, an_event())
    assert stand_in.persons() == []


def test_the_last_to_arrive_wins_whatever_its_time(stand_in):
    new = profiled("ann", _dollar_set={"plan": "new"}) | {"timestamp": "2022-01-01T00:00:00Z"}
    old = profiled("ann", _dollar_set={"plan": "old"}, _dollar_set_once={"plan": "once", "since": 1})
    send(stand_in, new)
    send(stand_in, old)
    (person,) = stand_in.persons()
    assert person["properties"] == {"plan": "old", "since": 1}


def test_browser_and_campaign_are_copied_to_the_person(stand_in):
    send(stand_in, profiled("ann", _dollar_browser="Firefox", utm_source="first"))
    send(stand_in, profiled("ann", _dollar_browser="Chrome", utm_source="second", other=1))
    (person,) = stand_in.persons()
    assert person["properties"] == {
        "$browser": "Chrome",
        "utm_source": "second",
        "$initial_browser": "Firefox",
        "$initial_utm_source": "first",
    }


def test_unset_removes_a_property(stand_in):
    send(stand_in, profiled("ann", _dollar_set={"a": 1, "b": 2}), profiled("ann", _dollar_unset=["a"]))
    assert stand_in.persons()[0]["properties"] == {"b": 2}


def test_identify_joins_two_ids(stand_in):
    send(stand_in, profiled("device"), profiled("ann", event="$identify", _dollar_anon_distinct_id="device"))
    (person,) = stand_in.persons()
    assert (person["distinct_ids"], person["is_identified"]) == (["ann", "device"], True)


def test_an_id_of_nobody_is_never_merged(stand_in):
    send(stand_in, profiled("ann", event="$identify", _dollar_anon_distinct_id="null"))
    person = stand_in.persons()[0]
    assert (person["distinct_ids"], person["refused_merges"]) == (["ann"], ["cannot_merge_with_illegal_distinct_id"])


def test_a_person_who_was_identified_is_not_merged_into_another(stand_in):
    send(stand_in, profiled("ann", event="$identify", _dollar_anon_distinct_id="device"))
    send(stand_in, profiled("bob", event="$identify", _dollar_anon_distinct_id="ann"))
    by_id = {tuple(person["distinct_ids"]): person["refused_merges"] for person in stand_in.persons()}
    assert by_id == {("ann", "device"): [], ("bob",): ["cannot_merge_already_identified"]}
