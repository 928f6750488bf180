"""The example for GitLab's entities, on the one line of production that GitLab has published."""

from pathlib import Path

import orjson
import pytest
import yaml

from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.outcome import Mapped
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.snowplow.lines import records
from snowplow_posthog_dagster.snowplow.record import Record
from tests.mapping.support import GITLAB_EXPERIMENT, GITLAB_STANDARD, event, rule

LINE = Path(__file__).parents[1] / "snowplow" / "data" / "gitlab_struct_event.tsv"


@pytest.fixture(scope="module")
def settings(repository):
    return yaml.safe_load((repository / "examples" / "gitlab-mapping.yaml").read_text(encoding="utf-8"))["mapping"]


def test_the_published_line_is_a_known_users_event_with_groups(settings):
    mapping = Mapper(MappingSettings.model_validate(settings)).for_object(object_id="0" * 32, archive_day="2022-06-06")
    (record,) = records([LINE.read_bytes()])
    assert isinstance(record, Record)
    made = mapping(record)
    assert isinstance(made, Mapped)
    found = orjson.loads(made.event)
    assert found["event"] == "action_active_users_project_repo"
    assert found["distinct_id"] == "448acc11d3ce44ac3434b0b2b615bfaa463fbc0b0e8f662b4d21169dc80b17c2"
    properties = found["properties"]
    assert properties["$process_person_profile"] is True
    assert properties["$groups"] == {"namespace": "109664", "project": "36386061"}
    assert (properties["gitlab_plan"], properties["gitlab_environment"]) == ("free", "production")
    assert not {"$ip", "user_ipaddress", "$geoip_latitude", "$geoip_postal_code"} & set(properties)
    assert properties["$geoip_country_name"] == "United States"


def test_experiments_are_features(settings):
    experiments = [
        (GITLAB_EXPERIMENT.replace("1-0-0", version), {"experiment": name, "variant": variant})
        for version, name, variant in (("0-3-0", "trial", "candidate"), ("1-0-3", "menu", "control"))
    ]
    found = event(settings, v_tracker="js-3.23.0", entities=experiments)["properties"]
    assert (found["$feature/trial"], found["$feature/menu"]) == ("candidate", "control")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"v_tracker": "js-2", "page_urlhost": "localhost"}, "localhost"),
        ({"v_tracker": "js-2", "app_id": "gitlab-staging"}, "staging-apps"),
        ({"v_tracker": "js-2", "page_urlhost": "customers.stg.gitlab.com"}, "staging-hosts"),
        ({"v_tracker": "rb-0.6.1", "entities": [(GITLAB_STANDARD, {"environment": "staging"})]}, "not-production"),
        ({"v_tracker": "andr-1.7.1"}, "other-trackers"),
        ({"v_tracker": "java-1.0.0"}, None),
    ],
)
def test_what_gitlab_leaves_out_is_counted_by_reason(settings, given, name):
    assert rule(settings, **given) == name
