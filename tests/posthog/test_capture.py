"""What each answer of PostHog means, and that an answer is needed at all."""

import contextlib
import datetime as dt
import gc
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from snowplow_posthog_dagster.posthog.capture import CaptureClient, Verdict, classify, parse_retry_after
from tests.integration.servers.certificate import self_signed, server_side


@pytest.mark.parametrize(
    "body", [b'{"status":"Ok"}', b'{"status": 1}', b'{"status":"Ok","quota_limited":["recordings"]}']
)
def test_only_posthogs_own_word_of_acceptance_acknowledges(body: bytes) -> None:
    assert classify(200, body).verdict is Verdict.ACKNOWLEDGED


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>login</html>",
        b'{"status":"error"}',
        b"[]",
        b"null",
        b'{"ok":true}',
        b'{"status":"Ok","quota_limited":["events"]}',
        b"[" * 4096,
    ],
)
def test_a_200_with_another_body_is_no_acknowledgement(body: bytes) -> None:
    answer = classify(200, body)
    assert answer.verdict is Verdict.RETRY
    assert "not PostHog's word" in answer.words


@pytest.mark.parametrize(
    ("status", "verdict", "overloaded"),
    [
        (400, Verdict.REFUSED, False),
        (401, Verdict.UNAUTHORIZED, False),
        (403, Verdict.MISCONFIGURED, False),
        (404, Verdict.RETRY, False),
        (408, Verdict.RETRY, True),
        (413, Verdict.SPLIT, False),
        (429, Verdict.RETRY, True),
        (500, Verdict.RETRY, False),
        (502, Verdict.RETRY, False),
        (503, Verdict.RETRY, True),
        (504, Verdict.RETRY, True),
        (301, Verdict.MISCONFIGURED, False),
        (204, Verdict.MISCONFIGURED, False),
    ],
)
def test_every_status_has_one_meaning(status: int, verdict: Verdict, overloaded: bool) -> None:
    answer = classify(status, b"words")
    assert (answer.verdict, answer.overloaded) == (verdict, overloaded)


def test_a_400_without_a_word_refuses_no_event() -> None:
    assert classify(400, b"\n").verdict is Verdict.RETRY


def test_retry_after_is_read_in_seconds_and_as_a_date() -> None:
    now = dt.datetime(2026, 1, 1, 12, 0, 0, tzinfo=dt.UTC)
    assert parse_retry_after("17") == 17.0
    assert parse_retry_after("Thu, 01 Jan 2026 12:00:30 GMT", now) == 30.0
    assert parse_retry_after("Thu, 01 Jan 2026 11:00:00 GMT", now) == 0.0
    assert parse_retry_after("1.5") == 1.5


@pytest.mark.parametrize("value", [None, "soon", "", "-5", "Mon, 01 Jan 2024 00:00:00 +999999999999999999"])
def test_a_retry_after_that_is_neither_is_none(value: str | None) -> None:
    assert parse_retry_after(value) is None


def test_a_proxys_page_is_cut_to_a_line() -> None:
    words = classify(502, b"<html>\n<body>" + b"bad gateway " * 200).words
    assert len(words) < 320
    assert "\n" not in words


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler], None], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer(self)

        def log_message(self, *_: object) -> None:
            return

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        running.socket = tls.wrap_socket(running.socket, server_side=True)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{running.server_address[1]}"
    finally:
        running.shutdown()
        running.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def test_a_body_is_posted_unchanged_to_batch_without_any_sent_at() -> None:
    seen: list[tuple[str, str | None, str | None]] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        seen.append((handler.path, handler.headers["Content-Encoding"], handler.headers["Content-Length"]))
        reply(handler, 200, b'{"status":"Ok"}')

    with server(answer) as host:
        client = CaptureClient(host)
        assert client.post(b"12345").verdict is Verdict.ACKNOWLEDGED
        client.close()
    assert seen == [("/batch/", "gzip", "5")]


def test_connections_are_kept_between_posts() -> None:
    peers: set[int] = set()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        peers.add(handler.client_address[1])
        reply(handler, 200, b'{"status":"Ok"}')

    with server(answer) as host:
        client = CaptureClient(host)
        for _ in range(5):
            client.post(b"x")
        client.close()
    assert len(peers) == 1


def test_a_host_below_a_path_keeps_its_path() -> None:
    paths: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        paths.append(handler.path)
        reply(handler, 200, b'{"status":"Ok"}')

    with server(answer) as host:
        CaptureClient(f"{host}/posthog").post(b"x")
    assert paths == ["/posthog/batch/"]


def test_a_read_timeout_is_an_overload_and_will_be_retried() -> None:
    released = threading.Event()
    with server(lambda handler: (released.wait(5), None)[1]) as host:
        answer = CaptureClient(host, timeout_seconds=0.2).post(b"x")
        released.set()
    assert (answer.verdict, answer.status, answer.overloaded) == (Verdict.RETRY, 0, True)


def trickling_head(handler: BaseHTTPRequestHandler) -> None:
    """A header every 0.1 s without end: no read of the socket ever takes longer."""
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(60):
            handler.wfile.write(b"X-Wait-%d: 1\r\n" % number)
            time.sleep(0.1)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_answer_whose_head_trickles_in_is_a_timeout(scheme: str, tmp_path: Path) -> None:
    files = self_signed(tmp_path, names="IP:127.0.0.1")
    with server(trickling_head, server_side(files) if scheme == "https" else None) as host:
        client = CaptureClient(host, timeout_seconds=0.5, ca_bundle=str(files[0]))
        began = time.monotonic()
        answer = client.post(b"x" * 500_000)
        assert time.monotonic() - began < 2
        client.close()
    assert (answer.verdict, answer.status, answer.overloaded) == (Verdict.RETRY, 0, True)
    assert "0.5" in answer.words
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        gc.collect()
    assert [str(one.message) for one in found if one.category is ResourceWarning] == [], "no socket is left open"


def test_a_reset_connection_is_retried() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    with server(answer) as host:
        assert CaptureClient(host).post(b"x").verdict is Verdict.RETRY


def test_nobody_listening_and_an_unknown_name_are_retried_with_words() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert CaptureClient(f"http://127.0.0.1:{port}").post(b"x").verdict is Verdict.RETRY
    answer = CaptureClient("http://no-such-host.invalid").post(b"x")
    assert answer.verdict is Verdict.RETRY
    assert "resolve" in answer.words


def test_a_tls_failure_is_one_clear_verdict_and_not_retried() -> None:
    with server(lambda handler: reply(handler, 200, b"")) as host:
        answer = CaptureClient(host.replace("http://", "https://")).post(b"x")
    assert answer.verdict is Verdict.MISCONFIGURED
    assert answer.words.startswith("TLS failed")


def test_an_answer_that_quotes_the_key_loses_it() -> None:
    with server(lambda handler: reply(handler, 401, b"API key is not valid: phc_secret1")) as host:
        answer = CaptureClient(host, secret="phc_secret1").post(b"x")
    assert answer.verdict is Verdict.UNAUTHORIZED
    assert answer.words == "API key is not valid: <key>"
