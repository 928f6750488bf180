"""Every command of the README is run, with the sandbox's bucket and days in place of the reader's.

What `make` does is run by CI and by whoever clones it; here stands that its targets exist.
"""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.dagster.server import REPOSITORY, Home, expected_events, running_dagster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

README = (REPOSITORY / "README.md").read_text()
SERVERS = {"dagster dev"}
IN_THE_SANDBOX = {
    "YOUR-BUCKET/output/2022/06/06/04": "snowplow-archive/output/2021/03/02",
    "2022-06-06": "2021-03-02",
    "--hour 4 ": "--hour 2 ",
}


def commands() -> list[str]:
    """The command lines of the README's code blocks, comments cut off."""
    blocks = re.findall(r"^```\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    found = [re.split(r"\s+#", line)[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in found if line.startswith(("make ", "snowplow-posthog ", "dagster ", "dg "))]


def in_the_sandbox(command: str) -> list[str]:
    for given, meant in IN_THE_SANDBOX.items():
        command = command.replace(given, meant)
    return shlex.split(command)


def test_the_readme_has_the_commands_that_are_run_here() -> None:
    programs = {command.split()[0] for command in commands()}
    assert programs == {"make", "snowplow-posthog", "dagster", "dg"}
    assert len(commands()) >= 9


def test_its_make_targets_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in sorted({*re.findall(r"make ([a-z-]+)", README)}):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


@pytest.mark.parametrize("command", [line for line in commands() if not line.startswith("make ")])
def test_its_commands_work(home: Home, command: str) -> None:
    arguments = in_the_sandbox(command)
    if " ".join(arguments) in SERVERS:
        with running_dagster(home) as server:
            assert "posthog_events" in server.assets()
        return
    done = home.command(*arguments)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_its_graphql_starts_a_backfill_of_three_days(home: Home) -> None:
    (mutation,) = re.findall(r"```graphql\n(.*?)```", README, re.DOTALL)
    days = {"2022-06-01": "2021-03-01", "2022-06-02": "2021-03-03", "2022-06-03": "2021-03-04"}
    for given, meant in days.items():
        mutation = mutation.replace(given, meant)
    with running_dagster(home) as server:
        answer: Any = server.ask(mutation)
        backfill = answer["launchPartitionBackfill"]["backfillId"]
        assert server.wait_for_backfill(backfill) in {"COMPLETED_SUCCESS", "COMPLETED"}
    wanted = [event for day in days.values() for event in expected_events(day)]
    assert home.posthog.merged_rows() >= len(wanted)


def test_the_files_that_it_points_to_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert Path(REPOSITORY, target).exists(), target
