"""Servers around a measurement: the sandbox's S3 over the workload's folder, and a null PostHog.

Both are processes of their own, so what they cost is not counted. The null server reads every body to its end and
answers 200, at once or after a delay.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.place import BUCKET
from snowplow_posthog_dagster.sandbox.servers import running_posthog, running_s3

ROOT = Path(__file__).resolve().parent.parent
WORKSPACE_BUCKET = "snowplow-workspace"


@contextlib.contextmanager
def servers(folder: Path, *, delay_milliseconds: int = 0) -> Iterator[dict[str, str]]:
    """S3 over `folder` and a null server; yields the environment of a process that loads from one to the other."""
    for bucket in (BUCKET, WORKSPACE_BUCKET):
        (folder / bucket).mkdir(parents=True, exist_ok=True)
    null = ("--null", "--delay-ms", str(delay_milliseconds))
    with running_s3(folder) as environment, running_posthog(None, *null) as posthog:
        yield {
            **environment,
            "AWS_S3_SNOWPLOW_BUCKET": BUCKET,
            "POSTHOG_HOST": posthog.host,
            "POSTHOG_PROJECT_API_KEY": posthog.project_api_key,
            "POSTHOG_PROJECT_ID": posthog.project_id,
            "POSTHOG_BACKFILL_START_DATE": "2021-02-01",
        }


def measured(module: str, *arguments: object, environment: dict[str, str] | None = None, timeout: float = 900) -> Any:
    """Run `python -m module arguments` in a process of its own; its last line of output is JSON."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("POSTHOG_", "SNOWPLOW_"))}
    finished = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env={**kept, "PYTHONPATH": str(ROOT), **(environment or {})},
        stdout=subprocess.PIPE,
        cwd=ROOT,
        check=True,
        timeout=timeout,
    )
    return json.loads(finished.stdout.splitlines()[-1])
