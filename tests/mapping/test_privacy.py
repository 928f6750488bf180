"""What must not leave as it is."""

import hashlib
import hmac

import pytest

from snowplow_posthog_dagster.errors import SettingsError
from snowplow_posthog_dagster.mapping.identity import NIL
from snowplow_posthog_dagster.mapping.mapper import Mapper
from snowplow_posthog_dagster.mapping.privacy import digest, truncate_ip
from snowplow_posthog_dagster.mapping.settings import MappingSettings
from tests.mapping.support import (
    CLIENT_SESSION,
    GITLAB_STANDARD,
    MOBILE,
    SECRET,
    SNOWPLOW,
    event,
    link_click,
    mapped,
    properties,
    unstruct,
)


def hashed(text):
    return hmac.new(SECRET, text.encode(), hashlib.sha256).hexdigest()


def test_what_people_typed_into_forms_is_dropped_by_default():
    form = {"formId": "f", "elements": [{"name": "email", "value": "a@b.c"}, {"name": "age", "value": "44"}]}
    event_data = unstruct(f"{SNOWPLOW}/submit_form/jsonschema/1-0-0", form)
    found = properties(**event_data)["unstruct_event_com_snowplowanalytics_snowplow_submit_form_1"]
    assert found == {"formId": "f", "elements": [{"name": "email"}, {"name": "age"}]}
    for name in ("change_form", "focus_form"):
        made = mapped(**unstruct(f"{SNOWPLOW}/{name}/jsonschema/1-0-0", {"elementId": "e", "value": "secret"}))
        assert b"secret" not in made.event
    kept = mapped({"privacy": {"keep": ["submit_form.elements.value"]}}, **event_data)
    assert b"a@b.c" in kept.event


def test_advertising_ids_are_dropped_by_default():
    ids = {"appleIdfa": "A", "androidIdfa": "B", "openIdfa": "C", "appleIdfv": "V", "osType": "ios"}
    found = properties(entities=[(MOBILE, ids)])["contexts_com_snowplowanalytics_snowplow_mobile_context_1"]
    assert found == [{"appleIdfv": "V", "osType": "ios", "_schema_version": "1-0-3"}]


def test_columns_and_fields_of_entities_are_dropped():
    settings = {"privacy": {"drop": ["page_title", "geo_latitude", "gitlab_standard.extra.name"]}}
    found = properties(settings, page_title="Tea", geo_latitude="1.5", entities=[
        (GITLAB_STANDARD, {"extra": {"name": "x", "kind": "y"}})])  # fmt: skip
    assert not {"title", "$geoip_latitude"} & set(found)
    assert found["contexts_com_gitlab_gitlab_standard_1"][0]["extra"] == {"kind": "y"}


VISIT = {
    "page_url": "https://a.org/mail?utm_source=s&q=1", "page_urlscheme": "https", "page_urlhost": "a.org",
    "page_urlpath": "/mail", "page_urlquery": "utm_source=s&q=1", "page_referrer": "https://www.google.com/?q=tea",
    "refr_urlhost": "www.google.com", "refr_urlquery": "q=tea", "refr_term": "tea", "mkt_source": "s",
}  # fmt: skip


@pytest.mark.parametrize(
    ("column", "name"),
    [("page_url", "$current_url"), ("page_urlhost", "$host"), ("page_urlpath", "$pathname"),
     ("page_referrer", "$referrer"), ("refr_urlhost", "$referring_domain"), ("refr_term", "ph_keyword"),
     ("mkt_source", "utm_source"), ("page_urlquery", "page_urlquery")],
)  # fmt: skip
def test_what_is_dropped_is_not_made_anew_out_of_other_columns(column, name):
    assert name in properties(**VISIT)
    left = {**VISIT, column: ""}
    assert (name in properties(**left)) is (column != "page_referrer"), "it is made anew"
    assert name not in properties({"privacy": {"drop": [column]}}, **VISIT)
    assert name not in properties({"privacy": {"drop": [column]}}, **left)


def test_visits_whose_referrer_is_dropped_are_not_called_direct():
    hidden = {"privacy": {"drop": ["page_referrer", "refr_urlhost"]}}
    assert not {"$referrer", "$referring_domain"} & set(properties(hidden, event="page_view", **VISIT))
    assert not {"$referrer", "$referring_domain"} & set(properties(hidden, event="page_view"))
    host_only = properties({"privacy": {"drop": ["page_referrer"]}}, event="page_view", **VISIT)
    assert host_only["$referring_domain"] == "www.google.com"
    assert properties({"privacy": {"drop": ["page_referrer"]}}, event="page_view")["$referring_domain"] == "$direct"


