"""Browser, system and device in PostHog's words, from four sources."""

import time

import pytest

from snowplow_posthog_dagster.mapping.vocabulary import system_version, version_number
from tests.mapping.support import MOBILE, UA_PARSER, YAUAA, properties

IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 14_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/14.0.3 Mobile/15E148 Safari/604.1"
)
WINDOWS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0"
)
PIXEL = (
    "Mozilla/5.0 (Linux; Android 13; Pixel 7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.6099.43 Mobile Safari/537.36"
)


def yauaa(**data):
    return (YAUAA, {"deviceClass": "Desktop", "agentName": "Chrome", "agentVersion": "120.0.1", **data})


def ua_parser(**data):
    return (UA_PARSER, {"useragentFamily": "Firefox", "useragentMajor": "115", "useragentMinor": "3", **data})


def browser(**given):
    found = properties(**given)
    return {name: found.get(f"${name}") for name in ("browser", "browser_version", "os", "os_version", "device_type")}


def test_yauaa_comes_before_ua_parser_before_columns_before_the_user_agent():
    everything = {"useragent": IPHONE, "br_name": "Opera 12", "br_version": "12.1", "os_family": "Linux"}
    both = [ua_parser(), yauaa(operatingSystemName="Windows NT", operatingSystemVersion="10.0")]
    assert browser(derived=both, **everything)["browser"] == "Chrome"
    assert browser(derived=[ua_parser()], **everything)["browser"] == "Firefox"
    assert browser(**everything)["browser"] == "Opera"
    assert browser(useragent=IPHONE)["browser"] == "Mobile Safari"


def test_the_user_agent_tells_what_yauaa_does_not():
    unknown = yauaa(agentName="Unknown", agentVersion="??", operatingSystemName="Unknown", deviceClass="Unknown")
    found = browser(derived=[unknown], useragent=IPHONE)
    assert (found["browser"], found["os"], found["device_type"]) == ("Mobile Safari", "iOS", "Mobile")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [({"br_family": "Chrome"}, {"browser": "Chrome"}), ({"os_family": "Windows"}, {"os": "Windows"}),
     ({"dvce_ismobile": "1"}, {"device_type": "Mobile"})],
)  # fmt: skip
def test_each_of_the_old_columns_counts_alone(columns, expected):
    assert browser(**columns).items() >= expected.items()


def test_what_yauaa_does_not_know_the_next_source_tells():
    found = browser(
        derived=[yauaa(agentName="Unknown", agentVersion="??"), ua_parser(osFamily="Mac OS X", osMajor="10")]
    )
    assert found == {"browser": "Firefox", "browser_version": 115.3, "os": "Mac OS X", "os_version": "10",
                     "device_type": "Desktop"}  # fmt: skip


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"operatingSystemName": "Mac OS", "operatingSystemVersion": ">=10.15.7"},
         ("Chrome", "Mac OS X", "10.15.7", "Desktop")),
        ({"operatingSystemName": "MacOS"}, ("Chrome", "Mac OS X", None, "Desktop")),
        ({"operatingSystemName": "Windows NT", "operatingSystemVersion": "6.1"}, ("Chrome", "Windows", "7", "Desktop")),
        ({"operatingSystemName": "Windows NT", "operatingSystemVersion": ">=11"},
         ("Chrome", "Windows", "11", "Desktop")),
        ({"operatingSystemName": "Linux", "operatingSystemVersion": "Intel x86_64"},
         ("Chrome", "Linux", None, "Desktop")),
        ({"operatingSystemName": "Ubuntu"}, ("Chrome", "Linux", None, "Desktop")),
        ({"agentName": "Edge", "operatingSystemName": "Windows NT"}, ("Microsoft Edge", "Windows", None, "Desktop")),
        ({"agentName": "Samsung Browser", "deviceClass": "Phone", "operatingSystemName": "Android",
          "operatingSystemVersion": "13"}, ("Samsung Internet", "Android", "13", "Mobile")),
        ({"agentName": "Safari", "deviceClass": "Phone", "operatingSystemName": "iOS"},
         ("Mobile Safari", "iOS", None, "Mobile")),
        ({"agentName": "Chrome", "deviceClass": "Tablet", "operatingSystemName": "iPadOS"},
         ("Chrome iOS", "iOS", None, "Tablet")),
        ({"agentName": "Vivaldi", "deviceClass": "Game Console"}, ("Vivaldi", None, None, "Console")),
        ({"agentName": "Googlebot", "deviceClass": "Robot"}, ("Googlebot", None, None, None)),
    ],
)  # fmt: skip
def test_yauaas_names_become_posthogs(data, expected):
    found = browser(derived=[yauaa(**data)])
    assert (found["browser"], found["os"], found["os_version"], found["device_type"]) == expected


