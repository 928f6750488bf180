"""The drill plays itself: each fault is told in Slack, its chapter is in the runbook, and the cure cures it."""

from pathlib import Path

import pytest

from tests.drill.__main__ import drill
from tests.drill.faults import FAULTS
from tests.drill.play import chapter_of

FIRST, *OTHERS = FAULTS


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [FIRST, *(pytest.param(name, marks=pytest.mark.long) for name in OTHERS)])
def test_every_fault_is_told_and_cured(name: str, tmp_path: Path) -> None:
    (played,) = drill([name], tmp_path, auto=True)
    assert played.problem == ""


@pytest.mark.parametrize("name", FAULTS)
def test_its_chapter_names_a_command_and_a_safe_action(name: str) -> None:
    chapter = chapter_of(FAULTS[name].chapter)
    assert "**Safe action**" in chapter and "**Severity**" in chapter


def test_a_chapter_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(LookupError, match="no chapter nothing"):
        chapter_of("nothing")