def test_a_hashed_id_makes_a_hashed_distinct_id():
    found = event({"privacy": {"hash": ["user_id"]}}, user_id="ada")
    assert found["distinct_id"] == found["properties"]["$user_id"] == hashed("ada") == digest(SECRET, "ada")


def test_fields_of_entities_are_hashed_in_lists_too():
    settings = {"privacy": {"hash": ["client_session.userId", "gitlab_standard.ids"]}}
    found = event(settings, entities=[(CLIENT_SESSION, {"userId": "ada"}), (GITLAB_STANDARD, {"ids": [1, "b"]})])
    assert found["distinct_id"] == hashed("ada")
    assert found["properties"]["contexts_com_gitlab_gitlab_standard_1"][0]["ids"] == [hashed("1"), hashed("b")]


def test_hashing_needs_the_secret():
    with pytest.raises(SettingsError, match="SNOWPLOW_POSTHOG_PRIVACY_SECRET"):
        Mapper(MappingSettings.model_validate({"privacy": {"hash": ["user_id"]}}))


@pytest.mark.parametrize(
    ("address", "cut"),
    [("81.2.69.142", "81.2.69.0"), ("2a02:85f:f008:6d7c::1", "2a02:85f:f008::"), ("pseudonym", "pseudonym"),
     ("8.8.8.8, 9.9.9.9", None), ("1.2.3.x", None)],
)  # fmt: skip
def test_addresses_are_cut_to_their_network(address, cut):
    assert truncate_ip(address) == cut


def test_truncated_addresses_are_still_public():
    assert (
        properties({"privacy": {"truncate": {"user_ipaddress": "ip"}}}, user_ipaddress="81.2.69.142")["$ip"]
        == "81.2.69.0"
    )


def test_texts_are_cut_to_a_length():
    settings = {"privacy": {"truncate": {"geo_zipcode": 3, "gitlab_standard.plan": 1}}}
    found = properties(settings, geo_zipcode="50667", entities=[(GITLAB_STANDARD, {"plan": "gold"})])
    assert found["$geoip_postal_code"] == "506"
    assert found["contexts_com_gitlab_gitlab_standard_1"][0]["plan"] == "g"


def test_query_parameters_are_stripped_by_name_wherever_urls_are():
    settings = {"privacy": {"strip_query_parameters": {"names": ["Token", "email"]}}}
    url, query = "https://a.org/b?token=1&x=2&%65mail=c#top", "token=1&x=2&EMAIL=c"
    found = properties(settings, page_url=url, page_urlquery=query, page_referrer=url, refr_urlquery=query,
                       **link_click(targetUrl=url))  # fmt: skip
    clean = "https://a.org/b?x=2#top"
    assert (found["$current_url"], found["page_urlquery"], found["$referrer"]) == (clean, "x=2", clean)
    assert found["refr_urlquery"] == "x=2"
    assert found["unstruct_event_com_snowplowanalytics_snowplow_link_click_1"] == {"targetUrl": clean}


def test_where_query_parameters_are_stripped_is_a_setting():
    settings = {"privacy": {"strip_query_parameters": {"names": ["t"], "within": ["gitlab_standard.url"]}}}
    found = properties(
        settings, page_url="https://a.org/?t=1", entities=[(GITLAB_STANDARD, {"url": "https://a.org/?t=1"})]
    )
    assert found["$current_url"] == "https://a.org/?t=1"
    assert found["contexts_com_gitlab_gitlab_standard_1"][0]["url"] == "https://a.org/"


def test_all_but_campaign_parameters_can_be_stripped():
    settings = {"privacy": {"strip_query_parameters": {"names": ["*"]}}}
    found = properties(settings, page_url="https://a.org/?utm_source=s&id=5#secret", page_urlquery="utm_source=s&id=5")
    assert (found["$current_url"], found["utm_source"]) == ("https://a.org/?utm_source=s", "s")


