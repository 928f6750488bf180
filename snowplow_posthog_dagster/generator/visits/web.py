"""Pages read in a browser: page views, pings while they are read, clicks and forms."""

from collections.abc import Iterator
from random import Random

from snowplow_posthog_dagster.generator import line
from snowplow_posthog_dagster.generator.line import Event
from snowplow_posthog_dagster.generator.pages import DIRECT, Campaign, Page, Referrer, internal, view
from snowplow_posthog_dagster.generator.visits.shared import (
    SNOWPLOW,
    Journey,
    browser_line,
    experiment,
    gitlab_standard,
    pick,
)
from snowplow_posthog_dagster.generator.vocabulary import ELEMENTS
from snowplow_posthog_dagster.generator.world import Visit, World, uuid_text

_WEB_PAGE = SNOWPLOW + b"web_page/jsonschema/1-0-0"


_TIMING = b"org.w3/PerformanceTiming/jsonschema/1-0-0"


_LINK_CLICK = SNOWPLOW + b"link_click/jsonschema/1-0-1"


_FORM = SNOWPLOW + b"submit_form/jsonschema/1-0-0"


_LINK_CLICK_CELLS = line.schema_cells("com.snowplowanalytics.snowplow", "link_click", "1-0-1")


_FORM_CELLS = line.schema_cells("com.snowplowanalytics.snowplow", "submit_form", "1-0-0")


_TIMINGS = (
    "navigationStart", "fetchStart", "domainLookupStart", "connectStart", "requestStart", "responseStart",
    "responseEnd", "domLoading", "domInteractive", "domComplete", "loadEventStart", "loadEventEnd",
)  # fmt: skip


def web(world: World, random: Random, visit: Visit) -> Journey:
    """Pages read in a browser."""
    extra = [gitlab_standard(random, visit, "gitlab-javascript")]
    if visit.user.number % 12 == 0:
        extra.append(experiment(visit))
    return Journey(visit, browser_line(world, visit), web_events(world, random, b",".join(extra)))


def landing(world: World, random: Random) -> tuple[Referrer, Campaign | None]:
    """How a visit arrives: directly, by a link, or by a campaign."""
    drawn = random.random()
    if drawn < 0.3:
        return DIRECT, None
    campaign = world.campaigns[int(random.random() * len(world.campaigns))] if drawn > 0.8 else None
    return world.referrers[int(random.random() * len(world.referrers))], campaign


def web_events(world: World, random: Random, extra: bytes) -> Iterator[Event]:
    """One to eight page views, each with pings while it is read and now and then a click."""
    referrer, campaign = landing(world, random)
    while True:
        page = world.pages[int(random.random() ** 1.5 * len(world.pages))]
        yield from page_visit(random, page, referrer, campaign, extra)
        if random.random() < 0.28:
            return
        referrer, campaign = internal(page), None


def page_visit(
    random: Random, page: Page, referrer: Referrer, campaign: Campaign | None, extra: bytes
) -> Iterator[Event]:
    """A page view and what follows on the page."""
    where = view(page, referrer, campaign)
    click = campaign.click if campaign else line.NO_CLICK
    joined = page_entities(random, extra)
    entities = line.contexts(joined)
    timed = line.contexts(joined, timing(random)) if random.random() < 0.15 else entities
    yield Event(b"page_view", where, timed, line.NO_ACTION, line.PAGE_VIEW, click)
    depth = 0
    while (drawn := random.random()) < 0.72:
        if drawn < 0.27:
            depth += int(random.random() * 900)
            yield Event(b"page_ping", where, entities, line.ping((0, 0, depth // 2, depth)), line.PAGE_PING, click)
        elif drawn < 0.54:
            action = line.struct(page.parts.rpartition(b"/")[2], b"click_button", pick(random, ELEMENTS), b"", b"")
            yield Event(b"struct", where, entities, action, line.STRUCT, click)
        else:
            yield Event(b"unstruct", where, entities, *page_action(random, page), click)


def page_entities(random: Random, extra: bytes) -> bytes:
    """The entities of one page view and of all that happens on the page, joined: the page view's id first."""
    view_id = uuid_text(random.getrandbits(128)).encode()
    return line.entity(_WEB_PAGE, b'{"id":"' + view_id + b'"}') + b"," + extra


def page_action(random: Random, page: Page) -> tuple[bytes, bytes]:
    """A link click or a form, as a self-describing event."""
    element = pick(random, ELEMENTS)
    if random.random() < 0.8:
        data = b'{"targetUrl":"%b#%b","elementId":"%b","elementClasses":["btn","btn-md"],"elementTarget":"_self"}'
        return line.unstruct(_LINK_CLICK, data % (page.url, element, element)), _LINK_CLICK_CELLS
    data = b'{"formId":"form-%b","formClasses":["gl-form"],"elements":[{"name":"title","value":%b,"nodeName":"INPUT"}]}'
    return line.unstruct(_FORM, data % (element, page.title_json)), _FORM_CELLS


def timing(random: Random) -> bytes:
    """The browser's PerformanceTiming, as the tracker's plugin sends it with page views."""
    start = 1654488000000 + int(random.random() * 86_400_000)
    body = ",".join(f'"{name}":{start + number * 37}' for number, name in enumerate(_TIMINGS))
    return line.entity(_TIMING, f"{{{body}}}".encode())
