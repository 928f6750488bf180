"""An operator's commands, as they are typed: what they say and what they leave in the workspace."""

import datetime as dt
import json
import os
import weakref
from pathlib import Path
from typing import Any

import pytest
from botocore.client import BaseClient
from typer.testing import CliRunner, Result

from snowplow_posthog_dagster.cli import app
from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.faults import Fault
from snowplow_posthog_dagster.storage.day_log import DayLog
from snowplow_posthog_dagster.storage.entries import Done
from snowplow_posthog_dagster.storage.state import DayState
from snowplow_posthog_dagster.storage.suppressed import suppress
from tests.ground import DAY, Ground, lines_of, user_line

TODAY = dt.datetime.now(dt.UTC).date()


class Typed:
    """Types commands on a ground."""

    def __init__(self, ground: Ground, monkeypatch: pytest.MonkeyPatch, s3: dict[str, str]) -> None:
        self.ground = ground
        self._monkeypatch = monkeypatch
        self._s3 = s3

    def __call__(self, *words: str) -> Result:
        for name in [name for name in os.environ if name.startswith(("POSTHOG_", "SNOWPLOW_POSTHOG_"))]:
            self._monkeypatch.delenv(name)
        for name, value in {**self._s3, **self.ground.variables()}.items():
            self._monkeypatch.setenv(name, value)
        return CliRunner().invoke(app, list(words), catch_exceptions=False)


@pytest.fixture
def typed(ground: Ground, monkeypatch: pytest.MonkeyPatch, s3_environment: dict[str, str], tmp_path: Path) -> Typed:
    monkeypatch.chdir(tmp_path)  # no .env of the developer
    return Typed(ground, monkeypatch, s3_environment)


def test_status_shows_every_day_of_the_log(typed: Typed) -> None:
    typed.ground.put("a", [*lines_of(3), b"no record"])
    typed.ground.run()
    typed.ground.put("b", lines_of(2), day=dt.date(2022, 6, 8))
    typed.ground.transform(dt.date(2022, 6, 8))
    shown = typed("status")
    assert shown.exit_code == 0, shown.output
    assert "2022-06-06" in shown.output and "2022-06-08" in shown.output and "all" in shown.output
    only = typed("status", "--from", "2022-06-07", "--to", "2022-06-08")
    assert "2022-06-06" not in only.output and "2022-06-08" in only.output


