"""The SQL of docs/queries.md runs on what a load has written, and counts what the log counts."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from snowplow_posthog_dagster.sandbox.client import StandInClient
from snowplow_posthog_dagster.sandbox.servers import running_posthog
from tests.integration.days import DAY, DayInTest, lines
from tests.integration.servers import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.clickhouse]
PAGE = Path(__file__).parent.parent.parent / "docs" / "queries.md"


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandInClient]:
    with running_posthog() as client:
        yield client


@pytest.fixture
def folder(rclone_server: S3Server, stand_in: StandInClient, tmp_path: Path) -> Path:
    """A loaded day's workspace, copied out of S3 as anybody would."""
    day = DayInTest.fresh(rclone_server, stand_in)
    day.put("a.gz", lines(0, 30) + b"no record\nnone\teither\n")
    day.put("b.gz", lines(30, 5), hour=7)
    day.load().list_new()
    day.run()
    # What another run listed at the same moment, and what an earlier result of the same records left.
    for kind in ("manifests", "dead_letters"):
        (written,) = [listed.key for listed in day.workspace.bucket.listing(f"{day.workspace.root}{kind}/")]
        twin = written.replace(".jsonl.gz", "-other.jsonl.gz")
        day.workspace.bucket.put(twin, day.workspace.bucket.get(written))
    for listed in day.workspace.bucket.listing(day.workspace.root):
        file = tmp_path / listed.key.removeprefix(day.workspace.root)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(day.workspace.bucket.get(listed.key))
    return tmp_path


def statements() -> list[str]:
    """The ClickHouse statements of the page, in order."""
    return [block for block in re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL) if "file(" in block]


def rows(statement: str, folder: Path) -> list[list[Any]]:
    import json

    import chdb

    answer = chdb.query(statement.replace("WORKSPACE", str(folder)), "JSONCompactEachRow")
    return [json.loads(row) for row in str(answer).splitlines() if row]


def test_every_statement_of_the_page_runs_and_tells_the_truth(folder: Path) -> None:
    reasons, places, results, hours = (rows(statement, folder) for statement in statements())
    assert sum(int(records) for _, records in reasons) == 2
    assert [int(line_number) for _, line_number in places] == [31, 32]
    assert [(key.rsplit("/", 1)[-1], int(records), int(mapped)) for key, records, mapped, _ in results] == [
        ("a.gz", 32, 30),
        ("b.gz", 5, 5),
    ]
    assert [(int(hour), int(objects)) for hour, objects, _ in hours] == [(4, 1), (7, 1)]
    assert f"{DAY}" in PAGE.read_text()
