"""Tricky values in one column at a time, through the Python SDK itself and through our parser.

Where the two fall on different sides, the value must stand in the table with the rule; where they agree, it must not.
"""

import importlib.util
import warnings
from typing import Any

import pytest

from snowplow_posthog_dagster.snowplow.parse import ParsedEvent, parse
from tests.integration.servers.presence import require
from tests.snowplow.samples import contexts, record, unstruct

THING = "iglu:com.acme/thing/jsonschema/1-0-0"
DEEP = contexts((THING, 1)).replace(":1}", ":" + "[" * 150 + "]" * 150 + "}")

# column -> value -> the rule by which we refuse what the SDK takes or take what it refuses; None: they agree.
VALUES: dict[str, dict[str, str | None]] = {
    "txn_id": {
        **dict.fromkeys(["1", "-1", "+5", "007", "2147483647", "x", "-", "1.0", "1e3", "0x1", "\\N", "NaN"]),
        **dict.fromkeys(["1_000", " 3", "3 ", "٣", "2147483648", "99999999999999999999"], "integers are Java's"),
    },
    "geo_latitude": {
        **dict.fromkeys(["1", "-1.5", "1E+3", "1.0E-5", ".5", "5.", " 1.5", "1e-400", "x", "1,5", "0x1p3", "1d", "-"]),
        **dict.fromkeys(["1e400", "nan", "NaN", "inf", "-Infinity", "1_0.5", "١.٢"], "doubles are finite decimals"),
    },
    "se_value": {
        **dict.fromkeys(["1", "-1.5", "1E+3"]),
        **dict.fromkeys(["x", "NaN", "1,5"], "se_value is a number"),
    },
    "br_cookies": dict.fromkeys(["0", "1", "2", "true", "01", " 1", "x"]),
    "derived_tstamp": {
        **dict.fromkeys(["2022-06-06 04:29:38.123", "2022-06-06 04:29:38", "0000-01-01 00:00:00.000"]),
        **dict.fromkeys(
            ["yesterday", "1385424237886", "2022-02-30 00:00:00.000", "-2006-10-15 09:06:35.493", "2022-06-06"],
            "timestamps are checked",
        ),
    },
    "contexts": {
        **dict.fromkeys(
            [
                contexts(),
                contexts((THING, {"a": 1}), (THING, None), ("iglu:com.acme/other/jsonschema/2-1-3", [1, "x"])),
                contexts((THING, 1)).replace(":1}", ':{"a":1,"a":2}}'),
                '{"data":[]}',
                "&&&",
                "[]",
                "1",
                '{"data":1}',
                '{"data":[1]}',
                '{"data":[{"schema":"iglu:com.acme/thing/jsonschema/1-0-0"}]}',
                '{"data":[{"schema":1,"data":1}]}',
                contexts(("iglu:com.acme/thing/jsonschema/1-0", 1)),
                contexts(("iglu:com.acme/thi.ng/jsonschema/1-0-0", 1)),
                contexts(("com.acme/thing", 1)),
                contexts((THING, 1)) + "x",
                contexts((THING, 1)).replace(":1}", ":01}"),
            ]
        ),
        **dict.fromkeys(["masked", "{}", "null", '{"schema":"x","data":null}'], "an empty envelope costs no event"),
        contexts(("iglu:com.acme/thing/jsonschema/0-3-0", 1)): "MODEL 0 is accepted",
        contexts((THING, 1)).replace(":1}", ":NaN}"): "NaN is no JSON",
        contexts((THING, 1)).replace(":1}", ":-Infinity}"): "NaN is no JSON",
        DEEP: "JSON has at most 100 levels",
    },
    "unstruct_event": {
        **dict.fromkeys(
            [
                unstruct(THING, {"a": 1}),
                unstruct(THING, None),
                unstruct(THING, {"a": 1}).replace("/unstruct_event/", "/contexts/"),
                "|%|",
                '{"data":{"schema":"iglu:com.acme/thing/jsonschema/1-0-0"}}',
                '{"data":[]}',
                unstruct("iglu:com.acme/thing/jsonschema/x", 1),
            ]
        ),
        **dict.fromkeys(["masked", "{}", '{"data":null}', '{"data":{}}'], "an empty envelope costs no event"),
    },
    "event_id": dict.fromkeys(["c6ef3124-b53a-4b13-a233-0088f79dcbcb", "not-a-uuid", ""]),
    "collector_tstamp": {"": None, "29th May 2013 18:04:12": "timestamps are checked"},
    "app_id": dict.fromkeys(["", "x" * 500, "日本", "a\x00b"]),
}


@pytest.fixture(scope="module")
def sdk() -> Any:
    found = importlib.util.find_spec("snowplow_analytics_sdk") is not None
    require("snowplow-analytics-sdk, the yardstick of the parser", found, "make extra")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("snowplow_analytics_sdk.event_transformer")


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        pytest.param(column, value, rule, id=f"{column}-{number}")
        for column, values in VALUES.items()
        for number, (value, rule) in enumerate(values.items())
    ],
)
def test_both_fall_on_the_same_side_or_the_rule_has_a_name(sdk: Any, column: str, value: str, rule: str | None) -> None:
    given = record(**{column: value})
    try:
        sdk_event = sdk.transform("\t".join(given.fields))
    except Exception:  # noqa: BLE001 - the SDK's exception, and whatever it lets through
        sdk_event = None
    ours = parse(given)
    assert (isinstance(ours, ParsedEvent) is (sdk_event is not None)) is (rule is None), (ours, sdk_event)
    if isinstance(ours, ParsedEvent) and sdk_event is not None:
        expected = {key: float(known) if key == "se_value" else known for key, known in sdk_event.items()}
        assert ours.event == expected
