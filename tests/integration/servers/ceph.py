"""A one-node Ceph with its S3 gateway, kept in memory: 2.4 s to start, 16.2 in Debian 12.

The order is Ceph's own: a monitor that knows itself, one object store, then the gateway, then a user. What looks like
a detail below and is not:
- `cephx` is on although nobody else is there: without it the gateway takes over a minute to answer.
- `tcp_nodelay` on the gateway: without it a small ranged read takes 45 ms.
- No manager daemon, one copy of everything, eight placement groups a pool.
"""

import base64
import json
import os
import struct
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from tests.integration.servers.processes import free_port, program, run, server_folder, start, stop, wait_until
from tests.integration.servers.s3 import S3Server

PROGRAMS = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "ceph-authtool", "monmaptool")
ACCESS_KEY = "cephaccess"
SECRET_KEY = "ceph-secret-of-the-tests"
# A second user without any right of its own, for tests of policies; the first one may write its policies.
LOADER = "loader"
LOADER_ACCESS_KEY = "cephloader"
LOADER_SECRET_KEY = "ceph-secret-of-the-loader"

CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{monitor_port}
mon initial members = a
public network = 127.0.0.0/8
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
run dir = {folder}
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
log file = {folder}/$name.log
crash dir = {folder}
keyring = {folder}/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail warn = 2
mon data avail crit = 1
mon max pg per osd = 1000
paxos propose interval = 0.1
[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
keyring = {folder}/osd/keyring
osd objectstore = memstore
memstore device bytes = 4294967296
[client.admin]
rgw frontends = beast endpoint=127.0.0.1:{gateway_port} tcp_nodelay=1
rgw data = {folder}/rgw
rgw enable usage log = false
rgw dynamic resharding = false
"""


def ceph_found() -> bool:
    """Whether all of Ceph's programs are installed."""
    return all(program(name) for name in PROGRAMS)


@dataclass(frozen=True)
class Node:
    """The files and ports of one Ceph node."""

    folder: Path
    monitor_port: int
    gateway_port: int
    fsid: str

    @property
    def configuration(self) -> Path:
        return self.folder / "ceph.conf"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}"

    def run(self, name: str, *arguments: str, stdin: bytes = b"") -> str:
        """One of Ceph's tools with this node's configuration."""
        return run(
            [program(name) or name, "-c", str(self.configuration), *arguments],
            environment=self.environment,
            stdin=stdin,
        )

    def start(self, stack: ExitStack, name: str, *arguments: str) -> "Popen[bytes]":
        """One of Ceph's daemons in the foreground, stopped with the stack."""
        command = [program(name) or name, "-c", str(self.configuration), *arguments, "-f"]
        process = start(command, self.folder / f"{name}.out", environment=self.environment, as_nobody=True)
        stack.callback(stop, process)
        return process

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.folder), "CEPH_CONF": str(self.configuration)}


@contextmanager
def ceph() -> Iterator[S3Server]:
    """Start monitor, object store and gateway, and create the user."""
    with server_folder("ceph") as folder, ExitStack() as stack:
        node = Node(folder=folder, monitor_port=free_port(), gateway_port=free_port(), fsid=str(uuid.uuid4()))
        write_files(node)
        start_monitor(node, stack)
        start_object_store(node, stack)
        start_gateway(node, stack)
        create_user(node, "tests", ACCESS_KEY, SECRET_KEY, "--caps=user-policy=*")
        create_user(node, LOADER, LOADER_ACCESS_KEY, LOADER_SECRET_KEY, "--max-buckets=-1")
        yield S3Server(
            name="ceph",
            endpoint=node.endpoint,
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            checks_signatures=True,
            conditional_writes=True,
        )


def create_user(node: Node, name: str, access_key: str, secret_key: str, *options: str) -> None:
    """One user of the gateway."""
    keys = (f"--access-key={access_key}", f"--secret-key={secret_key}")
    node.run("radosgw-admin", "user", "create", f"--uid={name}", f"--display-name={name}", *keys, *options)


def cephx_key() -> str:
    """A new secret in Ceph's encoding: type 1 (AES), seconds, nanoseconds, length, 16 random bytes."""
    return base64.b64encode(struct.pack("<hiih", 1, int(time.time()), 0, 16) + os.urandom(16)).decode()


def write_files(node: Node) -> None:
    """The configuration, and the keys of the monitor and of the administrator."""
    for name in ("mon", "osd", "rgw"):
        (node.folder / name).mkdir(mode=0o777)
        (node.folder / name).chmod(0o777)
    values = {
        "fsid": node.fsid,
        "monitor_port": node.monitor_port,
        "gateway_port": node.gateway_port,
        "folder": node.folder,
    }
    node.configuration.write_text(CONFIGURATION.format(**values))
    (node.folder / "keyring").write_text(
        f'[mon.]\n\tkey = {cephx_key()}\n\tcaps mon = "allow *"\n'
        f"[client.admin]\n\tkey = {cephx_key()}\n"
        '\tcaps mon = "allow *"\n\tcaps osd = "allow *"\n\tcaps mgr = "allow *"\n'
    )


def start_monitor(node: Node, stack: ExitStack) -> None:
    """Create the monitor's store and start it; returns when it answers."""
    monitor_map = str(node.folder / "monmap")
    address = f"[v2:127.0.0.1:{node.monitor_port}]"
    run(
        [program("monmaptool") or "monmaptool", "--create", "--fsid", node.fsid, "--addv", "a", address, monitor_map],
        environment=node.environment,
    )
    node.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monitor_map, "--keyring", str(node.folder / "keyring"))
    node.start(stack, "ceph-mon", "-i", "a")
    node.run("ceph", "--connect-timeout", "20", "status")


def start_object_store(node: Node, stack: ExitStack) -> None:
    """Register one object store, create it and start it; returns when the monitor sees it up."""
    identity, key = str(uuid.uuid4()), cephx_key()
    node.run("ceph", "osd", "new", identity, "-i", "-", stdin=json.dumps({"cephx_secret": key}).encode())
    (node.folder / "osd" / "keyring").write_text(f"[osd.0]\n\tkey = {key}\n")
    node.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)
    node.run("ceph", "osd", "crush", "add", "osd.0", "1.0", "host=localhost", "root=default")
    process = node.start(stack, "ceph-osd", "-i", "0")
    wait_until(
        lambda: "1 up" in node.run("ceph", "osd", "stat"), "ceph-osd", process=process, log=node.folder / "ceph-osd.out"
    )


def start_gateway(node: Node, stack: ExitStack) -> None:
    """Start the S3 gateway; returns when it answers."""
    process = node.start(stack, "radosgw", "-n", "client.admin")
    wait_until(
        lambda: http_status(node.endpoint) == 200,
        "radosgw",
        process=process,
        log=node.folder / "radosgw.out",
        seconds=60,
    )


def http_status(url: str) -> int:
    """Status of a GET, 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
