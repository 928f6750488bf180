"""A day on the quickest real servers."""

from collections.abc import Iterator

import pytest

from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.servers import running_posthog
from tests.ground import ground, ground_posthog, s3_environment
from tests.integration.days import DayInTest
from tests.integration.servers import S3Server, rclone
from tests.integration.servers.presence import require_part


@pytest.fixture(scope="session")
def folder_server() -> Iterator[S3Server]:
    """A folder as S3."""
    require_part("rclone")
    with rclone() as server:
        yield server


@pytest.fixture(scope="session")
def capture_server() -> Iterator[StandInClient]:
    """A stand-in for PostHog."""
    with running_posthog() as client:
        yield client


@pytest.fixture
def day(folder_server: S3Server, capture_server: StandInClient) -> DayInTest:
    """A day of an empty archive."""
    return DayInTest.fresh(folder_server, capture_server)


__all__ = ["capture_server", "day", "folder_server", "ground", "ground_posthog", "s3_environment"]
