"""Alerts on a real Dagster instance with real runs, against a server that speaks Slack's API.

The assets have the project's names and fail on request; the sensors are the project's own.
"""

import datetime as dt
import time

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from snowplow_posthog_dagster.automation import failures, slack_alerts
from snowplow_posthog_dagster.automation.alert_memory import HeldDays
from snowplow_posthog_dagster.automation.alert_words import LONGEST_TEXT, ending_of
from snowplow_posthog_dagster.automation.check_alerts import Evaluation, _due
from snowplow_posthog_dagster.errors import AuthenticationError, StorageUnavailableError
from snowplow_posthog_dagster.resources.slack import AlertSlackResource
from snowplow_posthog_dagster.settings import AlertsSection
from snowplow_posthog_dagster.storage.s3 import Bucket, Connection, connect

# Only the tests' own context needs what is in beta; the sensors get the repository from Dagster.
pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")


def test_a_failure_is_told_to_the_owner_of_the_failed_asset(desk):
    desk.errors["posthog_events"] = AuthenticationError("PostHog refused the project API key (401)")
    run = desk.run("2022-01-05")
    assert desk.slack.texts("#growth") == desk.slack.texts()
    (text,) = desk.slack.texts()
    for words in (
        "posthog_events",
        "2022-01-05",
        "AuthenticationError",
        "401",
        run.run_id,
        "*Next:*",
        "docs/runbook.md#wrong-key",
    ):
        assert words in text


def test_a_run_that_could_not_reach_s3_is_told_with_the_place_and_the_chapter_of_s3(desk):
    away = Connection("http://127.0.0.1:9", "eu-central-1", access_key_id="a", secret_access_key="b", max_attempts=1)
    with pytest.raises(StorageUnavailableError) as caught:
        Bucket(connect(away), "archive").get("output/a.gz")
    desk.errors["posthog_events"] = caught.value
    desk.run("2022-01-05")
    (text,) = desk.slack.texts()
    assert "StorageUnavailableError" in text and "cannot read s3://archive/output/a.gz" in text
    assert "docs/runbook.md#s3" in text and "look at S3's status" in text


def test_of_an_error_without_a_chapter_the_innermost_is_told(desk):
    error = KeyError("outer")
    error.__cause__ = ValueError("the reason")
    desk.errors["posthog_events"] = error
    desk.run("2022-01-05")
    (text,) = desk.slack.texts()
    assert "ValueError" in text and "the reason" in text and "docs/runbook.md#unknown-error" in text


def test_a_run_of_the_sensor_needs_nobody_to_start_it_again(desk):
    desk.errors["posthog_events"] = ValueError("x")
    desk.run("2022-01-05", tags={"dagster/sensor_name": "new_snowplow_files"})
    desk.run("2022-01-06")
    live, by_hand = desk.slack.texts()
    assert "The sensor starts this day again by itself" in live
    assert "by itself" not in by_hand


def test_the_link_leads_to_the_run(desk):
    desk.alerts["webserver_url"] = "https://dagster.example.com/"
    desk.errors["posthog_events"] = ValueError("x")
    run = desk.run("2022-01-05")
    assert f"<https://dagster.example.com/runs/{run.run_id}|" in desk.slack.texts()[0]


def test_an_owner_without_a_channel_goes_to_the_default_one(desk):
    desk.errors["another"] = ValueError("broken")
    desk.run("2022-01-05", "another")
    assert len(desk.slack.texts("#data-alerts")) == 1


def test_an_unknown_channel_falls_back_to_the_default_one(desk):
    desk.alerts["channels"] = {"anna@example.com": "#closed"}
    desk.errors["posthog_events"] = ValueError("broken")
    desk.run("2022-01-05")
    desk.watch(later=1)
    (text,) = desk.slack.texts("#data-alerts")
    assert "#closed" in text


def test_a_day_that_keeps_failing_is_said_once_an_hour(desk):
    desk.errors["posthog_events"] = ValueError("broken")
    for _ in range(3):
        desk.run("2022-01-05")
    assert len(desk.slack.texts()) == 1
    desk.run("2022-01-06")
    assert len(desk.slack.texts()) == 2
    desk.alerts["repeat_minutes"] = 0
    desk.run("2022-01-05")
    assert "4 times by now" in desk.slack.texts()[-1]


def test_a_recovery_is_said_once(desk):
    desk.errors["posthog_events"] = ValueError("broken")
    desk.run("2022-01-05")
    desk.watch()
    assert len(desk.slack.texts()) == 1
    desk.errors.clear()
    desk.run("2022-01-05")
    desk.watch()
    desk.watch()
    assert len(desk.slack.texts()) == 2
    assert "recovered" in desk.slack.texts("#growth")[-1]


