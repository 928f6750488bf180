"""Archive objects that nobody would write: real lines, harmed in the ways that trackers, pipelines and disks harm them.

    real lines --columns, JSON, bytes--> harmed lines --newlines, glue--> raw --gzip, cuts, flips--> stored

Everything comes from one `Random`, so a seed is an object.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from snowplow_posthog_dagster.sandbox.samples import sample_objects
from snowplow_posthog_dagster.snowplow.columns import COLUMN_COUNT, INDEX
from tests.snowplow.samples import EDGE_CASES

JSON_COLUMNS = [INDEX[name] for name in ("contexts", "unstruct_event", "derived_contexts")]
# What decides an event's key, what rules read, and what is read as a number, a time, a URL or an address.
DECIDING = [
    INDEX[name]
    for name in (
        "app_id", "platform", "collector_tstamp", "derived_tstamp", "dvce_created_tstamp", "event", "event_id",
        "event_name", "event_vendor", "user_id", "domain_userid", "network_userid", "domain_sessionid",
        "user_ipaddress",
        "page_url", "page_referrer", "page_title", "useragent", "se_action", "se_value", "geo_country", "geo_latitude",
        "geo_longitude", "mkt_clickid", "refr_medium", "tr_total", "br_viewwidth", "dvce_screenheight", "true_tstamp",
    )
]  # fmt: skip
TEXTS = [
    "", " ", "\x00", "\\u0000", "\ud7ff", "null", "NaN", "undefined", "0", "-1", "1e400", "-0.0", "1" * 30, "٣",
    "1_000",
    "true", "anonymous", "$identify", "$set", "masked", "{}", "[]", '"', "\\", "\\N", "\u2028", "\u0085", "\x1f",
    "\x7f",
    "😀" * 70, "a" * 300, "x" * 5000, "2022-06-06 04:29:38.123", "2022-02-30 00:00:00.000", "0000-01-01 00:00:00.000",
    "9999-12-31 23:59:59.999", "1654489778", "yesterday", "http://[::1", "http://[", "//",
    "https://a.org:99999/?utm_source=%",
    "https://ü.example/?q=%ff%00&utm_campaign=%F0%9F&gclid=", "?a=b&&=&%zz", "javascript:alert(1)", "::ffff:1.2.3.4",
    "1.2.3.4, 5.6.7.8", "fe80::1%eth0", "999.1.1.1", "DE", "de-DE-x", "c6ef3124-b53a-4b13-a233-0088f79dcbcb",
    "C6EF3124B53A4B13A2330088F79DCBCB", "{c6ef3124-b53a-4b13-a233-0088f79dcbcb}", "=cmd|' /C calc'!A0", "<script>",
    "page_view", "struct", "unstruct", "page_ping", "transaction", "Mozilla/5.0 (Linux; wetab Build/X)",
]  # fmt: skip
JSON_TEXTS = [
    "1e-400", "123456789012345678901234567890", "-0", "-0.0", "9007199254740993", "18446744073709551616", "null",
    "true", "[]", "{}", '""', '" "', '"\\u0000"', '"\\ud83d\\ude00"', "[[[[[]]]]]", '{"":{"":null}}', '{"a":1,"a":2}',
    "[null,null]",
    '{"$set":{"x":1}}', '"' + "y" * 40_000 + '"', "[" * 60 + "]" * 60, '{"schema":1}', "1e400", "-1e400", '"\\ud83d"',
    '"\\udc00\\ud800"', '"c6ef3124-b53a-4b13-a233-0088f79dcbcb"', '"1.2.3.4"', "1654489778000",
]  # fmt: skip
NO_JSON = ["NaN", "Infinity", "-Infinity", "[" * 140 + "]" * 140, "01", "1.", ".5", "'x'", '"\t"', "{", "]"]
KEYS = [
    "", "$set", "$set_once", "$ip", "$geoip_disable", "$process_person_profile", "$session_id", "token", "distinct_id",
    "uuid", "timestamp", "event", "properties", "$groups", "a\\u0000b", "\\ud800", "a.b", "a b", "snowplow_object",
    "contexts", "id", "userId", "sessionId", "__proto__", "ü", "k" * 300, "$current_url", "$prev_pageview_pathname",
    "$cookieless_mode", "$ignore_sent_at", "$sent_at", "$unset",
]  # fmt: skip
SCHEMAS = [
    "iglu:com.acme/thing/jsonschema/1-0-0", "iglu:com.acme/th-ing/jsonschema/0-0-0", "iglu:a/b/c/1", "", "iglu:",
    "com.acme/thing", "iglu:com.acme/thing/avro/1-0-0", "iglu:com.acme/thing/jsonschema/1-0-0/x",
    "iglu:ü/ö/jsonschema/1-0-0",
    "iglu:com.snowplowanalytics.snowplow/web_page/jsonschema/1-0-0",
    "iglu:com.snowplowanalytics.snowplow/client_session/jsonschema/1-0-2",
    "iglu:com.snowplowanalytics.snowplow/link_click/jsonschema/1-0-1",
    "iglu:com.gitlab/gitlab_standard/jsonschema/1-0-8", "iglu:com.gitlab/gitlab_experiment/jsonschema/1-0-0",
]  # fmt: skip

_LONGEST_LINE = 20_000  # one of the fixtures has a megabyte, which would be most of the work


class Made(NamedTuple):
    """An object: its bytes as stored, and the inflated ones; None when no part of a gzip can be trusted."""

    stored: bytes
    raw: bytes | None


def real_lines(fixtures: Path | None) -> list[bytes]:
    """Lines to start from: those of the repository, and of the folder of fixtures beside it where it is."""
    files = [path.read_bytes() for path in sorted(EDGE_CASES.glob("*.tsv"))]
    files += [item.lines for item in sample_objects()]
    if fixtures is not None:
        files += [path.read_bytes() for path in sorted(fixtures.glob("snowplow/*/*.tsv"))]
        files += [gzip.decompress(path.read_bytes()) for path in sorted(fixtures.glob("snowplow/*/*.tsv.gz"))]
    return sorted({line for file in files for line in file.split(b"\n") if 0 < len(line) < _LONGEST_LINE})


def made_object(random: Random, lines: Sequence[bytes]) -> Made:
    """One object of up to 300 lines, most of them harmed."""
    chosen = [random.choice(lines) for _ in range(random.choice((0, 1, 10, 100, 300)))]
    harmed = [harmed_line(random, line) if random.random() < 0.8 else line for line in chosen]
    harmed += [random.choice(harmed) for _ in range(random.randrange(4)) if harmed]
    ends = random.choices((b"\n", b"\r\n", b"\n\n", b""), (30, 3, 1, 1), k=len(harmed))
    raw = b"".join(line + end for line, end in zip(harmed, ends, strict=True))
    if random.random() < 0.1:
        raw = _harm_bytes(random, raw)
    return _stored(random, raw)


def harmed_line(random: Random, line: bytes) -> bytes:
    """A line with one to four things wrong, or unusual, about it; it may hold newlines afterwards."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        line = random.choice(_HARMS)(random, line)
    return line


