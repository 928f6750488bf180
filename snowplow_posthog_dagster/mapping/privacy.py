"""What must not leave as it is: dropped, hashed, truncated, or stripped of query parameters.

Applied to the typed columns and to entities before any other rule reads them, so that nothing derived from a value can
give it away: a hashed user_id makes a hashed distinct_id. An id that stands for nobody goes instead, since the hash of
`anonymous` would be one person to everybody who reads it. Only filters and `forget` see the record as it was. What is
dropped stays away: rules that fill empty columns from others (a URL from its parts) leave dropped ones empty.

By default goes what nobody meant to collect: values that people typed into forms, and the advertising ids of phones.
The preset `strict` is for a project that must not hold personal data in the clear, so it also hashes whatever the
settings send as distinct_id; `keep` exempts single fields from both, never from what the settings ask for themselves.
"""

import hmac
import ipaddress
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.mapping.campaign import PARAMETERS
from snowplow_posthog_dagster.mapping.columns import DEFAULTS, Columns
from snowplow_posthog_dagster.mapping.identity import PERSONAL_IDS, SESSION_IDS, compile_legal
from snowplow_posthog_dagster.mapping.paths import TEXT_COLUMNS, EntityPath, parse_path, without_vendor
from snowplow_posthog_dagster.mapping.settings import IdentitySettings, MappingSettings, PrivacySettings
from snowplow_posthog_dagster.snowplow.columns import INDEX

FORM_VALUES = ("change_form.value", "focus_form.value", "submit_form.elements.value")
ADVERTISING_IDS = ("mobile_context.appleIdfa", "mobile_context.androidIdfa", "mobile_context.openIdfa")
DROPPED_BY_DEFAULT = FORM_VALUES + ADVERTISING_IDS

STRICT_DROPS = (
    *("user_ipaddress", "user_fingerprint", "page_title", "page_urlfragment", "refr_urlfragment", "refr_term"),
    *("geo_zipcode", "geo_latitude", "geo_longitude", "ip_isp", "ip_organization", "ip_domain", "ip_netspeed"),
    *("tr_city", "tr_state"),
)
STRICT_HASHES = (
    *(
        "user_id",
        "domain_userid",
        "network_userid",
        "refr_domain_userid",
        "domain_sessionid",
        "tr_orderid",
        "ti_orderid",
    ),
    *(
        "client_session.userId",
        "client_session.sessionId",
        "client_session.previousSessionId",
        "mobile_context.appleIdfv",
    ),
)
ALL_BUT_CAMPAIGNS = "*"

_USER_IN_URL = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@")

Change = Callable[[Any], Any]
"""Makes of a value what may leave; None takes it out."""


class Action(NamedTuple):
    """One thing that is done to a field."""

    path: str
    verb: str
    change: Change


class Privacy(NamedTuple):
    """The actions, ready to be applied."""

    apply_to_columns: Callable[[Columns], None] | None
    by_schema: dict[str, tuple[tuple[tuple[str, ...], Change], ...]]
    """Schema `name` or `vendor/name` -> fields and what to do with them."""
    actions: tuple[Action, ...]


def digest(secret: bytes, identifier: str) -> str:
    """HMAC-SHA256 in hex of an id: what hashing puts in its place, and what a list of forgotten ids holds."""
    return hmac.digest(secret, identifier.encode(), "sha256").hex()


def compile_privacy(settings: MappingSettings, secret: bytes | None) -> Privacy:
    """The actions of the settings, in the order drop, strip, truncate, hash.

    Raises:
        SettingsError: something is to be hashed and there is no secret, or something is kept that nothing touches.
    """
    _check_kept(settings.privacy, settings.identity)
    actions = tuple(_actions(settings.privacy, settings.identity, secret))
    changes: list[tuple[str, Change]] = []
    by_schema: dict[str, list[tuple[tuple[str, ...], Change]]] = {}
    for path, _, change in actions:
        parsed = parse_path(path)
        if isinstance(parsed, EntityPath):
            by_schema.setdefault(parsed.schema, []).append((parsed.fields, change))
        else:
            changes.append((parsed, change))
    fields = {schema: tuple(each) for schema, each in by_schema.items()}
    return Privacy(_for_columns(changes) if changes else None, fields, actions)


def dropped_columns(settings: PrivacySettings) -> frozenset[str]:
    """Columns that are dropped: no rule may make one anew out of others, as a URL out of its parts."""
    return frozenset(_drops(settings)) & INDEX.keys()


def _drops(settings: PrivacySettings) -> tuple[str, ...]:
    return (*_not_kept(settings, DROPPED_BY_DEFAULT, STRICT_DROPS), *settings.drop)


def _not_kept(settings: PrivacySettings, by_default: tuple[str, ...], strict: tuple[str, ...]) -> list[str]:
    """What the defaults and the preset name, without what is exempt from them."""
    named = by_default + (strict if settings.preset == "strict" else ())
    return [path for path in named if path not in settings.keep]