def test_a_success_of_another_day_is_no_recovery(desk):
    desk.errors["posthog_events"] = ValueError("broken")
    desk.run("2022-01-05")
    desk.errors.clear()
    desk.run("2022-01-06")
    desk.watch()
    assert len(desk.slack.texts()) == 1


def nightly(desk, error: Exception | None = None) -> None:
    """A run of a job that makes no asset."""

    @dg.op
    def reconcile_and_tidy() -> None:
        if error:
            raise error

    @dg.job
    def nightly_job() -> None:
        reconcile_and_tidy()

    result = nightly_job.execute_in_process(instance=desk.instance, raise_on_error=False)
    if not result.success:
        desk.see(result.dagster_run, result.get_run_failure_event())


def test_a_job_that_makes_no_asset_recovers_when_it_succeeds(desk):
    nightly(desk)
    nightly(desk, ValueError("S3 was away"))
    assert "S3 was away" in desk.slack.texts("#data-alerts")[-1]
    assert desk.watch().startswith("1 alerts open")
    nightly(desk)
    assert desk.watch().startswith("0 alerts open")
    assert "*reconcile_and_tidy* recovered: no partition" in desk.slack.texts("#data-alerts")[-1]
    nightly(desk, ValueError("another night"))
    assert "times by now" not in desk.slack.texts()[-1], "the night in March is over"


def test_a_threshold_counts_failures_in_a_row_of_different_days(desk):
    desk.alerts["thresholds"] = {"posthog_events": 3}
    desk.errors["posthog_events"] = ValueError("broken")
    desk.run("2022-01-01")
    desk.run("2022-01-01")
    desk.run("2022-01-01")
    desk.run("2022-01-02")
    assert desk.slack.texts() == []
    desk.run("2022-01-03")
    assert len(desk.slack.texts()) == 1


def test_a_success_in_between_starts_the_count_again(desk):
    desk.alerts["thresholds"] = {"posthog_events": 2}
    broken = ValueError("broken")
    for day, error in (("01", broken), ("02", None), ("03", broken)):
        desk.errors["posthog_events"] = error
        desk.run(f"2022-01-{day}")
    assert desk.slack.texts() == []
    desk.run("2022-01-04")
    assert len(desk.slack.texts()) == 1


def test_only_the_last_of_several_retries_is_told(desk):
    desk.errors["posthog_events"] = ValueError("broken")
    desk.run("2022-01-05", tags={"dagster/will_retry": "true"})
    assert desk.slack.texts() == []
    desk.run("2022-01-05", tags={"dagster/will_retry": "false"})
    assert len(desk.slack.texts()) == 1


def test_the_retries_of_a_run_count_as_one_failure(desk, monkeypatch):
    monkeypatch.setattr(failures, "_KEEPS_FAILING_SECONDS", 0)
    desk.alerts["thresholds"] = {"posthog_events": 3}
    job = desk.definitions().resolve_implicit_global_asset_job_def()

    def fail(of: dg.DagsterRun | None = None) -> dg.DagsterRun:
        """A run that dies before its first step, as on Kubernetes, `of` another when it is its retry."""
        told = {"parent_run_id": of.run_id, "root_run_id": of.run_id} if of else {}
        run: dg.DagsterRun = desk.instance.create_run_for_job(
            job,
            tags={"dagster/partition": "2022-01-05"},
            asset_selection=frozenset({dg.AssetKey("posthog_events")}),
            status=dg.DagsterRunStatus.STARTED,
            **told,
        )
        desk.see(run, desk.instance.report_run_failed(run))
        return run

    first = fail()
    fail(of=first)
    fail(of=first)
    fail()
    assert desk.slack.texts() == [], "two failures, one of them with two retries"
    fail()
    assert len(desk.slack.texts()) == 1


def test_a_backfill_gives_one_message_with_its_count(desk):
    tags = {"dagster/backfill": "abcdefgh"}
    waiting = desk.instance.create_run_for_job(
        desk.definitions().resolve_implicit_global_asset_job_def(), tags=tags, status=dg.DagsterRunStatus.STARTED
    )
    desk.errors["posthog_events"] = ValueError("broken")
    for day in ("03", "04", "05"):
        desk.run(f"2022-01-{day}", tags=tags)
    assert desk.slack.texts() == [], "the backfill is not over"
    desk.instance.report_run_canceled(waiting)
    desk.watch()
    desk.watch()
    (text,) = desk.slack.texts("#growth")
    assert "3 of 4 runs failed" in text
    assert "2022-01-03, 2022-01-04, 2022-01-05" in text
    desk.errors.clear()
    for day in ("03", "04", "05"):
        desk.run(f"2022-01-{day}")
    desk.watch()
    assert "recovered after 3 failures" in desk.slack.texts()[-1]


