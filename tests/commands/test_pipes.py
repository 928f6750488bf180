"""`parse` and `map`: JSON lines on standard output, counts on standard error, dead letters in a file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DATA = Path(__file__).parent.parent / "snowplow" / "data"
PROGRAM = [sys.executable, "-m", "snowplow_posthog_dagster.cli"]


def run(*arguments: str, data: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([*PROGRAM, *arguments], input=data, capture_output=True, check=False, timeout=60)


def test_parse_writes_one_line_per_record_in_the_sdks_shape(tmp_path: Path) -> None:
    letters = tmp_path / "letters.jsonl"
    data = (DATA / "gitlab_struct_event.tsv").read_bytes().rstrip(b"\n") + b"\nbroken\tline\n"
    result = run("parse", "-", "--dead-letters", str(letters), data=data)
    assert result.returncode == 0, result.stderr
    (event,) = map(json.loads, result.stdout.splitlines())
    assert event["event_id"] == "050a662b-79f6-4d15-a22d-61c7a85e25c0"
    assert event["collector_tstamp"] == "2022-06-06T04:00:06.818Z"
    assert event["contexts_com_gitlab_gitlab_standard_1"][0]["plan"] == "free"
    (letter,) = map(json.loads, letters.read_text().splitlines())
    assert letter["schema"].startswith("iglu:com.snowplowanalytics.snowplow.badrows/")
    assert letter["place"]["line"] == 2
    assert b"2 records, 1 good, 0 filtered, 1 dead letters" in result.stderr


@pytest.mark.parametrize(
    ("file", "good", "dead"), [("multi_member.gz", 3, 0), ("crlf.tsv", 3, 0), ("columns_130.tsv", 0, 1)]
)
def test_parse_reads_files_as_they_are(file: str, good: int, dead: int) -> None:
    result = run("parse", str(DATA / "edge-cases" / file))
    assert len(result.stdout.splitlines()) == good
    assert f"{good} good, 0 filtered, {dead} dead letters".encode() in result.stderr


def test_a_truncated_file_gives_what_it_holds_and_fails() -> None:
    result = run("parse", str(DATA / "edge-cases" / "truncated.gz"))
    assert result.returncode == 1
    assert result.stdout.count(b"\n") > 0
    assert b"broken: truncated gzip" in result.stderr


def test_map_writes_posthog_events() -> None:
    result = run("map", str(DATA / "gitlab_struct_event.tsv"), "--day", "2022-06-06")
    (event,) = map(json.loads, result.stdout.splitlines())
    assert event["event"] == "action_active_users_project_repo"
    assert event["properties"]["snowplow_archive_day"] == "2022-06-06"
    assert event["properties"]["$geoip_disable"] is True


def test_a_file_that_is_not_there_is_named() -> None:
    result = run("parse", "/nowhere/x.tsv")
    assert (result.returncode, result.stderr.strip()) == (2, b"/nowhere/x.tsv: No such file or directory")


def test_a_name_that_looks_like_markup_is_a_name() -> None:
    result = run("parse", "/nowhere/[/x]")
    assert (result.returncode, result.stderr.strip()) == (2, b"/nowhere/[/x]: No such file or directory")


def test_a_reader_that_leaves_early_is_no_failure() -> None:
    command = f"cat {DATA}/edge-cases/duplicates.tsv | {' '.join(PROGRAM)} map - | head -c 10"
    result = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", command], capture_output=True, check=False, timeout=60
    )
    assert b"Traceback" not in result.stderr


def test_map_says_when_no_workspace_can_tell_who_was_forgotten() -> None:
    result = run("map", str(DATA / "gitlab_struct_event.tsv"))
    assert b"SNOWPLOW_POSTHOG_WORKSPACE is not set: the list of forgotten people is not applied." in result.stderr
    assert b"forgotten" not in run("parse", str(DATA / "gitlab_struct_event.tsv")).stderr


def test_a_folder_for_dead_letters_that_is_not_there_is_named() -> None:
    result = run("parse", str(DATA / "gitlab_struct_event.tsv"), "--dead-letters", "/nowhere/letters.jsonl")
    assert (result.returncode, result.stderr.strip()) == (1, b"/nowhere/letters.jsonl: No such file or directory")
