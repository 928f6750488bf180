"""A web shop: products looked at, put into the cart, and perhaps bought."""

from collections.abc import Iterator
from random import Random

from snowplow_posthog_dagster.generator import line
from snowplow_posthog_dagster.generator.line import Event
from snowplow_posthog_dagster.generator.pages import internal, view
from snowplow_posthog_dagster.generator.visits.shared import Journey, browser_entity, browser_line, gitlab_standard
from snowplow_posthog_dagster.generator.visits.web import landing, page_entities
from snowplow_posthog_dagster.generator.vocabulary import CURRENCIES, PRODUCTS
from snowplow_posthog_dagster.generator.world import Visit, World

_ECOMMERCE = b"com.snowplowanalytics.snowplow.ecommerce/"


_ECOMMERCE_CELLS = line.schema_cells("com.snowplowanalytics.snowplow.ecommerce", "snowplow_ecommerce_action", "1-0-2")


def shop(world: World, random: Random, visit: Visit) -> Journey:
    """A visit in a web shop: look at products, put some into the cart, perhaps buy."""
    extra = browser_entity(visit) if world.settings.wide else gitlab_standard(random, visit, "gitlab-javascript")
    return Journey(visit, browser_line(world, visit), shop_events(world, random, extra))


def product(random: Random) -> tuple[bytes, int]:
    """A product entity and its price in cents."""
    number = int(random.random() * 500)
    name, cents = PRODUCTS[number % len(PRODUCTS)], 499 + number * 37
    data = (
        f'{{"id":"SKU-{number:04d}","name":"{name} {number}","category":"merch/{number % 7}",'
        f'"price":{cents / 100:.2f},"currency":"{CURRENCIES[number % 4]}","quantity":1,"brand":"Example"}}'
    )
    return line.entity(_ECOMMERCE + b"product/jsonschema/1-0-0", data.encode()), cents


def shop_action(kind: str, where: bytes, entities: bytes, click: bytes) -> Event:
    """One action of Snowplow's ecommerce plugin; what it is stands in data.type."""
    action = line.unstruct(_ECOMMERCE + b"snowplow_ecommerce_action/jsonschema/1-0-2", f'{{"type":"{kind}"}}'.encode())
    return Event(b"unstruct", where, entities, action, _ECOMMERCE_CELLS, click)


def shop_events(world: World, random: Random, extra: bytes) -> Iterator[Event]:
    """Product pages, then cart and checkout for one visit in three."""
    referrer, campaign = landing(world, random)
    cart: list[tuple[bytes, int]] = []
    where, click = b"", line.NO_CLICK
    for _ in range(1 + int(random.random() * 5)):
        page = world.pages[int(random.random() * len(world.pages))]
        where, click = view(page, referrer, campaign), campaign.click if campaign else line.NO_CLICK
        item = product(random)
        joined = page_entities(random, extra)
        yield Event(b"page_view", where, line.contexts(joined), line.NO_ACTION, line.PAGE_VIEW, click)
        entities = line.contexts(joined, item[0])
        yield shop_action("product_view", where, entities, click)
        if random.random() < 0.4:
            cart.append(item)
            yield shop_action("add_to_cart", where, entities, click)
        referrer, campaign = internal(page), None
    if cart and random.random() < 0.5:
        yield from purchase(random, where, click, extra, cart)


def purchase(
    random: Random, where: bytes, click: bytes, extra: bytes, cart: list[tuple[bytes, int]]
) -> Iterator[Event]:
    """Checkout and order, by the new plugin and, as shops in transition do, by the legacy transaction events too."""
    order = f"ORD-{random.getrandbits(40):010x}"
    total = sum(cents for _, cents in cart)
    yield shop_action("checkout_step", where, line.contexts(extra), click)
    data = (
        f'{{"transaction_id":"{order}","revenue":{total / 100:.2f},"currency":"EUR","payment_method":"card",'
        f'"total_quantity":{len(cart)},"tax":{total * 19 // 11900}.0,"shipping":4.9}}'
    )
    transaction = line.entity(_ECOMMERCE + b"transaction/jsonschema/1-0-0", data.encode())
    yield shop_action("transaction", where, line.contexts(extra, transaction, *(entity for entity, _ in cart)), click)
    amounts = {
        "tr_total": f"{total / 100:.2f}".encode(),
        "tr_tax": b"1.90",
        "tr_shipping": b"4.90",
        "tr_city": b"Berlin",
    }
    action = line.action(tr_orderid=order.encode(), tr_affiliation=b"web", tr_country=b"DE", **amounts)
    yield Event(b"transaction", where, line.contexts(extra), action, line.TRANSACTION, click)
    for number, (_, cents) in enumerate(cart):
        action = line.action(
            ti_orderid=order.encode(), ti_sku=b"SKU-%d" % number, ti_name=b"item", ti_category=b"merch",
            ti_price=f"{cents / 100:.2f}".encode(), ti_quantity=b"1",
        )  # fmt: skip
        yield Event(b"transaction_item", where, line.contexts(extra), action, line.TRANSACTION_ITEM, click)
