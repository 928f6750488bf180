"""Where a visit came from: `$referrer`, `$referring_domain`, and the search engine behind it.

posthog-js writes `$direct` when there is no referrer, and PostHog's channel types rely on that word; Snowplow leaves
the columns empty. Only page views carry it, since other events of a page have no entry of their own.
"""

from urllib.parse import unquote_plus, urlsplit

from snowplow_posthog_dagster.mapping.columns import Columns
from snowplow_posthog_dagster.mapping.properties import Properties
from snowplow_posthog_dagster.mapping.rules import Rule

RULES = (
    Rule("$referrer, $referring_domain", "page_referrer, refr_urlhost", "`$direct` on `$pageview` without a referrer."),
    Rule("$referring_domain", "refr_urlhost, refr_urlport", "With the port unless it is 80 or 443."),
    Rule("$search_engine", "refr_urlhost", "google, bing, yahoo or duckduckgo, as posthog-js finds them."),
    Rule("ph_keyword", "refr_term, refr_urlquery", "What was searched for, if the search engine tells it."),
)

DIRECT = "$direct"
_DEFAULT_PORTS = (None, 80, 443)
_ENGINES = (("google.", "google"), ("bing.com", "bing"), ("yahoo.com", "yahoo"), ("duckduckgo.com", "duckduckgo"))


def describe_referrer(columns: Columns, properties: Properties, *, is_pageview: bool) -> None:
    """Complete the referrer's columns."""
    referrer = columns.page_referrer
    if not referrer:
        if is_pageview:
            columns.page_referrer = columns.refr_urlhost = DIRECT
        return
    if not columns.refr_urlhost:
        columns.refr_urlhost = _host(referrer)
    host = columns.refr_urlhost
    for part, engine in _ENGINES:
        if part in host:
            properties["$search_engine"] = engine
            keyword = columns.refr_term or _keyword(engine, columns.refr_urlquery)
            if keyword:
                properties["ph_keyword"] = keyword
            break
    if columns.refr_urlport not in _DEFAULT_PORTS:
        columns.refr_urlhost = f"{host}:{columns.refr_urlport}"


def _keyword(engine: str, query: str) -> str:
    wanted = "p" if engine == "yahoo" else "q"
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name == wanted:
            return unquote_plus(value).replace("\x00", "\ufffd")
    return ""


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # an IPv6 host without its bracket
        return ""
