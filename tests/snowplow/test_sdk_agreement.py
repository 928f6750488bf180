"""The parser beside Snowplow's own SDKs: equal, or different by a rule that has a name here."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snowplow_posthog_dagster.snowplow.lines import records
from snowplow_posthog_dagster.snowplow.parse import ParsedEvent, parse
from snowplow_posthog_dagster.snowplow.record import Record, Rejected
from tests.snowplow.samples import DATA, read

CASES = {case["name"]: case for case in json.loads((DATA / "sdk_cases.json").read_bytes())}
Event = dict[str, Any]


# The rules: each turns what an SDK gives into what we want.


def field_121_has_enrichs_name(event: Event) -> Event:
    return {key.replace("refr_device_tstamp", "refr_dvce_tstamp"): value for key, value in event.items()}


def hyphens_become_underscores(event: Event) -> Event:
    return {key.replace("-", "_"): value for key, value in event.items()}


def se_value_is_a_number(event: Event) -> Event:
    return {key: float(value) if key == "se_value" else value for key, value in event.items()}


def empty_columns_are_left_out(event: Event) -> Event:
    """Scala writes null for them."""
    return {key: value for key, value in event.items() if value is not None}


def entities_carry_no_schema_version(event: Event) -> Event:
    """Scala 3.2 adds `_schema_version` to each entity."""
    return {
        key: [{name: entity[name] for name in entity if name != "_schema_version"} for entity in value]
        if key.startswith("contexts_")
        else value
        for key, value in event.items()
    }


def geo_location_is_always_added(event: Event) -> Event:
    """Go adds it on request only."""
    if "geo_latitude" in event and "geo_longitude" in event:
        return {**event, "geo_location": f"{event['geo_latitude']},{event['geo_longitude']}"}
    return event


PYTHON: list[Callable[[Event], Event]] = [
    field_121_has_enrichs_name,
    hyphens_become_underscores,
    se_value_is_a_number,
]
OTHERS = [empty_columns_are_left_out, *PYTHON, entities_carry_no_schema_version, geo_location_is_always_added]


def wanted(event: Event, rules: list[Callable[[Event], Event]]) -> Event:
    for rule in rules:
        event = rule(event)
    return event


def parsed(text: str) -> ParsedEvent | Rejected:
    (found,) = read(text.encode())
    return parse(found) if isinstance(found, Record) else found


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["expected"]])
def test_an_event_of_an_sdks_own_tests_is_read_as_that_sdk_does(name: str) -> None:
    found = parsed(CASES[name]["tsv"])
    assert isinstance(found, ParsedEvent)
    assert found.event == wanted(CASES[name]["expected"], OTHERS)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["error"]])
def test_a_line_that_an_sdk_refuses_in_its_own_tests_is_rejected(name: str) -> None:
    assert isinstance(parsed(CASES[name]["tsv"]), Rejected)


def test_the_seven_errors_of_the_scala_sdk_are_all_named() -> None:
    found = parsed(CASES["scala_seven_errors"]["tsv"])
    assert isinstance(found, Rejected)
    named = [re.findall(r"(?:key|Field) (\w+)", message)[0] for message in CASES["scala_seven_errors"]["error"]]
    assert sorted(str(error.column) for error in found.errors) == sorted(named)


def test_an_oversized_app_id_is_accepted_as_by_the_scala_sdk() -> None:
    assert isinstance(parsed(CASES["scala_oversized_app_id"]["tsv"]), ParsedEvent)


# The oracle: 309 lines through the Python SDK 0.2.3.

FILES = {
    "dbt-seeds/web_events.tsv": "dbt-seeds/web_events.tsv.gz",
    "dbt-seeds/mobile_events.tsv": "dbt-seeds/mobile_events.tsv.gz",
    "rdb-loader/inline/lines_131.tsv": "rdb-loader-inline/lines_131.tsv",
    "gitlab/struct_event_131.tsv": "gitlab/struct_event_131.tsv",
}
# (file, line): the rule by which we refuse what the Python SDK accepts.
TIMESTAMPS_ARE_CHECKED = {("rdb-loader/inline/lines_131.tsv", 0)}


@pytest.fixture(scope="module")
def lines(shared_fixtures: Path) -> dict[str, list[Record]]:
    found = {}
    for name, path in FILES.items():
        data = (shared_fixtures / "snowplow" / path).read_bytes()
        whole = gzip.decompress(data) if path.endswith(".gz") else data
        found[name] = [record for record in records([whole]) if isinstance(record, Record)]
    return found


@pytest.fixture(scope="module")
def oracle(shared_fixtures: Path) -> list[dict[str, Any]]:
    with gzip.open(shared_fixtures / "snowplow" / "python_sdk_oracle.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_every_event_is_the_sdks_but_for_the_named_rules(
    lines: dict[str, list[Record]], oracle: list[dict[str, Any]]
) -> None:
    compared = 0
    for answer in oracle:
        place = answer["f"], answer["i"]
        if "ok" not in answer or place in TIMESTAMPS_ARE_CHECKED:
            continue
        found = parse(lines[answer["f"]][answer["i"]])
        assert isinstance(found, ParsedEvent), (place, found)
        assert found.event == wanted(answer["ok"], PYTHON), place
        assert list(found.event) == list(wanted(answer["ok"], PYTHON)), place
        compared += 1
    assert compared == 307


def test_what_the_sdk_refuses_is_rejected_for_the_same_columns(
    lines: dict[str, list[Record]], oracle: list[dict[str, Any]]
) -> None:
    (answer,) = [answer for answer in oracle if "err" in answer]
    found = parse(lines[answer["f"]][answer["i"]])
    assert isinstance(found, Rejected)
    assert [error.column for error in found.errors] == [
        re.findall(r"with key (\w+)", message)[0] for message in answer["err"]
    ]


def test_a_timestamp_that_is_none_is_the_one_more_reason_to_reject(lines: dict[str, list[Record]]) -> None:
    for name, line in TIMESTAMPS_ARE_CHECKED:
        found = parse(lines[name][line])
        assert isinstance(found, Rejected)
        assert "collector_tstamp" in [error.column for error in found.errors]


def test_gitlabs_published_line_is_a_good_struct_event() -> None:
    (found,) = read((DATA / "gitlab_struct_event.tsv").read_bytes())
    assert isinstance(found, Record)
    event = parse(found)
    assert isinstance(event, ParsedEvent)
    assert event.notes == ()
    assert event.event["app_id"] == "gitlab"
    assert event.event["event"] == "struct"
    assert len(event.event["contexts_com_gitlab_gitlab_standard_1"]) == 1


def test_the_lines_of_the_rdb_loaders_tests_are_two_bad_ones_and_sixteen_good_ones() -> None:
    found = read((DATA / "rdb_loader_lines.tsv").read_bytes())
    outcomes = [parse(record) for record in found if isinstance(record, Record)]
    assert [isinstance(outcome, Rejected) for outcome in outcomes] == [True, True] + [False] * 16
