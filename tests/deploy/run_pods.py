"""Pods of runs as the real launcher makes them, without a cluster.

The code server is started with the two variables that the chart gives it (image and container context); a run is
created from what it serves; the launcher of the instance config builds the Job, and instead of sending it to
Kubernetes the job is kept. Dagster's test helpers are private, so they are used here and nowhere else.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import kubernetes
from dagster import AssetKey, DagsterInstance
from dagster._core.launcher import LaunchRunContext
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._core.test_utils import create_run_for_test, instance_for_test

from tests.integration.servers.processes import answers, free_port, start, stop, wait_until

ASSET_JOB = "__ASSET_JOB"


@contextmanager
def code_server(folder: Path, context: Mapping[str, Any], image: str, environment: Mapping[str, str]) -> Iterator[int]:
    """`dagster api grpc` as in the chart's Deployment; yields its port."""
    port, log = free_port(), folder / "code-server.log"
    command = [sys.executable, "-m", "dagster", "api", "grpc", "-h", "127.0.0.1", "-p", str(port)]
    process = start(
        [*command, "-m", "snowplow_posthog_dagster.definitions"],
        log,
        environment={
            **environment,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "DAGSTER_CURRENT_IMAGE": image,
            "DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT": json.dumps(context),
        },
    )
    try:
        wait_until(lambda: answers(port), "the code server", process=process, log=log, seconds=60)
        yield port
    finally:
        stop(process)


@dataclass(frozen=True)
class Launched:
    """A launched run and the Job, as Kubernetes would have got it."""

    run_id: str
    namespace: str
    job: dict[str, Any]

    @property
    def pod(self) -> dict[str, Any]:
        """The pod's template."""
        template: dict[str, Any] = self.job["spec"]["template"]
        return template

    @property
    def container(self) -> dict[str, Any]:
        """The container in which the run works."""
        container: dict[str, Any] = self.pod["spec"]["containers"][0]
        return container

    def variables(self, config_maps: Mapping[str, Any], secrets: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """The container's environment as the kubelet makes it: `envFrom` in order, and `env` over it."""
        found: dict[str, str] = {}
        for source in self.container.get("envFrom", []):
            kind, objects = ("configMapRef", config_maps) if "configMapRef" in source else ("secretRef", secrets)
            found.update(objects.get(source[kind]["name"], {}))
        for entry in self.container["env"]:
            if "value" in entry:
                found[entry["name"]] = entry["value"]
            elif reference := entry.get("valueFrom", {}).get("secretKeyRef"):
                keys = secrets.get(reference["name"], {})
                if reference["key"] in keys:
                    found[entry["name"]] = keys[reference["key"]]
                elif not reference.get("optional"):
                    raise LookupError(f"{reference['name']} has no {reference['key']}: the pod would not start")
        return found

    def environment(self, name: str) -> dict[str, Any]:
        """The entry of an environment variable."""
        found: dict[str, Any] = next(entry for entry in self.container["env"] if entry["name"] == name)
        return found


class Launcher:
    """The instance's run launcher with a Kubernetes that only takes notes."""

    def __init__(self, instance: DagsterInstance, port: int, client: mock.Mock) -> None:
        self._instance = instance
        self._client = client
        origin = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=port, location_name="snowplow_posthog_dagster")
        self._location = GrpcServerCodeLocation(origin, instance=instance)

    def launch(self, job_name: str, tags: Mapping[str, str], assets: tuple[str, ...] = ()) -> Launched:
        """Create a run of a job (and assets) with these tags and launch it."""
        job = self._location.get_repository("__repository__").get_full_job(job_name)
        run = create_run_for_test(
            self._instance,
            job_name=job_name,
            tags=tags,
            remote_job_origin=job.get_remote_origin(),
            job_code_origin=job.get_python_origin(),
            job_snapshot=job.job_snapshot,
            asset_selection=frozenset(AssetKey(name) for name in assets) or None,
        )
        self._instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
        call = self._client.create_namespaced_job_with_retries.call_args
        body = kubernetes.client.ApiClient().sanitize_for_serialization(call.kwargs["body"])
        return Launched(run.run_id, call.kwargs["namespace"], body)

    def terminate(self, run_id: str) -> mock.Mock:
        """Terminate a run; returns the call that deletes its Job."""
        self._client.delete_job.return_value = True
        assert self._instance.run_launcher.terminate(run_id)
        delete: mock.Mock = self._client.delete_job
        return delete

    def close(self) -> None:
        """Leave the code server."""
        self._location.cleanup()


@contextmanager
def launcher(run_launcher: Mapping[str, Any], port: int) -> Iterator[Launcher]:
    """The run launcher of an instance config."""
    client = mock.Mock()
    production = "dagster_k8s.launcher.DagsterKubernetesClient.production_client"
    with (
        mock.patch("kubernetes.config.load_incluster_config"),
        mock.patch(production, return_value=client),
        instance_for_test(overrides={"run_launcher": dict(run_launcher)}) as instance,
    ):
        made = Launcher(instance, port, client)
        try:
            yield made
        finally:
            made.close()
