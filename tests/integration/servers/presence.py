"""Which of the real parts this machine has, and what a test does without one.

On a laptop a test without its server is skipped by name; with CI=true it fails, because there a missing server is a
hole in the proof that nobody would see.
"""

import importlib.util
import os
import shutil
from collections.abc import Callable

import pytest

from tests.integration.servers.ceph import ceph_found
from tests.integration.servers.postgres import postgres_found
from tests.integration.servers.s3 import moto_found, rclone_found


def chromium() -> str | None:
    """Path of a Chromium that playwright can drive; its own download is not used."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def containers_found() -> bool:
    """Whether containers can be run and a base image made."""
    return os.geteuid() == 0 and all(shutil.which(name) for name in ("podman", "runc", "debootstrap"))


# name of the marker (or server) -> how to see whether it is here, how to get it
PARTS: dict[str, tuple[Callable[[], bool], str]] = {
    "ceph": (ceph_found, "apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-common"),
    "postgres": (postgres_found, "apt-get install --no-install-recommends postgresql"),
    "browser": (lambda: chromium() is not None, "apt-get install --no-install-recommends chromium"),
    "clickhouse": (lambda: importlib.util.find_spec("chdb") is not None, "make extra"),
    "containers": (
        containers_found,
        "apt-get install --no-install-recommends podman runc debootstrap; then run as root",
    ),
    "moto": (moto_found, "make install"),
    "rclone": (rclone_found, "make install"),
}


def require(name: str, found: bool, cure: str = "") -> None:
    """Go on if `found`; otherwise skip the test, or fail it in CI."""
    if found:
        return
    message = f"needs {name}, which is not here" + (f" ({cure})" if cure else "")
    if os.environ.get("CI", "").lower() in {"true", "1"}:
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def require_part(name: str) -> None:
    """`require` for one of PARTS."""
    found, cure = PARTS[name]
    require(name, found(), cure)
