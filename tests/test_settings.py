"""Settings: a wrong shape is one line that names the variable; a missing value is found when it is used."""

import datetime as dt
import os
from pathlib import Path
from typing import get_args

import dagster as dg
import pytest

from snowplow_posthog_dagster.definitions import build_definitions
from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.loading.sources import source_for
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.partitions import daily_partitions
from snowplow_posthog_dagster.setting_types import ASSETS, CHECKS
from snowplow_posthog_dagster.settings import (
    CLOUD_EVENTS_PER_SECOND,
    AlertsSection,
    ArchiveSection,
    AutomationSection,
    Environment,
    Settings,
    SettingsFile,
    load,
    load_file,
)


def test_nothing_is_needed_to_load() -> None:
    current = load()
    assert current.environment.posthog_target == "default"
    assert current.archive_entries[0].prefix == "output/"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("POSTHOG_BACKFILL_START_DATE", "06/06/2022", "POSTHOG_BACKFILL_START_DATE"),
        ("POSTHOG_BACKFILL_END_DATE", "soon", "POSTHOG_BACKFILL_END_DATE"),
        ("POSTHOG_TARGET", "eu.prod", "POSTHOG_TARGET.*'eu.prod' must be 1 to 63 of a-z"),
        ("POSTHOG_TARGET", "Production", "POSTHOG_TARGET.*'Production' must be"),
    ],
)
def test_a_wrong_shape_is_one_line_with_the_variables_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=words) as caught:
        load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("used", "variable"),
    [
        ("archive_bucket", "AWS_S3_SNOWPLOW_BUCKET"),
        ("workspace_place", "SNOWPLOW_POSTHOG_WORKSPACE"),
        ("host", "POSTHOG_HOST"),
        ("project_api_key", "POSTHOG_PROJECT_API_KEY"),
    ],
)
def test_a_missing_value_is_named_when_it_is_used(used: str, variable: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable} is not set"):
        getattr(load(), used)


def test_a_personal_key_is_no_project_key_and_stays_out_of_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHOG_PROJECT_API_KEY", "phx_very_secret")
    with pytest.raises(SettingsError, match="phx_") as caught:
        _ = load().project_api_key
    assert "very_secret" not in str(caught.value)
    assert "very_secret" not in repr(load().environment)


def test_blanks_and_newlines_around_secrets_are_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHOG_PROJECT_API_KEY", " phc_x\n")
    monkeypatch.setenv("POSTHOG_PROJECT_ID", "")
    assert load().project_api_key == "phc_x"
    assert load().environment.posthog_project_id is None


@pytest.mark.parametrize("name", ["SLACK_BOT_TOKEN", "POSTHOG_PERSONAL_API_KEY"])
def test_a_token_that_makes_no_header_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "open\nsesame")
    with pytest.raises(SettingsError, match=f"{name}: holds a blank or a line break") as caught:
        load()
    assert "sesame" not in str(caught.value)


def test_blanks_and_newlines_around_what_boto3_reads_are_taken_off_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK\n")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", " SK ")
    load()
    assert (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]) == ("AK", "SK")


@pytest.mark.parametrize("place", ["s3://archive/output", "s3://archive/output/posthog/", "s3://archive/old/enriched"])
def test_a_workspace_in_the_archive_is_refused_because_nothing_is_ever_written_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        "archive:\n- {prefix: output/, from: 2022-01-01}\n"
        "- {prefix: '', until: 2021-12-31, layout: 'old/enriched/{yyyy}/{MM}/{dd}/{HH}/'}\n"
    )
    monkeypatch.setenv("SNOWPLOW_POSTHOG_SETTINGS", str(file))
    monkeypatch.setenv("SNOWPLOW_POSTHOG_WORKSPACE", place)
    assert load().workspace_place[0] == "archive", "another bucket of that name is nobody's archive"
    monkeypatch.setenv("AWS_S3_SNOWPLOW_BUCKET", "archive")
    with pytest.raises(SettingsError, match="SNOWPLOW_POSTHOG_WORKSPACE lies in the archive"):
        _ = load().workspace_place


