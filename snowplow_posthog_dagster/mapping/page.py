"""The page and the screen that it was shown on: URL parts, page view id, language, time zone."""

from urllib.parse import unquote, urlsplit

from snowplow_posthog_dagster.mapping.identity import Found
from snowplow_posthog_dagster.mapping.properties import Properties
from snowplow_posthog_dagster.mapping.reading import Data
from snowplow_posthog_dagster.mapping.rules import Rule

RULES = (
    Rule("$current_url", "page_url", "Put together from its parts when page_url is empty."),
    Rule("$host", "page_urlhost, page_urlport", "With the port unless it is 80 or 443."),
    Rule("$host, $pathname", "page_url", "If page_urlhost is empty. The path of a host alone is `/`, as in browsers."),
    Rule("$pageview_id", "web_page.id", "Shared by the page view and what happens on that page."),
    Rule("$browser_language_prefix", "br_lang", "The part before the hyphen."),
    Rule("$timezone", "os_timezone", "`%2F` becomes a slash (older trackers encode it)."),
    Rule("$raw_user_agent", "useragent", "997 characters and `...` when it is longer than 1,000, as in posthog-js."),
    Rule("$external_click_url", "link_click.targetUrl", "If the target is on another host than the page."),
)

WEB_PAGE = "com.snowplowanalytics.snowplow/web_page"

_DEFAULT_PORTS = (None, 80, 443)
_MAX_USER_AGENT = 1000


def describe_page(properties: Properties, found: Found) -> None:
    """Complete URL, host, path, page view id, language and time zone."""
    if properties.page_url and not properties.page_urlhost:
        _split_url(properties)
    if properties.page_urlhost:
        properties.page_urlpath = properties.page_urlpath or "/"
        if not properties.page_url:
            properties.page_url = _join_url(properties)
        if properties.page_urlport not in _DEFAULT_PORTS:
            properties.page_urlhost = f"{properties.page_urlhost}:{properties.page_urlport}"
    page = found.get(WEB_PAGE)
    if page:
        identifier = page.get("id")
        if type(identifier) is str:
            properties.pageview_id = identifier
    if properties.br_lang:
        properties.browser_language_prefix = properties.br_lang.partition("-")[0]
    if "%" in properties.os_timezone:
        properties.os_timezone = unquote(properties.os_timezone).replace("\x00", "\ufffd")
    if len(properties.useragent) > _MAX_USER_AGENT:
        properties.useragent = f"{properties.useragent[: _MAX_USER_AGENT - 3]}..."


def describe_link(properties: Properties, data: Data) -> None:
    """Set `$external_click_url` for a link that leaves the page's host."""
    target = data.get("targetUrl")
    if type(target) is str and target.startswith(("http://", "https://")):
        host = target.split("/", 3)[2]
        if host and host != properties.page_urlhost:
            properties.external_click_url = target


def _split_url(properties: Properties) -> None:
    try:
        parts = urlsplit(properties.page_url)
        properties.page_urlhost, properties.page_urlport = parts.hostname or "", parts.port
    except ValueError:  # an IPv6 host without its bracket, a port that is no number
        return
    properties.page_urlpath = properties.page_urlpath or parts.path
    properties.page_urlquery = properties.page_urlquery or parts.query


def _join_url(properties: Properties) -> str:
    port = "" if properties.page_urlport in _DEFAULT_PORTS else f":{properties.page_urlport}"
    query = f"?{properties.page_urlquery}" if properties.page_urlquery else ""
    fragment = f"#{properties.page_urlfragment}" if properties.page_urlfragment else ""
    scheme = properties.page_urlscheme or "https"
    return f"{scheme}://{properties.page_urlhost}{port}{properties.page_urlpath}{query}{fragment}"