def test_a_muted_run_is_not_told(desk):
    desk.errors["posthog_events"] = ValueError("broken")
    desk.run("2022-01-05", tags={"disable_slack_notifications": "true"})
    assert desk.slack.attempts == 0


def test_outside_production_it_is_silent_unless_told(desk):
    desk.production = False
    desk.errors["posthog_events"] = ValueError("broken")
    desk.run("2022-01-05")
    assert desk.slack.attempts == 0
    desk.alerts["outside_production"] = True
    desk.run("2022-01-06")
    assert len(desk.slack.texts()) == 1


def test_without_a_token_it_says_why(desk):
    assert "SLACK_BOT_TOKEN" in slack_alerts.why_silent(desk.graph, AlertSlackResource())


def test_nothing_is_lost_while_slack_asks_to_wait(desk):
    desk.slack.answers.append((429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "30"}))
    desk.errors["posthog_events"] = ValueError("broken")
    desk.run("2022-01-05")
    assert desk.slack.texts() == []
    assert "1 wait for Slack" in desk.watch(later=10)
    desk.watch(later=60)
    assert len(desk.slack.texts()) == 1


def test_nothing_is_lost_while_slack_is_down_or_refuses(desk):
    desk.errors["posthog_events"] = ValueError("broken")
    desk.slack.answers += [(503, {}, {}), (200, {"ok": False, "error": "fatal_error"}, {})]
    url, desk.slack.url = desk.slack.url, "http://127.0.0.1:9/api/"
    desk.run("2022-01-05")
    desk.slack.url = url
    for hours in range(1, 4):
        desk.watch(later=3700 * hours)
    assert len(desk.slack.texts()) == 1
    assert desk.slack.attempts == 3


def test_a_long_cause_is_cut_in_the_middle(desk):
    desk.errors["posthog_events"] = ValueError("first words " + "<&>" * 20_000 + " last words")
    desk.run("2022-01-05")
    (text,) = desk.slack.texts()
    assert len(text) <= LONGEST_TEXT
    assert "first words" in text
    assert "last words" in text


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("Run execution process for 1a2b unexpectedly exited with exit code -9", "out of memory"),
        ("Detected run worker status FAILED: Run has not completed but K8s job has no active pods", "out of memory"),
        ("Run timed out due to taking longer than 180 seconds to start.", "could not be scheduled"),
        ("pod is Pending: 0/3 nodes are available: Insufficient memory (unschedulable)", "could not be scheduled"),
        ('Back-off pulling image "registry/x:1": ImagePullBackOff', "image could not be pulled"),
    ],
)
def test_a_run_that_was_killed_is_named_as_such(desk, message, named):
    assert named in ending_of(message).words
    job = desk.definitions().resolve_implicit_global_asset_job_def()
    run = desk.instance.create_run_for_job(
        job,
        tags={"dagster/partition": "2022-01-05"},
        status=dg.DagsterRunStatus.STARTED,
        asset_selection=frozenset({dg.AssetKey("posthog_events")}),
    )
    event = desk.instance.report_run_failed(run, message)
    desk.see(run, event)
    (text,) = desk.slack.texts("#growth")
    assert named in text
    assert "2022-01-05" in text


def test_a_failing_check_is_told_while_the_run_succeeds(desk):
    desk.check_passes = False
    for day in ("03", "04"):
        assert desk.run(f"2022-01-{day}").success
    desk.watch()
    desk.watch()
    (text,) = desk.slack.texts("#growth")
    assert "broken_objects" in text
    assert "2022-01-03, 2022-01-04" in text
    assert "left: 1 broken object" in text
    desk.check_passes = True
    desk.run("2022-01-03")
    desk.watch()
    assert "passes again for 2022-01-03" in desk.slack.texts()[-1]


def test_the_days_of_a_backfill_for_which_a_check_fails_are_told_together(desk):
    desk.check_passes = False
    for day in ("2022-01-05", "2022-01-06", "2022-01-07"):
        desk.run(day)
        desk.watch()
    assert len(desk.slack.texts()) == 1 and "fails for 2022-01-05\n" in desk.slack.texts()[0]
    desk.check_passes = True
    desk.run("2022-01-06")
    desk.watch()
    assert len(desk.slack.texts()) == 1, "nobody was told that it failed"
    desk.check_passes = False
    desk.run("2022-01-08")
    desk.watch(later=3_500)
    assert len(desk.slack.texts()) == 1
    desk.watch(later=3_700)
    assert "fails for 2022-01-07, 2022-01-08\n" in desk.slack.texts()[-1]
    desk.watch(later=8_000)
    assert len(desk.slack.texts()) == 2
    desk.check_passes = True
    desk.run("2022-01-08")
    desk.watch(later=8_000)
    assert "passes again for 2022-01-08" in desk.slack.texts()[-1]


