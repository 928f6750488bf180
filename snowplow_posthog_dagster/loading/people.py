"""Whether an event or a dead letter belongs to people who are to be forgotten.

An id may stand in an event as it was collected or as its HMAC, because the mapping can hash ids with the same secret.
It is looked for where ids of people are: the distinct_id, the properties of the id columns, and the fields of entities
that the mapping takes ids from. A record that became no event is looked at as text.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from snowplow_posthog_dagster.mapping.identity import MAX_ID, PERSONAL_IDS
from snowplow_posthog_dagster.mapping.paths import EntityPath, parse_path
from snowplow_posthog_dagster.mapping.privacy import digest
from snowplow_posthog_dagster.mapping.properties import property_name
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.snowplow.columns import COLUMN_COUNT, INDEX

_OTHER_ID_PROPERTIES = ("$user_id", "$device_id", "$anon_distinct_id")
_ID_FIELDS = ("userId", "user_id")
_QUOTED = re.compile(r'"([^"\\]{1,400})"')


class People:
    """The ids to forget, under the mapping's settings and secret; ids are compared without blanks around them."""

    def __init__(self, ids: Iterable[str], settings: MappingSettings, secret: bytes) -> None:
        self.ids = sorted({identifier.strip() for identifier in ids} - {""})
        self.hmacs = {identifier: digest(secret, identifier) for identifier in self.ids}
        cut = {identifier[:MAX_ID] for identifier in self.ids}
        self._texts = frozenset({*self.ids, *cut, *self.hmacs.values()})
        paths = [parse_path(path) for path in (*PERSONAL_IDS, *settings.identity.distinct_id)]
        self._columns = tuple({path for path in paths if isinstance(path, str)})
        self._properties = frozenset({*_OTHER_ID_PROPERTIES, *self._columns, *map(property_name, self._columns)})
        self._fields = frozenset({*_ID_FIELDS, *(path.fields[-1] for path in paths if isinstance(path, EntityPath))})

    def in_event(self, event: dict[str, Any]) -> bool:
        """Whether a PostHog event is one of theirs."""
        return any(value in self._texts for value in self._ids_of(event))

    def _ids_of(self, event: dict[str, Any]) -> Iterator[str]:
        yield event["distinct_id"]
        for name, value in event["properties"].items():
            if isinstance(value, list | dict):
                yield from self._within(value)
            elif name in self._properties or name.endswith(tuple(self._fields)):
                yield str(value)

    def _within(self, value: Any) -> Iterator[str]:
        """The ids in entities, however deep."""
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, dict):
                continue
            for name, inner in item.items():
                if isinstance(inner, list | dict):
                    yield from self._within(inner)
                elif name in self._fields:
                    yield str(inner)

    def in_letter(self, content: dict[str, Any]) -> bool:
        """Whether a dead letter, of either stage, holds one of them."""
        if "event" in content:
            return self.in_event(content["event"])
        payload = content.get("data", {}).get("payload", "")
        if content.get("payload_encoding") == "base64":
            payload = base64.b64decode(payload).decode(errors="replace")
        fields = payload.split("\t")
        if len(fields) == COLUMN_COUNT:
            ids = {fields[INDEX[column]].strip() for column in self._columns}
        else:
            ids = {field.strip() for field in fields}
        return not self._texts.isdisjoint({*ids, *_QUOTED.findall(payload)})

    def in_line(self, line: bytes) -> bool:
        """Whether the JSON of an event is one of theirs."""
        return self.in_event(json.loads(line))
