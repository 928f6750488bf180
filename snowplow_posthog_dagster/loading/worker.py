"""A pool worker: `python -m snowplow_posthog_dagster.loading.worker PARENT`, the pid of its parent.

    standard input:   blueprint, then a handful of tasks a line
    standard output:  READY, then for each task one line, an entry of the day log or {"error": ..., "message": ...}

Four tasks of a handful are under way at once, so that one computes while others wait for S3; their answers
come in any order.

It is a process of its own and not a fork or a multiprocessing child, because those would import the whole
Dagster main module of the step (0.8 s and 60 MB each). It ends with its standard input, and within half a
second of its parent's death even in the middle of an object, or of its own start: it watches before it imports
what takes time. Ctrl-C and SIGTERM pass it by: a terminal, `timeout` and systemd send them to the whole group, and a
worker that ended before its parent had looked would leave its object behind as broken. The parent ends it.
"""

import json
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from snowplow_posthog_dagster import errors
from snowplow_posthog_dagster.loading.parents import exit_with_parent

if TYPE_CHECKING:
    from snowplow_posthog_dagster.loading.blueprint import Task

READY = b'{"ready":true}'
AT_ONCE = 4


def main() -> None:
    """Serve tasks until the input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    exit_with_parent(int(sys.argv[1]))
    from snowplow_posthog_dagster.loading.blueprint import Workshop, blueprint_codec, handful_codec
    from snowplow_posthog_dagster.storage.entries import line_of

    lines, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    answering = threading.Lock()

    def answer(work: Callable[[], bytes]) -> None:
        try:
            line = work()
        except errors.SnowplowPostHogError as error:
            line = json.dumps({"error": type(error).__name__, "message": str(error)}).encode()
        with answering:
            answers.write(line + b"\n")
            answers.flush()

    blueprint = blueprint_codec[1].decode(lines.readline())
    workshop: list[Workshop] = []

    def start() -> bytes:
        workshop.append(Workshop(blueprint))
        return READY

    answer(start)

    def do(task: "Task") -> None:
        answer(lambda: line_of(workshop[0].run(task)))

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="object") as threads:
        while line := lines.readline():
            # Consumed, so that what goes wrong in a thread ends the process and is seen.
            list(threads.map(do, handful_codec[1].decode(line)))


if __name__ == "__main__":
    main()
