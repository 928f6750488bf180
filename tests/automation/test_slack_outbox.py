"""Answers of Slack, or of what stands before it, that are none: every message waits, and no tick fails."""

import http.server
import threading
from collections.abc import Callable, Iterator

import pytest

from snowplow_posthog_dagster.automation.alert_memory import AlertMemory
from snowplow_posthog_dagster.automation.slack_outbox import post_outbox
from snowplow_posthog_dagster.resources.slack import AlertSlackResource

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
ANSWERS = {
    "a page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>sign in</html>",
    "another protocol": b"SSH-2.0-OpenSSH\r\n",
    "cut": OK + b'Content-Length: 500\r\n\r\n{"ok":',
    "no object": OK + b"\r\n[1]",
    "nothing": b"",
    "a date to wait for": b"HTTP/1.1 429 Slow\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n\r\n",
}


@pytest.fixture
def answering() -> Iterator[Callable[[bytes], AlertSlackResource]]:
    """Makes a Slack that answers with these bytes and closes the connection."""
    answers = [b""]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.wfile.write(answers[-1])
            self.close_connection = True

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def make(answer: bytes) -> AlertSlackResource:
            answers.append(answer)
            return AlertSlackResource(token="xoxb-token", base_url=f"http://127.0.0.1:{server.server_port}/api/")

        yield make
        server.shutdown()


@pytest.fixture
def memory() -> AlertMemory:
    found = AlertMemory()
    found.say(["#web", "#data"], "posthog_events failed", now=0.0, fallback="#data")
    return found


@pytest.mark.parametrize("name", ANSWERS)
def test_the_messages_wait_and_are_posted_when_slack_is_back(answering, memory, name):
    assert post_outbox(memory, answering(ANSWERS[name]), now=100.0) == 0
    assert memory.outbox[0].not_before == 120.0
    assert post_outbox(memory, answering(OK + b'\r\n{"ok": true}'), now=200.0) == 2
