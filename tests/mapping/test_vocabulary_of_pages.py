"""Page, referrer, campaign, place: PostHog's own properties."""

import pytest

from snowplow_posthog_dagster.mapping.countries import COUNTRIES
from snowplow_posthog_dagster.mapping.geo import is_public
from tests.mapping.support import WEB_PAGE, link_click, properties

PAGE = {
    "page_url": "https://shop.example.org/tea?utm_source=x#top",
    "page_urlscheme": "https",
    "page_urlhost": "shop.example.org",
    "page_urlport": "443",
    "page_urlpath": "/tea",
    "page_urlquery": "utm_source=x",
    "page_urlfragment": "top",
}


# page.py


def test_urls_are_where_web_analytics_looks_for_them():
    found = properties(**PAGE, page_title="Tea")
    assert found.items() >= {
        "$current_url": PAGE["page_url"], "$host": "shop.example.org", "$pathname": "/tea", "title": "Tea",
    }.items()  # fmt: skip


def test_an_empty_url_is_put_together_from_its_parts():
    assert properties(**{**PAGE, "page_url": ""})["$current_url"] == PAGE["page_url"]
    assert properties(page_urlhost="a.org", page_urlport="8080")["$current_url"] == "https://a.org:8080/"


def test_a_url_that_enrich_did_not_split_is_split():
    found = properties(page_url="https://a.org:8080/tea?gclid=g")
    assert (found["$host"], found["$pathname"], found["gclid"]) == ("a.org:8080", "/tea", "g")
    assert properties(page_url="https://a.org")["$pathname"] == "/"
    assert properties(page_url="https://[bad:port")["$current_url"] == "https://[bad:port"


@pytest.mark.parametrize(("port", "host"), [("443", "a.org"), ("80", "a.org"), ("", "a.org"), ("8443", "a.org:8443")])
def test_host_has_the_port_that_is_not_usual(port, host):
    assert properties(page_urlhost="a.org", page_urlport=port)["$host"] == host


def test_the_page_view_id_is_shared_by_what_happens_on_the_page():
    assert properties(entities=[(WEB_PAGE, {"id": "p-1"})])["$pageview_id"] == "p-1"
    assert "$pageview_id" not in properties(entities=[(WEB_PAGE, {"id": None})])


def test_viewport_and_screen_are_integers_and_language_has_its_prefix():
    found = properties(br_viewwidth="1904", br_viewheight="948", dvce_screenwidth="1920", dvce_screenheight="1080",
                       br_lang="de-DE", os_timezone="Europe%2FBerlin")  # fmt: skip
    assert found.items() >= {
        "$viewport_width": 1904, "$viewport_height": 948, "$screen_width": 1920, "$screen_height": 1080,
        "$browser_language": "de-DE", "$browser_language_prefix": "de", "$timezone": "Europe/Berlin",
    }.items()  # fmt: skip


def test_long_user_agents_are_cut_as_posthog_js_does():
    assert properties(useragent="x" * 1001)["$raw_user_agent"] == "x" * 997 + "..."
    assert properties(useragent="x" * 1000)["$raw_user_agent"] == "x" * 1000


def test_a_link_to_another_host_is_an_external_click():
    assert properties(**PAGE, **link_click(targetUrl="https://docs.example.org/a"))["$external_click_url"] == (
        "https://docs.example.org/a"
    )
    assert "$external_click_url" not in properties(**PAGE, **link_click(targetUrl="https://shop.example.org/b"))
    assert "$external_click_url" not in properties(**PAGE, **link_click(targetUrl="mailto:a@example.org"))
    own_port = {**PAGE, "page_urlport": "8080", **link_click(targetUrl="http://shop.example.org:8080/b")}
    assert "$external_click_url" not in properties(**own_port)


@pytest.mark.parametrize("target", ["https://SHOP.example.org/b", "https://shop.example.org?x=1",
                                    "https://shop.example.org#x", "https://shop.example.org:443/b"])  # fmt: skip
def test_the_pages_own_host_is_known_however_it_is_written(target):
    assert "$external_click_url" not in properties(**PAGE, **link_click(targetUrl=target))


def test_a_query_that_the_enrichment_left_in_the_url_is_read():
    given = {"page_url": "https://a.org/b?utm_source=news&gclid=G", "page_urlhost": "a.org"}
    found = properties(**given)
    assert (found["utm_source"], found["gclid"], found["page_urlquery"]) == ("news", "G", "utm_source=news&gclid=G")
    assert "gclid" not in properties({"privacy": {"drop": ["mkt_clickid"]}}, **given)


