"""Of the files that say a day was complete, the newest stays: it has the day's numbers and its schema."""

import time

import msgspec

from snowplow_posthog_dagster.automation.housekeeping import keep_house
from snowplow_posthog_dagster.loading.measures import DayFile, newest_day_file
from tests.ground import DAY, Ground, lines_of

DAY_SECONDS = 86_400.0


def keep(ground: Ground, later: float, *, dry_run: bool = False) -> dict[str, int]:
    return keep_house(ground.load(), dry_run=dry_run, retention_days=30, now=time.time() + later).files


def what_it_says(ground: Ground) -> DayFile:
    """The newest file of the day but for its time: housekeeping writes it anew."""
    file = newest_day_file(ground.workspace, DAY)
    assert file
    return msgspec.structs.replace(file, at="")


def test_earlier_endings_of_a_day_go_after_a_day_and_the_last_one_stays(ground: Ground):
    for number in range(3):
        ground.put(f"f{number}", lines_of(2))
        ground.run()
        time.sleep(1.0)  # S3 tells files apart by whole seconds
    assert len(ground.stored("days")) == 3
    before = what_it_says(ground)
    assert keep(ground, 0.0) == {}, "they are young"
    assert keep(ground, 2 * DAY_SECONDS, dry_run=True) == {"day_files": 2}
    assert len(ground.stored("days")) == 3
    assert keep(ground, 2 * DAY_SECONDS) == {"day_files": 2}
    assert len(ground.stored("days")) == 1
    assert ground.is_closed()
    assert what_it_says(ground) == before
