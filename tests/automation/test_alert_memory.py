"""What the alerts remember outlives a change of release, forwards and back."""

import json

import dagster as dg

from snowplow_posthog_dagster.automation.alert_memory import remembered

OLDER = {
    "outbox": [{"channel": "#data", "text": "unsent", "at": 100.0}],
    "open": {
        "posthog_events 2022-01-05": {
            "kind": "run",
            "asset": "posthog_events",
            "partitions": ["2022-01-05"],
            "channels": ["#data"],
            "last_said": 90.0,
            "last_failed": 90.0,
        }
    },
}


def remember(instance: dg.DagsterInstance, content: object) -> None:
    instance.daemon_cursor_storage.set_cursor_values({"snowplow_posthog/alerts/default": json.dumps(content)})


def test_what_an_older_release_kept_is_read_with_defaults() -> None:
    with dg.instance_for_test() as instance:
        remember(instance, OLDER)
        with remembered(instance, "default", 200.0) as memory:
            (alert,) = memory.open.values()
            assert (alert.partitions, alert.count, alert.failures, alert.ended) == (["2022-01-05"], 1, None, False)
            assert [message.text for message in memory.outbox] == ["unsent"]


def test_after_a_roll_back_what_is_not_known_is_left_out_and_the_rest_is_said() -> None:
    newer = json.loads(json.dumps(OLDER))
    newer["outbox"][0]["thread"] = "123.456"
    newer["open"]["posthog_events 2022-01-05"]["mood"] = "worse"
    newer["more"] = {}
    with dg.instance_for_test() as instance:
        remember(instance, newer)
        with remembered(instance, "default", 200.0) as memory:
            assert [message.text for message in memory.outbox] == ["unsent"]
            assert list(memory.open) == ["posthog_events 2022-01-05"]
