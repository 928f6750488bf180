"""What the stand-in keeps: every accepted copy of every event, in one SQLite file.

Accepting only appends, one transaction a request, because an index on the key costs more than all the rest
(measured: 8 us a row without, 24 to 36 us with). What PostHog's merge would leave of the copies is kept in a
second table that catches up when somebody asks. Properties are plain JSON text: compressing each costs half as much
time again (11.5 against 7.9 us a row) and would keep people from looking at them with the sqlite3 shell. They
lie in a table of their own, so that counting a million events reads 0.2 GB instead of 1.7.

PostHog's key of an event is project, UTC day of its timestamp, name, distinct_id and uuid; of equal keys the
latest copy stays (ReplacingMergeTree; reference: posthog.md 2). Times are microseconds since 1970 UTC.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.sandbox.capture import CapturedEvent
from snowplow_posthog_dagster.sandbox.timestamps import DAY

# Rows of one step of the merge: the lock on writing is held for about 0.2 s.
MERGE_STEP = 20_000
LAYOUT_VERSION = 2

LAYOUT = """
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY, arrived INTEGER NOT NULL, path TEXT NOT NULL, answer TEXT NOT NULL, fault TEXT,
    received INTEGER NOT NULL, stored INTEGER NOT NULL, lost INTEGER NOT NULL,
    wire_bytes INTEGER NOT NULL, raw_bytes INTEGER NOT NULL, token TEXT, historical INTEGER NOT NULL, client TEXT);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY, request INTEGER NOT NULL, arrived INTEGER NOT NULL, token TEXT NOT NULL,
    day INTEGER NOT NULL, event TEXT NOT NULL, distinct_id TEXT NOT NULL, uuid TEXT NOT NULL,
    timestamp INTEGER NOT NULL, session_id TEXT, person_mode TEXT NOT NULL, historical INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS properties (event_id INTEGER PRIMARY KEY, properties TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS events_by_time ON events (timestamp);
CREATE TABLE IF NOT EXISTS merged (
    uuid TEXT NOT NULL, token TEXT NOT NULL, day INTEGER NOT NULL, event TEXT NOT NULL, distinct_id TEXT NOT NULL,
    latest INTEGER NOT NULL, copies INTEGER NOT NULL,
    PRIMARY KEY (uuid, token, day, event, distinct_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS merge_progress (only INTEGER PRIMARY KEY CHECK (only = 1), up_to INTEGER NOT NULL);
INSERT OR IGNORE INTO merge_progress VALUES (1, 0);
CREATE TABLE IF NOT EXISTS violations (
    request INTEGER NOT NULL, kind TEXT NOT NULL, token TEXT NOT NULL, uuid TEXT NOT NULL, event TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS lost (
    request INTEGER NOT NULL, reason TEXT NOT NULL, token TEXT NOT NULL, uuid TEXT NOT NULL, event TEXT NOT NULL,
    distinct_id TEXT NOT NULL, timestamp INTEGER NOT NULL);
"""
TABLES = ("requests", "events", "properties", "merged", "violations", "lost")

INSERT_REQUEST = "INSERT INTO requests VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
INSERT_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
MERGE = """
INSERT INTO merged
    SELECT uuid, token, day, event, distinct_id, max(id), count(*) FROM events WHERE id > ? AND id <= ?
    GROUP BY uuid, token, day, event, distinct_id
ON CONFLICT DO UPDATE SET latest = excluded.latest, copies = copies + excluded.copies"""


class RequestRow(NamedTuple):
    """One capture request: what came, what was answered (a status, `reset` or `hang`) and what became of its events."""

    arrived: int
    path: str
    answer: str
    fault: str | None
    received: int
    stored: int
    lost: int
    wire_bytes: int
    raw_bytes: int
    token: str | None
    historical: bool
    client: str | None


class Store:
    """The SQLite file of the stand-in. Safe for threads: one writer at a time, readers beside it.

    Raises:
        SettingsError: the file has the layout of another release.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()
        self._merging = threading.Lock()
        self._connection = self._connect()
        layout = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if layout not in {0, LAYOUT_VERSION}:
            self._connection.close()
            raise SettingsError(f"{path} was written by another release: stop the sandbox and delete its folder")
        self._connection.execute("PRAGMA journal_mode = WAL")
        # Survives the death of the process; only a power cut may lose the last transactions.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(LAYOUT)
        self._connection.execute(f"PRAGMA user_version = {LAYOUT_VERSION}")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30)
        connection.execute("PRAGMA cache_size = -65536")
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._writing:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def record(
        self, request: RequestRow, events: Sequence[CapturedEvent], lost: Iterable[tuple[str, CapturedEvent]] = ()
    ) -> None:
        """Append one request, its stored and its lost events; all of it is on disk afterwards or none."""
        arrived, historical = request.arrived, request.historical
        with self._transaction() as connection:
            number = connection.execute(INSERT_REQUEST, request).lastrowid
            first = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM events").fetchone()[0]
            connection.executemany(
                "INSERT INTO properties VALUES (?, ?)",
                [(position, event.properties) for position, event in enumerate(events, first)],
            )
            connection.executemany(
                INSERT_EVENT,
                [
                    (
                        position, number, arrived, event.token, event.timestamp // DAY, event.event, event.distinct_id,
                        event.uuid, event.timestamp, event.session_id, event.person_mode, historical,
                    )
                    for position, event in enumerate(events, first)
                ],
            )  # fmt: skip
            connection.executemany(
                "INSERT INTO violations VALUES (?, ?, ?, ?, ?)",
                [(number, kind, e.token, e.uuid, e.event) for e in events if e.violations for kind in e.violations],
            )
            connection.executemany(
                "INSERT INTO lost VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(number, reason, e.token, e.uuid, e.event, e.distinct_id, e.timestamp) for reason, e in lost],
            )

    def merge(self) -> None:
        """Bring the merged rows up to the newest copy, as PostHog's merges do sooner or later."""
        with self._merging:
            while self._merge_step():
                pass

    def _merge_step(self) -> bool:
        """Merge the next rows; whether there were any."""
        with self._transaction() as connection:
            done = connection.execute("SELECT up_to FROM merge_progress").fetchone()[0]
            last = connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0]
            if done >= last:
                return False
            step = min(done + MERGE_STEP, last)
            connection.execute(MERGE, (done, step))
            connection.execute("UPDATE merge_progress SET up_to = ?", (step,))
            return True

    def reset(self) -> None:
        """Forget every request and event."""
        with self._merging, self._transaction() as connection:
            for table in TABLES:
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 (a constant)
            connection.execute("UPDATE merge_progress SET up_to = 0")

    @contextmanager
    def reading(self, *, merged: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection that sees one consistent state, with the merge caught up when asked for."""
        if merged:
            self.merge()
        connection = self._connect()
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN")
            yield connection
        finally:
            connection.close()

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        self._connection.close()
