"""Where runs are processes of the code server: run monitoring sees that they are gone, and leaves the living alone."""

import json
import socket

import pytest
from dagster import DagsterInstance
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.test_utils import create_run_for_test, instance_for_test

from snowplow_posthog_dagster.resources.local_launcher import WatchedRunLauncher
from tests.deploy.run_pods import code_server
from tests.integration.servers.processes import free_port

pytestmark = pytest.mark.slow

LAUNCHER = {"module": "snowplow_posthog_dagster.resources.local_launcher", "class": "WatchedRunLauncher"}


@pytest.fixture
def instance():
    with instance_for_test(overrides={"run_launcher": LAUNCHER, "run_monitoring": {"enabled": True}}) as found:
        yield found


def status(instance, place):
    """What monitoring is told of a started run of the code server at this place."""
    tags = {GRPC_INFO_TAG: json.dumps(place)} if place else {}
    return instance.run_launcher.check_run_worker_health(create_run_for_test(instance, tags=tags)).status


def test_monitoring_asks_it(instance: DagsterInstance):
    assert isinstance(instance.run_launcher, WatchedRunLauncher)
    assert instance.run_launcher.supports_check_run_worker_health
    assert instance.run_monitoring_enabled


def test_a_code_server_that_was_started_anew_does_not_know_the_run(instance, tmp_path):
    with code_server(tmp_path, {}, "", {}) as port:
        assert status(instance, {"host": "127.0.0.1", "port": port}) is WorkerStatus.NOT_FOUND


def test_a_server_in_the_network_that_does_not_answer_may_only_be_restarting(instance):
    with pytest.raises(DagsterUserCodeUnreachableError):
        status(instance, {"host": "127.0.0.1", "port": free_port()})


def test_a_socket_without_its_process_means_that_dagster_dev_has_ended(instance, tmp_path):
    path = tmp_path / "socket"
    assert status(instance, {"host": "localhost", "socket": str(path)}) is WorkerStatus.NOT_FOUND
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert status(instance, {"host": "localhost", "socket": str(path)}) is WorkerStatus.NOT_FOUND


def test_a_run_in_a_terminal_is_left_alone(instance):
    assert status(instance, {}) is WorkerStatus.RUNNING