def _actions(settings: PrivacySettings, identity: IdentitySettings, secret: bytes | None) -> list[Action]:
    actions = [Action(path, "drop", _dropped) for path in dict.fromkeys(_drops(settings))]
    for path in dict.fromkeys(settings.strip_query_parameters.within):
        names = _stripped_names(settings, path)
        if names:
            actions.append(Action(path, "strip query parameters", _stripper(names, path.rpartition(".")[2])))
    for path, length in settings.truncate.items():
        actions.append(Action(path, f"truncate {length}", truncate_ip if length == "ip" else _cutter(length)))
    hashes = _once((*_not_kept(settings, (), (*STRICT_HASHES, *_ids_of(identity))), *settings.hash))
    if hashes:
        hashed = _hasher(_required(secret))
        hashed_id = _id_hasher(_required(secret), compile_legal(identity.illegal_ids))
        ids = {without_vendor(path) for path in (*identity.distinct_id, *PERSONAL_IDS, *SESSION_IDS)}
        actions += [Action(path, "hash", hashed_id if without_vendor(path) in ids else hashed) for path in hashes]
    return actions


def _ids_of(identity: IdentitySettings) -> list[str]:
    """What the settings send as distinct_id: text, since a number in a column cannot be hashed."""
    return [path for path in identity.distinct_id if path in TEXT_COLUMNS or path not in INDEX]


def _once(paths: tuple[str, ...]) -> list[str]:
    """Each path once, and none with its vendor that is named without: a hash of a hash would be another person."""
    return [path for path in dict.fromkeys(paths) if path == without_vendor(path) or without_vendor(path) not in paths]


def _stripped_names(settings: PrivacySettings, path: str) -> frozenset[str]:
    names = frozenset(name.lower() for name in settings.strip_query_parameters.names)
    by_preset = settings.preset == "strict" and path not in settings.keep
    return names | {ALL_BUT_CAMPAIGNS} if by_preset else names


def _check_kept(settings: PrivacySettings, identity: IdentitySettings) -> None:
    """Refuse an exemption that would do nothing under either preset: it is written differently than what it exempts."""
    within = settings.strip_query_parameters.within
    known = {*DROPPED_BY_DEFAULT, *STRICT_DROPS, *STRICT_HASHES, *_ids_of(identity), *within}
    for path in settings.keep:
        if path not in known:
            raise SettingsError(
                f"mapping.privacy.keep: neither the defaults nor a preset drop, hash or strip {path!r}; "
                "what the settings ask for is taken out where they ask for it"
            )


def _required(secret: bytes | None) -> bytes:
    if not secret:
        raise SettingsError("SNOWPLOW_POSTHOG_PRIVACY_SECRET is not set; the mapping hashes ids with it")
    return secret


def _for_columns(changes: list[tuple[str, Change]]) -> Callable[[Columns], None]:
    def apply(columns: Columns) -> None:
        for name, change in changes:
            value = getattr(columns, name)
            if value not in ("", None):
                changed = change(value)
                setattr(columns, name, DEFAULTS[name] if changed is None else changed)

    return apply


def _dropped(value: Any) -> None:
    return None


def _hasher(secret: bytes) -> Change:
    def hashed(value: Any) -> Any:
        if isinstance(value, list):
            return [hashed(item) for item in value]
        return digest(secret, str(value)) if isinstance(value, str | int | float) and value != "" else None

    return hashed


def _id_hasher(secret: bytes, legal: Callable[[Any], str]) -> Change:
    """Hashes what `identity` would take as an id, and takes out what it would not."""

    def hashed(value: Any) -> str | None:
        identifier = legal(value)
        return digest(secret, identifier) if identifier else None

    return hashed


def _cutter(length: int) -> Change:
    return lambda value: str(value)[:length] if isinstance(value, str | int | float) else None


def truncate_ip(value: Any) -> str | None:
    """An address cut to /24 or /48; pseudonyms stay, other texts with dots or colons may hide an address and go."""
    text = str(value)
    try:
        bits = 24 if ipaddress.ip_address(text).version == 4 else 48
    except ValueError:
        return None if "." in text or ":" in text else text
    return str(ipaddress.ip_network(f"{text}/{bits}", strict=False).network_address)


def _stripper(names: frozenset[str], field: str) -> Change:
    """What the field holds is told by its name: a query string, a fragment without its sign, or a URL."""
    strips_all = ALL_BUT_CAMPAIGNS in names

    def keeps(pair: str) -> bool:
        name = unquote_plus(pair.partition("=")[0])
        return name in PARAMETERS if strips_all else name.lower() not in names

    def of_query(query: str) -> str:
        return "&".join(filter(keeps, query.split("&")))

    def of_fragment(fragment: str) -> str:
        """Of `access_token=1&a=2` and of `/page?token=1`; what a page puts there may be anything, so `*` takes it."""
        path, mark, query = fragment.rpartition("?")
        left = of_query(query)
        return "" if strips_all else f"{path}{mark}{left}" if left else path

    def of_url(value: str) -> str:
        url, sign, fragment = value.partition("#")
        base, _, query = url.partition("?")
        if strips_all:
            base = _USER_IN_URL.sub(r"\1", base)
        query, left = of_query(query), of_fragment(fragment)
        if strips_all or (fragment and not left):
            sign = ""
        return base + (f"?{query}" if query else "") + sign + left

    strip = of_query if "query" in field else of_fragment if "fragment" in field else of_url
    return lambda value: strip(value) or None if isinstance(value, str) else None