@pytest.mark.parametrize(
    ("family", "version"),
    [("Windows XP", "XP"), ("Windows Vista", "Vista"), ("Windows 7", "7"), ("Windows 8.1", "8.1"),
     ("Windows 10", "10"), ("Windows 2000", "2000"), ("Windows ME", None), ("Windows RT", None)],
)  # fmt: skip
def test_windows_is_one_system_also_where_ua_parser_has_the_version_in_its_name(family, version):
    found = browser(derived=[ua_parser(osFamily=family, osMajor=None)])
    assert (found["os"], found["os_version"], found["device_type"]) == ("Windows", version, "Desktop")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"br_name": "Chrome 96", "br_family": "Chrome", "os_name": "Windows 10", "os_family": "Windows",
          "dvce_type": "Computer"}, ("Chrome", "Windows", "10", "Desktop")),
        ({"br_name": "Mobile Safari", "os_name": "iOS 8 (iPhone)", "os_family": "iOS", "dvce_type": "Mobile"},
         ("Mobile Safari", "iOS", "8", "Mobile")),
        ({"br_name": "Internet Explorer 11", "os_family": "Windows", "os_name": "Windows 7", "dvce_type": "Computer"},
         ("Internet Explorer", "Windows", "7", "Desktop")),
        ({"br_name": "Unknown", "br_family": "Unknown", "os_name": "Unknown", "os_family": "Unknown",
          "dvce_type": "Unknown", "dvce_ismobile": "0"}, (None, None, None, None)),
    ],
)  # fmt: skip
def test_the_old_columns_become_posthogs_names(columns, expected):
    found = browser(**columns)
    assert (found["browser"], found["os"], found["os_version"], found["device_type"]) == expected


@pytest.mark.parametrize(
    ("useragent", "expected"),
    [
        (IPHONE, ("Mobile Safari", 14, "iOS", "14.4", "Mobile")),
        (WINDOWS, ("Microsoft Edge", 126, "Windows", "10", "Desktop")),
        (PIXEL, ("Chrome", 120, "Android", "13", "Mobile")),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox One) Chrome/64.0 Safari/537.36 Edge/18.17763",
            ("Microsoft Edge", 18.17763, "Xbox", None, "Console"),
        ),
        (
            "Mozilla/5.0 (PlayStation; PlayStation 5/2.26) AppleWebKit/605.1.15 Version/13.0 Safari/605.1.15",
            ("Safari", 13, "PlayStation", None, "Console"),
        ),
        (
            "Mozilla/5.0 (Nintendo Switch; WifiWebAuthApplet) AppleWebKit/606.4 NintendoBrowser/5.1.0.20393",
            (None, None, "Nintendo", None, "Console"),
        ),
        (
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            ("Googlebot", 2.1, None, None, None),
        ),
        ("snowplow/andr-5.0.0 android/11", (None, None, "Android", "11", "Mobile")),
        ("snowplow/andr-1.7.1 android/8.0.0", (None, None, "Android", "8.0.0", "Mobile")),
        ("Ruby", (None, None, None, None, None)),
        ("", (None, None, None, None, None)),
    ],
)
def test_the_user_agent_is_parsed_when_nothing_else_tells(useragent, expected):
    assert tuple(browser(useragent=useragent).values()) == expected


