"""Which mapping made an event: two digests, on every event and in the day log.

The identity version covers what decides uuid, event, distinct_id and timestamp, the key by which PostHog knows an
event again. A `remap` replaces events in place while it is equal and would make twins when it is not. The mapping
version covers everything that decides an event; it contains the identity version.

Settings are digested as they are, and of the packages that read user agents the versions; the code is represented by
the two constants below. Raise one by hand with every change of its rules. Golden output guards them:
tests/mapping/test_versions.py fails when the events of fixed records change and the constant did not.
"""

import hashlib
import json
from importlib.metadata import version
from typing import Any

from snowplow_posthog_dagster.mapping.names import MAX_BYTES
from snowplow_posthog_dagster.mapping.paths import without_vendor
from snowplow_posthog_dagster.mapping.privacy import Action, digest
from snowplow_posthog_dagster.mapping.settings import MappingSettings, template_fields

IDENTITY_CODE = 2
"""Raise when the rules for uuid, event, distinct_id or timestamp change."""

MAPPING_CODE = 7
"""Raise when any other rule changes an event."""

USER_AGENTS = ("ua-parser", "ua-parser-builtins", "ua-parser-rs")
"""The packages that read a user agent where no enrichment has (browser.py): another edition finds other browsers."""

_LENGTH = 16
_IDENTITY_COLUMNS = frozenset(
    {"event", "event_id", "event_name", "event_vendor", "platform", "derived_tstamp", "collector_tstamp"}
)


def identity_version(settings: MappingSettings, actions: tuple[Action, ...], secret: bytes | None) -> str:
    """16 hex digits; `actions` are the privacy's, of which only those on sources of the identity count."""
    sources = _identity_sources(settings)
    touching = [action for action in actions if _touches(action.path, sources)]
    return _digest(
        {
            "code": IDENTITY_CODE,
            "max_name": MAX_BYTES,
            "events": settings.events.model_dump(mode="json", exclude={"page_ping"}),
            "identity": {
                **settings.identity.model_dump(mode="json", include={"distinct_id", "duplicates"}),
                "illegal_ids": sorted(set(settings.identity.illegal_ids)),
            },
            # Sorted, since what is done to one field has an order of its own, whatever the order of the settings.
            "privacy": sorted([action.path, action.verb] for action in touching),
            "strip": sorted(settings.privacy.strip_query_parameters.names) if _strips(touching) else [],
            "secret": _fingerprint(secret, touching),
        }
    )


def mapping_version(settings: MappingSettings, actions: tuple[Action, ...], secret: bytes | None) -> str:
    """16 hex digits over the identity version, the rules of the code and all settings."""
    return _digest(
        {
            "code": MAPPING_CODE,
            "identity": identity_version(settings, actions, secret),
            "settings": settings.model_dump(mode="json"),
            "user_agents": [version(name) for name in USER_AGENTS] if settings.properties.parse_user_agent else [],
            "privacy": [[action.path, action.verb] for action in actions],
            "secret": _fingerprint(secret, list(actions)),
        }
    )


def _identity_sources(settings: MappingSettings) -> set[str]:
    events = settings.events
    fields = {
        f"{schema}.{field}"
        for schema, template in events.self_describing.items()
        for field in template_fields(template)
    }
    return {
        *_IDENTITY_COLUMNS,
        *template_fields(events.struct),
        *map(without_vendor, settings.identity.distinct_id),
        *map(without_vendor, fields),
    }


def _touches(path: str, sources: set[str]) -> bool:
    """Whether an action on a path reaches a source: it is one, or holds one."""
    touched = without_vendor(path)
    return any(source == touched or source.startswith(f"{touched}.") for source in sources)


def _strips(actions: list[Action]) -> bool:
    return any(action.verb.startswith("strip") for action in actions)


def _fingerprint(secret: bytes | None, actions: list[Action]) -> str:
    """Says whether two secrets are one, and nothing else; empty when nothing is hashed."""
    if not secret or not any(action.verb == "hash" for action in actions):
        return ""
    return digest(secret, "fingerprint of the privacy secret")[:_LENGTH]


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]
