"""What every test may use, and the rule for tests whose server is missing.

A marker such as `ceph` or `browser` is all that a test needs to say: before it runs, the part is looked for; if it is
missing, the test is skipped on a laptop and fails in CI.
"""

import os
from pathlib import Path

import pytest

from tests.ground import ground, ground_posthog, s3_environment
from tests.integration.servers.presence import PARTS, require, require_part

__all__ = ["ground", "ground_posthog", "s3_environment"]

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """No test reads the developer's own credentials, project or settings; none asks AWS for instance credentials."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "POSTHOG_", "SNOWPLOW_POSTHOG_", "DAGSTER_", "SLACK_")):
            del os.environ[name]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for the part that a test's marker names, before any fixture tries to start it."""
    for name in PARTS:
        if item.get_closest_marker(name) is not None:
            require_part(name)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_fixtures() -> Path:
    """The folder of real Snowplow data beside the checkout; without it the test is skipped, in CI it fails."""
    folder = REPOSITORY.parent / "shared" / "fixtures"
    require("the fixtures in ../shared/fixtures", folder.is_dir())
    return folder
