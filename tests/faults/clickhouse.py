"""What PostHog would be left with, decided by ClickHouse's own engine.

Every stored copy goes into a table with the engine, partition and sorting key of PostHog's `sharded_events`
(posthog/models/event/sql.py), and `SELECT ... FINAL` gives the rows after deduplication.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

# Not the event's own: which archive object a copy came from, and what the server stamped on it.
PROVENANCE = ("snowplow_object", "snowplow_archive_day")

TABLE = """
CREATE TABLE IF NOT EXISTS events (
    uuid UUID,
    event VARCHAR,
    properties VARCHAR CODEC(ZSTD(3)),
    timestamp DateTime64(6, 'UTC'),
    team_id Int64,
    distinct_id VARCHAR,
    created_at DateTime64(6, 'UTC'),
    person_mode Enum8('full' = 0, 'propertyless' = 1, 'force_upgrade' = 2),
    historical_migration Bool,
    `$session_id` VARCHAR MATERIALIZED JSONExtractString(properties, '$session_id'),
    _timestamp DateTime,
    _offset UInt64
) ENGINE = ReplacingMergeTree(_timestamp)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (team_id, toDate(timestamp), event, cityHash64(distinct_id), cityHash64(uuid))
SAMPLE BY cityHash64(distinct_id)
"""
_SHAPE = (
    "uuid UUID, event String, properties String, timestamp DateTime64(6, 'UTC'), team_id Int64, distinct_id String,"
    " created_at DateTime64(6, 'UTC'), person_mode String, historical_migration Bool, _timestamp DateTime('UTC'),"
    " _offset UInt64"
)


def digest_of(uuid: str, event: str, distinct_id: str, milliseconds: int, properties: dict[str, Any]) -> bytes:
    """The digest of a row, provenance aside."""
    kept = {name: value for name, value in properties.items() if name not in PROVENANCE}
    told = json.dumps([uuid, event, distinct_id, milliseconds, kept], sort_keys=True)
    return hashlib.sha256(told.encode()).digest()[:16]


class Events:
    """The table in a folder; one per process, because chdb takes one path."""

    def __init__(self, folder: Path) -> None:
        from chdb.session import Session

        self._folder = folder
        self._session = Session(str(folder / "clickhouse"))
        self._session.query(TABLE)

    def insert(self, copies: Iterable[dict[str, Any]]) -> int:
        """Insert every stored copy, in the order of arrival; how many."""
        file, count = self._folder / "copies.jsonl", 0
        with file.open("w") as lines:
            for count, copy in enumerate(copies, 1):
                lines.write(json.dumps(_row(copy, count)) + "\n")
        shape = _SHAPE.replace("'", "\\'")
        self._session.query(
            f"INSERT INTO events SELECT * FROM file('{file}', 'JSONEachRow', '{shape}')"
            " SETTINGS date_time_input_format = 'best_effort'"
        )
        return count

    def final(self) -> Iterator[bytes]:
        """The digest of each row that is left, a day after the other."""
        days = self._lines("SELECT DISTINCT toString(toDate(timestamp)) AS day FROM events ORDER BY day")
        for day in [row["day"] for row in days]:
            for row in self._lines(
                "SELECT toString(uuid) AS uuid, event, distinct_id, toUnixTimestamp64Milli(timestamp) AS milliseconds,"
                f" properties FROM events FINAL WHERE toDate(timestamp) = '{day}'"
            ):
                properties = json.loads(row["properties"])
                yield digest_of(row["uuid"], row["event"], row["distinct_id"], int(row["milliseconds"]), properties)

    def _lines(self, query: str) -> Iterator[dict[str, Any]]:
        told = self._session.query(query, "JSONEachRow")
        return (json.loads(line) for line in told.bytes().split(b"\n") if line)

    def compare(self, expected: set[bytes]) -> tuple[int, int]:
        """How many expected rows are missing, and how many rows there are that should not be."""
        found = Counter(self.final())
        return len(expected - set(found)), sum(found.values()) - len(expected & set(found))

    def close(self) -> None:
        """Free the engine for another folder."""
        self._session.close()


def _row(copy: dict[str, Any], number: int) -> dict[str, Any]:
    return {
        "uuid": copy["uuid"], "event": copy["event"], "properties": json.dumps(copy["properties"]),
        "timestamp": copy["timestamp"], "team_id": 1, "distinct_id": copy["distinct_id"],
        "created_at": copy["arrived"], "person_mode": copy["person_mode"],
        "historical_migration": copy["historical"], "_timestamp": copy["arrived"][:19].replace("T", " "),
        "_offset": number,
    }  # fmt: skip
