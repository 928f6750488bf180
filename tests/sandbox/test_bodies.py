"""What the stand-in takes for a body: sizes, gzip, UTF-8, strict JSON."""

import gzip
import zlib

import pytest

from snowplow_posthog_dagster.sandbox import bodies
from tests.sandbox.events import a_batch, an_event, captured, gzipped


def test_gzip_is_recognised_by_its_bytes():
    assert captured(gzipped(a_batch(an_event()))).status == 200


def test_plain_json_is_taken_too():
    assert captured(a_batch(an_event())).status == 200


@pytest.mark.parametrize("cut", [1, 8, 9, 200])
def test_a_truncated_gzip_is_refused(cut):
    body = gzipped(a_batch(*[an_event() for _ in range(50)]))
    assert captured(body[:-cut]).status == 400


def test_a_corrupt_gzip_is_refused():
    body = bytearray(gzipped(a_batch(*[an_event() for _ in range(50)])))
    body[-6] ^= 1
    outcome = captured(bytes(body))
    assert (outcome.status, outcome.events) == (400, [])
    assert "invalid GZIP data" in outcome.text


def test_only_the_first_gzip_member_is_read():
    body = a_batch(an_event())
    assert captured(gzipped(body) + gzipped(b"garbage")).status == 200
    assert captured(gzipped(body[:40]) + gzipped(body[40:])).status == 400


@pytest.mark.parametrize("compress", [zlib.compress, lambda data: b"\x28\xb5\x2f\xfd" + data])
def test_other_compressions_are_no_json(compress):
    assert captured(compress(a_batch(an_event()))).status == 400


def test_a_batch_over_20_mebibytes_on_the_wire_is_too_large():
    assert captured(b" " * (20 * 1024 * 1024 + 1)).status == 413


def test_a_single_event_over_2_mebibytes_is_too_large_on_the_other_routes():
    body = a_batch(*[an_event(properties={"text": "x" * 100_000}) for _ in range(22)])
    assert captured(body, "/i/v0/e").status == 413
    assert captured(body, "/batch").status == 200


def test_a_batch_over_100_mebibytes_inflated_is_too_large():
    bomb = gzip.compress(b" " * (100 * 1024 * 1024 + 1), 1)
    assert len(bomb) < bodies.BATCH_WIRE_BYTES
    assert captured(bomb).status == 413


@pytest.mark.parametrize(
    "poison",
    [
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e400",
        b'"\\ud83d"',
        b'"\xff"',
        b"'single'",
        b"01",
        b'"tab\tinside"',
        b"[" * 200 + b"]" * 200,
    ],
    ids=["nan", "infinity", "minus", "1e400", "surrogate", "not utf-8", "quotes", "zero", "control", "too deep"],
)
def test_what_is_not_strict_json_costs_the_whole_batch(poison):
    body = a_batch(an_event(), an_event(properties={"value": "POISON"})).replace(b'"POISON"', poison)
    outcome = captured(body)
    assert (outcome.status, outcome.events) == (400, [])


def test_a_hundred_levels_of_nesting_are_fine():
    body = a_batch(an_event(properties={"value": "DEEP"})).replace(b'"DEEP"', b"[" * 100 + b"]" * 100)
    assert captured(body).status == 200
