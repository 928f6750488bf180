"""Revenue: the amounts of orders under the two names that PostHog's revenue analytics reads."""

from math import isfinite
from typing import Any

from snowplow_posthog_dagster.mapping.columns import Columns
from snowplow_posthog_dagster.mapping.identity import Found
from snowplow_posthog_dagster.mapping.properties import Properties
from snowplow_posthog_dagster.mapping.reading import Data
from snowplow_posthog_dagster.mapping.rules import Rule
from snowplow_posthog_dagster.snowplow.numbers import to_double

RULES = (
    Rule(
        "revenue, currency",
        "tr_total, tr_currency",
        "On `transaction`. On `transaction_item`: ti_price x ti_quantity, ti_currency; so add up one of the two.",
    ),
    Rule(
        "revenue, currency",
        "transaction.revenue, transaction.currency",
        "On snowplow_ecommerce_action of type transaction, from the ecommerce entity `transaction`; a number also when "
        "the tracker sent text.",
    ),
)

ORDER = "com.snowplowanalytics.snowplow.ecommerce/transaction"


def describe_legacy_order(columns: Columns, properties: Properties) -> None:
    """Set revenue and currency of a legacy `transaction` or `transaction_item`."""
    if columns.event == "transaction":
        _set(properties, columns.tr_total, columns.tr_currency)
    elif columns.ti_price is not None:
        quantity = 1 if columns.ti_quantity is None else columns.ti_quantity
        _set(properties, columns.ti_price * quantity, columns.ti_currency)


def describe_order(properties: Properties, data: Data, found: Found) -> None:
    """Set revenue and currency of an ecommerce action that is an order."""
    order = found.get(ORDER)
    if data.get("type") == "transaction" and order:
        _set(properties, order.get("revenue"), order.get("currency"))


def _set(properties: Properties, revenue: Any, currency: Any) -> None:
    if type(revenue) is str:
        revenue = to_double(revenue)  # trackers send amounts as text too, which PostHog would not add up
    if type(revenue) is float and isfinite(revenue):
        properties["revenue"] = round(revenue, 6)  # 3 x 19.99 is 59.97, not 59.969999999999995
    elif type(revenue) is int:
        properties["revenue"] = revenue
    if currency and type(currency) is str:
        properties["currency"] = currency
