"""Starting, stopping and finding again the sandbox's two servers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.sandbox import processes, servers
from snowplow_posthog_dagster.sandbox.servers import ARCHIVE_BUCKET, Sandbox
from tests.sandbox.events import a_batch, an_event, post

needs_proc = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's /proc")


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A sandbox beside the one that a developer may have running on the usual ports."""
    monkeypatch.setattr(servers, "PREFERRED_S3_PORT", processes.free_port())
    monkeypatch.setattr(servers, "PREFERRED_POSTHOG_PORT", processes.free_port())
    sandbox = Sandbox(tmp_path / "a folder")
    yield sandbox
    sandbox.down()


def s3_of(environment: dict[str, str], secret: str | None = None):
    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=secret or environment["AWS_SECRET_ACCESS_KEY"],
    )


def pids(sandbox: Sandbox) -> list[int]:
    return [server.pid for server in sandbox.status() if server.pid]


def up_in_another_process(sandbox: Sandbox) -> list[str]:
    """The command that starts this sandbox and ends."""
    code = (
        "import sys; from pathlib import Path; from snowplow_posthog_dagster.sandbox.servers import Sandbox;"
        " Sandbox(Path(sys.argv[1])).up()"
    )
    return [sys.executable, "-c", code, str(sandbox.root)]


def is_alive(pid: int) -> bool:
    return bool(processes.command_line(pid))


def test_up_starts_both_and_what_they_hold_outlives_them(sandbox):
    sandbox.up()
    s3_of(sandbox.environment()).put_object(Bucket=ARCHIVE_BUCKET, Key="output/a.gz", Body=b"content")
    assert post(sandbox.client().host, a_batch(an_event())).status == 200
    first = sandbox.environment()
    sandbox.down()
    assert [server.running for server in sandbox.status()] == [False, False]
    assert (sandbox.root / "s3" / ARCHIVE_BUCKET / "output" / "a.gz").read_bytes() == b"content"

    sandbox.up()
    assert sandbox.environment() == first
    assert s3_of(first).get_object(Bucket=ARCHIVE_BUCKET, Key="output/a.gz")["Body"].read() == b"content"
    assert sandbox.client().merged_rows() == 1


def test_a_second_up_changes_nothing(sandbox):
    sandbox.up()
    before = pids(sandbox)
    sandbox.up()
    assert pids(sandbox) == before


@needs_proc
def test_concurrent_ups_start_each_server_once(sandbox):
    with ThreadPoolExecutor(4) as pool:
        ups = [pool.submit(subprocess.run, up_in_another_process(sandbox), check=True) for _ in range(4)]
    for up in ups:
        up.result()
    commands = [
        command
        for entry in Path("/proc").glob("[0-9]*")
        if str(sandbox.root) in (command := processes.command_line(int(entry.name)))
    ]
    assert len(commands) == 2, commands


def test_they_survive_the_process_that_started_them(sandbox):
    subprocess.run(up_in_another_process(sandbox), check=True)
    assert [server.running for server in sandbox.status()] == [True, True]


def test_a_killed_server_is_started_again_on_its_port(sandbox):
    sandbox.up()
    before = sandbox.environment()
    for pid in pids(sandbox):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(server.running for server in sandbox.status()) and time.monotonic() < deadline:
        time.sleep(0.02)
    sandbox.up()
    assert [server.running for server in sandbox.status()] == [True, True]
    assert sandbox.environment() == before


def test_a_pid_that_now_belongs_to_somebody_else_is_left_alone(sandbox):
    sandbox.up()
    old = pids(sandbox)
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        state = json.loads((sandbox.root / "sandbox.json").read_text())
        for server in state.values():
            server["pid"] = stranger.pid
        (sandbox.root / "sandbox.json").write_text(json.dumps(state))
        assert [server.running for server in sandbox.status()] == [False, False]
        sandbox.down()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
        processes.stop(old[0], ["serve s3"])
        processes.stop(old[1], [servers.STAND_IN_MODULE])


def test_another_port_is_taken_when_somebody_else_listens_on_it(sandbox):
    sandbox.up()
    before = [server.address for server in sandbox.status()]
    sandbox.down()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(before[1].rsplit(":", 1)[1])))
        other.listen()
        sandbox.up()
        after = [server.address for server in sandbox.status()]
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_down_leaves_no_process(sandbox):
    sandbox.up()
    started = pids(sandbox)
    sandbox.down()
    assert not any(is_alive(pid) for pid in started)


@needs_proc
def test_they_listen_on_loopback_only(sandbox):
    sandbox.up()
    listening = subprocess.run(["cat", "/proc/net/tcp", "/proc/net/tcp6"], capture_output=True, text=True, check=True)
    ports = {f"{int(server.address.rsplit(':', 1)[1]):04X}" for server in sandbox.status()}
    # local address and state (0A = listening) of each socket
    hosts = {
        fields[1].split(":")[0]
        for line in listening.stdout.splitlines()
        if (fields := line.split())[1].split(":")[-1] in ports and fields[3] == "0A"
    }
    assert hosts == {"0100007F"}


def test_the_s3_checks_signatures(sandbox):
    sandbox.up()
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3_of(sandbox.environment(), "wrong").list_objects_v2(Bucket=ARCHIVE_BUCKET)


def test_a_file_dropped_into_the_folder_is_an_object(sandbox):
    sandbox.up()
    s3 = s3_of(sandbox.environment())
    assert s3.list_objects_v2(Bucket=ARCHIVE_BUCKET).get("Contents", []) == []
    (sandbox.root / "s3" / ARCHIVE_BUCKET / "dropped.gz").write_bytes(b"x")
    deadline = time.monotonic() + 5
    while not (found := s3.list_objects_v2(Bucket=ARCHIVE_BUCKET).get("Contents", [])) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [item["Key"] for item in found] == ["dropped.gz"]


def test_the_environment_is_all_that_the_code_location_needs(sandbox):
    sandbox.up()
    s3, posthog = (server.address for server in sandbox.status())
    assert sandbox.environment() == {
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox-secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": s3,
        "AWS_S3_SNOWPLOW_BUCKET": "snowplow-archive",
        "SNOWPLOW_POSTHOG_WORKSPACE": "s3://snowplow-workspace/posthog",
        "POSTHOG_HOST": posthog,
        "POSTHOG_PROJECT_API_KEY": "phc_sandbox",
        "POSTHOG_PERSONAL_API_KEY": "phx_sandbox",
        "POSTHOG_PROJECT_ID": "1",
        "POSTHOG_TARGET": "default",
        "POSTHOG_BACKFILL_START_DATE": "2021-02-01",
        "DAGSTER_HOME": str(sandbox.root / "dagster_home"),
    }


def test_before_the_first_start_there_is_no_environment(sandbox):
    with pytest.raises(SettingsError, match="never started"):
        sandbox.environment()


def test_a_server_that_cannot_start_shows_its_log(tmp_path):
    (tmp_path / "database").mkdir()
    with pytest.raises(SettingsError, match="unable to open database file"):
        servers.start_posthog(tmp_path / "database", processes.free_port(), tmp_path / "log")


def test_running_servers_are_gone_after_the_block(tmp_path):
    with servers.running_posthog() as client:
        assert client.answers()
    assert not client.answers()
    with servers.running_s3(tmp_path) as environment:
        assert servers.s3_answers(environment["AWS_ENDPOINT_URL_S3"])
    assert not servers.s3_answers(environment["AWS_ENDPOINT_URL_S3"])