@pytest.mark.parametrize(
    ("place", "prefix"), [("s3://archive", ""), ("s3://archive/output-posthog", "output-posthog/")]
)
def test_a_workspace_beside_the_archive_may_be_in_its_bucket(
    monkeypatch: pytest.MonkeyPatch, place: str, prefix: str
) -> None:
    monkeypatch.setenv("AWS_S3_SNOWPLOW_BUCKET", "archive")
    monkeypatch.setenv("SNOWPLOW_POSTHOG_WORKSPACE", place)
    assert load().workspace_place == ("archive", prefix)


def test_the_workspace_is_a_bucket_and_a_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNOWPLOW_POSTHOG_WORKSPACE", "s3://bucket/a/b/")
    assert load().workspace_place == ("bucket", "a/b/")
    monkeypatch.setenv("SNOWPLOW_POSTHOG_WORKSPACE", "bucket/a")
    with pytest.raises(SettingsError, match="expected s3://"):
        _ = load().workspace_place


@pytest.mark.parametrize(
    ("host", "normal"),
    [
        ("https://EU.i.posthog.com/", "https://eu.i.posthog.com"),
        ("us.i.posthog.com", "https://us.i.posthog.com"),
        ("http://localhost:8000/posthog/", "http://localhost:8000/posthog"),
        ("https://x.example:443", "https://x.example"),
    ],
)
def test_hosts_are_normalised(monkeypatch: pytest.MonkeyPatch, host: str, normal: str) -> None:
    monkeypatch.setenv("POSTHOG_HOST", host)
    assert load().host == normal


