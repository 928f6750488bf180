"""The stand-in as an HTTP server: routes, answers, silent losses, the meter, what a loader must never cause."""

import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
import urllib3

from snowplow_posthog_dagster.sandbox.posthog import Server
from snowplow_posthog_dagster.sandbox.projects import Project, default_projects
from snowplow_posthog_dagster.sandbox.servers import running_posthog
from tests.sandbox.events import TOKEN, a_batch, an_event, gzipped, post


class TestRoutes:
    @pytest.mark.parametrize("path", ["/batch", "/batch/", "/i/v0/e", "/i/v0/e/", "/e/", "/capture/"])
    def test_capture_answers_on_every_route(self, stand_in, path):
        answer = post(stand_in.host, gzipped(a_batch(an_event())), path)
        assert (answer.status, answer.data) == (200, b'{"status":"Ok"}')
        assert answer.headers["Content-Type"] == "application/json"
        assert stand_in.merged_rows() == 1

    def test_the_content_type_does_not_matter(self, stand_in):
        assert post(stand_in.host, a_batch(an_event()), **{"Content-Type": "text/csv"}).status == 200

    def test_errors_are_plain_text(self, stand_in):
        answer = post(stand_in.host, a_batch(an_event(distinct_id=...)))
        assert (answer.status, answer.data) == (400, b"event submitted without a distinct_id")
        assert answer.headers["Content-Type"].startswith("text/plain")

    def test_a_beacon_is_answered_without_a_body(self, stand_in):
        answer = post(stand_in.host, a_batch(an_event()), "/batch/?beacon=1")
        assert (answer.status, answer.data) == (204, b"")

    def test_a_time_of_sending_in_the_address_shifts_too(self, stand_in):
        post(stand_in.host, a_batch(an_event()), f"/batch/?_={int(time.time() * 1000) - 60_000}")
        assert stand_in.violations() == {"timestamp_shifted": 1}

    def test_a_chunked_body_is_read(self, stand_in):
        body = gzipped(a_batch(*[an_event() for _ in range(20)]))
        parts = iter([body[:100], body[100:]])
        pool = urllib3.PoolManager()
        assert pool.urlopen("POST", stand_in.host + "/batch/", body=parts, chunked=True).status == 200
        assert stand_in.merged_rows() == 20

    def test_the_root_tells_programs_and_people_apart(self, stand_in):
        assert urllib3.request("GET", stand_in.host + "/").data == b"capture"
        page = urllib3.request("GET", stand_in.host + "/", headers={"Accept": "text/html,*/*"})
        assert b"Live events" in page.data

    @pytest.mark.parametrize("path", ["/_readiness", "/_liveness"])
    def test_it_says_that_it_is_alive(self, stand_in, path):
        assert urllib3.request("GET", stand_in.host + path).status == 200

    def test_v1_is_not_here(self, stand_in):
        assert post(stand_in.host, b"{}", "/i/v1/analytics/events").status == 404

    def test_one_connection_serves_many_requests(self, stand_in):
        address = urlsplit(stand_in.host)
        pool = urllib3.HTTPConnectionPool(address.hostname, address.port, maxsize=1, retries=False)
        for body in (a_batch(an_event()), b"garbage", a_batch(an_event())):
            pool.request("POST", "/batch/", body=body)
        assert (pool.num_requests, pool.num_connections) == (3, 1)

    def test_a_body_over_the_limit_is_answered_with_413(self, stand_in):
        answer = post(stand_in.host, b" " * (20 * 1024 * 1024 + 1))
        assert answer.status == 413

    def test_it_answers_to_names_of_this_machine_only(self, stand_in):
        for path in ("/events", "/_sandbox/progress", "/api/projects/1/"):
            answer = urllib3.request("GET", stand_in.host + path, headers={"Host": "evil.example"})
            assert answer.status == 421
        port = urlsplit(stand_in.host).port
        assert urllib3.request("GET", stand_in.host + "/events", headers={"Host": f"localhost:{port}"}).status == 200

    def test_another_sites_page_cannot_wipe_it(self, stand_in):
        post(stand_in.host, a_batch(an_event()))
        assert post(stand_in.host, b"", "/_sandbox/reset").status == 404
        assert stand_in.raw_rows() == 1

    def test_it_serves_loopback_only(self):
        with pytest.raises(ValueError, match="loopback only"):
            Server("0.0.0.0", 0, None)