def test_status_holds_the_states_of_two_days_at_most(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    days = [DAY + dt.timedelta(days=number) for number in range(4)]
    for day in days:
        typed.ground.put("a", lines_of(1), day=day)
        typed.ground.transform(day)
    read, made, alive = DayLog.state, list[weakref.ref[DayState]](), list[int]()

    def state(log: DayLog) -> DayState:
        alive.append(sum(one() is not None for one in made))
        found = read(log)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(DayLog, "state", state)
    assert f"{days[-1]}" in typed("status", "--all-targets").output
    assert len(alive) == 4 and max(alive) <= 1


def test_status_counts_what_a_manifest_names_and_no_run_has_read(typed: Typed) -> None:
    typed.ground.put("a", lines_of(2))
    typed.ground.run()
    typed.ground.put("b", lines_of(2), hour=5)
    typed.ground.put("c", lines_of(2), day=dt.date(2022, 6, 9))
    typed.ground.load().list_new()
    typed.ground.load(dt.date(2022, 6, 9)).list_new()
    table = typed("status").output.partition("Archive objects")[2]
    rows = {line.split()[1]: line.split()[3:9:2] for line in table.splitlines() if "│" in line and "2022-" in line}
    assert rows == {"2022-06-06": ["2", "1", "1"], "2022-06-09": ["1", "0", "1"]}


def test_status_shows_all_targets(typed: Typed) -> None:
    typed.ground.put("a", lines_of(1))
    typed.ground.run()
    typed.ground.environment = {"POSTHOG_TARGET": "second"}
    typed.ground.run()
    assert "Target default" not in typed("status").output
    every = typed("status", "--all-targets").output
    assert "Target default" in every and "Target second" in every


def test_the_evidence_for_support_holds_requests_and_no_secret(typed: Typed, tmp_path: Path) -> None:
    typed.ground.put("a", lines_of(3))
    typed.ground.posthog.play(Fault(name="busy", status=503, times=1, body="overloaded, says ann@example.com"))
    typed.ground.run()
    file = tmp_path / "evidence.json"
    assert typed("status", "--evidence", str(file)).exit_code == 0
    text = file.read_text()
    (day,) = json.loads(text)["targets"]["default"]
    assert day["requests_by_status"] == {"200": 1, "503": 1} and day["events_acknowledged"] == 3
    assert day["bytes_sent"] > 100 and day["deliveries"][0]["retries"] == 1
    for secret in (
        StandInClient.project_api_key,
        StandInClient.personal_api_key,
        "ann@",
        "user-0",
        *typed.ground.buckets,
    ):
        assert secret not in text


def test_a_wrong_day_is_said_in_one_line(typed: Typed) -> None:
    shown = typed("status", "--from", "yesterday")
    assert shown.exit_code == 2 and "YYYY-MM-DD" in shown.output


def test_a_skip_takes_the_object_out_and_an_unskip_takes_it_back(typed: Typed) -> None:
    key = typed.ground.put("a", lines_of(2))
    assert typed("skip", f"{DAY}", key, "--reason", "test traffic").exit_code == 0
    assert typed.ground.run().events == 0 and typed.ground.is_closed()
    assert "test traffic" in typed("status").output
    assert typed("unskip", f"{DAY}", key).exit_code == 0
    assert typed.ground.run().events == 2


def test_a_skipped_object_that_nobody_has_read_keeps_its_hour(typed: Typed) -> None:
    key = typed.ground.put("a", lines_of(2), hour=5)
    for command in (["skip", key, "--reason", "test traffic"], ["unskip", key]):
        assert typed(*command).exit_code == 0
        (known,) = typed.ground.state().objects.values()
        assert known.hour == 5


def test_the_key_alone_says_its_day_and_an_id_does_not(typed: Typed) -> None:
    key = typed.ground.put("a", lines_of(2))
    assert typed("skip", key, "--reason", "test traffic").exit_code == 0
    assert typed.ground.run().events == 0
    assert typed("unskip", key).exit_code == 0
    refused = typed("skip", "0" * 32, "--reason", "r")
    assert refused.exit_code == 1 and "an id needs its day" in refused.output


def test_a_key_that_held_several_objects_is_named_by_id(typed: Typed) -> None:
    key = typed.ground.put("a", lines_of(2))
    typed.ground.run()
    typed.ground.put("a", lines_of(1))
    refused = typed("skip", f"{DAY}", key, "--reason", "r")
    assert refused.exit_code == 1 and "several objects" in refused.output


def test_an_object_that_is_not_there_cannot_be_skipped(typed: Typed) -> None:
    refused = typed("skip", f"{DAY}", "output/none.gz", "--reason", "r")
    assert refused.exit_code == 1 and "no object" in refused.output


def test_pause_and_resume_of_another_target(typed: Typed) -> None:
    typed.ground.environment = {"POSTHOG_TARGET": "second"}
    typed.ground.put("a", lines_of(1))
    typed.ground.run()
    typed.ground.environment = {}
    assert typed("pause", "--reason", "billing", "--target", "second", "--until", "2999-01-01T00:00:00Z").exit_code == 0
    assert "second is paused" in typed("status", "--all-targets").output
    assert typed("pause", "--reason", "r", "--target", "third").exit_code == 1
    assert typed("resume", "--target", "second").exit_code == 0
    assert "is paused" not in typed("status", "--all-targets").output


def test_dead_letters_are_listed_shown_and_not_replayed_while_paused(typed: Typed) -> None:
    typed.ground.put("a", [*lines_of(1), user_line("x", txn_id="many")])
    typed.ground.run()
    listed = typed("dead-letters", "list")
    assert "txn_id" in listed.output and "transform" in listed.output
    assert "many" in typed("dead-letters", "show", f"{DAY}").output
    assert "No dead letters" in typed("dead-letters", "list", "--stage", "delivery").output
    typed("pause", "--reason", "billing")
    refused = typed("dead-letters", "replay", f"{DAY}")
    assert refused.exit_code == 1 and "billing" in refused.output
    typed("resume")
    assert "1 are still dead letters" in typed("dead-letters", "replay", f"{DAY}").output


def test_dead_letters_are_chosen_by_day_stage_and_reason(typed: Typed) -> None:
    other = dt.date(2022, 6, 8)
    typed.ground.put("a", [*lines_of(1), b"no record"])
    typed.ground.put("b", [*lines_of(1), user_line("x", txn_id="many")], day=other)
    for day in (DAY, other):
        typed.ground.run(day)
    assert [day in typed("dead-letters", "list").output for day in (f"{DAY}", f"{other}")] == [True, True]
    for chosen in (("--from", "2022-06-07"), ("--reason", "TXN_ID"), ("--to", f"{other}", "--reason", "txn_id")):
        shown = typed("dead-letters", "list", *chosen).output
        assert f"{other}" in shown and f"{DAY}" not in shown
    assert "No dead letters" in typed("dead-letters", "list", "--to", "2022-06-05").output
    assert "No dead letters" in typed("dead-letters", "list", "--reason", "no such words").output


def test_an_object_that_could_not_be_read_as_a_whole_stands_beside_the_dead_letters(typed: Typed) -> None:
    typed.ground.file = {"transform": {"max_object_bytes": 1_000_000}}
    typed.ground.put("a", lines_of(2))
    key = typed.ground.put("bomb", [b"\0" * 3_000_000])
    typed.ground.run()
    listed = typed("dead-letters", "list").output
    assert "object" in listed and "1 objects" in listed and "max_object_bytes" in listed
    shown = typed("dead-letters", "show", f"{DAY}", "--stage", "object").output
    assert key in shown and "more than 1,000,000 bytes" in shown and "tried 1 times" in shown
    assert "No dead letters" in typed("dead-letters", "list", "--stage", "transform").output


def test_a_hostile_name_in_the_archive_is_loaded_and_steers_no_terminal(typed: Typed) -> None:
    typed.ground.file = {"transform": {"max_object_bytes": 1_000_000}}
    typed.ground.put("good \x1b[2J\u202e<script>[red]", lines_of(2))
    typed.ground.put("bomb \x1b[2J\u202e<script>[red]", [b"\0" * 3_000_000])
    typed.ground.run()
    assert len(typed.ground.events()) == 2
    for shown in (typed("dead-letters", "show", f"{DAY}").output, typed("status").output):
        assert "bomb \\x1b[2J\\u202e<script>[red].gz" in shown.replace("\n", "")
        assert "\x1b" not in shown and "\u202e" not in shown


def test_an_object_as_a_whole_is_not_replayed_and_nothing_else_in_its_place(typed: Typed) -> None:
    typed.ground.put("a", lines_of(1))
    typed.ground.posthog.play(Fault(name="refused", status=400, body="poison"))
    typed.ground.run()
    typed.ground.posthog.play()
    asked = typed("dead-letters", "replay", f"{DAY}", "--stage", "object")
    assert asked.exit_code == 2 and "skip KEY" in asked.output
    assert typed.ground.posthog.raw_rows() == 0, "the refused event was not asked for"


def test_refused_events_are_replayed(typed: Typed) -> None:
    typed.ground.put("a", lines_of(1))
    typed.ground.posthog.play(Fault(name="refused", status=400, body="poison"))
    typed.ground.run()
    typed.ground.posthog.play()
    shown = typed("dead-letters", "replay", f"{DAY}")
    assert "1 events acknowledged" in shown.output and "closed" in shown.output
    assert len(typed.ground.events()) == 1


def test_reconcile_says_whether_the_day_arrived(typed: Typed) -> None:
    typed.ground.put("a", lines_of(2))
    typed.ground.run()
    agreed = typed("reconcile", f"{DAY}", "--wait", "0")
    assert agreed.exit_code == 0 and "2 found" in agreed.output
    assert "agree" in typed("status").output
    typed.ground.posthog.reset()
    missing = typed("reconcile", f"{DAY}", "--wait", "0")
    assert missing.exit_code == 1 and "billing limit" in missing.output
    typed.ground.environment = {"POSTHOG_PERSONAL_API_KEY": ""}
    assert "not checked" in typed("reconcile", f"{DAY}").output


def test_another_key_is_refused_until_it_is_accepted(typed: Typed) -> None:
    typed.ground.put("a", lines_of(1))
    typed.ground.posthog.play(Fault(name="refused", status=400, body="poison"))
    typed.ground.run()
    typed.ground.posthog.play()
    assert typed("dead-letters", "replay", f"{DAY}", "--stage", "transform").exit_code == 0, "records the identity"
    typed.ground.environment = {"POSTHOG_PROJECT_API_KEY": "phc_rotated"}
    refused = typed("dead-letters", "replay", f"{DAY}")
    assert refused.exit_code == 1 and "accept-key" in refused.output and "phc_rotated" not in refused.output
    assert typed("target", "accept-key").exit_code == 0
    assert typed("dead-letters", "replay", f"{DAY}").exit_code == 0


def test_a_check_is_accepted_for_a_day_with_reason_and_expiry(typed: Typed) -> None:
    typed.ground.put("a", lines_of(1))
    typed.ground.run()
    assert typed("check", "acknowledge", f"{DAY}", "--reason", "known", "--until", "2001-01-01").exit_code == 1
    assert typed("check", "acknowledge", f"{DAY}", "--reason", "known", "--until", "2999-01-01").exit_code == 0
    state = typed.ground.state()
    accepted = state.acknowledged_check("records_accounted_for", f"{TODAY}")
    assert accepted is not None and accepted.reason == "known"
    assert state.acknowledged_check("records_accounted_for", "2999-01-02") is None
    assert state.acknowledged_check("nothing_left", f"{TODAY}") is None
    assert "known" in typed("status").output


def test_a_failing_check_that_was_accepted_warns_and_shows_who_and_why(typed: Typed) -> None:
    import dagster as dg

    from snowplow_posthog_dagster.assets.metadata import accounting_result
    from snowplow_posthog_dagster.loading.reports import StepReport

    typed.ground.put("a", lines_of(1))
    typed.ground.run()
    wrong = Done(
        object="f" * 32, revision=0, key="k", etag="e", bytes=1, lines=2, records=2, mapped=1, identity_version="i",
        mapping_version="m", writer="w", at="2022-06-06T00:00:00Z",
    )  # fmt: skip
    typed.ground.load().log.write([wrong], writer="w")
    names: dict[str, Any] = {"check": "records_accounted_for", "key": dg.AssetKey("a"), "partition": f"{DAY}"}
    failing = accounting_result(StepReport(), typed.ground.state(), **names)
    assert not failing.passed and failing.severity is dg.AssetCheckSeverity.ERROR
    typed("check", "acknowledge", f"{DAY}", "--reason", "known", "--until", f"{TODAY}")
    accepted = accounting_result(StepReport(), typed.ground.state(), **names)
    assert not accepted.passed and accepted.severity is dg.AssetCheckSeverity.WARN
    assert "known" in str(accepted.metadata["acknowledged"])


def test_a_remap_is_counted_first_and_then_done(typed: Typed) -> None:
    typed.ground.put("a", [user_line("u", page_title="t") for _ in range(3)])
    typed.ground.run()
    settings = Path("other.yaml")
    settings.write_text("mapping: {properties: {drop: [page_title]}}\n")
    typed.ground.environment = {"SNOWPLOW_POSTHOG_SETTINGS": str(settings)}
    dry = typed("remap", "--from", f"{DAY}", "--to", f"{DAY}", "--dry-run")
    assert dry.exit_code == 0 and "replaced in place" in dry.output and typed.ground.is_closed()
    done = typed("remap", "--from", f"{DAY}", "--to", f"{DAY}")
    assert done.exit_code == 0 and not typed.ground.is_closed()
    wrong = typed("remap", "--from", f"{DAY}", "--to", "2001-01-01")
    assert wrong.exit_code == 2


def test_forget_prints_the_calls_that_delete_the_person_in_posthog(typed: Typed, tmp_path: Path) -> None:
    typed.ground.put("a", [user_line("ann"), user_line("bob")])
    typed.ground.run()
    ids = tmp_path / "ids.txt"
    ids.write_text("ann\n\n")
    assert "SNOWPLOW_POSTHOG_PRIVACY_SECRET" in typed("forget", "--ids", str(ids)).output
    typed.ground.environment = {"SNOWPLOW_POSTHOG_PRIVACY_SECRET": "s"}
    shown = typed("forget", "--ids", str(ids))
    assert shown.exit_code == 0, shown.output
    assert "/api/projects/1/persons/bulk_delete/" in shown.output and '"distinct_ids": ["ann"]' in shown.output
    assert StandInClient.personal_api_key not in shown.output
    ids.write_text("\n")
    assert typed("forget", "--ids", str(ids)).exit_code == 1


def test_an_estimate_says_events_hours_and_what_it_has_read(typed: Typed) -> None:
    typed.ground.put("a", lines_of(4))
    typed.ground.file = {}
    Path("prices.yaml").write_text(
        "prices: {historical_events_per_million: 1000000, live_events_per_million: 1}\n"
        "delivery: {events_per_second: 2}\n"
    )
    typed.ground.environment = {"SNOWPLOW_POSTHOG_SETTINGS": "prices.yaml"}
    shown = typed("estimate", "--from", f"{DAY}", "--to", "2022-06-08")
    assert shown.exit_code == 0, shown.output
    assert "$pageview" in shown.output and "4.00 USD" in shown.output and "0.0 at 2 events/s" in shown.output
    empty = typed("estimate", "--from", "2022-07-01", "--to", "2022-07-01")
    assert empty.exit_code == 1 and "nothing is estimated" in empty.output
    assert typed.ground.stored("log") == []


def test_fields_lists_what_leaves(typed: Typed) -> None:
    shown = typed("fields", "--json")
    rows = [json.loads(row) for row in shown.output.splitlines() if row.startswith("{")]
    assert {"source", "target", "rule"} == set(rows[0]) and len(rows) > 131
    assert "user_ipaddress" in typed("fields").output


def test_fields_diff_shows_what_other_settings_do_to_real_records(typed: Typed) -> None:
    key = typed.ground.put("a", [user_line("u", page_title="the title", network_userid="n") for _ in range(3)])
    Path("other.yaml").write_text("mapping: {properties: {drop: [page_title]}}\n")
    shown = typed("fields", key, "--diff", "other.yaml")
    assert shown.exit_code == 0 and "the title" in shown.output and "in place" in shown.output
    Path("other.yaml").write_text("mapping: {identity: {distinct_id: [network_userid]}}\n")
    assert "twins" in typed("fields", key, "--diff", "other.yaml").output
    assert typed("fields", "--diff", "other.yaml").exit_code == 1


def test_a_preview_shows_brackets_and_backslashes_of_records_as_they_are(typed: Typed) -> None:
    odd = [user_line("u", event="struct", se_action="[/foo] done", se_label="\\[/bar]"), user_line("v", txn_id="[/x]")]
    key = typed.ground.put("a", odd)
    shown = typed("preview", key).output
    assert "[/foo] done" in shown and "\\[/bar]" in shown and "[/x]" in shown
    assert "[/foo] done" in typed("preview", key, "--profile").output
    wrong = typed("preview", "2022-02-31")
    assert wrong.exit_code == 1 and "2022-02-31 is no day" in wrong.output


def test_a_profile_passes_over_the_exact_copies_of_an_object(typed: Typed) -> None:
    line = user_line("u")
    typed.ground.put("a", [line, line])
    typed.ground.put("b", [line])
    assert "3 records: 2 events of 1 users in 0 sessions, 1 repeats" in typed("preview", f"{DAY}", "--profile").output


def test_a_broken_object_is_named_and_its_neighbours_are_profiled(typed: Typed) -> None:
    typed.ground.put("a", lines_of(2))
    key = typed.ground.put("b", lines_of(500))
    whole = typed.ground.s3.get_object(Bucket=typed.ground.buckets[0], Key=key)["Body"].read()
    typed.ground.s3.put_object(Bucket=typed.ground.buckets[0], Key=key, Body=whole[:20])
    typed.ground.put("c", lines_of(3), hour=5)
    shown = typed("preview", f"{DAY}", "--profile")
    assert shown.exit_code == 0 and "5 records" in shown.output
    assert f"{key} is not read to its end: BrokenObjectError" in shown.output


def test_a_profile_of_a_few_seconds_says_nothing_about_a_day(typed: Typed) -> None:
    row = "all records, no filters"
    key = typed.ground.put("a", lines_of(3))
    (shown,) = [line for line in typed("preview", key, "--profile").output.splitlines() if row in line]
    assert [cell.strip() for cell in shown.split("│")[2:5]] == ["3", "-", "-"]
    hour = [user_line("u", collector_tstamp=f"2022-06-06 0{hour}:00:00.000") for hour in (4, 5)]
    (shown,) = [
        line for line in typed("preview", typed.ground.put("b", hour), "--profile").output.splitlines() if row in line
    ]
    assert [cell.strip() for cell in shown.split("│")[2:5]] == ["2", "48", "1,440"]


def test_a_profile_shows_what_an_analyst_would_get(typed: Typed) -> None:
    key = typed.ground.put("a", [*lines_of(5), *lines_of(3, event="page_ping"), b"no record"])
    shown = typed("preview", key, "--profile")
    assert shown.exit_code == 0, shown.output
    assert "9 records: 8 events of 5 users" in shown.output
    assert "$pageview" in shown.output and "page_ping: drop" in shown.output
    assert "3 records" in typed("preview", key, "--profile", "--most", "3").output
    typed.ground.put("b", lines_of(2), hour=5)
    assert "11 records" in typed("preview", f"{DAY}", "--profile").output
    assert "2 records" in typed("preview", f"{DAY}T05", "--profile").output
    nothing = typed("preview", "2022-07-01", "--profile")
    assert nothing.exit_code == 1 and "nothing lies at" in nothing.output


def test_what_is_only_shown_leaves_forgotten_people_out_as_a_load_does(typed: Typed, tmp_path: Path) -> None:
    typed.ground.environment = {"SNOWPLOW_POSTHOG_PRIVACY_SECRET": "a secret of the tests"}
    key = typed.ground.put("a", [user_line("ann"), user_line("bob"), *lines_of(1, user_id="cid")])
    (file := tmp_path / "a.tsv").write_bytes(user_line("ann") + b"\n" + user_line("bob") + b"\n")
    (tmp_path / "other.yaml").write_text("mapping: {properties: {drop: [app_id]}}\n")
    assert "2 records, 2 good, 0 filtered" in typed("map", f"{file}").output
    suppress(typed.ground.workspace, ["ann"], secret=b"a secret of the tests", by="me")
    mapped = typed("map", f"{file}")
    assert "2 records, 1 good, 1 filtered" in mapped.output and '"ann"' not in mapped.output
    assert "filtered by the rule forgotten" in typed("preview", key).output
    assert "2 events of 2 users" in typed("preview", key, "--profile").output
    assert "1 events of 1 users" in typed("preview", f"{file}", "--profile").output
    assert "1 the same" in typed("fields", key, "--diff", "other.yaml").output
    estimated = typed("estimate", "--from", f"{DAY}", "--to", f"{DAY}").output
    assert "1, 0" in estimated, "one filtered, no dead letters"
    typed.ground.environment["SNOWPLOW_POSTHOG_PRIVACY_SECRET"] = "another secret"
    refused = typed("map", f"{file}")
    assert refused.exit_code == 1 and "forgotten under another" in refused.output


def test_a_damaged_file_of_one_day_keeps_nobody_in_the_others(typed: Typed, tmp_path: Path) -> None:
    later = DAY + dt.timedelta(days=1)
    typed.ground.environment = {"SNOWPLOW_POSTHOG_PRIVACY_SECRET": "secret"}
    for day in (DAY, later):
        typed.ground.put("a", [user_line("ann")], day=day)
        typed.ground.transform(day)
    damaged, whole = typed.ground.stored("batches")
    typed.ground.workspace.bucket.put(damaged, b"damaged")
    ids = tmp_path / "ids.txt"
    ids.write_text("ann\n")
    shown = typed("forget", "--ids", str(ids))
    assert shown.exit_code == 1 and f"not forgotten on {DAY}" in shown.output and "persons/bulk_delete" in shown.output
    assert typed.ground.stored("batches") == [damaged], whole


def test_forget_reaches_what_a_killed_run_left_of_a_day_without_a_log(typed: Typed, tmp_path: Path) -> None:
    ground, other = typed.ground, dt.date(2022, 6, 9)
    ground.environment = {"SNOWPLOW_POSTHOG_PRIVACY_SECRET": "a secret of the tests"}
    ground.put("a", [user_line("ann"), user_line("bob"), user_line("ann", se_value="x")], day=other)
    ground.transform(other)
    stored = {kind: ground.stored(kind) for kind in ("batches", "samples", "dead_letters")}
    assert all(len(keys) == 1 for keys in stored.values())
    ground.workspace.bucket.delete(ground.stored("log"))
    ids = tmp_path / "ids.txt"
    ids.write_text("ann\n")
    shown = typed("forget", "--ids", str(ids))
    assert shown.exit_code == 0 and "1 sampled events, 2 leftover files" in " ".join(shown.output.split())
    assert ground.stored("batches") == ground.stored("dead_letters") == []
    (sample,) = ground.stored("samples")
    assert b"bob" in b"".join(ground.workspace.read_lines(sample))
    assert b"ann" not in b"".join(ground.workspace.read_lines(sample))
    ground.run(other)
    assert [event["distinct_id"] for event in ground.events()] == ["bob"]
    assert ground.state(other).problems() == [] and ground.is_closed(other)


def test_remap_damaged_asks_for_the_objects_alone_whose_unsent_batches_are_gone(typed: Typed) -> None:
    ground = typed.ground
    for number in range(3):
        ground.put(f"o-{number}", lines_of(2))
    ground.transform()
    ground.workspace.bucket.delete(ground.stored("batches")[:1])
    shown = typed("remap", "--from", f"{DAY}", "--to", f"{DAY}", "--damaged")
    assert shown.exit_code == 0, shown.output
    assert ground.counts().objects_pending == 1 and ground.counts().objects_done == 2
    ground.run()
    assert len(ground.events()) == ground.posthog.raw_rows() == 6 and ground.is_closed()


def test_whatever_a_load_stores_asks_for_the_encryption_of_the_settings(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed.ground.put("a", [*lines_of(3), b"no record"])
    file = tmp_path / "settings.yaml"
    file.write_text("workspace: {encryption: 'aws:kms', kms_key_id: our-key}")
    typed.ground.environment = {"SNOWPLOW_POSTHOG_SETTINGS": str(file)}
    stored: dict[str, tuple[str | None, str | None]] = {}
    call = vars(BaseClient)["_make_api_call"]

    def looked_at(client: BaseClient, operation: str, request: dict[str, Any]) -> Any:
        if operation == "PutObject":
            stored[request["Key"]] = request.get("ServerSideEncryption"), request.get("SSEKMSKeyId")
        return call(client, operation, request)

    monkeypatch.setattr(BaseClient, "_make_api_call", looked_at)
    assert typed("load", f"{DAY}", "--now").exit_code == 0
    kinds = {key.split("/")[2] for key in stored if "target=" in key}
    assert {"manifests", "batches", "log", "dead_letters", "samples", "days", "control"} <= kinds
    assert set(stored.values()) == {("aws:kms", "our-key")}


def test_a_file_that_cannot_be_written_is_named(typed: Typed) -> None:
    for words in (("status", "--evidence", "nowhere/x.json"), ("metrics", "--textfile", "nowhere/x.json")):
        said = typed(*words)
        assert said.exit_code == 1
        assert said.output.splitlines()[-1] == "nowhere/x.json: No such file or directory"


@pytest.mark.parametrize("command", ["status", "housekeeping", "dead-letters list"])
def test_a_range_that_ends_before_it_begins_is_refused(typed: Typed, command: str) -> None:
    said = typed(*command.split(), "--from", "2022-06-08", "--to", "2022-06-06")
    assert said.exit_code == 2
    assert "2022-06-06 lies before --from 2022-06-08" in said.output


@pytest.mark.parametrize("day", ["1999-03-01", f"{TODAY + dt.timedelta(days=1)}"], ids=["long ago", "tomorrow"])
def test_a_day_that_never_existed_gets_no_log(typed: Typed, day: str) -> None:
    for words in (
        ("check", "acknowledge", day, "--reason", "known", "--until", "2999-01-01"),
        ("reconcile", day, "--wait", "0"),
    ):
        said = typed(*words)
        assert said.exit_code == 1
        assert f"{day} lies " in said.output
    assert typed.ground.stored("log") == []


def test_ids_that_are_no_utf8_are_told_of(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_bytes("Jos\u00e9\n".encode("latin-1"))
    typed.ground.environment = {"SNOWPLOW_POSTHOG_PRIVACY_SECRET": "a secret"}
    said = typed("forget", "--ids", "ids.txt")
    assert said.exit_code == 1
    assert "ids.txt is not UTF-8 (byte 4)" in said.output
    assert typed.ground.stored("suppressed") == []
