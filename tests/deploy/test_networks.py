"""Proxies and CAs of a company's own network, and a PostHog of one's own: the settings reach S3 and PostHog alike."""

from urllib.parse import urlsplit

import pytest

from snowplow_posthog_dagster.commands import doctor
from snowplow_posthog_dagster.errors import StorageUnavailableError
from snowplow_posthog_dagster.loading.setup import archive_of, capture_client_of, connection_of
from snowplow_posthog_dagster.posthog.capture import Verdict
from snowplow_posthog_dagster.posthog.query import QueryClient
from snowplow_posthog_dagster.settings import SettingsFile
from snowplow_posthog_dagster.storage.s3 import Connection
from tests.deploy.networks import path_front, proxy, tls_front
from tests.ground import DAY, lines_of


def port_of(address):
    return urlsplit(address).port


def loaded_under(ground, file, **environment):
    """Load three records under a settings file, every connection made from its sections."""
    ground.put("one", lines_of(3))
    ground.file = SettingsFile.model_validate(file).model_dump(by_alias=True, exclude_unset=True)
    ground.environment = environment
    section = ground.settings.file.s3
    ground.connection = Connection(
        **{
            **section.model_dump(),
            "access_key_id": ground.connection.access_key_id,
            "secret_access_key": ground.connection.secret_access_key,
        }
    )
    del ground.s3
    ground.run()
    return ground.counts()


def test_every_request_of_a_load_passes_the_proxies(ground):
    with proxy() as to_s3, proxy() as to_posthog:
        s3, posthog = ground.connection.endpoint_url, ground.posthog.host
        counts = loaded_under(
            ground,
            {
                "s3": {"endpoint_url": s3, "region": "us-east-1", "proxy": to_s3.address},
                "delivery": {"proxy": to_posthog.address},
            },
        )
        assert counts.acknowledged == 3
        assert len(ground.events()) == 3
        assert {place.split(" ")[1] for place in to_s3.connections} == {f"127.0.0.1:{port_of(s3)}"}
        assert f"POST 127.0.0.1:{port_of(posthog)}" in to_posthog.connections


def test_a_companys_own_ca_is_trusted_for_s3_and_posthog(ground, tmp_path):
    (tmp_path / "s3").mkdir()
    (tmp_path / "posthog").mkdir()
    with (
        tls_front(port_of(ground.connection.endpoint_url), tmp_path / "s3") as s3,
        tls_front(port_of(ground.posthog.host), tmp_path / "posthog") as posthog,
    ):
        counts = loaded_under(
            ground,
            {
                "s3": {
                    "endpoint_url": f"https://127.0.0.1:{s3.port}",
                    "region": "us-east-1",
                    "ca_bundle": str(tmp_path / "s3" / "ca.pem"),
                },
                "delivery": {"ca_bundle": str(tmp_path / "posthog" / "ca.pem")},
            },
            POSTHOG_HOST=f"https://127.0.0.1:{posthog.port}",
        )
        assert counts.acknowledged == 3
        assert s3.connections
        assert posthog.connections


def test_https_goes_through_a_proxy_unopened(ground, tmp_path):
    (tmp_path / "s3").mkdir()
    (tmp_path / "posthog").mkdir()
    with (
        tls_front(port_of(ground.connection.endpoint_url), tmp_path / "s3") as s3,
        tls_front(port_of(ground.posthog.host), tmp_path / "posthog") as posthog,
        proxy() as shared,
    ):
        counts = loaded_under(
            ground,
            {
                "s3": {
                    "endpoint_url": f"https://127.0.0.1:{s3.port}",
                    "region": "us-east-1",
                    "proxy": shared.address,
                    "ca_bundle": str(tmp_path / "s3" / "ca.pem"),
                },
                "delivery": {"proxy": shared.address, "ca_bundle": str(tmp_path / "posthog" / "ca.pem")},
            },
            POSTHOG_HOST=f"https://127.0.0.1:{posthog.port}",
        )
        assert counts.acknowledged == 3
        assert set(shared.connections) == {f"CONNECT 127.0.0.1:{s3.port}", f"CONNECT 127.0.0.1:{posthog.port}"}


def test_an_unknown_ca_is_refused_with_words(ground, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anybody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
    with (
        tls_front(port_of(ground.connection.endpoint_url), tmp_path) as s3,
        tls_front(port_of(ground.posthog.host), tmp_path) as posthog,
    ):
        ground.file = {"s3": {"endpoint_url": f"https://127.0.0.1:{s3.port}", "max_attempts": 1, "region": "us-east-1"}}
        ground.environment = {"POSTHOG_HOST": f"https://127.0.0.1:{posthog.port}"}
        with pytest.raises(StorageUnavailableError, match="SSL"):
            archive_of(ground.settings, connection_of(ground.settings)).list_day(DAY, [4])
        client = capture_client_of(ground.settings)
        answer = client.post(b"")
        client.close()
        assert answer.verdict is Verdict.MISCONFIGURED
        assert "TLS failed" in answer.words


def test_the_query_api_is_reached_through_proxy_and_ca(ground, tmp_path):
    with tls_front(port_of(ground.posthog.host), tmp_path) as posthog, proxy() as between:
        query = QueryClient(
            f"https://127.0.0.1:{posthog.port}",
            ground.posthog.project_id,
            ground.posthog.personal_api_key,
            ca_bundle=str(tmp_path / "ca.pem"),
            proxy=between.address,
        )
        assert query.project().api_token == ground.posthog.project_api_key
        assert between.connections == [f"CONNECT 127.0.0.1:{posthog.port}"]


def test_a_posthog_of_ones_own_may_live_below_a_path_on_a_port(ground):
    with path_front(port_of(ground.posthog.host), "/analytics/posthog") as front:
        host = f"{front.address}/analytics/posthog"
        counts = loaded_under(
            ground,
            {"s3": {"endpoint_url": ground.connection.endpoint_url, "region": "us-east-1"}},
            POSTHOG_HOST=f"{host}/",
        )
        assert counts.acknowledged == 3
        assert set(front.connections) == {"/analytics/posthog/batch/"}
        query = QueryClient(host, ground.posthog.project_id, ground.posthog.personal_api_key)
        assert query.project().project_id == ground.posthog.project_id


def test_a_posthog_of_ones_own_is_not_paced_unless_asked(ground):
    ground.environment = {"POSTHOG_HOST": "https://posthog.example.com:8443/ingest"}
    assert ground.settings.events_per_second is None
    ground.file = {"delivery": {"events_per_second": 500}}
    assert ground.settings.events_per_second == 500


def test_doctor_goes_the_same_way(ground, tmp_path):
    with tls_front(port_of(ground.posthog.host), tmp_path) as posthog, proxy() as between:
        ground.environment = {"POSTHOG_HOST": f"https://127.0.0.1:{posthog.port}"}
        ground.file = {"delivery": {"proxy": between.address, "ca_bundle": str(tmp_path / "ca.pem")}}
        assert "answers" in doctor._host(ground.settings)
        assert "sent and found again" in doctor._test_event(ground.settings)
        assert set(between.connections) == {f"CONNECT 127.0.0.1:{posthog.port}"}
