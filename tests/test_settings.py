"""Settings: a wrong shape is one line that names the variable; a missing value is found when it is used."""

import datetime as dt
from pathlib import Path

import pytest

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.settings import CLOUD_EVENTS_PER_SECOND, load, load_file


def test_nothing_is_needed_to_load() -> None:
    current = load()
    assert current.environment.posthog_target == "default"
    assert current.archive_entries[0].prefix == "output/"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("POSTHOG_BACKFILL_START_DATE", "06/06/2022", "POSTHOG_BACKFILL_START_DATE"),
        ("POSTHOG_BACKFILL_END_DATE", "soon", "POSTHOG_BACKFILL_END_DATE"),
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


@pytest.mark.parametrize("host", ["ftp://x", "https://", "https://user:secret@x.example"])
def test_what_is_no_host_is_refused_without_showing_a_password(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("POSTHOG_HOST", host)
    with pytest.raises(SettingsError) as caught:
        _ = load().host
    assert "secret" not in str(caught.value)


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
    monkeypatch.setenv("POSTHOG_HOST", "https://posthog.example.com:8000")
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
        ("a: [", "not YAML"),
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
