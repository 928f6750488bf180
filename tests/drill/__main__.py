"""`make drill`: the drill in a terminal, or with `--auto` as CI plays it. Fails when a fault was not cured."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.drill.faults import FAULTS, Fault
from tests.drill.ground import Ground, running_ground
from tests.drill.play import CURE_SECONDS, Ask, Played, play, quiet


def typed_by_itself(ground: Ground, fault: Fault) -> Ask:
    """Types the cure, then asks what is left until it is too late."""
    commands: list[str] | None = None
    until = time.monotonic() + CURE_SECONDS * 2

    def ask(prompt: str) -> str:
        nonlocal commands
        # Only when it has struck the fault knows what cures it.
        commands = fault.cure(ground) if commands is None else commands
        command = commands.pop(0) if commands else ""
        if not command:
            time.sleep(3)
            command = "check" if time.monotonic() < until else "give up"
        ground.say(f"{prompt}{command}")
        return command

    return ask


def drill(names: list[str], folder: Path, *, auto: bool) -> list[Played]:
    """Play these faults."""
    print("A sandbox with S3, PostHog, Slack and Dagster starts on this machine; nothing leaves it.", flush=True)
    played = []
    with running_ground(folder, lambda line: print(line, flush=True)) as ground:
        for number, name in enumerate(names, 1):
            fault = FAULTS[name]
            quiet(ground)
            print(f"\n=== {number} of {len(names)} ===", flush=True)
            played.append(play(ground, fault, typed_by_itself(ground, fault) if auto else input))
    return played


def main() -> int:
    """Play, then say what came of each fault."""
    parser = argparse.ArgumentParser(description="Five faults in the sandbox for whoever is new on call.")
    parser.add_argument("--auto", action="store_true", help="the drill types the cures itself")
    parser.add_argument("--only", default=",".join(FAULTS), help=f"which of {', '.join(FAULTS)}")
    options = parser.parse_args()
    if not options.auto and not sys.stdin.isatty():
        parser.error("without a terminal: --auto")
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        try:
            played = drill(options.only.split(","), Path(folder), auto=options.auto)
        except (KeyboardInterrupt, EOFError):
            print("\nEnded early; the sandbox is stopped.")
            return 1
    for one in played:
        print(f"{one.problem or 'cured':20}  {one.name}  ({one.seconds:.0f} s, docs/runbook.md#{one.chapter})")
    return 1 if any(one.problem for one in played) else 0


if __name__ == "__main__":
    sys.exit(main())
