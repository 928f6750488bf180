"""`make soak MINUTES=10`: the soak on the command line. Its last line is JSON; it fails when anything is wrong."""

import argparse
import random
import sys
import time

from tests.soak.play import ACTS, soak


def main() -> int:
    """Soak, then say every message, every problem, and the result."""
    parser = argparse.ArgumentParser(description="Everything at once against a real dagster dev, counted.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1, 10_000))
    parser.add_argument("--acts", default=",".join(ACTS), help="which faults are played in turn")
    parser.add_argument("--defaults", action="store_true", help="the automation's own settings; upstream's faults only")
    options = parser.parse_args()
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", flush=True)

    verdict = soak(
        options.minutes, options.seed, chosen=tuple(options.acts.split(",")), defaults=options.defaults, say=say
    )
    for message in verdict.messages:
        print("Slack: " + message.replace("\n", "\n       "))
    for problem in verdict.problems:
        print(f"PROBLEM: {problem}")
    print(verdict.result.line())
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    sys.exit(main())