def test_an_address_of_ipv6_keeps_its_brackets():
    found = properties(page_url="http://[2001:db8::1]:3000/a")
    assert (found["$host"], found["$pathname"]) == ("[2001:db8::1]:3000", "/a")


def test_a_url_without_a_host_says_nothing_about_the_page():
    assert not {"$host", "$pathname"} & set(properties(page_url="4f6a99c1"))


# referrer.py


def test_a_page_view_without_referrer_is_direct():
    found = properties(event="page_view")
    assert (found["$referrer"], found["$referring_domain"]) == ("$direct", "$direct")
    assert "$referrer" not in properties(event="page_ping")


def test_a_referrer_has_its_domain_even_if_the_enrichment_did_not_split_it():
    given = {"page_referrer": "https://news.example.com:8080/a?b", "refr_urlport": "8080"}
    assert properties(**given)["$referring_domain"] == "news.example.com:8080"
    assert properties(page_referrer="https://[bad")["$referrer"] == "https://[bad"
    assert properties(page_referrer="http://localhost:8080/x")["$referring_domain"] == "localhost:8080"


@pytest.mark.parametrize(
    ("host", "engine"),
    [("www.google.co.uk", "google"), ("www.bing.com", "bing"), ("de.search.yahoo.com", "yahoo"),
     ("duckduckgo.com", "duckduckgo"), ("example.org", None)],
)  # fmt: skip
def test_search_engines_are_found_by_their_host(host, engine):
    found = properties(page_referrer=f"https://{host}/", refr_urlhost=host, refr_term="tea")
    assert found.get("$search_engine") == engine
    assert found.get("ph_keyword") == ("tea" if engine else None)


def test_an_app_of_a_search_engines_maker_is_no_search_engine():
    app = {"page_referrer": "android-app://com.google.android.gm/", "refr_urlhost": "com.google.android.gm"}
    for given in (app, {**app, "refr_urlscheme": "android-app"}, {"page_referrer": app["page_referrer"]}):
        found = properties(**given)
        assert ("$search_engine" in found, found["$referring_domain"]) == (False, "com.google.android.gm")
    only_host = properties(refr_urlhost="www.google.com")
    assert only_host["$search_engine"] == "google", "privacy may have taken the rest"


def test_what_was_searched_for_is_read_from_the_query_if_need_be():
    found = properties(page_referrer="https://www.google.com/?q=green+tea", refr_urlhost="www.google.com",
                       refr_urlquery="hl=en&q=green+tea%21")  # fmt: skip
    assert found["ph_keyword"] == "green tea!"
    whole = {"page_referrer": "https://www.google.com/?hl=en&q=tea#top"}
    assert properties(**whole)["ph_keyword"] == "tea"
    assert "ph_keyword" not in properties({"privacy": {"drop": ["refr_urlquery"]}}, **whole)


# campaign.py


def test_campaign_columns_become_utm_parameters():
    found = properties(mkt_source="s", mkt_medium="m", mkt_campaign="c", mkt_term="t", mkt_content="k")
    assert [found[f"utm_{name}"] for name in ("source", "medium", "campaign", "term", "content")] == list("smctk")


@pytest.mark.parametrize(
    ("network", "name"),
    [("Google", "gclid"), ("Microsoft", "msclkid"), ("DoubleClick", "dclid"), ("Facebook", "fbclid")],
)
def test_the_click_id_goes_by_its_network(network, name):
    found = properties(mkt_clickid="abc", mkt_network=network)
    assert (found[name], found["mkt_clickid"], found["mkt_network"]) == ("abc", "abc", network)


def test_a_campaign_that_the_enrichment_missed_is_found_in_the_query():
    found = properties(
        page_urlquery="utm_source=news%20letter&utm_medium=e+mail&gclid=g&_kx=k&utm_source=2&foo=bar&utm_term="
    )
    assert found.items() >= {"utm_source": "news letter", "utm_medium": "e mail", "gclid": "g", "_kx": "k"}.items()
    assert "utm_term" not in found