def _harm_column(random: Random, line: bytes) -> bytes:
    fields = line.split(b"\t")
    place = random.choice(DECIDING) if random.random() < 0.8 else random.randrange(COLUMN_COUNT)
    if place < len(fields):
        fields[place] = random.choice(TEXTS).encode("utf-8", "surrogatepass")
    return b"\t".join(fields)


def _swap_columns(random: Random, line: bytes) -> bytes:
    fields = line.split(b"\t")
    first, second = random.randrange(len(fields)), random.randrange(len(fields))
    fields[first], fields[second] = fields[second], fields[first]
    return b"\t".join(fields)


def _harm_json(random: Random, line: bytes) -> bytes:
    """Change one place of a JSON column, which stays JSON or does not."""
    fields = line.split(b"\t")
    places = [place for place in JSON_COLUMNS if place < len(fields) and fields[place]]
    if not places:
        return _new_json(random, fields)
    place = random.choice(places)
    try:
        value = json.loads(fields[place])
    except ValueError:
        return _harm_bytes(random, line)
    mark = "@@here@@"
    _put_somewhere(random, value, mark)
    text = json.dumps(value, separators=(",", ":")).replace(f'"{mark}"', _json_text(random))
    if random.random() < 0.3:
        keys = [part for part in text.split('"')[1::2] if part and "\\" not in part]
        if keys:
            text = text.replace(f'"{random.choice(keys)}"', f'"{random.choice(KEYS)}"', 1)
    fields[place] = text.encode().replace(b"\t", b" ").replace(b"\n", b" ")
    return b"\t".join(fields)


