"""A name that does not resolve, TLS that fails: one clear line, soon, and no storm of retries."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from snowplow_posthog_dagster.errors import CaptureUnavailableError, SettingsError
from snowplow_posthog_dagster.posthog import capture
from tests.faults.world import World, events
from tests.integration.servers.certificate import self_signed, server_side

pytestmark = pytest.mark.usefixtures("quick_retries")


class _Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "15")
        self.end_headers()
        self.wfile.write(b'{"status":"Ok"}')

    def log_message(self, *args: object) -> None:
        return


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost that nobody trusts, and its key."""
    return self_signed(tmp_path_factory.mktemp("tls"), names="DNS:localhost")


@contextmanager
def https_server(certificate: tuple[Path, Path] | None) -> Iterator[int]:
    """A server that takes every body, over TLS when there is a certificate; its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Taking)
    server.handle_error = lambda *args: None  # type: ignore[method-assign]
    if certificate:
        server.socket = server_side(certificate).wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def test_a_name_that_does_not_resolve_gives_up_soon(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[float] = []
    resolve = socket.getaddrinfo

    def counted(host: str, *args: object, **options: object) -> object:
        if host.endswith(".invalid"):
            looked_up.append(time.monotonic())
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", counted)
    for first in range(0, 8000, 2000):
        world.add_object(events(2000, first=first))
    started = time.monotonic()
    with pytest.raises(CaptureUnavailableError, match="POSTHOG_HOST does not resolve") as raised:
        world.deliver(host="http://capture.invalid")
    assert time.monotonic() - started < 20
    assert "\n" not in str(raised.value)
    assert len(looked_up) < 40
    assert world.state().counts().pending == 8000


def test_a_certificate_that_nobody_trusts_ends_the_run_at_once(world: World, certificate: tuple[Path, Path]) -> None:
    world.add_object(events(10))
    started = time.monotonic()
    with https_server(certificate) as port, pytest.raises(SettingsError, match="CERTIFICATE_VERIFY_FAILED") as raised:
        world.deliver(host=f"https://localhost:{port}")
    assert time.monotonic() - started < 5
    assert "delivery.ca_bundle" in str(raised.value) and "\n" not in str(raised.value)


def test_a_certificate_for_another_host_ends_the_run_at_once(world: World, certificate: tuple[Path, Path]) -> None:
    world.add_object(events(10))
    with https_server(certificate) as port, pytest.raises(SettingsError, match="TLS failed"):
        world.deliver(host=f"https://127.0.0.1:{port}", ca_bundle=str(certificate[0]))


def test_a_ca_bundle_by_setting_is_trusted(world: World, certificate: tuple[Path, Path]) -> None:
    world.add_object(events(10))
    with https_server(certificate) as port:
        report = world.deliver(host=f"https://localhost:{port}", ca_bundle=str(certificate[0]))
    assert report.events == 10


def test_a_server_without_tls_ends_the_run_at_once(world: World) -> None:
    world.add_object(events(10))
    with https_server(None) as port, pytest.raises(SettingsError, match=r"TLS failed.*POSTHOG_HOST"):
        world.deliver(host=f"https://localhost:{port}")


def test_a_handshake_that_is_cut_is_tried_again_and_given_up_soon(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "_SHORT_PATIENCE_SECONDS", 1.0)
    world.add_object(events(10))
    tried = 0
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            nonlocal tried
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                tried += 1
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        with pytest.raises(CaptureUnavailableError):
            world.deliver(host=f"https://localhost:{server.getsockname()[1]}", retry_seconds_per_body=2.0)
    assert 2 <= tried < 40
    assert world.state().counts().pending == 10
