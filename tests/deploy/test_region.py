"""`delivery.require_region`: nothing is sent to a PostHog in another region than the one that was asked for."""

import boto3
import pytest
from moto import mock_aws

from snowplow_posthog_dagster.commands import doctor
from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.settings import DeliverySection, Environment, Settings, SettingsFile


def settings(host, region):
    file = SettingsFile(delivery=DeliverySection(require_region=region))
    return Settings(Environment(posthog_host=host, posthog_project_api_key="phc_key"), file)


@pytest.mark.parametrize("host", ["https://eu.i.posthog.com", "eu.i.posthog.com/", "https://EU.posthog.com"])
def test_a_host_of_the_region_is_taken(host):
    assert ".posthog.com" in settings(host, "eu").host


@pytest.mark.parametrize(
    "host",
    [
        "https://us.i.posthog.com",
        "https://us.posthog.com",
        "https://app.posthog.com",
        "https://posthog.com",
        "https://eu.i.posthog.com.example.org",
        "https://eu.i.posthog.com@us.i.posthog.com",
        "https://posthog.example.eu",
    ],
)
def test_any_other_host_is_refused_when_eu_is_required(host):
    with pytest.raises(SettingsError, match=r"require_region|user name"):
        _ = settings(host, "eu").host


def test_eu_is_refused_when_us_is_required():
    with pytest.raises(SettingsError, match="require_region asks for PostHog Cloud US"):
        _ = settings("https://eu.i.posthog.com", "us").host


def test_nothing_else_of_the_target_is_given_out_for_a_refused_host():
    with pytest.raises(SettingsError, match="require_region"):
        _ = settings("https://us.i.posthog.com", "eu").target_identity
    with pytest.raises(SettingsError, match="require_region"):
        _ = settings("https://us.i.posthog.com", "eu").events_per_second


def test_without_the_setting_every_host_is_taken():
    assert settings("https://posthog.example.org:8443/ingest/", None).host == "https://posthog.example.org:8443/ingest"


@pytest.fixture
def archive_in(monkeypatch):
    """An archive bucket in a region of AWS, and the settings for it with a PostHog host."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():

        def make(region, host):
            client = boto3.client("s3", region_name=region)
            client.create_bucket(Bucket="archive", CreateBucketConfiguration={"LocationConstraint": region})
            return Settings(Environment(posthog_host=host, aws_s3_snowplow_bucket="archive"), SettingsFile())

        yield make


def test_doctor_warns_when_events_of_an_eu_archive_would_go_to_the_us(archive_in):
    told = doctor._region(archive_in("eu-central-1", "https://us.i.posthog.com"))
    assert isinstance(told, doctor.Warned)
    assert "eu-central-1" in told


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-central-1", "https://eu.i.posthog.com"),
        ("us-west-2", "https://us.i.posthog.com"),
        ("eu-west-1", "https://posthog.example.com"),
    ],
)
def test_doctor_does_not_warn_otherwise(archive_in, region, host):
    assert not isinstance(doctor._region(archive_in(region, host)), doctor.Warned)
