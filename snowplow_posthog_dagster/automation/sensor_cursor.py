"""What the S3 sensor remembers between ticks: where its round over the look-back goes on, and what it has told.

Nothing depends on it for correctness: what is new is decided by the listing and the logs alone, so a lost, old
or foreign cursor costs one round, and one more evaluation of a check. It is JSON that people can read in Dagster's UI:

    {"version": 1, "look_back_next": "2026-11-20T13", "newest_hour": "2026-11-22T17", "empty_hours": ["2026-11-22T15"]}
"""

import json
from dataclasses import asdict, dataclass

VERSION = 1


@dataclass(frozen=True)
class SensorCursor:
    """`look_back_next` is the first hour that the next tick looks back at, `newest_hour` the newest one with files.

    `empty_hours` are those without a file that were told.
    """

    look_back_next: str = ""
    newest_hour: str = ""
    empty_hours: tuple[str, ...] = ()

    def text(self) -> str:
        """As Dagster keeps it."""
        return json.dumps({"version": VERSION, **asdict(self)})


def cursor_of(text: str | None) -> SensorCursor:
    """Read a cursor; one of another version, or one that is no cursor, starts the round again."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return SensorCursor()
    if not isinstance(found, dict) or found.get("version") != VERSION:
        return SensorCursor()
    empty = found.get("empty_hours")
    told = tuple(map(str, empty)) if isinstance(empty, list) else ()
    return SensorCursor(str(found.get("look_back_next", "")), str(found.get("newest_hour", "")), told)
