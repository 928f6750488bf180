"""`snowplow-posthog generate`: the command line around the generator."""

import datetime as dt
import gzip
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from snowplow_posthog_dagster.cli import app
from snowplow_posthog_dagster.generator import FolderSink, Naming, read_truth, read_uuids
from snowplow_posthog_dagster.sandbox.servers import running_s3
from snowplow_posthog_dagster.storage.archive import ArchiveEntry

SMALL = ("--events", "900", "--per-object", "200", "--broken", "0.01", "--late", "0.05")


def generate(*arguments):
    return CliRunner().invoke(app, ["generate", *map(str, arguments)])


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_command_gives_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        made = generate(
            tmp_path / name,
            "--start",
            "2022-06-06T04",
            "--truth",
            tmp_path / f"{name}.truth",
            "--profile",
            "wide",
            *SMALL,
        )
        assert made.exit_code == 0, made.output
    assert files(tmp_path / "first") == files(tmp_path / "second")
    assert files(tmp_path / "first.truth") == files(tmp_path / "second.truth")


def test_another_seed_gives_other_events(tmp_path):
    for seed in (1, 2):
        generate(
            tmp_path / f"{seed}", "--start", "2022-06-06T04", "--truth", tmp_path / f"t{seed}", "--seed", seed, *SMALL
        )
    assert set(read_uuids(tmp_path / "t1")).isdisjoint(read_uuids(tmp_path / "t2"))


@pytest.mark.parametrize(
    ("period", "layout", "folders"),
    [
        ("hour", "{yyyy}/{MM}/{dd}/{HH}/", {"2022/02/06/04"}),
        ("day", "dt={yyyy}-{MM}-{dd}/hour={HH}/", {f"dt=2022-02-06/hour={hour:02}" for hour in range(24)}),
        ("month", "{yyyy}-{MM}-{dd}/", {f"2022-02-{day:02}" for day in range(1, 29)}),
    ],
)
def test_an_hour_a_day_or_a_month_lies_where_the_archive_looks_for_it(tmp_path, period, layout, folders):
    made = generate(
        tmp_path / "archive", "--start", "2022-02-06T04", "--for", period, "--layout", layout, "--events", 3000,
        "--per-object", 50, "--truth", tmp_path / "truth",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    found = {str(path.parent.relative_to(tmp_path / "archive")) for path in (tmp_path / "archive").rglob("*.gz")}
    assert found == folders
    entry = ArchiveEntry(prefix="", layout=layout)
    truth = read_truth(tmp_path / "truth")
    arrivals = [re.findall(r"\d{4}-\d\d-\d\d", one.key)[-1] for one in truth.objects]
    assert all(
        any(one.key.startswith(entry.key_prefix(dt.date.fromisoformat(arrival), hour)) for hour in range(24))
        for one, arrival in zip(truth.objects, arrivals, strict=True)
    )


def test_it_prints_what_must_arrive_as_one_sum(tmp_path):
    made = generate(tmp_path / "archive", "--start", "2022-06-06T04", "--truth", tmp_path / "truth", *SMALL)
    sums = read_truth(tmp_path / "truth").sums
    assert f"records {sums['records']:,} = must arrive {sums['must_arrive']:,}" in made.output
    lines = sum(gzip.decompress(body).count(b"\n") for body in files(tmp_path / "archive").values())
    assert lines == sums["records"] == sums["must_arrive"] + sums["broken"] + sums["oversized"] + sums["repeats"]


def test_a_tag_can_be_found_again(tmp_path):
    generate(tmp_path / "archive", "--start", "2022-06-06T04", "--truth", tmp_path / "t", "--tag", "scale-7", *SMALL)
    (line, *_) = gzip.decompress(next(iter(files(tmp_path / "archive").values()))).split(b"\n")
    assert b"scale-7" in line.split(b"\t")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--start", "yesterday"), "expected 2022-06-06T04"),
        (("--start", "2022-06-06T04", "--layout", "{week}/"), "unknown ['week']"),
        (("--start", "2022-06-06T04", "--layout", "{yyyy-MM-dd}/"), "unknown ['yyyy-MM-dd']"),
        (("--start", "2022-06-06T04", "--layout", "/{yyyy}/{MM}/"), "begins without a slash"),
        (("--start", "2022-06-06T04", "--layout", "../{yyyy}/"), "goes nowhere by '..'"),
        (("--start", "0001-01-01"), "between 1970 and 9998"),
        (("--start", "2022-06-06", "--tag", "a\tb"), "cannot be printed"),
        (("--start", "2022-06-06T04", "--late", "0.9", "--broken", "0.9"), "together at most 1"),
    ],
)
def test_what_cannot_be_generated_is_said_in_words(tmp_path, arguments, words):
    made = generate(tmp_path / "archive", "--truth", tmp_path / "truth", *arguments)
    assert made.exit_code != 0
    assert words in " ".join(made.output.replace("│", " ").split())
    assert not (tmp_path / "archive").exists()


