"""A pool worker: `python -m snowplow_posthog_dagster.loading.worker`.

    standard input:   blueprint, then a task a line
    standard output:  for each task one line, an entry of the day log or {"error": ..., "message": ...}

It is a process of its own and not a fork or a multiprocessing child, because those would import the whole
Dagster main module of the step (0.8 s and 60 MB each). It ends with its standard input, and within half a
second of its parent's death even in the middle of an object.
"""

import json
import sys

from snowplow_posthog_dagster import errors
from snowplow_posthog_dagster.loading.blueprint import Workshop, blueprint_codec, task_codec
from snowplow_posthog_dagster.loading.parents import exit_with_parent
from snowplow_posthog_dagster.storage.entries import line_of


def main() -> None:
    """Serve tasks until the input ends."""
    exit_with_parent()
    lines, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    workshop: Workshop | None = None
    blueprint = blueprint_codec[1].decode(lines.readline())
    while line := lines.readline():
        try:
            workshop = workshop or Workshop(blueprint)
            answer = line_of(workshop.run(task_codec[1].decode(line)))
        except errors.SnowplowPostHogError as error:
            answer = json.dumps({"error": type(error).__name__, "message": str(error)}).encode()
        answers.write(answer + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
