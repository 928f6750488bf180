"""Iglu schema URIs, and the key under which data of a schema appears in an event.

`iglu:com.acme-corp/checkoutStep/jsonschema/2-0-1` becomes `contexts_com_acme_corp_checkout_step_2`: the rule of the
Scala analytics SDK (dots and hyphens become `_`, an underscore goes before a capital that follows another kind of
character, everything in lower case, and of the version only the MODEL). Python and Go keep hyphens, Go splits `OPEN`
into `o_p_e_n`; the Scala form is the one whose names warehouses accept. Unlike the SDKs, MODEL 0 is accepted: GitLab's
`gitlab_experiment` was 0-2-0 and 0-3-0.

The same few hundred schemas come back in every record, so both functions are cached.
"""

import re
from functools import lru_cache
from typing import NamedTuple

_URI = re.compile(
    r"iglu:([a-zA-Z0-9_.-]+)/([a-zA-Z0-9_-]+)/([a-zA-Z0-9_-]+)/(0|[1-9][0-9]*)-(0|[1-9][0-9]*)-(0|[1-9][0-9]*)"
)
_SEPARATORS = re.compile(r"[.-]")
_CAPITAL = re.compile(r"([^A-Z_])([A-Z])")
_CACHED = 4096


class Schema(NamedTuple):
    """The parts of an Iglu schema URI."""

    vendor: str
    name: str
    format: str
    model: int
    revision: int
    addition: int

    @property
    def version(self) -> str:
        """MODEL-REVISION-ADDITION, for example `1-0-2`."""
        return f"{self.model}-{self.revision}-{self.addition}"


@lru_cache(_CACHED)
def parse_schema(uri: str) -> Schema | None:
    """The parts of `iglu:vendor/name/format/M-R-A`, None when the text is no such URI."""
    match = _URI.fullmatch(uri)
    if match is None or len(uri) > 1000:
        return None
    vendor, name, schema_format, model, revision, addition = match.groups()
    return Schema(vendor, name, schema_format, int(model), int(revision), int(addition))


@lru_cache(_CACHED)
def contexts_key(uri: str) -> str | None:
    """`contexts_<vendor>_<name>_<model>` of an entity's schema, None when the URI is malformed."""
    return _key("contexts", uri)


@lru_cache(_CACHED)
def unstruct_event_key(uri: str) -> str | None:
    """`unstruct_event_<vendor>_<name>_<model>` of a self-describing event's schema, None when the URI is malformed."""
    return _key("unstruct_event", uri)


def _key(prefix: str, uri: str) -> str | None:
    schema = parse_schema(uri)
    if schema is None:
        return None
    vendor = _SEPARATORS.sub("_", schema.vendor).lower()
    return f"{prefix}_{vendor}_{snake_case(schema.name)}_{schema.model}"


def snake_case(name: str) -> str:
    """`PerformanceTiming` -> `performance_timing`, `OPEN` -> `open`, `userIDContext` -> `user_idcontext`."""
    return _CAPITAL.sub(r"\1_\2", _SEPARATORS.sub("_", name)).lower()
