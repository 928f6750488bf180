"""Archive objects whose transfer is cut: read again, then broken alone, while their neighbours go on."""

import contextlib
import http.client
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

import pytest

from snowplow_posthog_dagster.errors import StorageUnavailableError
from snowplow_posthog_dagster.loading import workers
from snowplow_posthog_dagster.storage.s3 import Connection
from tests.ground import Ground, lines_of


@dataclass
class Cutting:
    """An S3 that ends its answers in the middle: how often for which keys, by a part of the key."""

    connection: Connection
    times: dict[str, int] = field(default_factory=dict)

    def cuts(self, path: str) -> bool:
        for part, left in self.times.items():
            if part in path and left:
                self.times[part] = left - 1
                return True
        return False


@pytest.fixture
def cutting(ground: Ground) -> Iterator[Cutting]:
    upstream = urlsplit(str(ground.connection.endpoint_url)).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with contextlib.closing(http.client.HTTPConnection(upstream)) as onward:
                headers = {name: value for name, value in self.headers.items() if name != "Expect"}
                onward.request(self.command, self.path, body, headers)
                answer = onward.getresponse()
                data = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            cut = self.command == "GET" and answer.status == 200 and place.cuts(self.path)
            self.wfile.write(data[: len(data) // 2] if cut else data)
            self.close_connection = self.close_connection or cut

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = forward  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        place = Cutting(replace(ground.connection, endpoint_url=f"http://127.0.0.1:{server.server_port}"))
        Thread(target=server.serve_forever, daemon=True).start()
        ground.connection = place.connection
        yield place
        server.shutdown()


@pytest.fixture(params=["in this process", "in workers"])
def anywhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as a small run, which starts no worker, and once with workers."""
    if request.param == "in workers":
        monkeypatch.setattr(workers, "SMALL_RUN_BYTES", 0)


@pytest.mark.usefixtures("anywhere")
def test_a_transfer_that_is_cut_is_read_again(ground: Ground, cutting: Cutting) -> None:
    ground.put("good", lines_of(300))
    ground.put("cut", lines_of(300), hour=5)
    cutting.times = {"cut.gz": 2}
    ground.run()
    counts = ground.counts()
    assert (counts.objects_done, counts.objects_broken, counts.acknowledged) == (2, 0, 600)
    assert ground.posthog.merged_rows() == 600


@pytest.mark.usefixtures("anywhere")
def test_one_that_is_cut_every_time_is_broken_alone(ground: Ground, cutting: Cutting) -> None:
    ground.put("good", lines_of(300))
    cut = ground.put("cut", lines_of(300), hour=5)
    cutting.times = {"cut.gz": 3}
    ground.run()
    assert (ground.counts().objects_broken, ground.counts().acknowledged) == (1, 300)
    (broken,) = (known for known in ground.state().objects.values() if known.status == "broken")
    assert broken.key == cut
    assert "3 tries" in broken.reason


def test_when_object_after_object_is_cut_it_is_the_storage_that_fails(ground: Ground, cutting: Cutting) -> None:
    for number in range(4):
        ground.put(f"cut-{number}", lines_of(300))
    cutting.times = {"cut-": 1000}
    with pytest.raises(StorageUnavailableError, match="with the 2 before"):
        ground.transform()
    cutting.times = {}
    ground.run()
    counts = ground.counts()
    assert (counts.objects_done, counts.objects_broken) == (2, 2), "two are tried again in five minutes"
    assert ground.posthog.merged_rows() == 600