PERSONAL = {
    "user_id": "ada-id", "domain_userid": "domain-id", "network_userid": "network-id", "user_ipaddress": "81.2.69.142",
    "user_fingerprint": "fingerprint", "domain_sessionid": "session-id", "page_title": "Letter to Ada",
    "page_url": "https://a.org/mail?id=parameter#fragment", "page_urlquery": "id=parameter", "page_urlhost": "a.org",
    "page_urlfragment": "fragment", "page_referrer": "https://b.org/?q=searched#part", "refr_urlquery": "q=searched",
    "refr_term": "searched", "geo_zipcode": "50667", "geo_latitude": "50.91", "geo_longitude": "6.91",
    "ip_organization": "Ada's Ltd", "tr_orderid": "order-id",
}  # fmt: skip


def test_strict_lets_nothing_personal_out_in_the_clear():
    session = (CLIENT_SESSION, {"userId": "install-id", "sessionId": "app-session-id"})
    strict = {"privacy": {"preset": "strict"}, "entities": {"rules": {"client_session": {}}}}
    text = mapped(strict, entities=[session], **PERSONAL).event.decode()
    for secret in ("ada-id", "domain-id", "network-id", "81.2.69", "fingerprint", "session-id", "Letter", "parameter",
                   "fragment", "searched", "50667", "50.91", "6.91", "Ada's", "order-id", "install-id"):  # fmt: skip
        assert secret not in text, secret
    assert hashed("ada-id") in text


@pytest.mark.parametrize(
    "path", ["page_urlhost", "com.snowplowanalytics.snowplow/mobile_context.appleIdfa", "gitlab_standard.own"]
)
def test_an_exemption_from_nothing_is_refused(path):
    with pytest.raises(SettingsError, match="neither the defaults nor a preset"):
        event({"privacy": {"preset": "strict", "keep": [path], "drop": ["gitlab_standard.own"]}})
    strict_only = {"privacy": {"keep": ["page_title", "domain_userid", "page_url"]}}
    assert event(strict_only, page_title="Tea")["properties"]["title"] == "Tea", "the other preset may need it"


def test_single_fields_can_be_kept_under_strict():
    settings = {"privacy": {"preset": "strict", "keep": ["user_id", "page_title"]}}
    found = event(settings, **PERSONAL)
    assert (found["distinct_id"], found["properties"]["title"]) == ("ada-id", "Letter to Ada")


CLIENT = "com.snowplowanalytics.snowplow/client_session"
HASHED_IDS = ["user_id", "domain_userid", "domain_sessionid", f"{CLIENT}.userId", f"{CLIENT}.sessionId"]


@pytest.mark.parametrize("settings", [{"privacy": {"preset": "strict"}}, {"privacy": {"hash": HASHED_IDS}}])
def test_hashing_makes_nobody_of_all_who_are_anonymous_one_person(settings):
    nobody = {"user_id": " Anonymous ", "domain_userid": NIL, "domain_sessionid": NIL,
              "entities": [(CLIENT_SESSION, {"userId": "null", "sessionId": NIL})]}  # fmt: skip
    settings = {**settings, "identity": {"illegal_ids": ["visitor"]}}
    for found in (event(settings, **nobody), event(settings, **{**nobody, "user_id": "visitor"})):
        assert found["distinct_id"] == found["uuid"]
        assert found["properties"]["$process_person_profile"] is False
        assert not {"$device_id", "$session_id", "$user_id"} & set(found["properties"])
    assert event(settings, user_id=" ada ")["distinct_id"] == hashed("ada"), "blanks around an id are none of it"


def test_an_exemption_from_the_preset_is_none_from_what_the_settings_ask_for():
    cut = {"preset": "strict", "keep": ["user_ipaddress"], "truncate": {"user_ipaddress": "ip"}}
    assert properties({"privacy": cut}, user_ipaddress="81.2.69.142")["$ip"] == "81.2.69.0"
    hidden = {"preset": "strict", "keep": ["page_title"], "hash": ["page_title"]}
    assert properties({"privacy": hidden}, page_title="Tea")["title"] == hashed("Tea")
    named = {"preset": "strict", "keep": ["page_url"], "strip_query_parameters": {"names": ["token"]}}
    assert properties({"privacy": named}, page_url="https://a.org/?token=1&x=2")["$current_url"] == "https://a.org/?x=2"


def test_what_two_lists_hash_is_hashed_once():
    assert event({"privacy": {"preset": "strict", "hash": ["user_id"]}}, user_id="ada")["distinct_id"] == hashed("ada")


