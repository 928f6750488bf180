"""The production instance configurations, loaded by Dagster itself on an empty PostgreSQL."""

import os
import shutil
import subprocess
import sys
from unittest import mock
from uuid import uuid4

import pytest
import yaml
from dagster import DagsterInstance
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster_aws.s3.compute_log_manager import S3ComputeLogManager
from sqlalchemy import create_engine, text

from snowplow_posthog_dagster.resources.run_launcher import LabelledK8sRunLauncher
from tests.deploy.chart import NAMESPACES, instance_config, namespace_values

pytestmark = [pytest.mark.slow, pytest.mark.postgres]


@pytest.fixture
def database(postgres_server):
    """An empty database of its own."""
    name = f"dagster_{uuid4().hex[:12]}"
    engine = create_engine(postgres_server.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"create database {name}"))
    engine.dispose()
    return name


@pytest.fixture
def environment(postgres_server, database):
    return {
        "DAGSTER_PG_HOST": postgres_server.host,
        "DAGSTER_PG_PORT": str(postgres_server.port),
        "DAGSTER_PG_USERNAME": postgres_server.user,
        "DAGSTER_PG_PASSWORD": "not asked for",
        "DAGSTER_PG_DATABASE": database,
        "DAGSTER_NAMESPACE": "testing",
        "DAGSTER_LOGS_BUCKET": "logs",
        "DAGSTER_LOGS_PREFIX": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def home_with(folder, config):
    (folder / "dagster.yaml").write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    return folder


@pytest.fixture
def plain_home(repository, tmp_path):
    return home_with(tmp_path, (repository / "deploy" / "dagster.yaml").read_text())


@pytest.fixture
def chart_home(repository, tmp_path, postgres_server, database):
    config = instance_config(namespace_values(repository, "testing"))
    for name in ("run_storage", "event_log_storage", "schedule_storage"):
        config[name]["config"]["postgres_db"] |= {
            "hostname": postgres_server.host,
            "port": postgres_server.port,
            "db_name": database,
        }
    return home_with(tmp_path, config)


@pytest.fixture(params=["plain_home", "chart_home"])
def home(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def instance(home, environment, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with mock.patch("kubernetes.config.load_incluster_config"), DagsterInstance.from_config(str(home)) as found:
        yield found


def test_it_keeps_runs_events_and_schedules_in_postgresql(instance, environment, postgres_server):
    assert instance.get_runs() == []
    assert instance.all_asset_keys() == []
    assert instance.all_instigator_state() == []
    url = postgres_server.url.rpartition("/")[0] + "/" + environment["DAGSTER_PG_DATABASE"]
    engine = create_engine(url)
    with engine.connect() as connection:
        tables = set(connection.execute(text("select tablename from pg_tables where schemaname = 'public'")).scalars())
    engine.dispose()
    assert {"runs", "event_logs", "instigators", "concurrency_limits"} <= tables


def test_it_queues_runs_and_launches_them_on_kubernetes(instance):
    assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
    assert isinstance(instance.run_launcher, LabelledK8sRunLauncher)
    assert isinstance(instance.compute_log_manager, S3ComputeLogManager)


def test_its_limits_are_in_force(instance):
    queue = instance.get_concurrency_config().run_queue_config
    assert queue.max_concurrent_runs in {2, 4}
    keys = {limit["key"]: limit["limit"] for limit in queue.tag_concurrency_limits}
    assert keys == {"dagster/partition": 1, "dagster/backfill": queue.max_concurrent_runs - 1}
    pools = instance.get_concurrency_config().pool_config
    assert pools.default_pool_limit == queue.max_concurrent_runs
    assert str(pools.pool_granularity.value) == "op"


def test_a_killed_run_gives_back_its_place(instance):
    assert instance.run_monitoring_enabled
    settings = instance.get_settings("run_monitoring")
    assert settings["free_slots_after_run_end_seconds"] == 60
    assert settings["max_resume_run_attempts"] == 0


def test_lost_pods_are_retried_and_failed_steps_are_not(instance):
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries == 3
    assert instance.run_retries_retry_on_asset_or_op_failure is False


def test_ticks_are_forgotten_after_a_while(instance):
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.scheduler.instigation import TickStatus

    days = instance.get_tick_retention_settings(InstigatorType.SENSOR)
    assert days[TickStatus.SKIPPED] == 3
    assert days[TickStatus.FAILURE] == 90


def test_psycopg2_is_what_it_speaks(instance):
    """A bare postgresql:// would look for psycopg 3, which is not there."""
    assert instance.run_storage.postgres_url.startswith("postgresql+psycopg2://")


def test_one_command_prepares_an_empty_database(repository, environment, tmp_path):
    """What `prepare` in deploy/compose.yaml runs, twice: it may be run again."""
    shutil.copy(repository / "deploy" / "compose" / "dagster.yaml", tmp_path / "dagster.yaml")
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "dagster", "instance", "migrate"],
            env={**os.environ, **environment, "DAGSTER_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    engine = create_engine(
        f"postgresql+psycopg2://{environment['DAGSTER_PG_USERNAME']}@{environment['DAGSTER_PG_HOST']}:"
        f"{environment['DAGSTER_PG_PORT']}/{environment['DAGSTER_PG_DATABASE']}"
    )
    with engine.connect() as connection:
        assert connection.execute(text("select count(*) from runs")).scalar() == 0
    engine.dispose()


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_each_namespace_names_its_database(repository, namespace):
    config = instance_config(namespace_values(repository, namespace))
    assert config["run_storage"]["config"]["postgres_db"]["db_name"] == f"dagster_{namespace}"
