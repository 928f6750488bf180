"""A backfill of three days, launched by clicking in Dagster's own UI.

`SCREENSHOTS=docs/images` keeps the pictures that the README and the runbook show.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from snowplow_posthog_dagster.loading.setup import connection_of
from snowplow_posthog_dagster.sandbox.samples import write_sample_archive
from snowplow_posthog_dagster.sandbox.servers import ARCHIVE_BUCKET, Sandbox
from snowplow_posthog_dagster.settings import Environment, Settings, SettingsFile
from snowplow_posthog_dagster.storage.s3 import connect
from tests.dagster.server import Dagster, Home, expected_events, running_dagster

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

DAYS = ["2021-03-01", "2021-03-02", "2021-03-03"]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Iterator[Home]:
    sandbox = Sandbox(tmp_path_factory.mktemp("sandbox"))
    sandbox.up()
    home = Home(sandbox)
    names = {name.lower(): value for name, value in home.environment.items()}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in home.environment.items():
            if name.startswith("AWS_"):
                patch.setenv(name, value)
        settings = Settings(Environment.model_validate(names), SettingsFile())
        write_sample_archive(connect(connection_of(settings)), ARCHIVE_BUCKET)
    yield home
    sandbox.down()


@pytest.fixture(scope="module")
def dagster(home: Home) -> Iterator[Dagster]:
    with running_dagster(home) as server:
        yield server


@pytest.fixture
def ui(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    yield page
    page.close()


def picture(page: Page, name: str) -> None:
    """Keep what is on the screen, if somebody asked for pictures."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        page.wait_for_timeout(1500)
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_a_backfill_of_three_days_by_clicking(home: Home, dagster: Dagster, ui: Page):
    ui.goto(f"{dagster.address}/asset-groups/")
    ui.goto(f"{dagster.address}/locations/snowplow_posthog_dagster/asset-groups/snowplow_to_posthog")
    expect(ui.get_by_text("posthog_events").first).to_be_visible()
    picture(ui, "graph")
    ui.get_by_role("button", name="Materialize all").click()
    ui.get_by_text("Show all partitions").click()
    box = ui.get_by_role("dialog").locator("input[type=text]").first
    box.fill(f"[{DAYS[0]}...{DAYS[-1]}]")
    box.press("Enter")
    expect(ui.get_by_role("dialog").get_by_text("3 partitions").first).to_be_visible()
    picture(ui, "backfill-dialog")
    ui.get_by_role("button", name="Launch backfill").click()
    (backfill,) = dagster.wait_for(lambda: backfills(dagster), "the backfill", 60)
    ui.goto(f"{dagster.address}/runs/b/{backfill}")
    assert dagster.wait_for_backfill(backfill) == "COMPLETED_SUCCESS"
    ui.reload()
    expect(ui.get_by_text("100% completed")).to_have_count(3)
    picture(ui, "backfill")
    assert home.posthog.merged_rows() == sum(len(expected_events(day)) for day in DAYS)


def backfills(dagster: Dagster) -> list[str]:
    found = dagster.ask("{ partitionBackfillsOrError { ... on PartitionBackfills { results { id } } } }")
    return [one["id"] for one in found["partitionBackfillsOrError"]["results"]]


def test_the_asset_page_shows_the_counting_equation_and_the_checks(dagster: Dagster, ui: Page):
    ui.goto(f"{dagster.address}/assets/posthog_events?view=partitions&partition={DAYS[0]}")
    expect(ui.get_by_text("counting_equation").first).to_be_visible()
    picture(ui, "asset-partition")
    ui.goto(f"{dagster.address}/assets/posthog_events?view=checks")
    for check in ("records_accounted_for", "hours_present", "dead_letter_share"):
        expect(ui.get_by_text(check).first).to_be_visible()
    picture(ui, "asset-checks")


def test_the_load_report_and_the_picture_of_the_last_days_are_seen(dagster: Dagster, ui: Page):
    ui.goto(f"{dagster.address}/assets/posthog_events?view=partitions&partition={DAYS[0]}")
    for name in ("load_report", "last_30_days"):
        row = ui.locator("tr", has=ui.get_by_text(name, exact=True)).first
        row.get_by_text("Show Markdown").click()
        dialog = ui.get_by_role("dialog")
        if name == "load_report":
            expect(dialog.get_by_text("hours_present").first).to_be_visible()
        else:
            shown = dialog.locator("img")
            expect(shown).to_be_visible()
            assert shown.evaluate("image => image.complete && image.naturalWidth") > 700
        picture(ui, name.replace("_", "-"))
        ui.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
