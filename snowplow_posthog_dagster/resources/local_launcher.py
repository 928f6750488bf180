"""The run launcher where runs are processes of the code server: Dagster's default one, which sees that a run is gone.

    run monitoring ──> is the run's process there? ──> the code server that started it

Dagster's own cannot say. Runs that die together with their code server (a killed container, a power cut, a closed
terminal) then stay "started" for ever: they keep their places in the queue, and their day can never be loaded again.
With this one the daemon marks them as failed within one `poll_interval_seconds`, and retries them where that is set.

A code server knows the runs that it has started itself. `dagster dev` and `dagster api grpc` are such servers; behind
`dagster code-server start` a reload in the UI puts a new one before the runs, which would then be taken for dead.
"""

import json
import socket
from pathlib import Path
from typing import Any

from dagster import DagsterRun, DefaultRunLauncher
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value


class WatchedRunLauncher(DefaultRunLauncher):
    """Launches runs in the code server and knows whether their processes are still there."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring asks `check_run_worker_health`."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the run's process is there, by the word of its code server.

        A run in a terminal has no code server and counts as running. Raises DagsterUserCodeUnreachableError while a
        server in the network does not answer: it may only be restarting, so the daemon asks again.
        """
        place: dict[str, Any] = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
        if not place:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "it was not started by a code server")
        if "socket" in place and not _listens(Path(place["socket"])):
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the process that started it has ended")
        client = DagsterGrpcClient(
            host=place.get("host") or "localhost",
            port=place.get("port"),
            socket=place.get("socket"),
            use_ssl=bool(place.get("use_ssl")),
        )
        answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id))
        if deserialize_value(answer, CanCancelExecutionResult).can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its code server was started anew and does not know it")


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True
