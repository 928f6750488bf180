"""Pages, where visitors come from, and what campaigns brought them: the columns page_url to mkt_campaign of an event.

Referrer columns belong to the event, not to the visit: the second page of a visit has the first as its referrer, of
medium `internal`. So a page is kept in pieces, and `view` puts them together once per page view, not per event.
"""

from random import Random
from typing import NamedTuple
from urllib.parse import quote, urlencode

import orjson

from snowplow_posthog_dagster.generator.vocabulary import CAMPAIGNS, REFERRERS, SECTIONS, TOPICS

_NO_CAMPAIGN = b"\t" * 4


class Page(NamedTuple):
    """One page of the site."""

    url: bytes
    title: bytes
    parts: bytes  # scheme, host, port, path (joined)
    title_json: bytes  # the title as a JSON string


class Referrer(NamedTuple):
    """Where a view came from: the columns page_referrer and refr_urlscheme .. refr_term."""

    url: bytes
    cells: bytes


class Campaign(NamedTuple):
    """What a tagged link adds."""

    query: bytes
    cells: bytes  # mkt_medium .. mkt_campaign
    click: bytes  # mkt_clickid, mkt_network


DIRECT = Referrer(b"", b"\t" * 8)


def pages(random: Random, count: int, host: str) -> list[Page]:
    """That many different pages."""
    return [page(random, number, host) for number in range(count)]


def page(random: Random, number: int, host: str) -> Page:
    """One page; the number makes its path different from all others."""
    topic = TOPICS[int(random.random() * len(TOPICS))]
    section = SECTIONS[int(random.random() * len(SECTIONS))]
    path = f"/{section}/{quote(topic.lower().replace(' ', '-'))}-{number}"
    title = f"{topic} · {section.capitalize()} {number}"
    return Page(
        url=f"https://{host}{path}".encode(),
        title=title.encode(),
        parts=f"https\t{host}\t443\t{path}".encode(),
        title_json=orjson.dumps(title),
    )


def referrers() -> list[Referrer]:
    """The sites that link here."""
    made = []
    for host, path, query, medium, source, term in REFERRERS:
        url = f"https://{host}{path}" + (f"?{query}" if query else "")
        cells = ("https", host, "443", path, query, "", medium, source, term)
        made.append(Referrer(url.encode(), "\t".join(cells).encode()))
    return made


def internal(origin: Page) -> Referrer:
    """A page of the site itself as the referrer of the next."""
    return Referrer(origin.url, origin.parts + b"\t\t\tinternal\t\t")


def campaigns() -> list[Campaign]:
    """The tagged links."""
    made = []
    for medium, source, term, content, name, click_parameter, network in CAMPAIGNS:
        utm = {
            "utm_medium": medium,
            "utm_source": source,
            "utm_term": term,
            "utm_content": content,
            "utm_campaign": name,
        }
        click_id = f"{click_parameter.upper()}-Cj0KCQjw-{name}-8YzB" if click_parameter else ""
        query = urlencode({key: value for key, value in {**utm, click_parameter: click_id}.items() if key and value})
        cells = f"{medium}\t{source}\t{term}\t{content}\t{name}"
        made.append(Campaign(query.encode(), cells.encode(), f"{click_id}\t{network}".encode()))
    return made


def view(page: Page, referrer: Referrer, campaign: Campaign | None) -> bytes:
    """The stretch page_url .. mkt_campaign of the events of one page view."""
    query, marketing, url = (
        (campaign.query, campaign.cells, page.url + b"?" + campaign.query)
        if campaign
        else (b"", _NO_CAMPAIGN, page.url)
    )
    return b"\t".join((url, page.title, referrer.url, page.parts, query, b"", referrer.cells, marketing))
