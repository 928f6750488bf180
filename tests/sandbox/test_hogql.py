"""The part of HogQL that the stand-in answers, through the API that a reconciliation uses."""

import json

import orjson
import pytest
import urllib3

from snowplow_posthog_dagster.sandbox.client import StandInError
from snowplow_posthog_dagster.sandbox.stand_in import QueryOptions
from tests.sandbox.events import a_batch, an_event, post

A = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
B = "b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
C = "c0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"


@pytest.fixture
def three(stand_in):
    """Two page views and a click on two days, the first sent twice."""
    usual = {"$geoip_disable": True, "$process_person_profile": False}
    first = an_event(uuid=A, properties=usual | {"$current_url": "https://a/", "n": 1, "ok": True, "odd name": "x"})
    second = an_event(uuid=B, timestamp="2021-03-02T20:00:00Z", distinct_id="it's", properties=usual | {"n": 2})
    third = an_event(uuid=C, event="click", timestamp="2021-03-03T00:00:00Z", properties=usual)
    assert post(stand_in.host, a_batch(first, second, third)).status == 200
    assert post(stand_in.host, a_batch(first)).status == 200
    return stand_in


def test_events_are_found_by_uuid_within_a_time(three):
    rows = three.query(
        f"SELECT uuid, event, distinct_id, timestamp, properties FROM events WHERE uuid IN ('{A.upper()}', '{C}')"
        " AND timestamp >= '2021-03-02T19:00:00Z' AND timestamp < '2021-03-02 20:00:00' LIMIT 1"
    )
    assert [row[:4] for row in rows] == [[A, "$pageview", "someone", "2021-03-02T19:05:11.123000Z"]]
    assert json.loads(rows[0][4])["n"] == 1


def test_copies_that_are_not_merged_yet_are_counted_unless_distinct(three):
    rows = three.query(
        "select toDate(timestamp), event, count(), count(distinct uuid), uniq(uuid) from events"
        " group by toDate(timestamp), event order by toDate(timestamp), event"
    )
    assert rows == [["2021-03-02", "$pageview", 3, 2, 2], ["2021-03-03", "click", 1, 1, 1]]


def test_copies_can_be_merged(three):
    three.set_queries(QueryOptions(show_duplicates=False))
    assert three.query("select count() from events") == [[3]]


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("properties.n = '2'", [B]),
        ("properties.$current_url LIKE 'https://a%'", [A]),
        ("properties.$current_url LIKE 'HTTPS://A%'", []),
        ("properties.$current_url ILIKE 'HTTPS://A%'", [A]),
        ("properties['odd name'] = 'x'", [A]),
        ("properties.`odd name` = 'x'", [A]),
        ("properties.ok = 'true'", [A]),
        ("properties.n IS NULL", [C]),
        ("properties.n IS NOT NULL AND NOT event = 'click'", [A, B]),
        ("distinct_id = 'it\\'s'", [B]),
        ("distinct_id = 'it''s'", [B]),
        ("event != '$pageview' OR uuid = '" + A + "'", [A, C]),
        ("uuid NOT IN ('" + A + "')", [B, C]),
        ("toDate(timestamp) = '2021-03-03'", [C]),
        ("timestamp > toDateTime('2021-03-03T00:00:00Z') - INTERVAL 5 HOUR AND (event = 'click' OR 1 = 2)", [C]),
        ("toStartOfHour(timestamp) = '2021-03-02 19:00:00'", [A]),
        ("created_at > now() - interval 1 minute and timestamp <= '2021-03-02'", []),
    ],
)
def test_conditions(three, condition, found):
    rows = three.query(f"SELECT DISTINCT uuid FROM events WHERE {condition} ORDER BY uuid")
    assert [row[0] for row in rows] == found


def test_values_beside_the_query(three):
    rows = three.query(
        "select count(distinct uuid) from events where uuid in {uuids} and event = {name}",
        {"uuids": [A, B, C], "name": "click"},
    )
    assert rows == [[1]]


