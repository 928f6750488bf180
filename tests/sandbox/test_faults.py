"""Faults on request: what the client sees, and what is stored although it sees an error."""

import socket
import threading
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import pytest
import urllib3

from snowplow_posthog_dagster.sandbox import faults
from snowplow_posthog_dagster.sandbox.client import StandInError
from snowplow_posthog_dagster.sandbox.faults import When, on, sometimes
from tests.sandbox.events import a_batch, an_event, post

TEN = [an_event() for _ in range(10)]


def send(stand_in):
    return post(stand_in.host, a_batch(*TEN))


def is_reset(stand_in) -> bool:
    """Whether the connection ends with a TCP reset before an answer."""
    address = urlsplit(stand_in.host)
    body = a_batch(*TEN)
    head = f"POST /batch/ HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        try:
            connection.sendall(head + body)
            connection.recv(100)
        except ConnectionResetError:
            return True
    return False


@pytest.mark.parametrize("code", [401, 408, 413, 429, 500, 503, 504])
def test_a_status_stores_nothing(stand_in, code):
    stand_in.play(faults.status(code, on(1)))
    assert (send(stand_in).status, stand_in.raw_rows()) == (code, 0)
    assert (send(stand_in).status, stand_in.raw_rows()) == (200, 10)


def test_retry_after_in_seconds(stand_in):
    stand_in.play(faults.status(429, retry_after=7))
    assert send(stand_in).headers["Retry-After"] == "7"


def test_retry_after_as_a_date(stand_in):
    stand_in.play(faults.retry_after_date(30))
    moment = parsedate_to_datetime(send(stand_in).headers["Retry-After"])
    assert 28 <= (moment - datetime.now(UTC)).total_seconds() <= 31


def test_a_proxys_page(stand_in):
    stand_in.play(faults.bad_gateway())
    answer = send(stand_in)
    assert (answer.status, answer.headers["Content-Type"]) == (502, "text/html")
    assert b"<html>" in answer.data


def test_200_with_another_body_stores_nothing(stand_in):
    stand_in.play(faults.other_answer())
    answer = send(stand_in)
    assert (answer.status, b'"Ok"' in answer.data, stand_in.raw_rows()) == (200, False, 0)


def test_a_reset_before_the_store(stand_in):
    stand_in.play(faults.reset_before_store())
    assert is_reset(stand_in)
    assert stand_in.progress()["answers"] == {"reset": 1}
    assert stand_in.raw_rows() == 0


def test_a_reset_after_the_store(stand_in):
    stand_in.play(faults.reset_after_store())
    assert is_reset(stand_in)
    assert stand_in.raw_rows() == 10


def test_a_reset_while_the_body_is_read(stand_in):
    stand_in.play(faults.reset_while_reading())
    assert is_reset(stand_in)
    (request,) = stand_in.requests()
    assert (request["answer"], request["stored"]) == ("reset", 0)
    assert 0 < request["wire_bytes"] < len(a_batch(*TEN))


def test_503_after_a_part_was_stored(stand_in):
    stand_in.play(faults.unavailable_after_part(store=0.3))
    assert send(stand_in).status == 503
    assert [row["uuid"] for row in stand_in.raw()] == [event["uuid"] for event in TEN[:3]]


def test_a_part_is_at_least_one_event(stand_in):
    stand_in.play(faults.unavailable_after_part(store=0.01))
    send(stand_in)
    assert stand_in.raw_rows() == 1


def test_silence_after_everything_was_stored(stand_in):
    stand_in.play(faults.timeout_after_store(seconds=30))
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        urllib3.request("POST", stand_in.host + "/batch/", body=a_batch(*TEN), timeout=0.3, retries=False)
    assert stand_in.raw_rows() == 10


def test_a_silent_connection_is_closed_in_the_end(stand_in):
    stand_in.play(faults.timeout_after_store(seconds=0.1))
    with pytest.raises(urllib3.exceptions.ProtocolError):
        send(stand_in)


