"""Metrics as Prometheus sees them: scraped over HTTP from the real command, beside real loads."""

import contextlib
import datetime as dt
import gzip
import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from snowplow_posthog_dagster.cli import app
from snowplow_posthog_dagster.loading.measures import DayMeasure, measured
from snowplow_posthog_dagster.loading.metrics import PLACES, PREFIX, MetricsOfTarget, families, json_line, log_day
from snowplow_posthog_dagster.sandbox.faults import Fault
from snowplow_posthog_dagster.storage.s3 import Bucket
from snowplow_posthog_dagster.storage.workspace import Workspace
from tests.ground import DAY, Ground, lines_of, user_line

NEXT = DAY + dt.timedelta(days=1)
REPOSITORY = Path(__file__).resolve().parents[2]

Samples = dict[tuple[str, ...], float]


def samples_of(text: str) -> Samples:
    """Values by short name and labels, the target left out: ("day_records", "2022-06-06", "mapped")."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = [value for name, value in sorted(sample.labels.items()) if name != "target"]
            found[sample.name.removeprefix(PREFIX), *labels] = sample.value
    return found


def exposed(ground: Ground, **options) -> Samples:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(MetricsOfTarget(ground.workspace, **{"since": None, "days": 8, **options}))
    return samples_of(generate_latest(registry).decode())


@contextlib.contextmanager
def exporter(ground: Ground, s3: dict[str, str]) -> Iterator[str]:
    """`snowplow-posthog metrics --port 0` as a process of its own; gives the address that it prints."""
    environment = {**s3, **ground.variables(), "PATH": "/usr/bin:/bin", "AWS_EC2_METADATA_DISABLED": "true"}
    command = [sys.executable, "-m", "snowplow_posthog_dagster.cli", "metrics", "--port", "0"]
    with subprocess.Popen(
        command,
        cwd=REPOSITORY / "tests",
        env={**environment, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            assert process.wait(timeout=20) == 0


def scraped(address: str) -> Samples:
    with urllib.request.urlopen(address, timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return samples_of(answer.read().decode())


def test_a_scrape_agrees_with_status_while_days_are_loaded_beside_each_other(ground: Ground, s3_environment):
    ground.put("a", [*lines_of(5), user_line("x", txn_id="many")])
    ground.put("b", lines_of(7), day=NEXT)
    ground.posthog.play(Fault(name="busy", status=503, times=2))
    with exporter(ground, s3_environment) as address:
        assert scraped(address)["readable",] == 1
        loads = [threading.Thread(target=ground.run, args=(day,)) for day in (DAY, NEXT)]
        for load in loads:
            load.start()
        for load in loads:
            load.join()
        found = scraped(address)
    for day in (DAY, NEXT):
        counts = ground.counts(day)
        for place in ("records", *PLACES):
            assert found["day_records", f"{day}", place] == getattr(counts, place), place
    assert found["records_total",] == 13
    assert found["events_acknowledged_total",] == 12
    assert found["requests_total", "503"] == found["retries_total", "503"] == 2
    assert found["requests_total", "200"] == 2
    assert ("retries_total", "200") not in found
    assert found["dead_letters_total", "RowDecodingError: txn_id", "transform"] == 1
    assert found["pending_events",] == found["broken_objects",] == found["unaccounted_objects",] == 0
    assert found["last_acknowledged_hour",] == dt.datetime(2022, 6, 7, 4, tzinfo=dt.UTC).timestamp()
    assert found["sent_bytes_total",] > 100 and found["delivery_rate",] > 0


def test_only_answers_after_which_a_body_is_sent_again_count_as_retries():
    answers = dict.fromkeys(("0", "200", "302", "400", "402", "404", "408", "413", "425", "429", "500", "520"), 1)
    found = families({DAY: DayMeasure(statuses=answers)}, "default", now=dt.datetime.now(dt.UTC), days=0)
    (retries,) = (family for family in found if family.name == f"{PREFIX}retries")
    counted = {sample.labels["status"] for sample in retries.samples if sample.value}
    assert counted == {"0", "404", "408", "425", "429", "500", "520"}


def test_what_is_broken_pending_or_paused_shows(ground: Ground):
    ground.put("a", lines_of(3))
    ground.s3.put_object(
        Bucket=ground.buckets[0], Key="output/2022/06/06/05/broken.gz", Body=gzip.compress(b"x" * 9000)[:-9]
    )
    ground.transform()
    ground.workspace.append_control(
        {"kind": "pause", "by": "ann", "reason": "billing", "until": None, "at": "2022-06-06T00:00:00Z"}
    )
    found = exposed(ground)
    assert (found["broken_objects",], found["pending_events",], found["paused",]) == (1, 3, 1)
    assert ("last_acknowledged_hour",) not in found, "nothing was: absent() sees it"


def test_counters_start_where_the_settings_say_and_few_days_have_numbers_of_their_own(ground: Ground):
    for day in (DAY, NEXT):
        ground.put("a", lines_of(2), day=day)
        ground.run(day)
    assert exposed(ground)["records_total",] == 4
    assert exposed(ground, since=NEXT)["records_total",] == 2
    days = {key[1] for key in exposed(ground, days=1) if key[0] == "day_records"}
    assert days == {f"{NEXT}"}


def test_a_workspace_that_cannot_be_read_is_said_and_nothing_else(ground: Ground, capsys):
    workspace = Workspace(Bucket(ground.s3, "no-such-bucket"), "posthog/", "default")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(MetricsOfTarget(workspace, since=None, days=8))
    assert samples_of(generate_latest(registry).decode()) == {("readable",): 0}
    assert "no-such-bucket" in capsys.readouterr().err


def test_the_json_line_of_a_step_has_the_same_names(ground: Ground, tmp_path: Path):
    ground.put("a", lines_of(3))
    ground.run()
    load = ground.load()
    file = tmp_path / "metrics.jsonl"
    for step in ("posthog_batches", "posthog_events"):
        log_day(f"{file}", load.workspace, DAY, measured(load.log.entries(), load.log.state()), step=step, run="r")
    log_day(None, load.workspace, DAY, measured([], load.log.state()))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["step"] for line in lines] == ["posthog_batches", "posthog_events"]
    assert lines[1]["day"] == f"{DAY}" and lines[1]["target"] == "default"
    assert lines[1][f"{PREFIX}events_acknowledged_total"] == 3
    assert lines[1][f"{PREFIX}requests_total"] == {"200": 1}
    whole = json.loads(json_line(MetricsOfTarget(ground.workspace, since=None, days=8).collect()))
    assert {name for name in lines[1] if name.startswith(PREFIX)} <= set(whole)


def test_every_metric_is_documented(ground: Ground):
    ground.put("a", [*lines_of(2), user_line("x", txn_id="many")])
    ground.run()
    names = {key[0] for key in exposed(ground)}
    documented = (REPOSITORY / "docs" / "metrics.md").read_text()
    assert {name for name in names if f"`{PREFIX}{name}`" not in documented} == set()


@pytest.mark.slow
def test_each_step_of_a_run_ends_with_a_line_when_the_settings_ask_for_it(
    ground: Ground, s3_environment, monkeypatch, tmp_path: Path
):
    ground.put("a", lines_of(3))
    lines = tmp_path / "metrics.jsonl"
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"archive: [{{prefix: output/}}]\nmetrics: {{log: {lines}}}\n")
    monkeypatch.chdir(tmp_path)
    variables = {**s3_environment, **ground.variables(), "SNOWPLOW_POSTHOG_SETTINGS": f"{settings}"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["load", f"{DAY}"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    transformed, delivered = (json.loads(line) for line in lines.read_text().splitlines())
    assert (transformed["step"], delivered["step"]) == ("posthog_batches", "posthog_events")
    assert transformed["run"] == delivered["run"]
    assert transformed[f"{PREFIX}pending_events"] == 3 and delivered[f"{PREFIX}pending_events"] == 0
    assert delivered[f"{PREFIX}events_acknowledged_total"] == 3
