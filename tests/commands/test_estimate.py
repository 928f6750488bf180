"""`estimate` as it is typed: cores, pods, hours and money, and that it writes nothing."""

from pathlib import Path

import pytest

from tests.commands.test_operate import Typed
from tests.ground import DAY, Ground, lines_of

RANGE = ("--from", f"{DAY}", "--to", f"{DAY}")


@pytest.fixture(name="typed")
def typed_(ground: Ground, monkeypatch: pytest.MonkeyPatch, s3_environment: dict[str, str], tmp_path: Path) -> Typed:
    monkeypatch.chdir(tmp_path)  # no .env of the developer
    return Typed(ground, monkeypatch, s3_environment)


def rows_of(output: str) -> dict[str, str]:
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if "│" in line]
    return {row[0]: row[1] for row in cells if len(row) == 2}


def test_an_estimate_writes_nothing_into_a_fresh_workspace(typed: Typed) -> None:
    typed.ground.put("a", lines_of(4))
    before = everything(typed)
    shown = typed("estimate", *RANGE)
    assert shown.exit_code == 0, shown.output
    assert everything(typed) == before


def everything(typed: Typed) -> list[tuple[str, str]]:
    names = [bucket["Name"] for bucket in typed.ground.s3.list_buckets()["Buckets"]]
    pages = [(name, typed.ground.s3.list_objects_v2(Bucket=name).get("Contents", [])) for name in names]
    return [(name, found["Key"]) for name, contents in pages for found in contents]


def test_an_estimate_needs_no_workspace(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    typed.ground.put("a", lines_of(4))
    variables = typed.ground.variables()
    del variables["SNOWPLOW_POSTHOG_WORKSPACE"]
    monkeypatch.setattr(typed.ground, "variables", lambda: variables)
    shown = typed("estimate", *RANGE)
    assert shown.exit_code == 0, shown.output
    assert "$pageview" in shown.output and "acknowledged already" not in shown.output


def test_what_is_acknowledged_already_is_said(typed: Typed) -> None:
    typed.ground.put("a", lines_of(4))
    typed.ground.run()
    assert "4 events of these days are acknowledged already" in typed("estimate", *RANGE).output


def test_pods_hours_and_egress_are_shown(typed: Typed) -> None:
    typed.ground.put("a", lines_of(4))
    Path("prices.yaml").write_text("prices: {core_hour: 3600000}\ndelivery: {events_per_second: 2}\n")
    typed.ground.environment = {"SNOWPLOW_POSTHOG_SETTINGS": "prices.yaml"}
    shown = typed("estimate", *RANGE)
    rows = rows_of(shown.output)
    assert rows["pods of 2 cores"] == "1"
    assert rows["price of the pods"] == "4,000.00 USD", "two cores for two seconds"
    assert rows["price of the egress"].startswith("not reckoned")
    assert rows["hours with the cap"] == "0.0 at 2 events/s"
    assert rows["hours without it, these pods"] == "0.0"
