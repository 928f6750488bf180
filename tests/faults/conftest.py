"""Servers of the fault tests: one S3 and one stand-in for the session, buckets of its own for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from snowplow_posthog_dagster.loading import retries
from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.servers import running_posthog, running_s3
from snowplow_posthog_dagster.storage.s3 import Connection
from tests.faults.world import World, connection_of


@pytest.fixture(scope="session")
def fault_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A folder as S3; the environment that reaches it."""
    folder: Path = tmp_path_factory.mktemp("fault-s3")
    with running_s3(folder) as environment:
        yield environment


@pytest.fixture(scope="session")
def fault_connection(fault_s3: dict[str, str]) -> Connection:
    """The connection to it."""
    return connection_of(fault_s3)


@pytest.fixture(scope="session")
def fault_posthog() -> Iterator[StandInClient]:
    """A stand-in."""
    with running_posthog() as client:
        yield client


@pytest.fixture
def world(fault_connection: Connection, fault_posthog: StandInClient) -> World:
    """An empty day."""
    fault_posthog.reset()
    return World(fault_connection, fault_posthog)


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back off in tenths of seconds; how long is tested in tests/loading/test_retries.py."""
    monkeypatch.setattr(retries, "_FIRST_BACKOFF_SECONDS", 0.1)