@pytest.mark.parametrize("name", ["utm_source", "mkt_source"])
def test_a_campaign_that_is_not_to_be_sent_is_not_sent_from_the_query_either(name):
    given = {"page_urlquery": "utm_source=news&utm_medium=mail"}
    found = properties({"properties": {"drop": [name]}}, **given)
    assert ("utm_source" in found, found["utm_medium"]) == (False, "mail")


def test_the_enrichment_comes_before_the_query():
    assert properties(mkt_source="enriched", page_urlquery="utm_source=raw")["utm_source"] == "enriched"


# geo.py


def test_places_have_the_names_of_posthogs_own_lookup():
    found = properties(geo_country="DE", geo_region="NW", geo_region_name="North Rhine-Westphalia", geo_city="Köln",
                       geo_zipcode="50667", geo_latitude="50.9", geo_longitude="6.9",
                       geo_timezone="Europe/Berlin")  # fmt: skip
    assert {name: value for name, value in found.items() if name.startswith("$geoip")} == {
        "$geoip_country_code": "DE", "$geoip_country_name": "Germany", "$geoip_continent_code": "EU",
        "$geoip_continent_name": "Europe", "$geoip_subdivision_1_code": "NW",
        "$geoip_subdivision_1_name": "North Rhine-Westphalia", "$geoip_city_name": "Köln",
        "$geoip_postal_code": "50667", "$geoip_latitude": 50.9, "$geoip_longitude": 6.9,
        "$geoip_time_zone": "Europe/Berlin", "$geoip_disable": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("code", "name", "continent"),
    [("GB", "United Kingdom", "Europe"), ("US", "United States", "North America"), ("KR", "South Korea", "Asia"),
     ("CZ", "Czechia", "Europe"), ("TR", "Türkiye", "Asia"), ("NL", "The Netherlands", "Europe"),
     ("CD", "DR Congo", "Africa"), ("CX", "Christmas Island", "Oceania"), ("XK", "Kosovo", "Europe"),
     ("AQ", "Antarctica", "Antarctica"), ("BR", "Brazil", "South America")],
)  # fmt: skip
def test_countries_have_maxminds_names(code, name, continent):
    found = properties(geo_country=code)
    assert (found["$geoip_country_name"], found["$geoip_continent_name"]) == (name, continent)


def test_unknown_countries_keep_their_code():
    assert properties(geo_country="ZZ")["$geoip_country_code"] == "ZZ"
    assert len(COUNTRIES) == 250


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "81.2.69.142",
        "100.1.2.3",
        "172.15.0.1",
        "192.1.2.3",
        "2a02:85f:f008::1",
        "2600:1f18::5",
        "2001:4860:4860::8888",
        "2003:c0::1",
        "::ffff:8.8.8.8",
        "203.0.112.1",
        "198.20.0.1",
    ],
)
def test_public_addresses_are_sent(address):
    found = properties(user_ipaddress=address)
    assert found["$ip"] == address
    assert "user_ipaddress" not in found


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "192.0.2.1", "198.51.100.1",
     "203.0.113.9", "224.0.0.1", "255.255.255.255", "0.0.0.0", "::1", "fe80::1", "fc00::1", "2001:db8::1", "ff02::1",
     "fec0::1", "1000::1", "2002:102:304::1", "2001:0:1::1", "64:ff9b:1::1", "3fff::1", "::ffff:10.0.0.1", "240.0.0.1",
     "1.2.3.x", "8.8.8.8, 9.9.9.9", "1.2.3.4:80", "0123.1.1.1", "363be10f6b66b9a2bf70c9bd", "fe80::1%eth0"],
)  # fmt: skip
def test_other_addresses_never_are(address):
    assert not is_public(address)
    found = properties({"geo": "posthog"}, user_ipaddress=address)
    assert "$ip" not in found
    assert (found["user_ipaddress"], found["$geoip_disable"]) == (address, True)


def test_posthog_locates_only_when_it_is_asked_to_and_has_an_address():
    here = {"geo_country": "DE", "geo_city": "Köln"}
    located = properties({"geo": "posthog"}, user_ipaddress="8.8.8.8", **here)
    assert "$geoip_disable" not in located
    assert "$geoip_country_code" not in located
    without = properties({"geo": "posthog"}, **here)
    assert (without["$geoip_disable"], without["$geoip_city_name"]) == (True, "Köln")
    nowhere = properties({"geo": "none"}, user_ipaddress="8.8.8.8", geo_latitude="1.5", **here)
    assert [name for name in nowhere if name.startswith("$geoip")] == ["$geoip_disable"]