def test_a_check_of_today_is_told_at_once_whatever_history_was_told_of(desk):
    now = time.time()
    today = f"{dt.datetime.now(dt.UTC).date()}"
    bad = [Evaluation(1, "2022-01-05", passed=False, words="old"), Evaluation(2, today, passed=False, words="new")]
    held = HeldDays(last_said=now)
    assert _due(held, bad, [], AlertsSection(), now) == ([today], "new")
    assert held.days == ["2022-01-05"]


def test_a_check_that_is_not_chosen_is_not_told(desk):
    desk.alerts["checks"] = ["records_present"]
    desk.check_passes = False
    desk.run("2022-01-03")
    desk.watch()
    assert desk.slack.attempts == 0


@pytest.mark.parametrize("every", [False, True])
def test_a_run_of_another_code_location_is_told_only_when_all_are_asked_for(desk, every):
    desk.alerts["all_code_locations"] = every
    job = desk.definitions().resolve_implicit_global_asset_job_def()
    sensor = slack_alerts.build_slack_sensors(desk.graph)[0]

    def tick(cursor: str | None) -> str | None:
        context = dg.build_sensor_context(
            instance=desk.instance,
            cursor=cursor,
            repository_def=desk.definitions().get_repository_def(),
            resources={"slack": desk.resource},
        )
        cursor_after: str | None = sensor.evaluate_tick(context).cursor
        return cursor_after

    cursor = tick(None)
    for location in ("elsewhere", None):
        origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "theirs") if location else None
        run = desk.instance.create_run_for_job(
            job,
            tags={"dagster/partition": "2022-01-05" if origin else "2022-01-06"},
            status=dg.DagsterRunStatus.STARTED,
            remote_job_origin=RemoteJobOrigin(origin, job.name) if origin else None,
        )
        desk.instance.report_run_failed(run)
        cursor = tick(cursor)
    told = [day for text in desk.slack.texts() for day in ("2022-01-05", "2022-01-06") if day in text]
    assert told == (["2022-01-05", "2022-01-06"] if every else ["2022-01-06"])


def test_both_sensors_run_from_the_start(desk):
    sensors = slack_alerts.build_slack_sensors(desk.graph)
    assert [sensor.name for sensor in sensors] == ["slack_on_failure", "slack_watch"]
    assert {sensor.default_status for sensor in sensors} == {dg.DefaultSensorStatus.RUNNING}


def test_a_failing_check_says_what_to_do_and_links_to_its_page(desk):
    desk.alerts["webserver_url"] = "https://dagster.example.com/"
    desk.check_passes = False
    desk.run("2022-01-05")
    desk.watch()
    (text,) = desk.slack.texts()
    assert "*Next:* ask the Snowplow pipeline for the file again" in text
    assert "<https://dagster.example.com/assets/posthog_events?view=checks|checks of posthog_events>" in text
    assert "docs/runbook.md#broken-objects" in text


def test_every_check_that_alerts_by_default_says_what_to_do():
    from snowplow_posthog_dagster.automation.check_alerts import _NEXT_STEPS

    assert set(AlertsSection().checks) <= set(_NEXT_STEPS)


def test_a_failing_check_that_somebody_accepts_is_not_told_to_pass(desk):
    desk.check_passes = False
    desk.run("2022-01-05")
    desk.watch()
    desk.accepted = "accepted by ann until 2022-02-01: <known>"
    desk.run("2022-01-05")
    desk.watch()
    failing, accepted = desk.slack.texts()
    assert "fails for 2022-01-05" in failing
    assert "fails on for 2022-01-05, accepted by ann until 2022-02-01: &lt;known&gt;" in accepted
    desk.run("2022-01-05")
    desk.watch()
    assert len(desk.slack.texts()) == 2, "who accepted it is not told again"


def test_what_a_run_died_of_is_told_without_dagsters_stack_trace():
    cause = ending_of(
        'Execution of run for "load_day" failed. DagsterSubprocessError: errors occurred in child processes:\n'
        "In process 6315: NameError: name 'job' is not defined\n\nStack Trace:\n"
        '  File "/x/dagster/_core/executor/child_process_executor.py", line 79, in _execute\n'
        "    for step_event in command.execute():\n"
        '  File "/x/dagster/_core/executor/multiprocess.py", line 93, in execute\n'
        "    execution_plan = create_execution_plan(\n                     ^^^^^^^\n"
    )
    assert cause.words.endswith("NameError: name 'job' is not defined")
    assert cause.chapter == "unknown-error"
    killed = ending_of('Stack Trace:\n  File "x", line 1\n    y\nunexpectedly exited')
    assert killed.chapter == "killed-run", "what stands behind a trace is still read"