def test_a_slow_answer(stand_in):
    stand_in.play(faults.slow_answer(0.3))
    start = time.monotonic()
    assert send(stand_in).data == b'{"status":"Ok"}'
    assert time.monotonic() - start >= 0.3


def test_an_answer_that_trickles_in(stand_in):
    stand_in.play(faults.trickle(100))
    start = time.monotonic()
    assert send(stand_in).data == b'{"status":"Ok"}'
    assert time.monotonic() - start >= 0.14


def test_a_body_that_is_read_slowly(stand_in):
    stand_in.play(faults.slow_read(10_000))
    start = time.monotonic()
    assert send(stand_in).status == 200
    assert time.monotonic() - start >= len(a_batch(*TEN)) / 10_000 * 0.9
    assert stand_in.raw_rows() == 10


def test_a_slow_server_still_refuses_what_is_wrong(stand_in):
    stand_in.play(faults.slow_answer(0.01))
    assert post(stand_in.host, a_batch(an_event(event=""))).status == 400


def test_the_query_api_throttles(stand_in):
    stand_in.play(faults.query_throttled(on(1), retry_after=3))
    with pytest.raises(StandInError, match="throttled"):
        stand_in.query("select count() from events")
    assert stand_in.query("select count() from events") == [[0]]


class TestWhichRequests:
    def answers(self, stand_in, count):
        return [send(stand_in).status for _ in range(count)]

    def test_by_number(self, stand_in):
        stand_in.play(faults.status(503, on(2, 4)), faults.status(429, on(3)))
        assert self.answers(stand_in, 5) == [200, 503, 429, 503, 200]

    def test_from_one_to_another(self, stand_in):
        stand_in.play(faults.status(503, When(first=2, last=3)))
        assert self.answers(stand_in, 4) == [200, 503, 503, 200]

    def test_a_number_of_times(self, stand_in):
        stand_in.play(faults.status(503, When(times=2)))
        assert self.answers(stand_in, 3) == [503, 503, 200]
        assert stand_in.totals()["faults"] == {"status_503": 2}

    def test_by_chance_that_can_be_repeated(self, stand_in):
        runs = []
        for _ in range(2):
            stand_in.play(faults.status(503, sometimes(0.5)), seed=7)
            runs.append(self.answers(stand_in, 20))
        assert runs[0] == runs[1]
        assert 0 < runs[0].count(503) < 20

    def test_new_faults_count_requests_from_one_again(self, stand_in):
        for _ in range(2):
            stand_in.play(faults.status(503, on(2)))
            assert self.answers(stand_in, 2) == [200, 503]


class TestCapacity:
    def test_more_than_the_server_takes_is_refused(self, stand_in):
        stand_in.limit(20, over="429", retry_after_seconds=1)
        answers = [send(stand_in) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 429, 429]
        assert answers[-1].headers["Retry-After"] == "1"
        time.sleep(0.6)
        assert send(stand_in).status == 200

    def test_it_may_answer_503(self, stand_in):
        stand_in.limit(10, over="503")
        assert [send(stand_in).status for _ in range(2)] == [200, 503]

    def test_a_body_larger_than_a_second_of_it_is_taken_when_idle(self, stand_in):
        stand_in.limit(5)
        assert [send(stand_in).status for _ in range(2)] == [200, 429]

    def test_a_slow_server_answers_at_its_own_rate(self, stand_in):
        stand_in.limit(100, over="slow")
        start = time.monotonic()
        threads = [threading.Thread(target=send, args=(stand_in,)) for _ in range(15)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # 150 events at 100 a second, of which the first second's worth needs no waiting
        assert 0.4 <= time.monotonic() - start <= 1.5
        assert stand_in.raw_rows() == 150

    def test_it_changes_while_the_server_runs(self, stand_in):
        stand_in.limit(1)
        assert [send(stand_in).status for _ in range(2)] == [200, 429]
        stand_in.limit(None)
        assert [send(stand_in).status for _ in range(2)] == [200, 200]
