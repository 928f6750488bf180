"""PostHog's vocabulary: every module that sets properties, in the order in which they build on each other.

Apps come before browsers (an app's user agent is its HTTP library's), the page before its referrer and campaign, and
the event's own data last, since it knows better than an entity.
"""

from collections.abc import Callable

from snowplow_posthog_dagster.mapping import app, browser, campaign, commerce, geo, page, referrer
from snowplow_posthog_dagster.mapping.columns import Columns
from snowplow_posthog_dagster.mapping.identity import CLIENT_SESSION, Found
from snowplow_posthog_dagster.mapping.privacy import dropped_columns
from snowplow_posthog_dagster.mapping.properties import Properties
from snowplow_posthog_dagster.mapping.reading import Entity
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from snowplow_posthog_dagster.snowplow.schema import parse_schema

ENTITIES_READ = (
    *(browser.YAUAA, browser.UA_PARSER, page.WEB_PAGE, CLIENT_SESSION, commerce.ORDER),
    *(app.MOBILE, app.APPLICATION, app.SCREEN),
)
"""The entities that the rules read by themselves; the settings may name more."""

Describe = Callable[[Columns, Properties, Found, Entity | None, str], None]


def compile_description(settings: MappingSettings) -> Describe:
    """The function that adds PostHog's properties; it takes the event's own data and its PostHog name as well."""
    locate = geo.compile_geo(settings)
    parse_user_agent = settings.properties.parse_user_agent
    dropped = dropped_columns(settings.privacy)

    def describe(columns: Columns, properties: Properties, found: Found, event: Entity | None, name: str) -> None:
        locate(columns, properties)
        if found:
            app.describe_app(columns, properties, found)
        if app.MOBILE not in found:
            browser.describe_browser(columns, properties, found, parse_user_agent=parse_user_agent)
            if columns.platform == "mob" and not columns.page_url:
                browser.has_no_browser(properties)
        page.describe_page(columns, properties, found, dropped)
        referrer.describe_referrer(columns, properties, is_pageview=name == "$pageview", dropped=dropped)
        campaign.attribute(columns, properties, dropped)
        app.describe_library(columns, properties)
        if event is not None and type(event.data) is dict:
            describe_event(columns, properties, found, event)
        elif columns.event.startswith("transaction"):
            commerce.describe_legacy_order(columns, properties)

    return describe


def describe_event(columns: Columns, properties: Properties, found: Found, event: Entity) -> None:
    """Add what the data of a self-describing event say beside themselves; the schema tells what they are."""
    schema = parse_schema(event.schema)
    kind = schema.name if schema else columns.event_name
    data = event.data
    if kind == "screen_view":
        app.describe_screen_view(properties, data)
    elif kind == "link_click":
        page.describe_link(columns, properties, data)
    elif kind == "snowplow_ecommerce_action":
        commerce.describe_order(properties, data, found)
