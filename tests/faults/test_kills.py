"""SIGKILL at random moments of transform and delivery: nothing lost, nothing doubled, little sent again."""

import pytest

from tests.faults.kill_loop import kill_loop

KILLS = 30


@pytest.mark.slow
@pytest.mark.clickhouse
@pytest.mark.timeout(900)
def test_runs_that_are_killed_at_random_moments_lose_and_double_nothing() -> None:
    verdict = kill_loop(KILLS, seed=20_220_606)
    print(verdict.line())
    assert verdict.problems == []
    assert len(verdict.kills) == KILLS
    victims = {(kill.victim, kill.phase) for kill in verdict.kills}
    assert len(victims) >= 4, "the random moments meet transform and delivery"
    assert {victim for victim, _ in victims} == {"run worker", "step", "pool worker"}
