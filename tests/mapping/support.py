"""Mapping one record in a line of a test: columns in, the PostHog event out, read by a strict JSON parser."""

import json
from typing import Any

import orjson

from snowplow_posthog_dagster.mapping.mapper import Mapper, Outcome
from snowplow_posthog_dagster.mapping.outcome import Filtered, Mapped
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.snowplow.record import Rejected
from tests.snowplow.samples import contexts, record

SNOWPLOW = "iglu:com.snowplowanalytics.snowplow"
WEB_PAGE = f"{SNOWPLOW}/web_page/jsonschema/1-0-0"
CLIENT_SESSION = f"{SNOWPLOW}/client_session/jsonschema/1-0-2"
UA_PARSER = f"{SNOWPLOW}/ua_parser_context/jsonschema/1-0-0"
MOBILE = f"{SNOWPLOW}/mobile_context/jsonschema/1-0-3"
YAUAA = "iglu:nl.basjes/yauaa_context/jsonschema/1-0-4"
IAB = "iglu:com.iab.snowplow/spiders_and_robots/jsonschema/1-0-0"
GITLAB_STANDARD = "iglu:com.gitlab/gitlab_standard/jsonschema/1-0-8"
GITLAB_EXPERIMENT = "iglu:com.gitlab/gitlab_experiment/jsonschema/1-0-0"

SECRET = b"a secret of the tests"


def unstruct(schema: str, data: Any) -> dict[str, str]:
    """The columns of a self-describing event."""
    _, _, path = schema.partition(":")
    vendor, name, _, version = path.split("/")
    inner = {"schema": schema, "data": data}
    envelope = {"schema": f"{SNOWPLOW}/unstruct_event/jsonschema/1-0-0", "data": inner}
    text = json.dumps(envelope, separators=(",", ":"))
    return {"event": "unstruct", "event_vendor": vendor, "event_name": name, "event_version": version,
            "unstruct_event": text}  # fmt: skip


def link_click(**data: Any) -> dict[str, str]:
    """The columns of a link click."""
    return unstruct(f"{SNOWPLOW}/link_click/jsonschema/1-0-1", data)


def mapper(settings: dict[str, Any] | None = None, **options: Any) -> Mapper:
    """A mapper under settings written as in the settings file."""
    return Mapper(MappingSettings.model_validate(settings or {}), **{"privacy_secret": SECRET, **options})


def outcome(
    settings: dict[str, Any] | None = None, *, entities: Any = (), derived: Any = (), **columns: str
) -> Outcome:
    """What becomes of a small valid record with these columns and entities."""
    if entities:
        columns["contexts"] = contexts(*entities)
    if derived:
        columns["derived_contexts"] = contexts(*derived)
    mapping = mapper(settings).for_object(object_id="0123456789abcdef" * 2, archive_day="2022-06-06")
    return mapping(record(**columns))


def mapped(settings: dict[str, Any] | None = None, **given: Any) -> Mapped:
    """The outcome, which must be an event."""
    found = outcome(settings, **given)
    assert isinstance(found, Mapped), found
    return found


def event(settings: dict[str, Any] | None = None, **given: Any) -> dict[str, Any]:
    """The event as PostHog reads it."""
    content: dict[str, Any] = orjson.loads(mapped(settings, **given).event)
    return content


def properties(settings: dict[str, Any] | None = None, **given: Any) -> dict[str, Any]:
    """The properties of the event."""
    found: dict[str, Any] = event(settings, **given)["properties"]
    return found


def rule(settings: dict[str, Any] | None = None, **given: Any) -> str | None:
    """The rule under which a record is filtered, None when it is sent."""
    found = outcome(settings, **given)
    assert not isinstance(found, Rejected), found
    return found.rule if isinstance(found, Filtered) else None