@pytest.mark.parametrize("destination", ["s3://", "s3:///prefix", "S3://bucket/prefix", "gs://bucket/prefix"])
def test_an_address_that_is_no_bucket_of_s3_makes_no_folder_of_that_name(tmp_path, monkeypatch, destination):
    monkeypatch.chdir(tmp_path)
    made = generate(destination, "--start", "2022-06-06T04", *SMALL)
    assert made.exit_code == 1
    assert f"{destination} is no place to write to; expected a folder or s3://bucket/prefix/" in made.output
    assert list(tmp_path.iterdir()) == []


def test_a_day_begins_at_midnight_of_utc_whatever_the_offset_of_its_start(tmp_path):
    made = generate(
        tmp_path / "a", "--start", "2022-06-06T01:00+02:00", "--for", "day", "--truth", tmp_path / "t", *SMALL
    )
    assert made.exit_code == 0, made.output
    assert {name[:10] for name in files(tmp_path / "a")} == {"2022/06/05"}


@pytest.mark.parametrize("naming", list(Naming))
def test_a_run_of_another_seed_into_the_same_folder_leaves_the_objects_of_the_first(tmp_path, naming):
    for seed in (1, 2):
        generate(
            tmp_path / "archive", "--start", "2022-06-06T04", "--naming", naming.value, "--seed", seed, "--truth",
            tmp_path / f"{seed}", *SMALL,
        )  # fmt: skip
    keys = [one.key for seed in (1, 2) for one in read_truth(tmp_path / f"{seed}").objects]
    assert len(keys) == len(set(keys)) == len(files(tmp_path / "archive"))


def test_a_closed_output_is_no_error(tmp_path):
    command = [sys.executable, "-m", "snowplow_posthog_dagster.cli", "generate", str(tmp_path / "archive")]
    words = [*command, "--start", "2022-06-06T04", "--truth", str(tmp_path / "truth"), *SMALL]
    done = subprocess.run(["/bin/sh", "-c", '"$@" >&-', "sh", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read_truth(tmp_path / "truth").sums["records"] > 0


def test_a_run_that_is_cut_off_leaves_no_older_truth_behind(tmp_path, monkeypatch):
    words = ("--start", "2022-06-06T04", "--truth", tmp_path / "truth", *SMALL)
    assert generate(tmp_path / "archive", *words).exit_code == 0
    monkeypatch.setattr(FolderSink, "put", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    cut_off = generate(tmp_path / "archive", *words, "--seed", 2)
    assert cut_off.exit_code == 1 and "No space left on device" in cut_off.output
    with pytest.raises(FileNotFoundError):
        read_truth(tmp_path / "truth")


def test_the_truth_never_lies_among_the_data(tmp_path):
    made = generate(tmp_path / "archive", "--start", "2022-06-06T04", "--truth", tmp_path / "archive" / "truth")
    assert made.exit_code != 0
    assert "would pass for data" in made.output


def test_a_bucket_gets_what_a_folder_gets(tmp_path, monkeypatch):
    (tmp_path / "s3" / "made").mkdir(parents=True)
    with running_s3(tmp_path / "s3") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        made = generate("s3://made/output", "--start", "2022-06-06T04", "--truth", tmp_path / "truth", *SMALL)
    assert made.exit_code == 0, made.output
    generate(tmp_path / "folder", "--start", "2022-06-06T04", "--truth", tmp_path / "truth", *SMALL)
    assert len(files(tmp_path / "folder")) > 1
    assert files(tmp_path / "s3" / "made" / "output") == files(tmp_path / "folder")


def test_a_bucket_that_cannot_be_written_is_named(monkeypatch, s3_environment, tmp_path):
    words = ("--start", "2022-06-06T04", "--truth", tmp_path / "truth", *SMALL)
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    missing = generate("s3://no-such-bucket/x", *words)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    away = generate("s3://no-such-bucket/x", *words)
    for said in (missing, away):
        assert said.exit_code == 1
        assert "StorageUnavailableError: cannot write s3://no-such-bucket/x: " in said.output


@pytest.mark.parametrize("command", ["up", "down"])
def test_a_folder_that_cannot_be_made_for_the_sandbox_is_named(command):
    said = CliRunner().invoke(app, [command, "--folder", "/dev/null/x"])
    assert said.exit_code == 1
    assert "/dev/null/x" in said.output and "Traceback" not in said.output
