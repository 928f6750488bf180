"""The stand-in for PostHog as a process of its own: `python -m snowplow_posthog_dagster.sandbox.posthog`.

    POST /batch/ /i/v0/e /e /capture     capture, as PostHog's public service (v0)
    GET  / /_readiness /_liveness        status; `/` answers `capture`, or leads a browser to /events
    POST /api/projects/:id/query/        HogQL with a personal API key; GET /api/projects/:id/ tells who it is
    GET  /events /sessions               what arrived, for people
    *    /_sandbox/...                   control and counts, see `control.py`

The standard library's threading server is as quick as any other here, since inflating and parsing decide (125,000
events/s without storing), and it hands out the raw socket that resets and trickling answers need. It binds
loopback only.
"""

import argparse
import gc
import ipaddress
import socket
import struct
import sys
import time
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from snowplow_posthog_dagster.sandbox.bodies import wire_limit
from snowplow_posthog_dagster.sandbox.capture import Request
from snowplow_posthog_dagster.sandbox.control import control
from snowplow_posthog_dagster.sandbox.faults import Fault
from snowplow_posthog_dagster.sandbox.pages import HEADERS, page
from snowplow_posthog_dagster.sandbox.stand_in import JSON, Reply, StandIn, api_error, now
from snowplow_posthog_dagster.sandbox.store import Store

CAPTURE_PATHS = frozenset({"/batch", "/i/v0/e", "/e", "/capture", "/track", "/engage"})
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
CHUNK_BYTES = 65536
# A client that stops sending is answered 408 after so long.
BODY_TIMEOUT_SECONDS = 30.0
# A `?_=` above this many milliseconds (the year 2020) is the client's time of sending.
EARLIEST_QUERY_SENT_AT = 1_577_836_800_000
OK = Reply(200, b'{"status":"Ok"}', JSON)


