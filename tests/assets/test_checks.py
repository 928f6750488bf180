"""What each check of a day says, from states of its log."""

import datetime as dt
import re
from typing import Any

import dagster as dg
import pytest

from snowplow_posthog_dagster.assets.checks import (
    DESCRIPTIONS,
    DayFacts,
    Verdict,
    check_evaluation,
    check_results,
    check_specs,
    error_window,
    hours_with_files,
    judge_completeness,
    judge_day,
)
from snowplow_posthog_dagster.loading.server_errors import error_times, most_within
from snowplow_posthog_dagster.settings import ChecksSection
from snowplow_posthog_dagster.storage.entries import (
    BatchNote,
    Broken,
    CheckAcknowledged,
    Delivered,
    Done,
    Entry,
    Gone,
    Posted,
    Reconciled,
)
from snowplow_posthog_dagster.storage.state import ACKNOWLEDGED, fold
from snowplow_posthog_dagster.storage.target import Pause

DAY = dt.date(2022, 6, 6)
NEXT_NOON = dt.datetime(2022, 6, 7, 12, tzinfo=dt.UTC)
KEY = dg.AssetKey("posthog_events")


def done(
    hour: int | None, records: int = 100, *, arrival: int | None = None, writer: str = "w", **more: Any
) -> list[Entry]:
    mapped = records - sum(more.values())
    name = f"object-{hour}"
    note = BatchNote(id=f"batch-{hour}", events=mapped, raw=1, stored=1, first=0, last=0)
    entry = Done(
        object=name,
        revision=0,
        key=f"output/2022/06/06/{hour}/f.gz",
        etag="e",
        bytes=1000,
        hour=hour,
        lines=records,
        records=records,
        mapped=mapped,
        batches=[note] if mapped else [],
        oldest_arrival=arrival,
        newest_arrival=arrival,
        identity_version="i",
        mapping_version="m",
        writer=writer,
        at="2022-06-06T00:00:00Z",
        **more,
    )
    return [entry, Delivered(name, 0, note.id, 0, mapped, ACKNOWLEDGED)] if mapped else [entry]


def whole_day(records: int = 100) -> list[Entry]:
    return [entry for hour in range(24) for entry in done(hour, records)]


def verdicts(
    entries: list[Entry],
    *,
    now: dt.datetime = NEXT_NOON,
    usual: tuple[int, ...] = (),
    day: dt.date = DAY,
    **limits: float,
) -> dict[str, Verdict]:
    state = fold(entries)
    errors = most_within(error_times(state), error_window(ChecksSection(**limits)))
    facts = DayFacts(
        day,
        state,
        hours_with_files(state, hourly=all(known.hour is not None for known in state.objects.values())),
        errors,
        list(usual),
        "w",
        now,
    )
    return {verdict.check: verdict for verdict in judge_day(facts, ChecksSection(**limits))}


def test_a_failing_check_says_who_accepted_it_for_the_day():
    accepted = CheckAcknowledged(check="volume", reason="a holiday", until="2999-01-01", by="ann", at="2022-06-07")
    over = CheckAcknowledged(check="latency", reason="over", until="2022-06-08", by="ann", at="2022-06-07")
    state = fold([*whole_day(), accepted, over])
    words = "accepted by ann until 2999-01-01: a holiday"
    for check, passed, expected in (("volume", False, True), ("volume", True, False), ("latency", False, False)):
        (result,) = check_results([Verdict(check, passed, "x", {})], KEY, DAY, state)
        assert (words in str(result.description)) is expected
        assert ("acknowledged" in result.metadata) is expected


@pytest.mark.parametrize("check", sorted(DESCRIPTIONS))
def test_every_check_of_a_day_can_be_accepted(check):
    accepted = CheckAcknowledged(check=check, reason="known", until="2999-01-01", by="ann", at="2022-06-07")
    (result,) = check_results([Verdict(check, False, "x", {})], KEY, DAY, fold([accepted]))
    assert "accepted by ann until 2999-01-01: known" in str(result.description) and "acknowledged" in result.metadata


def test_a_good_day_passes_every_check():
    found = verdicts(whole_day(), usual=(2400, 2300, 2500))
    assert [verdict.words for verdict in found.values() if not verdict.passed] == []
    assert {*found, "complete_in_time"} == set(DESCRIPTIONS)


