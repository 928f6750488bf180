"""How long a body is tried again, and when to give up.

Full jitter over a doubling ceiling spreads the senders of an incident; a server's `Retry-After` is the least
that is waited. Two budgets end it: seconds per body, because a body that nothing takes will not be taken by the
hundredth try, and seconds per run, because a run that mostly waits should fail and say so. The time of the failed
tries counts like the pauses between them: a server that lets every request time out is not cheaper than one that
answers 503 at once.
"""

import datetime as dt
import random
import threading

from snowplow_posthog_dagster.errors import AuthenticationError, CaptureUnavailableError, SettingsError
from snowplow_posthog_dagster.posthog.capture import Answer, Verdict

_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0
_LONGEST_RETRY_AFTER_SECONDS = 300.0


def backoff(attempt: int, retry_after: float | None) -> float:
    """Seconds to pause after the failed try number `attempt`, counted from 0."""
    ceiling = min(_LONGEST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2 ** min(attempt, 10))
    jittered = random.uniform(0, ceiling)  # noqa: S311 - spreads senders, keeps no secret
    return max(jittered, min(retry_after, _LONGEST_RETRY_AFTER_SECONDS)) if retry_after is not None else jittered


class BodyCost:
    """What the failed tries of one body have cost so far, in seconds."""

    def __init__(self) -> None:
        self._all = self._impatient = 0.0

    def spent(self, answer: Answer) -> float:
        """What is held against such an answer: of one that is worth little patience only those in a row before it.

        A name that does not resolve for a moment must not end a body that has waited for a busy server until then.
        """
        return self._all if answer.patience is None else self._impatient

    def add(self, answer: Answer, seconds: float) -> None:
        """A failed try and the pause after it took so long."""
        self._all += seconds
        self._impatient = 0.0 if answer.patience is None else self._impatient + seconds


class RetryBudget:
    """The seconds that failures may cost, a body and the run (there: times the connections, which wait at once)."""

    def __init__(self, *, per_body: float, per_run: float, connections: int, url: str, day: dt.date) -> None:
        self._per_body = per_body
        self._per_run = per_run
        self._run_limit = per_run * connections
        self._url = url
        self._day = day
        self._lock = threading.Lock()
        self._spent = 0.0

    def pause(self, asked: float, *, tried: float, body_spent: float, attempts: int, answer: Answer) -> float:
        """Charge a failed try of `tried` seconds and the pause after it; `body_spent` is what the body had cost before.

        Returns the seconds to pause: `asked`, cut to what is left of the body's budget. A server that asks for more
        time than there is (`Retry-After: 300`) is so asked once more at its end, instead of never again.

        Raises CaptureUnavailableError, with how to resume, when a budget is spent.
        """
        per_body = min(self._per_body, answer.patience if answer.patience is not None else self._per_body)
        left = per_body - body_spent - tried
        if left <= 0:
            raise self._given_up(f"{per_body:.0f} s a body", attempts, answer)
        pause = min(asked, left)
        with self._lock:
            self._spent += tried + pause
            run_spent = self._spent
        if run_spent > self._run_limit:
            raise self._given_up(f"{self._per_run:.0f} s a connection over the run", attempts, answer)
        return pause

    def _given_up(self, budget: str, attempts: int, answer: Answer) -> CaptureUnavailableError:
        return CaptureUnavailableError(
            f"{self._url} did not take a body in {attempts} tries; the retry budget of {budget} is spent."
            f" Last answer: {answer.status or 'none'}, {answer.words}. What was acknowledged is in the log of"
            f" {self._day}: when PostHog is well again, materialize this partition, and only the rest is sent"
        )


def raise_if_terminal(answer: Answer, url: str) -> None:
    """Raise for the answers that only a person can change: AuthenticationError, SettingsError."""
    if answer.verdict is Verdict.UNAUTHORIZED:
        raise AuthenticationError(
            f"{url} answered 401: {answer.words}. Check POSTHOG_PROJECT_API_KEY (it begins with phc_) and that"
            " POSTHOG_HOST is the region of that project; nothing more was sent"
        )
    if answer.verdict is Verdict.MISCONFIGURED:
        told = f"{answer.status}, {answer.words}" if answer.status else answer.words
        raise SettingsError(f"{url} cannot be used: {told}. Check POSTHOG_HOST, delivery.ca_bundle and delivery.proxy")