def test_an_id_that_is_named_with_its_vendor_too_is_hashed_once():
    session = [(CLIENT_SESSION, {"userId": "install", "sessionId": "s"})]
    for privacy in ({"preset": "strict", "hash": [f"{CLIENT}.userId"]},
                    {"hash": [f"{CLIENT}.userId", "client_session.userId"]}):  # fmt: skip
        assert properties({"privacy": privacy}, entities=session)["$device_id"] == hashed("install")


def test_strict_hashes_whatever_the_settings_send_as_distinct_id():
    chain = {"identity": {"distinct_id": ["com.acme/user.email", "se_label", "txn_id"]}}
    strict = {**chain, "privacy": {"preset": "strict"}}
    user = [("iglu:com.acme/user/jsonschema/1-0-0", {"email": "ada@example.org"})]
    assert event(strict, entities=user)["distinct_id"] == hashed("ada@example.org")
    assert event(strict, se_label="ada@example.org")["distinct_id"] == hashed("ada@example.org")
    kept = {**chain, "privacy": {"preset": "strict", "keep": ["com.acme/user.email"]}}
    assert event(kept, entities=user)["distinct_id"] == "ada@example.org"


def test_a_dropped_port_is_not_read_from_a_url():
    dropped = {"privacy": {"drop": ["page_urlport", "refr_urlport"]}}
    found = properties(dropped, page_url="https://a.org:8443/x", page_referrer="https://b.org:9000/")
    assert (found["$host"], found["$referring_domain"]) == ("a.org", "b.org")
    assert not {"page_urlport", "refr_urlport"} & set(found)


@pytest.mark.parametrize(
    ("fragment", "left"),
    [("access_token=abc&state=1", "state=1"), ("access_token=abc", ""), ("/reset?token=abc", "/reset"),
     ("/reset?Token=abc&x=1", "/reset?x=1"), ("top", "top"), ("", ""), ("a&b=c?d", "a&b=c?d")],
)  # fmt: skip
def test_parameters_are_stripped_where_single_page_apps_and_logins_put_them(fragment, left):
    settings = {"privacy": {"strip_query_parameters": {"names": ["token", "access_token"]}}}
    url = f"https://a.org/x?token=1&y=2#{fragment}"
    found = properties(settings, page_url=url, page_urlfragment=fragment, refr_urlfragment=fragment)
    sign = "#" if left or not fragment else ""
    assert found["$current_url"] == f"https://a.org/x?y=2{sign}{left}"
    assert found.get("page_urlfragment", "") == found.get("refr_urlfragment", "") == left


def test_strict_takes_user_names_off_urls_and_strips_deep_links():
    found = properties({"privacy": {"preset": "strict"}}, page_url="https://ada:secret@a.org/b",
                       **unstruct("iglu:com.snowplowanalytics.mobile/deep_link_received/jsonschema/1-0-0",
                                  {"url": "app://u:p@open?token=1", "referrer": "https://b.org/?id=2"}))  # fmt: skip
    assert found["$current_url"] == "https://a.org/b"
    link = found["unstruct_event_com_snowplowanalytics_mobile_deep_link_received_1"]
    assert link == {"url": "app://open", "referrer": "https://b.org/"}


def test_parameters_are_stripped_from_the_entity_of_a_deep_link_as_from_its_event():
    """The trackers put what they received on the next screen view as well."""
    entity = ("iglu:com.snowplowanalytics.mobile/deep_link/jsonschema/1-0-0",
              {"url": "app://open?token=1&x=2", "referrer": "https://b.org/?token=3"})  # fmt: skip
    found = properties({"privacy": {"strip_query_parameters": {"names": ["token"]}}}, entities=[entity])
    (link,) = found["contexts_com_snowplowanalytics_mobile_deep_link_1"]
    assert (link["url"], link["referrer"]) == ("app://open?x=2", "https://b.org/")


def test_a_url_in_an_entity_whose_name_has_query_in_it_is_stripped_as_a_url():
    settings = {"privacy": {"strip_query_parameters": {"names": ["t"], "within": ["search_query.url"]}}}
    found = properties(settings, entities=[("iglu:com.acme/search_query/jsonschema/1-0-0", {"url": "https://a/?t=1"})])
    assert found["contexts_com_acme_search_query_1"][0]["url"] == "https://a/"