def test_a_missing_hour_is_named():
    entries = [entry for hour in range(24) if hour not in {3, 4} for entry in done(hour)]
    found = verdicts(entries)["hours_present"]
    assert not found.passed
    assert "03, 04" in found.words
    assert found.numbers == {"hours": 22, "missing": 2}


def test_an_hour_that_is_not_due_yet_is_not_missing():
    entries = [entry for hour in range(4) for entry in done(hour)]
    assert verdicts(entries, now=dt.datetime(2022, 6, 6, 6, 30, tzinfo=dt.UTC))["hours_present"].passed
    assert not verdicts(entries, now=dt.datetime(2022, 6, 6, 7, 30, tzinfo=dt.UTC))["hours_present"].passed


def test_a_layout_without_hours_misses_none():
    assert verdicts(done(None))["hours_present"].passed


def test_an_hour_whose_files_hold_no_record_is_named():
    entries = [entry for hour in range(24) for entry in done(hour, 0 if hour == 7 else 10)]
    found = verdicts(entries)["records_present"]
    assert not found.passed
    assert "07" in found.words


def test_a_day_without_any_record_is_said():
    assert "no record at all" in verdicts([])["records_present"].words


@pytest.mark.parametrize(("records", "passed"), [(49, False), (51, True), (199, True), (201, False)])
def test_the_volume_is_held_against_the_median_of_the_weekday(records, passed):
    found = verdicts(whole_day(records), usual=(2400, 2400, 1, 100_000))["volume"]
    assert found.passed is passed
    assert "Monday" in found.words


def test_the_volume_of_an_open_day_or_without_history_is_not_judged():
    assert (
        "not over" in verdicts(whole_day(1), usual=(2400, 2400), now=NEXT_NOON - dt.timedelta(days=1))["volume"].words
    )
    assert "earlier weeks" in verdicts(whole_day(1), usual=(2400,))["volume"].words


def test_too_many_dead_letters_or_repeats_warn():
    found = verdicts(done(0, 100, dead_letters=2, repeats=6))
    assert not found["dead_letter_share"].passed
    assert "2 dead letters of 100 records (2.00%" in found["dead_letter_share"].words
    assert not found["repeat_share"].passed
    found = verdicts(done(0, 100, dead_letters=1, repeats=5))
    assert found["dead_letter_share"].passed
    assert found["repeat_share"].passed


def test_latency_is_from_collector_time_to_acknowledged_and_only_for_live_days():
    arrival = int((NEXT_NOON - dt.timedelta(minutes=130)).timestamp() * 1000)
    found = verdicts(done(0, arrival=arrival))["latency"]
    assert not found.passed
    assert found.numbers["latency_minutes"] == pytest.approx(130)
    assert verdicts(done(0, arrival=arrival), latency_minutes=200)["latency"].passed
    assert verdicts(done(0, arrival=arrival, writer="an earlier run"))["latency"].passed
    assert "history" in verdicts(done(0, arrival=arrival), now=NEXT_NOON + dt.timedelta(days=9))["latency"].words


def posted(writer: str, *minutes: float) -> Posted:
    """A delivery that PostHog answered with 5xx so many minutes after midnight."""
    times = [f"2022-06-06T00:{int(minute):02d}:{round(minute % 1 * 60):02d}Z" for minute in minutes]
    return Posted(
        writer=writer, started="2022-06-06T00:00:00Z", ended="2022-06-06T01:00:00Z", posts=9, retries=3, bytes=1,
        events=1, statuses={"200": 5, "503": len(times)}, errors_at=times,
    )  # fmt: skip


def test_three_server_errors_within_five_minutes_warn_whoever_met_them():
    assert verdicts([posted("w", 1, 3, 6.5)])["posthog_errors"].passed, "never three within five minutes"
    assert not verdicts([posted("w", 1, 3, 5.5)])["posthog_errors"].passed
    assert not verdicts([posted("w", 1), posted("v", 2), posted("u", 3)])["posthog_errors"].passed
    assert verdicts([posted("w", 1, 2)])["posthog_errors"].passed
    assert not verdicts([posted("w", 1, 2)], server_errors=2)["posthog_errors"].passed
    assert not verdicts([posted("w", 1, 3, 6.5)], server_error_minutes=6)["posthog_errors"].passed


