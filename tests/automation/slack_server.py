"""A local server that speaks Slack's chat.postMessage: a token, `ok: false`, 429 with Retry-After, and being down."""

import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "xoxb-test"


@dataclass
class SlackServer:
    """What Slack was told (`messages`), and what it will answer next (`answers`, then ok)."""

    url: str = ""
    messages: list[dict[str, str]] = field(default_factory=list)
    attempts: int = 0
    answers: list[tuple[int, dict[str, object], dict[str, str]]] = field(default_factory=list)
    channels: set[str] = field(default_factory=lambda: {"#data-alerts", "#web", "#growth"})

    def texts(self, channel: str | None = None) -> list[str]:
        return [one["text"] for one in self.messages if channel in {None, one["channel"]}]

    def answer(self, form: dict[str, str], token: str) -> tuple[int, dict[str, object], dict[str, str]]:
        self.attempts += 1
        if self.answers:
            return self.answers.pop(0)
        if token != f"Bearer {TOKEN}":
            return 200, {"ok": False, "error": "invalid_auth"}, {}
        if form["channel"] not in self.channels:
            return 200, {"ok": False, "error": "channel_not_found"}, {}
        if len(form["text"]) > 4000:
            return 200, {"ok": False, "error": "msg_too_long"}, {}
        self.messages.append(form)
        return 200, {"ok": True, "channel": form["channel"], "ts": f"{len(self.messages)}.0"}, {}


@contextmanager
def running_slack() -> Iterator[SlackServer]:
    """The server on a free port until the end of the block."""
    slack = SlackServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            if "json" in self.headers.get("Content-Type", ""):
                form = {name: str(value) for name, value in json.loads(body).items()}
            else:
                form = {name: values[0] for name, values in urllib.parse.parse_qs(body).items()}
            status, content, headers = slack.answer(form, self.headers.get("Authorization", ""))
            data = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    slack.url = f"http://127.0.0.1:{server.server_address[1]}/api/"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield slack
    finally:
        server.shutdown()
        server.server_close()
