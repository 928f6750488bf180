"""Revenue: the amounts of orders under the two names that PostHog's revenue analytics reads."""

from math import isfinite

from snowplow_posthog_dagster.mapping.identity import Found
from snowplow_posthog_dagster.mapping.properties import Properties
from snowplow_posthog_dagster.mapping.reading import Data
from snowplow_posthog_dagster.mapping.rules import Rule

RULES = (
    Rule(
        "revenue, currency",
        "tr_total, tr_currency",
        "On `transaction`. On `transaction_item`: ti_price x ti_quantity, ti_currency; so add up one of the two.",
    ),
    Rule(
        "revenue, currency",
        "transaction.revenue, transaction.currency",
        "On snowplow_ecommerce_action of type transaction, from the ecommerce entity `transaction`.",
    ),
)

ORDER = "com.snowplowanalytics.snowplow.ecommerce/transaction"


def describe_legacy_order(properties: Properties) -> None:
    """Set revenue and currency of a legacy `transaction` or `transaction_item`."""
    if properties.event == "transaction":
        properties.revenue, properties.currency = properties.tr_total, properties.tr_currency
    elif properties.ti_price is not None:
        quantity = 1 if properties.ti_quantity is None else properties.ti_quantity
        revenue = round(properties.ti_price * quantity, 6)  # 3 x 19.99 is 59.97, not 59.969999999999995
        properties.revenue, properties.currency = revenue if isfinite(revenue) else None, properties.ti_currency


def describe_order(properties: Properties, data: Data, found: Found) -> None:
    """Set revenue and currency of an ecommerce action that is an order."""
    order = found.get(ORDER)
    if data.get("type") != "transaction" or not order:
        return
    revenue, currency = order.get("revenue"), order.get("currency")
    if type(revenue) in {int, float}:
        properties.revenue = revenue
    if type(currency) is str:
        properties.currency = currency