def _new_json(random: Random, fields: list[bytes]) -> bytes:
    """Put a column of entities, or one self-describing JSON, into the line."""
    place = random.choice(JSON_COLUMNS)
    entities = [_entity(random) for _ in range(random.randint(1, 5))]
    data = entities[0] if place == INDEX["unstruct_event"] else f"[{','.join(entities)}]"
    text = f'{{"schema":"iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-0","data":{data}}}'
    if place < len(fields):
        fields[place] = text.encode().replace(b"\t", b" ").replace(b"\n", b" ")
    return b"\t".join(fields)


def _entity(random: Random) -> str:
    pairs = ",".join(f'"{random.choice(KEYS)}":{_json_text(random)}' for _ in range(random.randint(0, 3)))
    return f'{{"schema":"{random.choice(SCHEMAS)}","data":{{{pairs}}}}}'


def _json_text(random: Random) -> str:
    return random.choice(JSON_TEXTS if random.random() < 0.8 else NO_JSON)


def _put_somewhere(random: Random, value: Any, mark: str) -> None:
    """Replace a random node of a JSON value by a mark, or add one."""
    while isinstance(value, dict | list) and value:
        place: Any = random.choice(list(value)) if isinstance(value, dict) else random.randrange(len(value))
        inner = value[place]
        if not isinstance(inner, dict | list) or random.random() < 0.2:
            value[place] = mark
            return
        value = inner
    if isinstance(value, dict):
        value[random.choice(KEYS[:8])] = mark
    elif isinstance(value, list):
        value.append(mark)


def _harm_tabs(random: Random, line: bytes) -> bytes:
    place = random.randrange(len(line) + 1)
    return line[:place] + b"\t" + line[place:] if random.random() < 0.5 else line.replace(b"\t", b"", 1)


def _harm_bytes(random: Random, data: bytes) -> bytes:
    if not data:
        return bytes(random.randrange(256) for _ in range(random.randrange(9)))
    place, size = random.randrange(len(data)), random.choice((1, 1, 2, 50))
    new = random.choice(
        (b"", bytes([random.randrange(256)]), b"\xff\xfe", b"\xed\xa0\x80", b"\x00", data[place : place + 40] * 3)
    )
    return data[:place] + new + data[place + size :]


def _cut(random: Random, line: bytes) -> bytes:
    return line[: random.randrange(len(line) + 1)]


def _glue(random: Random, line: bytes) -> bytes:
    return line + line


_HARMS: list[Callable[[Random, bytes], bytes]] = [
    *([_harm_column] * 8), *([_harm_json] * 8), _swap_columns, _harm_tabs, _harm_bytes, _cut, _glue,
]  # fmt: skip


def _stored(random: Random, raw: bytes) -> Made:
    """The bytes as a file of the archive: plain, one gzip or several, sometimes damaged."""
    if random.random() < 0.15 and not raw.startswith(b"\x1f\x8b"):
        return Made(raw, raw)
    cuts = sorted(random.randrange(len(raw) + 1) for _ in range(random.choice((0, 0, 0, 1, 3))))
    pieces = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    stored = b"".join(gzip.compress(piece, random.choice((0, 1, 6)), mtime=0) for piece in pieces)
    if random.random() < 0.1:
        return Made(stored + b"\0" * random.randrange(600), raw)
    if random.random() < 0.1:
        stored = stored[: random.randrange(2, len(stored))]
    elif random.random() < 0.1:
        stored = stored[:2] + _harm_bytes(random, stored[2:])
    else:
        return Made(stored, raw)
    return Made(stored, _inflated(stored))


def _inflated(stored: bytes) -> bytes | None:
    """What the standard library makes of a damaged gzip, member by member; None when it is broken."""
    found = b""
    while stored:
        member = zlib.decompressobj(31)
        try:
            found += member.decompress(stored)
        except zlib.error:
            return None
        if not member.eof:
            return None
        stored = member.unused_data.lstrip(b"\0")
    return found
