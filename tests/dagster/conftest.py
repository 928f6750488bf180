"""One sandbox and one `dagster dev` for the tests that only look; tests that change the instance make their own."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from snowplow_posthog_dagster.loading.setup import connection_of
from snowplow_posthog_dagster.sandbox.samples import write_sample_archive
from snowplow_posthog_dagster.sandbox.servers import ARCHIVE_BUCKET, Sandbox
from snowplow_posthog_dagster.settings import Environment, Settings, SettingsFile
from snowplow_posthog_dagster.storage.s3 import connect
from tests.dagster.server import Dagster, Home, running_dagster


def settings_of(home: Home) -> Settings:
    """The settings that the home's environment means; set AWS's variables from it before using them."""
    names = {name.lower(): value for name, value in home.environment.items()}
    return Settings(Environment.model_validate(names), SettingsFile())


@pytest.fixture(scope="session")
def make_home(
    tmp_path_factory: pytest.TempPathFactory, instance_storage: Callable[[], dict[str, Any]]
) -> Iterator[Callable[[], Home]]:
    """Makes sandboxes with the sample archive in them; all are stopped at the end."""
    started: list[Sandbox] = []

    def make() -> Home:
        sandbox = Sandbox(tmp_path_factory.mktemp("sandbox"))
        sandbox.up()
        started.append(sandbox)
        home = Home(sandbox)
        storage = instance_storage()
        home.instance_settings(lambda content: content.update(storage))
        with pytest.MonkeyPatch.context() as patch:
            for name, value in home.environment.items():
                if name.startswith("AWS_"):
                    patch.setenv(name, value)
            write_sample_archive(connect(connection_of(settings_of(home))), ARCHIVE_BUCKET)
        return home

    yield make
    for sandbox in started:
        sandbox.down()


@pytest.fixture(scope="module")
def home(make_home: Callable[[], Home]) -> Home:
    """A fresh sandbox for the tests of one file."""
    return make_home()


@pytest.fixture(scope="module")
def dagster(home: Home) -> Iterator[Dagster]:
    """A bare `dagster dev`, which finds the code location by workspace.yaml."""
    with running_dagster(home) as server:
        yield server