def test_a_query_without_limit_gets_100_rows(stand_in):
    post(stand_in.host, a_batch(*[an_event() for _ in range(101)]))
    assert len(stand_in.query("select uuid from events")) == 100
    assert len(stand_in.query("select uuid from events limit 1000")) == 101
    assert len(stand_in.query("select uuid from events limit 1000 offset 100")) == 1


def test_the_answer_has_posthogs_shape(three):
    body = {
        "query": {"kind": "HogQLQuery", "query": "select uuid, count() as copies from events group by uuid limit 2"}
    }
    answer = api(three, "/api/projects/1/query/", body)
    assert answer.status == 200
    told = answer.json()
    assert (told["columns"], len(told["results"]), told["hasMore"], told["limit"]) == (["uuid", "copies"], 2, True, 2)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "select",
        "select uuid from persons",
        "select secret from events",
        "select load_extension('x') from events",
        "select uuid from events; drop table events",
        "select uuid from events union select 1",
        "select (select 1) from events",
        "select uuid from events where uuid = 'a",
        "select uuid from events where timestamp = 'yesterday'",
        "select uuid from events limit -1",
        'select properties.`a"b` from events',
        "select count(uuid, event) from events",
        "select uuid from events where event = {unknown}",
    ],
)
def test_what_is_not_known_is_refused(three, query):
    with pytest.raises(StandInError, match="400"):
        three.query(query)


def test_rows_are_visible_only_after_the_lag(stand_in):
    stand_in.set_queries(QueryOptions(lag_seconds=0.5))
    post(stand_in.host, a_batch(an_event()))
    assert stand_in.query("select count() from events") == [[0]]
    stand_in.set_queries(QueryOptions(lag_seconds=0))
    assert stand_in.query("select count() from events") == [[1]]


def test_too_many_queries_a_minute_are_429(stand_in):
    stand_in.set_queries(QueryOptions(per_minute=2))
    body = {"query": {"kind": "HogQLQuery", "query": "select count() from events"}}
    answers = [api(stand_in, "/api/projects/1/query/", body) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert 0 < int(answers[2].headers["Retry-After"]) <= 60
    assert answers[2].json()["type"] == "throttled_error"


def api(stand_in, path, body=None, key="phx_sandbox") -> urllib3.BaseHTTPResponse:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    encoded = orjson.dumps(body) if body is not None else None
    return urllib3.request("POST" if body is not None else "GET", stand_in.host + path, body=encoded, headers=headers)


class TestProjects:
    def test_the_personal_key_tells_which_project_it_is(self, stand_in):
        for path in ("/api/projects/1/", "/api/projects/@current/", "/api/environments/1/"):
            told = api(stand_in, path).json()
            assert (told["id"], told["name"], told["api_token"]) == (1, "Sandbox", "phc_sandbox")

    @pytest.mark.parametrize(("key", "code"), [("phx_wrong", "authentication_failed"), (None, "not_authenticated")])
    def test_another_key_is_401(self, stand_in, key, code):
        answer = api(stand_in, "/api/projects/1/", key=key)
        assert (answer.status, answer.json()["code"]) == (401, code)
        assert api(stand_in, "/api/projects/1/query/", {"query": {}}, key=key).status == 401

    def test_an_unknown_project_is_404(self, stand_in):
        assert api(stand_in, "/api/projects/99/").status == 404

    def test_a_project_sees_its_own_events_alone(self, stand_in):
        post(stand_in.host, a_batch(an_event(), api_key="phc_sandbox_test"))
        body = {"query": {"kind": "HogQLQuery", "query": "select count() from events"}}
        counts = [api(stand_in, f"/api/projects/{number}/query/", body).json()["results"] for number in (1, 2)]
        assert counts == [[[0]], [[1]]]

    @pytest.mark.parametrize("body", [{}, {"query": {"kind": "EventsQuery"}}, {"query": "select 1"}, []])
    def test_another_kind_of_query_is_refused(self, stand_in, body):
        assert api(stand_in, "/api/projects/1/query/", body).status == 400
