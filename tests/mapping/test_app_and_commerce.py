"""Apps, the tracker, and revenue."""

import pytest

from tests.mapping.support import MOBILE, SNOWPLOW, YAUAA, event, properties, unstruct

APPLICATION = "iglu:com.snowplowanalytics.mobile/application/jsonschema/1-0-0"
SCREEN = "iglu:com.snowplowanalytics.mobile/screen/jsonschema/1-0-0"
ACTION = f"{SNOWPLOW}.ecommerce/snowplow_ecommerce_action/jsonschema/1-0-2"
ORDER = f"{SNOWPLOW}.ecommerce/transaction/jsonschema/1-0-0"


def test_a_screen_view_names_its_screen():
    found = properties(**unstruct(f"{SNOWPLOW}/screen_view/jsonschema/1-0-0", {"name": "Home", "id": "1"}),
                       entities=[(SCREEN, {"name": "Before"})])  # fmt: skip
    assert found["$screen_name"] == "Home"
    assert properties(entities=[(SCREEN, {"name": "Home"})])["$screen_name"] == "Home"


def test_device_and_network_of_an_app():
    mobile = {"osType": "ios", "osVersion": "16.2", "deviceManufacturer": "Apple Inc.", "deviceModel": "iPad13,1",
              "carrier": "ACME", "networkType": "wifi"}  # fmt: skip
    assert properties(entities=[(MOBILE, mobile)], platform="mob").items() >= {
        "$os": "iOS", "$os_version": "16.2", "$device_manufacturer": "Apple Inc.", "$device_model": "iPad13,1",
        "$device_type": "Tablet", "$network_carrier": "ACME", "$network_wifi": True, "$network_cellular": False,
    }.items()  # fmt: skip


@pytest.mark.parametrize(
    ("mobile", "agent", "kind"),
    [
        ({"osType": "ios", "deviceModel": "iPhone14,2"}, {"deviceClass": "Desktop"}, "Mobile"),
        ({"osType": "android", "deviceModel": "SM-T510"}, {"deviceClass": "Tablet"}, "Tablet"),
        ({"osType": "android", "deviceModel": "Pixel 7"}, {"deviceClass": "Robot"}, "Mobile"),
        ({"osType": "android", "deviceModel": "Pixel 7"}, None, "Mobile"),
        ({"osType": "tvos", "deviceModel": "AppleTV6,2"}, None, "TV"),
        ({"osType": "watchos", "deviceModel": "Watch6,1"}, None, "Wearable"),
        ({"osType": "osx", "deviceModel": "MacBookPro18,3"}, None, "Desktop"),
    ],
)
def test_what_kind_of_device_an_app_runs_on(mobile, agent, kind):
    derived = [(YAUAA, agent)] if agent else ()
    assert properties(entities=[(MOBILE, mobile)], derived=derived, platform="mob")["$device_type"] == kind


def test_the_schema_tells_what_an_event_is_where_its_name_is_missing():
    screen = unstruct("iglu:com.snowplowanalytics.mobile/screen_view/jsonschema/1-0-0", {"name": "Cart"})
    assert properties(**{**screen, "event_name": ""})["$screen_name"] == "Cart"
    order = {"entities": [(ORDER, {"revenue": 5, "currency": "EUR"})], **unstruct(ACTION, {"type": "transaction"})}
    assert properties(**{**order, "event_name": ""})["revenue"] == 5


def test_version_of_an_app():
    found = properties(app_id="org.example.tea", entities=[(APPLICATION, {"version": "1.2", "build": 34})])
    assert found.items() >= {
        "$app_version": "1.2", "$app_build": "34", "$app_name": "org.example.tea", "$app_namespace": "org.example.tea",
    }.items()  # fmt: skip


def test_the_tracker_is_the_library():
    found = properties(v_tracker="ios-2.0.0-beta.0")
    assert (found["$lib"], found["$lib_version"], found["v_tracker"]) == (
        "snowplow-ios",
        "2.0.0-beta.0",
        "ios-2.0.0-beta.0",
    )


def test_legacy_orders_and_items_have_revenue():
    order = properties(event="transaction", tr_total="59.97", tr_currency="EUR", tr_orderid="o")
    assert (order["revenue"], order["currency"], order["tr_orderid"]) == (59.97, "EUR", "o")
    item = properties(event="transaction_item", ti_price="19.99", ti_quantity="3", ti_currency="EUR")
    assert (item["revenue"], item["currency"]) == (59.97, "EUR")
    assert properties(event="transaction_item", ti_price="19.99")["revenue"] == 19.99


def test_the_revenue_of_a_day_of_a_shop():
    """Orders, items and actions of two customers: each sum is the shop's, and only orders have one."""
    actions = {"events": {"self_describing": {"snowplow_ecommerce_action": "ecommerce:{type}"}}}
    steps = ("product_view", "add_to_cart", "checkout_step", "transaction")
    day = [
        event(actions, domain_userid=user, domain_sessionid=f"s-{user}", **unstruct(ACTION, {"type": step}),
              entities=[(ORDER, {"transaction_id": "t", "revenue": "18.10", "currency": "EUR"})])
        for user in ("ann", "bob") for step in steps
    ]  # fmt: skip
    assert [each["event"] for each in day[:4]] == [f"ecommerce:{step}" for step in steps]
    sold = [each["properties"]["revenue"] for each in day if "revenue" in each["properties"]]
    assert sold == [18.1, 18.1]
    assert len({each["distinct_id"] for each in day}) == len({each["properties"]["$session_id"] for each in day}) == 2

    legacy = [event(event="transaction", tr_orderid="o", tr_total="79.96", tr_currency="EUR")]
    legacy += [event(event="transaction_item", ti_orderid="o", ti_sku=sku, ti_price=price, ti_quantity=count)
               for sku, price, count in (("tea", "19.99", "3"), ("pot", "19.99", "1"))]  # fmt: skip
    revenue = [each["properties"]["revenue"] for each in legacy]
    assert [each["event"] for each in legacy] == ["transaction", "transaction_item", "transaction_item"]
    assert revenue[0] == round(sum(revenue[1:]), 2) == 79.96


def test_an_amount_that_overflows_is_left_out():
    assert "revenue" not in properties(event="transaction_item", ti_price="1e308", ti_quantity="1000")


@pytest.mark.parametrize(
    ("given", "revenue"),
    [(12.5, 12.5), (12, 12), ("12.50", 12.5), ("1E+3", 1000.0), ("twelve", None), ("", None), ("nan", None),
     (True, None), (None, None)],
)  # fmt: skip
def test_the_revenue_of_an_order_is_a_number_also_if_the_tracker_sent_text(given, revenue):
    order = {"transaction_id": "t", "revenue": given, "currency": "EUR"}
    found = properties(**unstruct(ACTION, {"type": "transaction"}), entities=[(ORDER, order)])
    assert found.get("revenue") == revenue
    assert type(found.get("revenue")) is type(revenue)


@pytest.mark.parametrize(("kind", "revenue"), [("transaction", 12.5), ("add_to_cart", None)])
def test_only_an_ecommerce_order_has_revenue(kind, revenue):
    found = properties(**unstruct(ACTION, {"type": kind}), entities=[(ORDER, {"revenue": 12.5, "currency": "EUR"})])
    assert found.get("revenue") == revenue
    assert found.get("currency") == ("EUR" if revenue else None)
