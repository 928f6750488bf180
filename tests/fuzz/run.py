"""`make fuzz`: odd objects through parser, mapper and transform until the time is over.

    python -m tests.fuzz.run --minutes 5 [--seed N] [--objects N]

Every object has a seed; the seeds of a run follow each other from a random one, or from `--seed`. What must hold is in
verdict.py. The last line has the counts, or the seed that shows the defect: `make fuzz SEED=N OBJECTS=1` repeats it.
"""

import argparse
import contextlib
import secrets
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from snowplow_posthog_dagster.sandbox.servers import running_s3
from snowplow_posthog_dagster.storage.s3 import Bucket, connect
from snowplow_posthog_dagster.storage.workspace import Workspace
from tests.faults.world import connection_of
from tests.fuzz.mutations import real_lines
from tests.fuzz.verdict import Fuzzer

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures"


@contextlib.contextmanager
def fuzzing(fixtures: Path | None) -> Iterator[Fuzzer]:
    """A fuzzer with buckets on an S3 of its own."""
    with tempfile.TemporaryDirectory() as folder, running_s3(Path(folder)) as s3:
        client = connect(connection_of(s3))
        for name in ("archive", "workspace"):
            client.create_bucket(Bucket=name)
        workspace = Workspace(Bucket(client, "workspace"), "posthog/", "fuzz")
        yield Fuzzer(Bucket(client, "archive"), workspace, real_lines(fixtures))


def fuzz(fuzzer: Fuzzer, first: int, *, seconds: float, objects: int | None) -> str | None:
    """Try seeds from the first on; returns what went wrong with which seed, None when nothing did."""
    end = time.monotonic() + seconds
    tried = 0
    while time.monotonic() < end and (objects is None or tried < objects):
        try:
            fuzzer.try_seed(first + tried)
        except Exception:  # noqa: BLE001 - whatever it is, it is the finding
            traceback.print_exc()
            return f"seed={first + tried}"
        tried += 1
    return None


def main() -> None:
    """Read the command line, fuzz, print counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--objects", type=int, default=None)
    given = parser.parse_args()
    first = secrets.randbelow(10**12) if given.seed is None else given.seed
    fixtures = FIXTURES if FIXTURES.is_dir() else None
    print(f"first seed {first}, lines of {'the fixtures and the repository' if fixtures else 'the repository alone'}")
    with fuzzing(fixtures) as fuzzer:
        failed = fuzz(fuzzer, first, seconds=given.minutes * 60, objects=given.objects)
    counts = ", ".join(f"{number:,} {name}" for name, number in fuzzer.seen.items())
    if failed:
        print(f"after {counts}")
        sys.exit(f"DEFECT {failed}: `make fuzz SEED={failed.partition('=')[2]} OBJECTS=1` shows it again")
    print(f"defects=0 first_seed={first}: {counts}")


if __name__ == "__main__":
    main()