class TestSilentLosses:
    """A 200 says nothing about these; a reconciliation has to find them."""

    def test_an_unknown_key_loses_everything(self, stand_in):
        assert post(stand_in.host, a_batch(an_event(), an_event(), api_key="phc_nobody")).status == 200
        assert stand_in.raw_rows() == 0
        assert [event["reason"] for event in stand_in.lost()] == ["unknown_token"] * 2

    @pytest.mark.parametrize(
        ("setting", "reason"),
        [
            ({"billing_limit": True}, "billing_limit"),
            ({"restricted_events": ["$pageview"]}, "event_restriction"),
            ({"restricted_distinct_ids": ["someone"]}, "event_restriction"),
            ({"drop_events_older_than_seconds": 30 * 86400}, "event_dropped_too_old"),
        ],
        ids=["billing limit", "restricted event", "restricted id", "too old"],
    )
    def test_a_project_can_lose_events(self, stand_in, setting, reason):
        stand_in.set_projects([Project(id=1, name="Sandbox", api_token=TOKEN, **setting)])
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        fresh = an_event(event="other", distinct_id="another", timestamp=now)
        assert post(stand_in.host, a_batch(an_event(), fresh)).status == 200
        kept = 0 if reason == "billing_limit" else 1
        assert (stand_in.raw_rows(), [event["reason"] for event in stand_in.lost()]) == (kept, [reason] * (2 - kept))

    def test_a_group_with_a_wrong_set_is_lost(self, stand_in):
        event = an_event(event="$groupidentify", properties={"$group_set": "text", "$geoip_disable": True})
        post(stand_in.host, a_batch(event))
        assert stand_in.totals()["lost"] == {"invalid_group_set": 1}

    def test_the_default_projects_lose_nothing(self, stand_in):
        for project in default_projects():
            post(stand_in.host, a_batch(an_event(), api_key=project.api_token))
        assert stand_in.totals()["lost"] == {}
        assert len(list(stand_in.merged("phc_sandbox_test"))) == 1


class TestCounting:
    def test_clean_events_cause_no_violation(self, stand_in):
        post(stand_in.host, a_batch(an_event(), historical_migration=True))
        totals = stand_in.totals()
        assert (totals["violations"], totals["historical_rows"], totals["answers"]) == ({}, 1, {"200": 1})

    def test_the_rows_can_be_exported(self, stand_in):
        event = an_event(properties={"$geoip_disable": True, "ünïcode": ["<b>", 1.5, None]})
        for _ in range(2):
            post(stand_in.host, a_batch(event))
        (row,) = stand_in.merged()
        assert {name: row[name] for name in ("uuid", "event", "distinct_id", "copies", "token")} == {
            "uuid": event["uuid"],
            "event": "$pageview",
            "distinct_id": "someone",
            "copies": 2,
            "token": TOKEN,
        }
        assert row["properties"] == event["properties"] | {"$ip": "127.0.0.1"}
        assert len(list(stand_in.raw())) == 2

    def test_many_rows_are_exported_whole(self, stand_in):
        for _ in range(3):
            post(stand_in.host, a_batch(*[an_event() for _ in range(700)]))
        assert len({row["uuid"] for row in stand_in.merged()}) == 2100

    def test_the_meter_sees_all_connections_together(self, stand_in):
        start = threading.Barrier(4)

        def send():
            start.wait()
            post(stand_in.host, a_batch(*[an_event() for _ in range(50)]))

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stand_in.totals()["peaks"] == {"1": 200, "10": 200, "60": 200}

    def test_the_meter_counts_refused_bodies_as_well(self, stand_in):
        post(stand_in.host, a_batch(an_event(), an_event(distinct_id="")))
        assert (stand_in.totals()["peaks"]["60"], stand_in.raw_rows()) == (2, 0)

    def test_requests_are_kept_with_their_sizes(self, stand_in):
        body = a_batch(an_event())
        post(stand_in.host, gzipped(body), **{"User-Agent": "a test"})
        (request,) = stand_in.requests()
        assert (request["raw_bytes"], request["wire_bytes"]) == (len(body), len(gzipped(body)))
        assert (request["answer"], request["client"], request["path"]) == ("200", "a test", "/batch")


class TestClientsThatMisbehave:
    def test_one_that_hangs_up_in_the_middle_leaves_nothing(self, stand_in):
        address = urlsplit(stand_in.host)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(b"POST /batch/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        assert post(stand_in.host, a_batch(an_event())).status == 200
        assert (stand_in.raw_rows(), stand_in.progress()["requests"]) == (1, 1)

    def test_garbage_on_the_wire_does_not_stop_the_server(self, stand_in):
        address = urlsplit(stand_in.host)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(b"\x16\x03\x01\x00\xa5 this is TLS\r\n\r\n")
            connection.recv(1000)
        assert stand_in.answers()


class TestForBenchmarks:
    def test_a_null_stand_in_only_says_ok(self):
        with running_posthog(None, "--null") as client:
            assert post(client.host, b"anything").data == b'{"status":"Ok"}'
            assert client.progress()["requests"] == 0

    def test_it_can_take_its_time(self):
        with running_posthog(None, "--null", "--delay-ms", "150") as client:
            start = time.monotonic()
            post(client.host, b"anything")
            assert time.monotonic() - start >= 0.15


def test_a_wrong_control_request_says_what_is_wrong(stand_in):
    for name, body in (("faults", b'{"faults":[{"statsu":503}]}'), ("limit", b"{"), ("projects", b"{}")):
        answer = urllib3.request("PUT", f"{stand_in.host}/_sandbox/{name}", body=body)
        assert answer.status == 400
        assert answer.json()["errors"]
    assert urllib3.request("GET", f"{stand_in.host}/_sandbox/unknown").status == 404