@pytest.mark.parametrize(
    "given",
    [
        {"useragent": "Mozilla/5.0 " + "(Linux; Android 10; " * 2_500},
        {"useragent": "Linux; U; " * 5_000},
        {"br_name": " " * 40_000 + "a", "os_name": " " * 40_000 + "a"},
    ],
)
def test_a_hostile_user_agent_costs_no_more_than_a_long_one(given):
    properties(useragent="the expressions are compiled by now")
    start = time.process_time()
    properties(**given)
    assert time.process_time() - start < 2
    assert browser(useragent=f"{'x' * 1_000} {WINDOWS}")["browser"] is None, "Snowplow's own limit is 1,000 characters"


@pytest.mark.parametrize("name", ["Spider", "Other", "Desktop", "Generic Smartphone", ""])
def test_what_only_says_that_there_is_some_device_is_no_device(name):
    assert "$device" not in properties(derived=[ua_parser(deviceFamily=name)])
    assert properties(derived=[ua_parser(deviceFamily="Samsung SM-A515F")])["$device"] == "Samsung SM-A515F"


def test_a_user_agent_that_names_a_device_without_a_name_is_read():
    # ua-parser in pure Python raises an error here, which would break the whole object.
    found = browser(useragent="Mozilla/5.0 (Linux; Android 4.0; wetab Build/X) AppleWebKit/534 Safari/534")
    assert (found["browser"], found["os"]) == ("Android Mobile", "Android")


def test_parsing_user_agents_can_be_turned_off():
    assert "$browser" not in properties({"properties": {"parse_user_agent": False}}, useragent=IPHONE)


def test_an_app_has_no_browser_also_without_the_entity_of_its_device():
    library = "SwiftRadio/6 CFNetwork/1220.1 Darwin/19.6.0"
    found = properties(platform="mob", useragent=library)
    assert not {"$browser", "$browser_version"} & set(found)
    assert (found["$os"], found["$device_type"]) == ("iOS", "Mobile")
    shown = properties(platform="mob", useragent=IPHONE, page_url="https://example.org/")
    assert shown["$browser"] == "Mobile Safari", "a page in a phone's browser is no app"


def test_the_user_agent_tells_the_system_that_the_old_columns_do_not():
    found = browser(useragent=WINDOWS, br_name="Chrome 96", os_name="Unknown", os_family="Unknown")
    assert (found["browser"], found["os"], found["device_type"]) == ("Chrome", "Windows", "Desktop")
    assert browser(useragent=WINDOWS, br_name="Chrome", os_name="Linux", os_family="Linux")["os"] == "Linux"


def test_an_app_has_no_browser():
    found = properties(entities=[(MOBILE, {"osType": "android", "osVersion": "9"})], useragent=PIXEL, platform="mob")
    assert (found["$os"], found["$device_type"]) == ("Android", "Mobile")
    assert "$browser" not in found


@pytest.mark.parametrize(
    ("text", "number"),
    [("15.10.1", 15.1), ("120.0.6099.43", 120), ("7", 7), (">=11", 11), ("??", None), ("", None), ("1e5", None),
     ("٣.1", None), ("9" * 400, None)],
)  # fmt: skip
def test_versions_are_numbers_of_two_parts(text, number):
    assert version_number(text) == number


def test_windows_has_the_versions_that_people_know():
    assert [system_version("Windows", text) for text in ("6.3", "10.0", "Vista", "XP", "Other")] == [
        "8.1",
        "10",
        "Vista",
        "XP",
        "",
    ]


@pytest.mark.parametrize("value", [None, 5, ["Chrome"], {"a": 1}, True])
def test_entities_with_other_types_than_their_schema_says_are_no_trouble(value):
    found = properties(derived=[yauaa(agentName=value, operatingSystemName=value, deviceClass=value)])
    assert "$browser" not in found
