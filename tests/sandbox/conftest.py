"""A stand-in for PostHog for the tests: one process for the session, empty for each test."""

from collections.abc import Iterator

import pytest

from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.servers import running_posthog


@pytest.fixture(scope="session")
def stand_in_process() -> Iterator[StandInClient]:
    with running_posthog() as client:
        yield client


@pytest.fixture
def stand_in(stand_in_process: StandInClient) -> StandInClient:
    """A stand-in that has seen nothing yet."""
    stand_in_process.reset()
    return stand_in_process
