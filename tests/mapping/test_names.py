"""How Snowplow's events are called in PostHog."""

import pytest

from snowplow_posthog_dagster.mapping.names import MAX_BYTES, safe_name
from tests.mapping.support import SNOWPLOW, event, link_click, unstruct

ECOMMERCE = f"{SNOWPLOW}.ecommerce/snowplow_ecommerce_action/jsonschema/1-0-2"
STRUCT = {"event": "struct", "event_name": "event", "event_vendor": "com.google.analytics"}


def name(settings=None, **columns):
    return event(settings, **columns)["event"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"event": "page_view", "event_name": "page_view"}, "$pageview"),
        ({"event": "page_ping", "event_name": "page_ping"}, "page_ping"),
        ({"event": "transaction", "event_name": "transaction"}, "transaction"),
        ({"event": "transaction_item", "event_name": "transaction_item"}, "transaction_item"),
        ({"event": "ad_impression"}, "ad_impression"),
        ({**STRUCT, "se_category": "projects", "se_action": "click_button"}, "click_button"),
        ({**STRUCT, "se_category": "projects"}, "struct"),
        (link_click(targetUrl="https://example.org/"), "link_click"),
        (unstruct(f"{SNOWPLOW}/screen_view/jsonschema/1-0-0", {"name": "Home", "id": "a"}), "$screen"),
        (unstruct("iglu:com.snowplowanalytics.mobile/screen_view/jsonschema/1-0-0", {"name": "Home"}), "$screen"),
        (unstruct("iglu:com.acme/screen_view/jsonschema/1-0-0", {"name": "Home"}), "screen_view"),
        (unstruct(f"{SNOWPLOW}/application_error/jsonschema/1-0-2", {"message": "x"}), "application_error"),
        (unstruct(ECOMMERCE, {"type": "add_to_cart"}), "snowplow_ecommerce_action"),
        (unstruct(f"{SNOWPLOW}.media/play_event/jsonschema/1-0-0", {}), "play_event"),
        (unstruct(f"{SNOWPLOW}.media/percent_progress_event/jsonschema/1-0-0", {}), "percent_progress_event"),
        (unstruct(f"{SNOWPLOW}/media_player_event/jsonschema/1-0-0", {"type": "play"}), "media_player_event"),
        (
            unstruct(f"{SNOWPLOW}/consent_preferences/jsonschema/1-0-0", {"eventType": "allow_all"}),
            "consent_preferences",
        ),
        (unstruct(f"{SNOWPLOW}/cmp_visible/jsonschema/1-0-0", {"elapsedTime": 1.5}), "cmp_visible"),
        (unstruct(f"{SNOWPLOW}/submit_form/jsonschema/1-0-0", {"formId": "f"}), "submit_form"),
        (unstruct(f"{SNOWPLOW}/change_form/jsonschema/1-0-0", {"formId": "f"}), "change_form"),
        (unstruct(f"{SNOWPLOW}/focus_form/jsonschema/1-0-0", {"formId": "f"}), "focus_form"),
    ],
)
def test_events_have_posthogs_name_or_their_own(columns, expected):
    assert name(**columns) == expected


def test_old_records_without_event_name_are_named_by_their_schema():
    assert name(**{**link_click(targetUrl="x"), "event_name": ""}) == "link_click"


def test_a_masked_self_describing_event_keeps_its_name():
    assert name(event="unstruct", event_name="submit_form", unstruct_event="masked") == "submit_form"


def test_struct_events_follow_the_template():
    settings = {"events": {"struct": "{se_category}: {se_action}"}}
    assert name(settings, **STRUCT, se_category="cart", se_action="add") == "cart: add"
    assert name(settings, **STRUCT, se_action="add") == "add"
    assert name(settings, **STRUCT, se_category="cart") == "cart"


def test_self_describing_events_can_be_told_apart_by_their_data():
    settings = {"events": {"self_describing": {"snowplow_ecommerce_action": "ecommerce:{type}"}}}
    assert name(settings, **unstruct(ECOMMERCE, {"type": "add_to_cart"})) == "ecommerce:add_to_cart"
    assert name(settings, **unstruct(ECOMMERCE, {"type": None})) == "snowplow_ecommerce_action"


@pytest.mark.parametrize(
    "kind",
    ["product_view", "list_view", "list_click", "add_to_cart", "remove_from_cart", "checkout_step", "transaction",
     "refund", "trans_error", "promo_view", "promo_click"],
)  # fmt: skip
def test_every_kind_of_ecommerce_action_can_have_its_name(kind):
    settings = {"events": {"self_describing": {"snowplow_ecommerce_action": "ecommerce:{type}"}}}
    assert name(settings, **unstruct(ECOMMERCE, {"type": kind, "name": None})) == f"ecommerce:{kind}"


def test_the_vendor_may_be_part_of_the_key_of_a_template():
    settings = {"events": {"self_describing": {"com.acme/bought": "Bought {what}"}}}
    assert name(settings, **unstruct("iglu:com.acme/bought/jsonschema/1-0-0", {"what": "tea"})) == "Bought tea"
    assert name(settings, **unstruct("iglu:com.other/bought/jsonschema/1-0-0", {"what": "tea"})) == "bought"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("$identify", "snowplow_identify"),
        ("$exception", "snowplow_exception"),
        ("$$heatmap", "snowplow_heatmap"),
        ("Survey sent", "snowplow_Survey sent"),
        ("  spaced  ", "spaced"),
        ("{se_action}", "{se_action}"),
    ],
)
def test_data_cannot_produce_names_that_posthog_reserves(given, expected):
    assert name(**STRUCT, se_action=given) == expected


def test_names_are_cut_between_characters():
    cut = safe_name("ü" * 150)
    assert cut == "ü" * 100
    assert len(cut.encode()) == MAX_BYTES
    assert len(safe_name("a" + "ü" * 150).encode()) == MAX_BYTES - 1


def test_a_record_without_any_name_still_has_one():
    assert name(event="", event_name="") == "unnamed"
