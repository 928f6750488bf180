"""The commented settings file for GitLab's archive is valid and finds every day under the right prefix."""

import datetime as dt

import pytest
import yaml

from snowplow_posthog_dagster.settings import Environment, Settings, load_file
from snowplow_posthog_dagster.storage.archive import Archive
from snowplow_posthog_dagster.storage.s3 import Bucket


@pytest.fixture(scope="module")
def settings(repository):
    return Settings(Environment(), load_file(repository / "examples" / "gitlab.yaml"))


@pytest.mark.parametrize(
    ("day", "prefix"),
    [
        ("2019-01-01", "output_nullified_columns/2019/01/01/"),
        ("2022-10-25", "output_nullified_columns/2022/10/25/"),
        ("2022-10-26", "output_mask_page_url_path/2022/10/26/"),
        ("2023-01-31", "output_mask_page_url_path/2023/01/31/"),
        ("2023-02-01", "output_mask_page_url_path/2023/02/01/"),
        ("2024-12-01", "output_mask_page_url_path/2024/12/01/"),
        ("2024-12-02", "output/2024/12/02/"),
        ("2030-01-01", "output/2030/01/01/"),
    ],
)
def test_each_day_has_one_prefix(settings, day, prefix):
    entry = Archive(Bucket(None, "archive"), settings.archive_entries).entry_for(dt.date.fromisoformat(day))
    assert entry.key_prefix(dt.date.fromisoformat(day), 4) == f"{prefix}04/"


def test_it_keeps_what_gitlab_blanked_out_of_older_files_too(settings):
    dropped = settings.file.mapping.privacy.drop
    assert {"user_ipaddress", "geo_zipcode", "geo_latitude", "geo_longitude"} <= set(dropped)


def test_it_shows_the_sections_that_a_deployment_thinks_about(repository):
    shown = yaml.safe_load((repository / "examples" / "gitlab.yaml").read_text())
    assert set(shown) >= {"archive", "s3", "workspace", "transform", "delivery", "automation", "mapping", "owners"}
