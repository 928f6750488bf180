"""Bodies: what one POST to `/batch/` carries.

    run ── run ── run  --body()-->  header + opening + runs + tail, one gzip member

A body is one batch, or several small ones of a day joined, so that a day of tiny archive objects does not
become a day of tiny requests. Nothing is inflated: the runs are copied, what lies between them and around
them travels in stored blocks. The project key enters here and nowhere else.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from snowplow_posthog_dagster.posthog.batches import MAX_EVENTS, MAX_RAW_BYTES, Run
from snowplow_posthog_dagster.posthog.compression import crc32, crc32_combine, gzip_header, gzip_trailer, stored_block

# PostHog asks for `historical_migration` on events that are at least 48 hours old (docs/migrate); younger
# ones sent as history are billed twice over, older ones sent as live wake its spike detection.
HISTORICAL_AGE_MILLISECONDS = 48 * 3_600_000

Item = TypeVar("Item")

_OPENING = b'{"batch":[\n'
_BETWEEN = b",\n"


def is_historical(max_timestamp: int, now_milliseconds: int) -> bool:
    """Whether a body whose newest event has this timestamp is history."""
    return now_milliseconds - max_timestamp >= HISTORICAL_AGE_MILLISECONDS


def body(runs: Sequence[Run], *, api_key: str, historical: bool) -> bytes:
    """Assemble a gzip'd body from runs.

    Raises ValueError when there is no run: PostHog answers 400 to an empty batch.
    """
    if not runs:
        raise ValueError("a body needs at least one run of events")
    tail = _tail(api_key, historical=historical)
    pieces = [gzip_header(), stored_block(_OPENING)]
    crc, length = crc32(_OPENING), len(_OPENING)
    for position, run in enumerate(runs):
        if position:
            pieces.append(stored_block(_BETWEEN))
            crc, length = crc32_combine(crc, crc32(_BETWEEN), len(_BETWEEN)), length + len(_BETWEEN)
        pieces.append(run.compressed)
        crc, length = crc32_combine(crc, run.crc, run.raw_bytes), length + run.raw_bytes
    crc, length = crc32_combine(crc, crc32(tail), len(tail)), length + len(tail)
    pieces += [stored_block(tail, final=True), gzip_trailer(crc, length)]
    return b"".join(pieces)


def _tail(api_key: str, *, historical: bool) -> bytes:
    flag = ',"historical_migration":true' if historical else ""
    return f'\n],"api_key":{json.dumps(api_key)}{flag}}}'.encode()


def joined(
    items: Iterable[tuple[Item, int, int, bool]],
    *,
    max_events: Callable[[], int] = lambda: MAX_EVENTS,
    max_raw_bytes: int = MAX_RAW_BYTES,
) -> Iterator[list[Item]]:
    """Group items into bodies, in order.

    Each item comes as `(item, events, raw bytes, historical)`. A group holds at most `max_events()`, asked again
    and again because the share of the cap changes, and `max_raw_bytes`, except that an item of its own always
    fits, and never mixes both sides of 48 hours.
    """
    group: list[Item] = []
    events = raw = 0
    side: bool | None = None
    for item, item_events, item_raw, historical in items:
        over = events + item_events > max_events() or raw + item_raw > max_raw_bytes
        if group and (over or historical is not side):
            yield group
            group, events, raw = [], 0, 0
        group.append(item)
        events, raw, side = events + item_events, raw + item_raw, historical
    if group:
        yield group