def test_a_broken_object_is_named_with_what_to_do():
    broken = Broken(
        object="o", revision=0, key="output/x.gz", etag="e", hour=1, reason="no gzip", next_try="2022-06-07T13:00:00Z",
        writer="w", at="2022-06-07T12:00:00Z",
    )  # fmt: skip
    found = verdicts([broken])["broken_objects"]
    assert not found.passed
    assert "output/x.gz (no gzip, next try 2022-06-07T13:00:00Z)" in found.words
    assert "snowplow-posthog skip 2022-06-06" in found.words


def test_the_last_word_of_the_reconciliation_counts():
    def said(result, at):
        return Reconciled(result=result, sampled=10, found=9, differing=0, cause="billing limit", at=at)

    gap, agreed = said("gap", "2022-06-07T03:00:00Z"), said("agree", "2022-06-08T03:00:00Z")
    assert not verdicts([gap])["reconciled"].passed
    assert "billing limit" in verdicts([gap])["reconciled"].words
    assert verdicts([gap, agreed])["reconciled"].passed


def test_a_day_is_due_at_the_hour_that_the_settings_name():
    def judged(hour, *, complete=False, pause=None):
        now = dt.datetime(2022, 6, 7, hour, tzinfo=dt.UTC)
        return judge_completeness(
            DAY, complete=complete, left="3 events to send", now=now, limits=ChecksSection(), pause=pause
        )

    assert judged(2).passed
    assert not judged(3).passed
    assert "3 events to send" in judged(3).words
    assert judged(3, complete=True).passed
    paused = judged(3, pause=Pause(reason="moving house", until="", by="anna"))
    assert paused.passed
    assert "paused by anna: moving house" in paused.words


def test_a_failing_check_that_somebody_accepted_says_so():
    entry = CheckAcknowledged(
        check="volume", reason="holiday", until="2999-01-01", by="anna", at="2022-06-07T00:00:00Z"
    )
    failing, passing = Verdict("volume", False, "few", {}), Verdict("volume", True, "fine", {})
    first, second = check_results([failing, passing], KEY, DAY, fold([entry]))
    assert "accepted by anna until 2999-01-01: holiday" in first.description
    assert "acknowledged" in first.metadata
    assert "acknowledged" not in second.metadata


def test_every_result_carries_its_partition_and_its_chapter_of_the_runbook(repository):
    runbook = (repository / "docs" / "runbook.md").read_text()
    (result,) = check_results([Verdict("volume", False, "x", {"share": 0.1})], KEY, DAY, fold([]))
    assert result.metadata["partition"].value == "2022-06-06"
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert (
        check_evaluation(Verdict("volume", False, "x", {}), KEY, DAY, fold([])).metadata["partition"].value
        == "2022-06-06"
    )
    for spec in check_specs(KEY):
        chapter = spec.metadata["runbook"].partition("#")[2]
        assert f"## {chapter}" in runbook or f'<a id="{chapter}"></a>' in runbook, chapter


def test_every_chapter_of_an_alert_or_a_check_has_its_five_parts(repository):
    runbook = (repository / "docs" / "runbook.md").read_text().partition("\n# How to\n")[0]
    chapters = re.findall(r'<a id="([^"]+)"></a>\n(.*?)(?=\n<a id=|\n# |\Z)', runbook, re.DOTALL)
    assert len(chapters) > 20
    for name, text in chapters:
        for part in ("Severity", "Means", "First command", "Safe action", "Escalate"):
            assert f"**{part}**" in text, f"{name} has no {part}"
        first = re.search(r"\*\*First command\*\*: (.)", text)
        assert first and first[1] == "`", f"{name} does not begin with a command"


def test_a_layout_without_hours_misses_none_on_a_day_without_files_either():
    assert hours_with_files(fold([]), hourly=False) is None
    assert hours_with_files(fold([])) == set()


def test_an_hour_whose_only_file_was_deleted_before_it_was_read_has_no_file():
    lost = Gone(object="0" * 32, revision=0, key="b", hour=5, at="2022-06-06T05:00:00Z")
    assert hours_with_files(fold([lost])) == set()