@pytest.mark.parametrize(
    "host",
    [
        "ftp://x",
        "https://",
        "https://x.example:80a",
        "https://x.example:99999",
        "https://[::1",
        "https://x example",
        "https://user:secret@x.example",
        "https://user:secret@x.example/?a=b",
        "https://user:secret@[::1",
    ],
)
def test_what_is_no_host_is_refused_without_showing_a_password(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("POSTHOG_HOST", host)
    with pytest.raises(SettingsError, match="POSTHOG_HOST") as caught:
        _ = load().host
    assert "secret" not in str(caught.value)
    shown = {key: spec.description for one in build_definitions(load()).assets or [] for key, spec in specs_of(one)}
    assert "Project <POSTHOG_PROJECT_ID> on <POSTHOG_HOST>" in str(shown[dg.AssetKey("posthog")])


def specs_of(one: object) -> list[tuple[dg.AssetKey, dg.AssetSpec]]:
    specs = [one] if isinstance(one, dg.AssetSpec) else list(getattr(one, "specs", []))
    return [(spec.key, spec) for spec in specs]


def test_the_expected_project_must_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHOG_HOST", "https://eu.i.posthog.com")
    monkeypatch.setenv("POSTHOG_PROJECT_API_KEY", "phc_x")
    monkeypatch.setenv("POSTHOG_PROJECT_ID", "2")
    monkeypatch.setenv("POSTHOG_EXPECTED_PROJECT", "1")
    with pytest.raises(SettingsError, match="nothing is sent"):
        _ = load().target_identity


def test_posthog_cloud_is_paced_and_a_host_of_ones_own_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POSTHOG_HOST", "https://eu.i.posthog.com")
    assert load().events_per_second == CLOUD_EVENTS_PER_SECOND
    for own in ("https://posthog.example.com:8000", "https://my-posthog.com"):
        monkeypatch.setenv("POSTHOG_HOST", own)
        assert load().events_per_second is None
    file = tmp_path / "settings.yaml"
    file.write_text("delivery: {events_per_second: 500}")
    monkeypatch.setenv("SNOWPLOW_POSTHOG_SETTINGS", str(file))
    assert load().events_per_second == 500


def test_encryption_reaches_every_put(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("workspace: {encryption: 'aws:kms', kms_key_id: key-1}")
    monkeypatch.setenv("SNOWPLOW_POSTHOG_SETTINGS", str(file))
    assert load().put_options == {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "key-1"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("delivery: {speed: 9}", "delivery.speed"),
        ("delivery: {max_connections: many}", "delivery.max_connections"),
        ("archive: [{prefix: a/, from: 2022-01-01}, {prefix: b/, from: 2023-01-01}]", "overlap"),
        ("archive: [{prefix: a/, until: 2022-01-01}, {prefix: b/, from: 2023-01-01}]", "nothing holds the days"),
        ("a: [", "not YAML: line 1: "),
        ("delivery:\n\tproduction: true", "not YAML: line 2: "),
        ("delivery: {production: true}\ndelivery: {max_connections: 3}", "'delivery' stands there twice"),
        ("mapping:\n  privacy: {preset: strict}\n  privacy: {drop: [user_id]}", "'privacy' stands there twice"),
        ("alerts: {channels: {data: '#data'}}", "alerts.channels.data.*'data' is no owner"),
        ("mapping: {privacy: {drop: user_id}}", r"privacy.drop: Input should be a list, as in \[one, two\]$"),
        ("mapping: {privacy: {drop: [nothing]}}", "privacy.drop.0: 'nothing' is no column"),
    ],
)
def test_a_wrong_settings_file_is_named_with_the_place(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    with pytest.raises(SettingsError, match=words) as caught:
        load_file(file)
    assert "settings.yaml" in str(caught.value)


@pytest.mark.parametrize("section", ["s3", "delivery"])
def test_a_proxy_with_a_password_is_refused_without_showing_it(tmp_path: Path, section: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"{section}: {{proxy: 'http://anna:open-sesame@proxy.example:3128'}}")
    with pytest.raises(SettingsError, match=f"{section}.proxy: .*Dagster's UI shows") as caught:
        load_file(str(file))
    assert "sesame" not in str(caught.value)
    file.write_text(f"{section}: {{proxy: 'http://proxy.example:3128'}}")
    load_file(str(file))


@pytest.mark.parametrize("section", ["s3", "delivery"])
@pytest.mark.parametrize(
    ("address", "words"), [("proxy.example:3128", "http://host:port"), ("anna:open-sesame@proxy:3128", "no place here")]
)
def test_a_proxy_without_its_scheme_is_refused_and_hides_no_password(
    tmp_path: Path, section: str, address: str, words: str
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"{section}: {{proxy: '{address}'}}")
    with pytest.raises(SettingsError, match=f"{section}.proxy: .*{words}") as caught:
        load_file(str(file))
    assert "sesame" not in str(caught.value)


def test_a_settings_file_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_file("/nowhere/settings.yaml")


def test_the_archive_list_is_read_with_its_dates(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("archive: [{prefix: a/, until: 2022-01-01}, {prefix: b/, from: 2022-01-02}]")
    first, second = load_file(file).archive
    assert (first.until, second.start) == (dt.date(2022, 1, 1), dt.date(2022, 1, 2))


@pytest.mark.parametrize(("codec", "level", "good"), [("isal", 3, True), ("isal", 4, False), ("zlib", 9, True)])
def test_a_level_that_the_codec_does_not_have_is_refused_before_it_breaks_every_object(
    tmp_path: Path, codec: str, level: int, good: bool
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"transform: {{codec: {codec}, level: {level}}}")
    if good:
        assert load_file(str(file)).transform.level == level
        return
    with pytest.raises(SettingsError, match="isal, which has 0 to 3"):
        load_file(str(file))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("archive: []", "archive: .*at least 1"),
        ("archive: [{prefix: a/, source: segment}]", "archive.0.source: .*'snowplow'"),
        ("automation: {nightly_cron: at night}", "automation.nightly_cron: .*five fields"),
        ("automation: {late_files_cron: 90 2 * * *}", "automation.late_files_cron: .*five fields"),
        ("owners: [data]", "owners.0: .*team:name"),
        ("alerts: {checks: [broken_object]}", "alerts.checks.0: .*'broken_object' is no check; .*broken_objects"),
        ("alerts: {thresholds: {posthog_event: 3}}", "alerts: .*posthog_event; .*posthog_events"),
        ("- archive", "holds no sections"),
        ("just words", "holds no sections"),
    ],
)
def test_what_no_run_could_work_with_is_one_line(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    with pytest.raises(SettingsError, match=words) as caught:
        load_file(file)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(file))


@pytest.mark.parametrize("cron", ["*/15 0-6,22 * * mon-fri", "@daily", "0 3 L * *", "5 4 * jan 7"])
def test_what_dagster_takes_for_a_schedule_is_taken(cron: str) -> None:
    AutomationSection(nightly_cron=cron)
    dg.ScheduleDefinition(name="nightly", cron_schedule=cron, job_name="any")


def test_a_settings_file_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_bytes("owners: ['team:Caf\u00e9']".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"settings.yaml is not UTF-8 \(byte 19\)"):
        load_file(file)


@pytest.mark.parametrize("bucket", ["s3://b/x", "bucket/output", "my bucket"])
def test_a_bucket_is_given_by_its_name_alone(monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    monkeypatch.setenv("AWS_S3_SNOWPLOW_BUCKET", bucket)
    with pytest.raises(SettingsError, match=r"AWS_S3_SNOWPLOW_BUCKET: .*name alone"):
        load()


def test_an_access_point_may_stand_for_the_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_S3_SNOWPLOW_BUCKET", "arn:aws:s3:eu-west-1:123456789012:accesspoint/archive")
    assert load().archive_bucket.endswith("accesspoint/archive")


@pytest.mark.parametrize("start", ["2022-06-07", None])
def test_an_end_before_the_start_is_refused(monkeypatch: pytest.MonkeyPatch, start: str | None) -> None:
    if start:
        monkeypatch.setenv("POSTHOG_BACKFILL_START_DATE", start)
    monkeypatch.setenv("POSTHOG_BACKFILL_END_DATE", "2018-06-06")
    with pytest.raises(SettingsError, match="POSTHOG_BACKFILL_END_DATE 2018-06-06 lies before") as caught:
        load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("start", "end"), [(None, None), ("2022-06-06", "2022-06-08"), (None, "2999-01-01")])
def test_the_first_and_the_last_day_are_those_of_the_partitions(start: str | None, end: str | None) -> None:
    environment = Environment.model_validate({"posthog_backfill_start_date": start, "posthog_backfill_end_date": end})
    current = Settings(environment, SettingsFile())
    keys = daily_partitions(current).get_partition_keys()
    assert (f"{current.first_day}", f"{current.last_day}") == (keys[0], keys[-1])


def test_a_blank_flag_is_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, starts in (("", False), (" ", False), ("true\n", True)):
        monkeypatch.setenv("SNOWPLOW_POSTHOG_START_AUTOMATION", value)
        assert load().starts_automation is starts


def test_thresholds_of_other_code_locations_have_other_names() -> None:
    assert AlertsSection(all_code_locations=True, thresholds={"their_asset": 3}).threshold_of("their_asset") == 3


def test_the_names_that_settings_may_hold_are_those_of_the_assets_their_checks_and_the_sources() -> None:
    graph = build_definitions(load()).resolve_asset_graph()
    assert {key.name for key in graph.asset_check_keys} == set(CHECKS)
    assert {key.path[-1] for key in graph.materializable_asset_keys} == set(ASSETS)
    for source in get_args(ArchiveSection.model_fields["source"].annotation):
        source_for(source, Mapper(MappingSettings()), "object", "2022-06-06", 1)
