"""Told while a delivery is still running: PostHog answers 5xx again and again.

A delivery of a large day lasts for hours and its checks come at its end. So the check `posthog_errors` is reported once
from within, as soon as it fails, and Slack has it half a minute later. The run goes on: everything is sent again.

Only when something was acknowledged after the first error: PostHog that takes nothing at all is down, the run fails and
that is told. One thing is said once.
"""

import dagster as dg

from snowplow_posthog_dagster.assets.checks import check_evaluation, error_window, judge_errors
from snowplow_posthog_dagster.loading.day import DayLoad
from snowplow_posthog_dagster.loading.server_errors import most_within
from snowplow_posthog_dagster.settings import ChecksSection


class ErrorAlarm:
    """Takes the place of a load's progress, which it passes on; called every half second while events are sent."""

    def __init__(self, instance: dg.DagsterInstance, load: DayLoad, key: dg.AssetKey, limits: ChecksSection) -> None:
        self._instance = instance
        self._load = load
        self._key = key
        self._limits = limits
        self._progress = load.progress
        self._told = False
        self._before: int | None = None

    def __call__(self, done: int, total: int) -> None:
        """Pass the progress on, and look at the answers so far."""
        self._progress(done, total)
        sent = self._load.sent
        if self._told or not sent.errors_at:
            return
        if self._before is None:
            self._before = sent.events_acknowledged
        verdict = judge_errors(most_within(list(sent.errors_at), error_window(self._limits)), self._limits)
        if verdict.passed or sent.events_acknowledged == self._before:
            return
        self._told = True
        evaluation = check_evaluation(verdict, self._key, self._load.day, self._load.log.state())
        self._instance.report_runless_asset_event(evaluation)
