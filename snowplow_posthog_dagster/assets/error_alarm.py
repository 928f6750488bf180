"""Told while a delivery is still running: PostHog answers 5xx again and again.

A delivery of a large day lasts for hours and its checks come at its end. So the check `posthog_errors` is reported once
from within, as soon as it fails, and Slack has it half a minute later. The run goes on: everything is sent again.
"""

import dagster as dg

from snowplow_posthog_dagster.assets.checks import check_evaluation, judge_errors
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

    def __call__(self, done: int, total: int) -> None:
        """Pass the progress on, and look at the answers so far."""
        self._progress(done, total)
        verdict = judge_errors(most_within(list(self._load.sent.errors_at)), self._limits)
        if verdict.passed or self._told:
            return
        self._told = True
        evaluation = check_evaluation(verdict, self._key, self._load.day, self._load.log.state())
        self._instance.report_runless_asset_event(evaluation)
