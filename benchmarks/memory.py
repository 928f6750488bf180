"""Resident memory of a pool worker over the size of its object: flat, or something is kept that should not be.

The worker is the real one (`loading.worker`), with one task; the kernel's own high-water mark (VmHWM) is read before it
leaves.
"""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.place import BUCKET, DAY
from benchmarks.servers import WORKSPACE_BUCKET
from benchmarks.workload import MANY, WORKLOADS, Workload, make
from snowplow_posthog_dagster.loading.blueprint import Blueprint, Task, blueprint_codec, handful_codec
from snowplow_posthog_dagster.loading.transform import TransformOptions
from snowplow_posthog_dagster.loading.workers import WORKER_ENVIRONMENT
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.snowplow.lines import MAX_RECORD_BYTES
from snowplow_posthog_dagster.storage.archive import Archive, ArchiveEntry
from snowplow_posthog_dagster.storage.entries import Done, entry_of
from snowplow_posthog_dagster.storage.s3 import Bucket, Connection, connect

SIZES_MB = (5, 50, 250, 1000)
_BYTES_PER_LINE = 3290


def one_object(home: Path, megabytes: int) -> Workload:
    """An archive of one wide object of that many raw megabytes, with varied users, pages and browsers."""
    events = megabytes * 1_000_000 // _BYTES_PER_LINE
    return make(home, f"memory-{megabytes}", events=events, objects=1, **{**WORKLOADS["wide"], **MANY})


def peak_megabytes(environment: dict[str, str], workspace_prefix: str) -> tuple[float, int]:
    """Peak resident megabytes of a worker that transforms the first object of the archive, and the records in it.

    Raises RuntimeError when the object could not be transformed.
    """
    connection = Connection(
        endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
        region=environment["AWS_REGION"],
        access_key_id=environment["AWS_ACCESS_KEY_ID"],
        secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    archive = Archive(Bucket(connect(connection), BUCKET), [ArchiveEntry(prefix="output/")])
    (found, *_) = archive.list_day(DAY)
    blueprint = Blueprint(
        connection=connection,
        archive_bucket=BUCKET,
        workspace_bucket=WORKSPACE_BUCKET,
        workspace_prefix=workspace_prefix,
        target="memory",
        day=DAY,
        put_options={},
        mapping=MappingSettings().model_dump_json(by_alias=True),
        options=TransformOptions(),
        max_record_bytes=MAX_RECORD_BYTES,
        writer="benchmark",
    )
    worker = subprocess.Popen(
        [sys.executable, "-m", "snowplow_posthog_dagster.loading.worker", str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**WORKER_ENVIRONMENT, **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    with worker, worker.stdin as tasks:
        tasks.write(blueprint_codec[0].encode(blueprint) + b"\n" + handful_codec[0].encode([Task(found, 0, 0)]) + b"\n")
        tasks.flush()
        worker.stdout.readline()  # that it is ready
        answer = worker.stdout.readline()
        status = Path(f"/proc/{worker.pid}/status").read_text()
    entry = entry_of(answer)
    if not isinstance(entry, Done):
        raise RuntimeError(f"the worker answered {answer!r}")  # noqa: TRY004 - no mistake about types
    (peak,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024, entry.records
