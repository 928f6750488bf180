"""Run config as a person types it: what narrows a run, and what means nothing."""

import dagster as dg
import pytest

from snowplow_posthog_dagster.assets.run import LoadConfig
from snowplow_posthog_dagster.loading.day import Narrowing


@pytest.mark.parametrize("hours", [[], [24], [-1], [4, 24]])
def test_hours_that_are_none_are_refused_and_do_not_pass_for_a_day_without_news(hours: list[int]) -> None:
    with pytest.raises(
        dg.Failure, match=r"hours must lie between 0 and 23.*leave them out for the whole day"
    ) as caught:
        LoadConfig.model_validate({"hours": hours}).narrowing()
    assert not caught.value.allow_retries


def test_what_is_left_out_narrows_nothing() -> None:
    assert LoadConfig.model_validate({}).narrowing() == Narrowing()
    assert LoadConfig.model_validate({"hours": [4], "max_events": 10}).narrowing() == Narrowing((4,), 10)
