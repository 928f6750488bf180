"""Where a visit came from: `$referrer`, `$referring_domain`, and the search engine behind it.

posthog-js writes `$direct` when there is no referrer, and PostHog's channel types rely on that word; Snowplow leaves
the columns empty. Only page views carry it, since other events of a page have no entry of their own.
"""

from collections.abc import Container
from urllib.parse import unquote_plus

from snowplow_posthog_dagster.mapping.columns import Columns
from snowplow_posthog_dagster.mapping.page import DEFAULT_PORTS, host_and_port, host_of
from snowplow_posthog_dagster.mapping.properties import Properties
from snowplow_posthog_dagster.mapping.rules import Rule

RULES = (
    Rule(
        "$referrer, $referring_domain",
        "page_referrer, refr_urlhost",
        "`$direct` on `$pageview` without a referrer, on those of the two that privacy does not drop.",
    ),
    Rule("$referring_domain", "refr_urlhost, refr_urlport", "With the port unless it is 80 or 443."),
    Rule("$search_engine", "refr_urlhost", "google, bing, yahoo or duckduckgo, as posthog-js finds them."),
    Rule("ph_keyword", "refr_term, refr_urlquery", "What was searched for, if the search engine tells it."),
)

DIRECT = "$direct"
_WEB = frozenset({"http", "https", ""})
"""Schemes of pages: `android-app://com.google.android.gm` is a mail app, and its host looks like the engine's."""
_ENGINES = (("google.", "google"), ("bing.com", "bing"), ("yahoo.com", "yahoo"), ("duckduckgo.com", "duckduckgo"))


def describe_referrer(columns: Columns, properties: Properties, *, is_pageview: bool, dropped: Container[str]) -> None:
    """Complete the referrer's columns; those that privacy `dropped` stay empty."""
    host = columns.refr_urlhost
    if not columns.page_referrer and not host:
        if is_pageview:
            _come_directly(columns, dropped)
        return
    if not host and "refr_urlhost" not in dropped:
        url = columns.page_referrer
        host = columns.refr_urlhost = host_and_port(url)[0] if "refr_urlport" in dropped else host_of(url)
    elif host and columns.refr_urlport not in DEFAULT_PORTS:
        columns.refr_urlhost = f"{host}:{columns.refr_urlport}"
    engine = _engine(columns, host)
    if engine:
        properties["$search_engine"] = engine
        keyword = columns.refr_term or _keyword(engine, columns, dropped)
        if keyword:
            properties["ph_keyword"] = keyword


def _engine(columns: Columns, host: str) -> str:
    for part, engine in _ENGINES:
        if part in host:
            scheme = columns.refr_urlscheme or columns.page_referrer.partition("://")[0]
            return engine if scheme.lower() in _WEB else ""
    return ""


def _come_directly(columns: Columns, dropped: Container[str]) -> None:
    """A dropped referrer is not known to be none, so it gets no word; its host, if that is sent, tells."""
    if "page_referrer" not in dropped:
        columns.page_referrer = DIRECT
    if "refr_urlhost" not in dropped:
        columns.refr_urlhost = DIRECT


def _keyword(engine: str, columns: Columns, dropped: Container[str]) -> str:
    if "refr_term" in dropped:
        return ""
    query = columns.refr_urlquery
    if not query and "refr_urlquery" not in dropped:
        query = columns.page_referrer.partition("#")[0].partition("?")[2]
    wanted = "p" if engine == "yahoo" else "q"
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name == wanted:
            return unquote_plus(value).replace("\x00", "\ufffd")
    return ""
