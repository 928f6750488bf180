"""Rotating the project's key as docs/deploy.md says: paused, accepted, resumed, and no day is sent again."""

import os

import pytest
from typer.testing import CliRunner

from snowplow_posthog_dagster.cli import app
from snowplow_posthog_dagster.sandbox.projects import Project
from tests.ground import DAY, lines_of


@pytest.fixture
def typed(ground, s3_environment, monkeypatch, tmp_path):
    """`snowplow-posthog ...` under the ground's variables."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        for name in [name for name in os.environ if name.startswith(("POSTHOG_", "SNOWPLOW_POSTHOG_"))]:
            monkeypatch.delenv(name)
        for name, value in {**s3_environment, **ground.variables()}.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(app, list(words), catch_exceptions=False)

    return run


def rotate(ground):
    """The same project gets another key; the old one leads nowhere."""
    ground.posthog.set_projects([Project(id=int(ground.posthog.project_id), name="rotated", api_token="phc_rotated")])
    ground.environment = {"POSTHOG_PROJECT_API_KEY": "phc_rotated"}


def test_after_a_rotation_nothing_is_sent_again_and_new_files_go_out_under_the_new_key(ground, typed):
    before = lines_of(4)
    ground.put("morning", before, hour=8)
    assert typed("load", f"{DAY}").exit_code == 0
    assert typed("pause", "--reason", "rotate").exit_code == 0
    rotate(ground)
    refused = typed("load", f"{DAY}")
    assert refused.exit_code != 0
    assert "phc_rotated" not in refused.output
    assert ground.posthog.raw_rows() == len(before)
    assert typed("target", "accept-key").exit_code == 0
    assert typed("resume").exit_code == 0
    requests = ground.posthog.totals()["requests"]
    assert typed("load", f"{DAY}").exit_code == 0
    assert ground.posthog.totals()["requests"] == requests, "history is not sent again"
    ground.put("afternoon", lines_of(2), hour=15)
    assert typed("load", f"{DAY}").exit_code == 0
    assert len(list(ground.posthog.raw("phc_rotated"))) == 2
    assert ground.posthog.lost() == []
