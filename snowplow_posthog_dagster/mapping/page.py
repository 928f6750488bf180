"""The page and the screen that it was shown on: URL parts, page view id, language, time zone."""

from collections.abc import Container
from urllib.parse import unquote, urlsplit

from snowplow_posthog_dagster.mapping.columns import Columns
from snowplow_posthog_dagster.mapping.identity import Found
from snowplow_posthog_dagster.mapping.properties import Properties
from snowplow_posthog_dagster.mapping.reading import Data
from snowplow_posthog_dagster.mapping.rules import Rule

RULES = (
    Rule("$current_url", "page_url", "Put together from its parts when page_url is empty, unless privacy drops it."),
    Rule("$host", "page_urlhost, page_urlport", "With the port unless it is 80 or 443."),
    Rule("$host, $pathname", "page_url", "If page_urlhost is empty. The path of a host alone is `/`, as in browsers."),
    Rule("$pageview_id", "web_page.id", "Shared by the page view and what happens on that page."),
    Rule("$browser_language_prefix", "br_lang", "The part before the hyphen."),
    Rule("$timezone", "os_timezone", "`%2F` becomes a slash (older trackers encode it)."),
    Rule("$raw_user_agent", "useragent", "997 characters and `...` when it is longer than 1,000, as in posthog-js."),
    Rule("$external_click_url", "link_click.targetUrl", "If the target is on another host than the page."),
)

WEB_PAGE = "com.snowplowanalytics.snowplow/web_page"

DEFAULT_PORTS = (None, 80, 443)
_MAX_USER_AGENT = 1000


def describe_page(columns: Columns, properties: Properties, found: Found, dropped: Container[str]) -> None:
    """Complete URL, host, path, page view id, language and time zone; columns that privacy `dropped` stay empty."""
    url = columns.page_url
    if url and (not columns.page_urlhost or (not columns.page_urlquery and "?" in url)):
        _split_url(columns, dropped)
    if columns.page_urlhost:
        _complete_url(columns, dropped)
    page = found.get(WEB_PAGE)
    if page:
        identifier = page.get("id")
        if identifier and type(identifier) is str:
            properties["$pageview_id"] = identifier
    prefix = columns.br_lang.partition("-")[0]
    if prefix:
        properties["$browser_language_prefix"] = prefix
    if "%" in columns.os_timezone:
        columns.os_timezone = unquote(columns.os_timezone).replace("\x00", "\ufffd")
    if len(columns.useragent) > _MAX_USER_AGENT:
        columns.useragent = f"{columns.useragent[: _MAX_USER_AGENT - 3]}..."


def describe_link(columns: Columns, properties: Properties, data: Data) -> None:
    """Set `$external_click_url` for a link that leaves the page's host."""
    target = data.get("targetUrl")
    if type(target) is str and target.startswith(("http://", "https://")):
        host = host_of(target)
        if host and host != columns.page_urlhost.lower():
            properties["$external_click_url"] = target


def _complete_url(columns: Columns, dropped: Container[str]) -> None:
    if not columns.page_urlpath and "page_urlpath" not in dropped:
        columns.page_urlpath = "/"
    if not columns.page_url and "page_url" not in dropped:
        columns.page_url = _join_url(columns)
    if columns.page_urlport not in DEFAULT_PORTS:
        columns.page_urlhost = f"{columns.page_urlhost}:{columns.page_urlport}"


def _split_url(columns: Columns, dropped: Container[str]) -> None:
    """Fill what the enrichment left empty; a URL without a host (a hash, a file) says nothing."""
    host, port = host_and_port(columns.page_url)
    if not host:
        return
    parts = urlsplit(columns.page_url)
    if not columns.page_urlhost and "page_urlhost" not in dropped:
        columns.page_urlhost, columns.page_urlport = host, None if "page_urlport" in dropped else port
    if not columns.page_urlpath and "page_urlpath" not in dropped:
        columns.page_urlpath = parts.path
    if not columns.page_urlquery and "page_urlquery" not in dropped:
        columns.page_urlquery = parts.query


def host_of(url: str) -> str:
    """The host of a URL, with its port unless that is 80 or 443; empty when there is none."""
    host, port = host_and_port(url)
    return host if not host or port in DEFAULT_PORTS else f"{host}:{port}"


def host_and_port(url: str) -> tuple[str, int | None]:
    """Host and port of a URL, the host of an IPv6 address in its brackets; empty and None when there is none."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # an IPv6 host without its bracket, a port that is no number
        return "", None
    return (f"[{host}]" if ":" in host else host), port


def _join_url(columns: Columns) -> str:
    port = "" if columns.page_urlport in DEFAULT_PORTS else f":{columns.page_urlport}"
    query = f"?{columns.page_urlquery}" if columns.page_urlquery else ""
    fragment = f"#{columns.page_urlfragment}" if columns.page_urlfragment else ""
    scheme = columns.page_urlscheme or "https"
    return f"{scheme}://{columns.page_urlhost}{port}{columns.page_urlpath}{query}{fragment}"
