"""What every test may use, and the rule for tests whose server is missing.

A marker such as `ceph` or `browser` is all that a test needs to say: before it runs, the part is looked for; if it is
missing, the test is skipped on a laptop and fails in CI.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ground import ground, ground_posthog, s3_environment
from tests.integration.conftest import postgres_server
from tests.integration.servers.presence import PARTS, require, require_part

__all__ = ["ground", "ground_posthog", "postgres_server", "s3_environment"]

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """The tests of Dagster as a whole run on the storage of a laptop or on that of production."""
    parser.addoption(
        "--storage",
        choices=("sqlite", "postgres"),
        default="sqlite",
        help="where the Dagster instances of tests/dagster and tests/automation keep their runs",
    )


def pytest_configure() -> None:
    """No test reads the developer's own credentials, project or settings; none asks AWS for instance credentials."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "POSTHOG_", "SNOWPLOW_POSTHOG_", "DAGSTER_", "SLACK_")):
            del os.environ[name]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """With TESTS_BEGUN=file, note there which test begins: of a run that is cut off, the last lines say where."""
    if file := os.environ.get("TESTS_BEGUN"):
        worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
        with Path(file).open("a") as begun:
            begun.write(f"{time.strftime('%H:%M:%S')} {worker} {item.nodeid}\n")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for the part that a test's marker names, before any fixture tries to start it."""
    for name in PARTS:
        if item.get_closest_marker(name) is not None:
            require_part(name)


@pytest.fixture(scope="session")
def instance_storage(request: pytest.FixtureRequest) -> Callable[[], dict[str, Any]]:
    """Makes the part of a dagster.yaml that says where a new instance keeps its runs, by the option `--storage`.

    Empty for SQLite, which is Dagster's default; for PostgreSQL a new database, whose tables Dagster makes itself.
    """
    if request.config.getoption("--storage") == "sqlite":
        return dict
    server = request.getfixturevalue("postgres_server")
    return lambda: {"storage": server.new_database().dagster_storage}


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
