"""Sessions by PostHog's rules, seen through the running stand-in."""

from datetime import UTC, datetime, timedelta

from snowplow_posthog_dagster.sandbox.capture import uuid_of_time
from snowplow_posthog_dagster.sandbox.timestamps import to_microseconds
from tests.sandbox.events import a_batch, an_event, post

MIDNIGHT = datetime(2021, 3, 2, tzinfo=UTC)


def land(stand_in, session_start, *moments, name="$pageview", session_id=None, **properties):
    """Send one event of a session at each moment; returns the session's id."""
    session_id = session_id or str(uuid_of_time(to_microseconds(session_start)))
    usual = {"$geoip_disable": True, "$process_person_profile": False, "$session_id": session_id}
    events = [an_event(event=name, timestamp=moment.isoformat(), properties=usual | properties) for moment in moments]
    assert post(stand_in.host, a_batch(*events)).status == 200
    return session_id


def seconds(count):
    return MIDNIGHT + timedelta(seconds=count)


def test_start_end_and_views_come_from_the_events(stand_in):
    session_id = land(stand_in, MIDNIGHT, seconds(100), seconds(40), seconds(70))
    land(stand_in, MIDNIGHT, seconds(160), session_id=session_id, name="page_ping")
    (session,) = stand_in.sessions()
    assert session["session_id"] == session_id
    assert (session["start"], session["end"]) == (to_microseconds(seconds(40)), to_microseconds(seconds(160)))
    assert (session["events"], session["pageviews"], session["is_bounce"]) == (4, 3, False)
    assert session["broken_rule"] is None


def test_a_resent_event_counts_once(stand_in):
    event = an_event(properties={"$session_id": str(uuid_of_time(to_microseconds(MIDNIGHT))), "$geoip_disable": True})
    for _ in range(3):
        post(stand_in.host, a_batch(event))
    assert [session["events"] for session in stand_in.sessions()] == [1]


def test_one_short_view_is_a_bounce_and_ten_seconds_are_not(stand_in):
    bounce = land(stand_in, MIDNIGHT, seconds(5))
    land(stand_in, MIDNIGHT, seconds(14), session_id=bounce, name="page_ping")
    stays = land(stand_in, MIDNIGHT, seconds(5))
    land(stand_in, MIDNIGHT, seconds(15), session_id=stays, name="page_ping")
    no_view = land(stand_in, MIDNIGHT, seconds(5), name="page_ping")
    judged = {session["session_id"]: session["is_bounce"] for session in stand_in.sessions()}
    assert judged == {bounce: True, stays: False, no_view: None}


def test_entry_and_exit_are_the_first_and_last_view(stand_in):
    session_id = land(stand_in, MIDNIGHT, seconds(20), **{"$current_url": "https://a/middle"})
    land(stand_in, MIDNIGHT, seconds(30), session_id=session_id, **{"$current_url": "https://a/last"})
    land(stand_in, MIDNIGHT, seconds(10), session_id=session_id, **{"$current_url": "https://a/first"})
    land(stand_in, MIDNIGHT, seconds(40), session_id=session_id, name="click", **{"$current_url": "https://a/click"})
    (session,) = stand_in.sessions()
    assert (session["entry_url"], session["exit_url"]) == ("https://a/first", "https://a/last")


def test_a_session_whose_id_is_younger_than_its_first_event_does_not_count(stand_in):
    land(stand_in, seconds(10), seconds(9))
    assert [session["broken_rule"] for session in stand_in.sessions()] == ["session_id_after_first_event"]
    assert stand_in.violations() == {"session_id_after_first_event": 1}


def test_a_session_with_an_event_24_hours_after_its_id_does_not_count(stand_in):
    good = land(stand_in, MIDNIGHT, MIDNIGHT, seconds(86_399.999))
    bad = land(stand_in, MIDNIGHT, MIDNIGHT, seconds(86_400))
    broken = {session["session_id"]: session["broken_rule"] for session in stand_in.sessions()}
    assert broken == {good: None, bad: "session_id_day_before_last_event"}


def test_an_id_that_is_no_uuidv7_makes_no_session(stand_in):
    land(stand_in, MIDNIGHT, seconds(1), session_id="a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")
    assert stand_in.sessions() == []
    assert stand_in.violations() == {"session_id_not_uuidv7": 1}


def test_sessions_of_another_project_stay_apart(stand_in):
    land(stand_in, MIDNIGHT, seconds(1))
    assert stand_in.sessions("phc_sandbox_test") == []
    assert len(stand_in.sessions("phc_sandbox")) == 1
