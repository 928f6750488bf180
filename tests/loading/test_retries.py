"""How long a body is tried again, and when to give up."""

import datetime as dt

import pytest

from snowplow_posthog_dagster.errors import AuthenticationError, CaptureUnavailableError, SettingsError
from snowplow_posthog_dagster.loading.retries import BodyCost, RetryBudget, backoff, raise_if_terminal
from snowplow_posthog_dagster.posthog.capture import Answer, Verdict

DAY = dt.date(2022, 6, 6)
BUSY = Answer(Verdict.RETRY, 503, "busy")


def budget(per_body: float = 100.0, per_run: float = 1000.0, connections: int = 1) -> RetryBudget:
    return RetryBudget(per_body=per_body, per_run=per_run, connections=connections, url="https://posthog", day=DAY)


def test_the_ceiling_of_the_pause_doubles_to_a_minute_and_jitter_uses_all_of_it() -> None:
    for attempt, ceiling in ((0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (50, 60)):
        pauses = [backoff(attempt, None) for _ in range(500)]
        assert 0 <= min(pauses) < 0.1 * ceiling
        assert 0.9 * ceiling < max(pauses) <= ceiling


def test_a_retry_after_is_the_least_that_is_waited_up_to_five_minutes() -> None:
    assert all(backoff(0, 30.0) == 30.0 for _ in range(20))
    assert backoff(0, 86_400.0) == 300.0
    assert any(backoff(5, 1.0) > 1.0 for _ in range(50))


def test_a_body_that_has_cost_its_budget_is_given_up_with_what_to_do() -> None:
    limit = budget(per_body=10.0)
    assert limit.pause(2.0, tried=1.0, body_spent=5.0, attempts=3, answer=BUSY) == 2.0
    with pytest.raises(CaptureUnavailableError, match=r"4 tries.*10 s a body.*503, busy.*2022-06-06.*materialize"):
        limit.pause(2.0, tried=2.1, body_spent=8.0, attempts=4, answer=BUSY)


def test_a_server_that_asks_for_more_time_than_is_left_is_asked_once_more_at_its_end() -> None:
    limit = budget(per_body=300.0)
    pause = limit.pause(300.0, tried=0.25, body_spent=0.0, attempts=1, answer=BUSY)
    assert pause == 299.75
    with pytest.raises(CaptureUnavailableError, match=r"2 tries.*300 s a body"):
        limit.pause(300.0, tried=0.25, body_spent=0.25 + pause, attempts=2, answer=BUSY)


def test_a_failure_that_seldom_mends_itself_gets_less() -> None:
    limit = budget(per_body=300.0)
    unresolved = Answer(Verdict.RETRY, 0, "does not resolve", patience=15.0)
    assert limit.pause(10.0, tried=1.0, body_spent=0.0, attempts=3, answer=unresolved) == 10.0
    with pytest.raises(CaptureUnavailableError, match="15 s a body"):
        limit.pause(6.0, tried=5.0, body_spent=11.0, attempts=4, answer=unresolved)


def test_a_short_failure_that_seldom_mends_itself_does_not_end_a_long_wait_for_a_busy_server() -> None:
    unresolved, cost = Answer(Verdict.RETRY, 0, "does not resolve", patience=15.0), BodyCost()
    cost.add(BUSY, 60.0)
    assert (cost.spent(unresolved), cost.spent(BUSY)) == (0.0, 60.0)
    cost.add(unresolved, 4.0)
    cost.add(unresolved, 5.0)
    assert (cost.spent(unresolved), cost.spent(BUSY)) == (9.0, 69.0)
    cost.add(BUSY, 1.0)
    assert (cost.spent(unresolved), cost.spent(BUSY)) == (0.0, 70.0)


def test_the_run_has_a_budget_for_each_of_its_connections() -> None:
    limit = budget(per_run=10.0, connections=2)
    for _ in range(4):
        limit.pause(4.0, tried=1.0, body_spent=0.0, attempts=1, answer=BUSY)
    with pytest.raises(CaptureUnavailableError, match="10 s a connection over the run"):
        limit.pause(4.0, tried=1.0, body_spent=0.0, attempts=1, answer=BUSY)


def test_what_only_a_person_can_change_is_raised_with_the_cure() -> None:
    raise_if_terminal(BUSY, "https://posthog")
    with pytest.raises(AuthenticationError, match="POSTHOG_PROJECT_API_KEY"):
        raise_if_terminal(Answer(Verdict.UNAUTHORIZED, 401, "API key is not valid: empty"), "https://posthog")
    with pytest.raises(SettingsError, match=r"TLS failed.*delivery.ca_bundle"):
        raise_if_terminal(Answer(Verdict.MISCONFIGURED, 0, "TLS failed: expired"), "https://posthog")
