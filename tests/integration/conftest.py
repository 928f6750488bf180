"""The real servers as fixtures, started once a session and only when a test asks for one."""

from collections.abc import Iterator

import pytest

from tests.integration.servers import PostgresServer, S3Server, ceph, moto, postgres, rclone
from tests.integration.servers.presence import require_part


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Server]:
    """The emulator: quick, does not check signatures."""
    require_part("moto")
    with moto() as server:
        yield server


@pytest.fixture(scope="session")
def rclone_server() -> Iterator[S3Server]:
    """A folder as S3, as in the sandbox."""
    require_part("rclone")
    with rclone() as server:
        yield server


@pytest.fixture(scope="session")
def ceph_server() -> Iterator[S3Server]:
    """Ceph's gateway; mark the test `ceph`."""
    require_part("ceph")
    with ceph() as server:
        yield server


@pytest.fixture(
    params=["moto", "rclone", pytest.param("ceph", marks=[pytest.mark.ceph, pytest.mark.slow])],
)
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Each S3 server in turn: a test that takes this runs against all three."""
    server: S3Server = request.getfixturevalue(f"{request.param}_server")
    return server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """An empty PostgreSQL; mark the test `postgres`."""
    require_part("postgres")
    with postgres() as server:
        yield server