class _Handler(BaseHTTPRequestHandler):
    """Reads one request from the connection and writes the reply of the stand-in."""

    protocol_version = "HTTP/1.1"
    server_version = "PostHogStandIn"
    sys_version = ""
    disable_nagle_algorithm = True
    timeout = 300.0
    stand_in: StandIn
    null_delay: float | None = None

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: the requests are in the store."""

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        route = "/" + path.strip("/")
        if route in CAPTURE_PATHS:
            self._capture(route)
            return
        body = b"".join(self._body(CHUNK_BYTES))
        if urlsplit(f"//{self.headers.get('Host', '')}").hostname not in LOOPBACK_NAMES:
            # A name that somebody pointed at this machine, to read the sandbox from a page of his own.
            self._send(Reply(421, b"the sandbox answers to 127.0.0.1 and localhost only"))
            return
        if route.startswith("/_sandbox"):
            self._stream(route, body)
        elif route.startswith("/api/"):
            self._send(self._api(route, body))
        else:
            self._send(self._status_or_page(route))

    # Capture.

    def _capture(self, route: str) -> None:
        if self.null_delay is not None:
            for _ in self._body(CHUNK_BYTES):
                pass
            time.sleep(self.null_delay)
            self._send(OK)
            return
        self.stand_in.enter()
        try:
            self._capture_counted(route)
        finally:
            self.stand_in.leave()

    def _capture_counted(self, route: str) -> None:
        fault = self.stand_in.faults.next("capture")
        client = self.headers.get("User-Agent")
        try:
            body = self._read(fault, wire_limit(route))
        except TimeoutError:
            self._send(Reply(408, b"request body timed out"))
            self.close_connection = True
            return
        if body is None:
            self._reset()
            return
        if fault and fault.read < 1:
            self.stand_in.interrupted(route, len(body), fault, client)
            self._reset()
            return
        request = Request(route, body, now(), self.client_address[0], self._query_sent_at())
        reply = self.stand_in.take(request, fault, client)
        if reply.status == 200 and reply.action == "answer" and "beacon=1" in urlsplit(self.path).query:
            reply = reply._replace(status=204, body=b"")
        self._send(reply)

    def _query_sent_at(self) -> int | None:
        """`?_=` in milliseconds: old clients tell the time of sending there, and it shifts timestamps as well."""
        value = parse_qs(urlsplit(self.path).query).get("_", [""])[0]
        return int(value) * 1000 if value.isdigit() and int(value) > EARLIEST_QUERY_SENT_AT else None

    def _read(self, fault: Fault | None, limit: int) -> bytes | None:
        """The body, or its beginning when the fault says so; None when the client hung up.

        One byte over the limit is enough to refuse a body, but all of it is read, so that the client sees the answer.
        """
        self.connection.settimeout(BODY_TIMEOUT_SECONDS)
        length = int(self.headers.get("Content-Length") or 0)
        wanted = max(int(length * fault.read), 1) if fault and fault.read < 1 else None
        rate = fault.read_bytes_per_second if fault else None
        size = min(CHUNK_BYTES, wanted or CHUNK_BYTES, max(int(rate / 10), 1) if rate else CHUNK_BYTES)
        parts: list[bytes] = []
        read = 0
        try:
            for chunk in self._body(size):
                if read <= limit:
                    parts.append(chunk)
                read += len(chunk)
                if wanted is not None and read >= wanted:
                    break
                if rate is not None:
                    time.sleep(len(chunk) / rate)
        except ConnectionError:
            return None
        finally:
            self.connection.settimeout(self.timeout)
        return b"".join(parts)

    def _body(self, chunk_bytes: int) -> Iterator[bytes]:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            yield from self._chunks()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left > 0:
            chunk = self.rfile.read(min(left, chunk_bytes))
            if not chunk:
                raise ConnectionResetError("the client hung up in the middle of its body")
            left -= len(chunk)
            yield chunk

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    # The API, the pages, control.

    def _api(self, route: str, body: bytes) -> Reply:
        if refusal := self.stand_in.authenticated(self.headers.get("Authorization")):
            return refusal
        _, _, kind, name, *rest = [*route.split("/"), "", ""]
        project = self.stand_in.project(name) if kind in {"projects", "environments"} else None
        if project and rest[0] == "query" and self.command == "POST":
            if fault := self.stand_in.faults.next("query"):
                headers = tuple(fault.headers().items())
                return Reply(
                    fault.status, fault.body.encode(), fault.content_type, headers, fault.action, fault.delay_seconds
                )
            return self.stand_in.query(project, body)
        if project and not rest[0]:
            return self.stand_in.describe(project)
        return api_error(404, "invalid_request", "not_found", "Not found.")

    def _status_or_page(self, route: str) -> Reply:
        if route == "/" and "text/html" not in self.headers.get("Accept", ""):
            return Reply(200, b"capture")
        if route in {"/_readiness", "/_liveness"}:
            return Reply(200, b"ok")
        if route == "/" or route.startswith("/project/"):  # where PostHog's app has its activity page
            return Reply(302, b"", headers=(("Location", "/events"),))
        html = page(self.stand_in.store, route, parse_qs(urlsplit(self.path).query))
        if html is None:
            return Reply(404, b"not found")
        return Reply(200, html.encode(), "text/html; charset=utf-8", headers=HEADERS)

    def _stream(self, route: str, body: bytes) -> None:
        """Control answers whole, but exports rows line by line."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        reply = control(self.stand_in, self.command, route.removeprefix("/_sandbox/"), query, body)
        if isinstance(reply, Reply):
            self._send(reply)
            return
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Connection", "close")
        self.end_headers()
        for lines in reply:
            self.wfile.write(lines)

    # Writing.

    def _send(self, reply: Reply) -> None:
        if reply.delay_seconds:
            time.sleep(reply.delay_seconds)
        if reply.action == "reset":
            self._reset()
            return
        if reply.action == "hang":
            self.close_connection = True
            return
        try:
            self._write(reply)
        except (BrokenPipeError, ConnectionResetError):
            # The client has given up; what was stored stays stored, as with PostHog.
            self.close_connection = True

    def _write(self, reply: Reply) -> None:
        """The answer in one write, because two cost a delayed acknowledgement of 40 ms; or slowly, byte by byte."""
        phrase = HTTPStatus(reply.status).phrase
        lines = [f"{self.protocol_version} {reply.status} {phrase}", f"Server: {self.server_version}"]
        lines += [f"Date: {self.date_time_string()}", *(f"{name}: {value}" for name, value in reply.headers)]
        if reply.status != HTTPStatus.NO_CONTENT:
            lines += [f"Content-Type: {reply.content_type}", f"Content-Length: {len(reply.body)}"]
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        if reply.bytes_per_second is None:
            self.wfile.write(head + reply.body)
            return
        self.wfile.write(head)
        for byte in reply.body:
            self.wfile.write(bytes([byte]))
            time.sleep(1 / reply.bytes_per_second)

    def _reset(self) -> None:
        """Close with a TCP reset instead of a farewell."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The handler's streams hold the socket open otherwise, and its own closing would send a FIN first.
        self.wfile.close()
        self.rfile.close()
        self.connection.close()

    def finish(self) -> None:
        if not self.wfile.closed:
            super().finish()


class Server(ThreadingHTTPServer):
    """The HTTP server of one stand-in; `null_delay` makes it answer 200 after so many seconds and store nothing."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, stand_in: StandIn, null_delay: float | None = None) -> None:
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"the stand-in serves loopback only, not {host}")
        handler = type("Handler", (_Handler,), {"stand_in": stand_in, "null_delay": null_delay})
        super().__init__((host, port), handler)

    def shutdown_request(self, request: object) -> None:
        """Close a connection, which a played reset may have closed already."""
        if isinstance(request, socket.socket) and request.fileno() >= 0:
            super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no error of the server; anything else is shown."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def main(arguments: list[str] | None = None) -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(
        prog="snowplow_posthog_dagster.sandbox.posthog", description="A stand-in for PostHog."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database", type=Path, required=True, help="SQLite file that keeps what arrives")
    parser.add_argument("--null", action="store_true", help="answer 200 to every capture request and store nothing")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="with --null: wait so long before each answer")
    options = parser.parse_args(arguments)
    # Parsed bodies are large and free of cycles: collecting them again and again costs a third of the speed.
    gc.set_threshold(1_000_000, 50, 100)
    store = Store(options.database)
    null_delay = options.delay_ms / 1000 if options.null else None
    with Server(options.host, options.port, StandIn(store), null_delay) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
