"""Events and bodies as a loader sends them, for the tests of the stand-in."""

import gzip
import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import urllib3

from snowplow_posthog_dagster.sandbox.capture import Outcome, Request, capture
from snowplow_posthog_dagster.sandbox.timestamps import to_microseconds

TOKEN = "phc_sandbox"
NOW = to_microseconds(datetime(2026, 6, 15, 12, tzinfo=UTC))
PEER = "127.0.0.1"


def an_event(**changes: Any) -> dict[str, Any]:
    """An event that nothing is wrong with; a change to `...` removes the key."""
    event = {
        "uuid": str(uuid4()),
        "event": "$pageview",
        "distinct_id": "someone",
        "timestamp": "2021-03-02T19:05:11.123Z",
        "properties": {"$geoip_disable": True, "$process_person_profile": False},
    } | changes
    return {name: value for name, value in event.items() if value is not ...}


def with_properties(**properties: Any) -> dict[str, Any]:
    """An event with these properties beside the usual two; names may be given with `_dollar_` for `$`."""
    named = {name.replace("_dollar_", "$"): value for name, value in properties.items()}
    event = an_event()
    event["properties"] |= named
    return event


def a_batch(*events: Any, **envelope: Any) -> bytes:
    """The JSON of a batch of these events for the sandbox's project; an envelope key of `...` is left out."""
    body = {"api_key": TOKEN, "batch": list(events)} | envelope
    return json.dumps({name: value for name, value in body.items() if value is not ...}).encode()


def captured(body: bytes, path: str = "/batch", *, now: int = NOW) -> Outcome:
    """What capture makes of a body that arrives on 2026-06-15 at noon."""
    return capture(Request(path, body, now, PEER))


def post(host: str, body: bytes, path: str = "/batch/", **headers: str) -> urllib3.BaseHTTPResponse:
    """POST a body, without any retry."""
    return urllib3.request("POST", host + path, body=body, headers=headers, retries=False, timeout=20.0)


def gzipped(body: bytes) -> bytes:
    """The body as one gzip member."""
    return gzip.compress(body, 1)
