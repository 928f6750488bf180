"""CPU seconds that a pool worker needs before it can take its first object: imports, clients, mapper.

python -m benchmarks.start
"""

import os
import resource
import subprocess
import sys

from snowplow_posthog_dagster.loading.workers import WORKER_ENVIRONMENT

PROGRAM = """
from snowplow_posthog_dagster.loading import worker
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.storage.s3 import Connection, connect
connect(Connection(endpoint_url="http://127.0.0.1:1", region="us-east-1", access_key_id="a", secret_access_key="b"))
Mapper(MappingSettings())
"""


def main() -> None:
    """Measure and print."""
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, env={**WORKER_ENVIRONMENT, **os.environ})
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(usage.ru_utime + usage.ru_stime)


if __name__ == "__main__":
    main()
