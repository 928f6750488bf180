"""The pages as HTML; how they look and feel is tested in a browser."""

import urllib3

from snowplow_posthog_dagster.sandbox.capture import uuid_of_time
from tests.sandbox.events import a_batch, an_event, post

HOSTILE = '<script>alert("x")</script>'


def get(stand_in, path):
    return urllib3.request("GET", stand_in.host + path)


def test_an_empty_sandbox_says_so(stand_in):
    assert "No event has arrived yet" in get(stand_in, "/events").data.decode()
    assert "No event with a session has arrived yet" in get(stand_in, "/sessions").data.decode()


def test_everything_that_is_shown_is_escaped(stand_in):
    session_id = str(uuid_of_time(1614643200 * 1_000_000))
    properties = {HOSTILE: HOSTILE, "nested": {"a": HOSTILE}, "$current_url": HOSTILE, "$session_id": session_id}
    post(stand_in.host, a_batch(an_event(event=HOSTILE, distinct_id=HOSTILE, properties=properties)))
    pages = ["/events", "/events/1", "/sessions", "/events?event=%3Cscript%3E", "/events?day=%3Cscript%3E&text=%22%3E"]
    for path in pages:
        answer = get(stand_in, path)
        text = answer.data.decode()
        assert answer.status == 200
        assert "<script" not in text
        assert '">"' not in text
    assert "&lt;script&gt;" in get(stand_in, "/events/1").data.decode()


def test_nothing_may_be_loaded_or_run(stand_in):
    policy = get(stand_in, "/events").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def test_violations_and_losses_are_shown(stand_in):
    post(stand_in.host, a_batch(an_event(properties={}), an_event(distinct_id="null")))
    post(stand_in.host, a_batch(an_event(), api_key="phc_nobody"))
    text = get(stand_in, "/events").data.decode()
    for words in ("ip stamped with geoip on", "illegal distinct id", "unknown token"):
        assert words in text


def test_what_does_not_exist_is_404(stand_in):
    for path in ("/events/7", "/events/x", "/unknown", "/events/1/2"):
        assert get(stand_in, path).status == 404
