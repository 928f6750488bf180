"""What an analyst reads off PostHog for the sample days, beside what Snowplow's own models say of the same events.

Page views, screens, users and sessions of every day, and the entry of every session: the numbers are equal once the
rules by which Snowplow's models (dbt-snowplow-web, dbt-snowplow-mobile) leave events out are applied to ours. PostHog
has no such rules, so each is a difference that an analyst sees; the functions below are their names, and the last
tests say how many events each one costs. test_sessions_agree.py looks at the sessions one by one.
"""

import csv
import datetime as dt
import gzip
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from snowplow_posthog_dagster.mapping.outcome import Mapped
from snowplow_posthog_dagster.sandbox.sessions import BOUNCE_DURATION
from snowplow_posthog_dagster.snowplow.lines import records
from snowplow_posthog_dagster.snowplow.record import Record
from tests.mapping.support import mapper

Event = dict[str, Any]
Row = dict[str, str]

THREE_DAYS = dt.timedelta(days=3)
PAGE = {"$pageview", "page_ping"}
SCREEN_VIEW = "unstruct_event_com_snowplowanalytics_mobile_screen_view_1"
CLIENT_SESSION = "contexts_com_snowplowanalytics_snowplow_client_session_1"

# Snowplow's word -> PostHog's; the data have lost their blanks (`MacOS`).
POSTHOG_WORDS = {
    "MacOS": "Mac OS X",
    "United Kingdom of Great Britain and Northern Ireland": "United Kingdom",
}

AS_IT_IS = {
    "$geoip_country_code": "geo_country",
    "$geoip_continent_name": "geo_continent",
    "$geoip_city_name": "geo_city",
    "$browser_language": "br_lang",
    "$timezone": "os_timezone",
}


# What Snowplow's models leave out, and PostHog does not.


def has_no_page_view_id(event: Event) -> bool:
    return event["event"] in PAGE and "$pageview_id" not in event["properties"]


def was_sent_three_days_late(event: Event) -> bool:
    properties = event["properties"]
    if "dvce_sent_tstamp" not in properties:
        return False
    return moment(properties["dvce_sent_tstamp"]) - moment(properties["dvce_created_tstamp"]) > THREE_DAYS


def of_long_sessions(events: Iterable[Event]) -> list[str]:
    """The uuids of what comes more than three days after the start of its session, which Snowplow quarantines."""
    late = []
    for session in by_snowplow_session(events).values():
        start = min(moment(event["timestamp"]) for event in session)
        late += [event["uuid"] for event in session if moment(event["timestamp"]) - start > THREE_DAYS]
    return late


def of_views_seen_before(events: Iterable[Event], view_id: Callable[[Event], str | None]) -> list[str]:
    """The uuids of page or screen views whose view id an earlier one has: Snowplow counts view ids."""
    seen, again = set(), []
    for event in sorted(events, key=lambda event: event["timestamp"]):
        identifier = view_id(event)
        if identifier is not None and identifier in seen:
            again.append(event["uuid"])
        seen.add(identifier)
    return again


def page_view_id(event: Event) -> str | None:
    return event["properties"].get("$pageview_id") if event["event"] == "$pageview" else None


def screen_view_id(event: Event) -> str | None:
    return event["properties"].get(SCREEN_VIEW, {}).get("id") if event["event"] == "$screen" else None


# Reading both sides.


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def day(event: Event) -> str:
    return str(event["timestamp"][:10])


def snowplow_session(event: Event) -> str | None:
    """Snowplow's session id, which stays on the event."""
    properties = event["properties"]
    if "domain_sessionid" in properties:
        return str(properties["domain_sessionid"])
    return properties[CLIENT_SESSION][0].get("sessionId") if CLIENT_SESSION in properties else None


def by_snowplow_session(events: Iterable[Event]) -> dict[str, list[Event]]:
    sessions: dict[str, list[Event]] = defaultdict(list)
    for event in sorted(events, key=lambda event: event["timestamp"]):
        identifier = snowplow_session(event)
        if identifier is not None:
            sessions[identifier].append(event)
    return sessions


def as_posthog_keeps_them(path: Path) -> list[Event]:
    """The events of a file, of each key the copy that came last."""
    mapping = mapper().for_object(object_id="0" * 32, archive_day="2021-03-03")
    kept = {}
    for record in records([gzip.decompress(path.read_bytes())]):
        assert isinstance(record, Record)
        outcome = mapping(record)
        assert isinstance(outcome, Mapped)
        event = orjson.loads(outcome.event)
        kept[day(event), event["event"], event["distinct_id"], event["uuid"]] = event
    return list(kept.values())


class Sample:
    """The events of one kind of app, and what Snowplow's models make of them."""

    def __init__(self, seeds: Path, kind: str, views: str) -> None:
        self.events = as_posthog_keeps_them(seeds / f"{kind}_events.tsv.gz")
        self.views = self._expected(seeds, f"{kind}_{views}")
        self.sessions = self._expected(seeds, f"{kind}_sessions")
        self._view_id = page_view_id if kind == "web" else screen_view_id
        self.left_out = {
            "no page view id": {event["uuid"] for event in self.events if has_no_page_view_id(event)},
            "sent three days late": {event["uuid"] for event in self.events if was_sent_three_days_late(event)},
            "three days after the start of its session": set(of_long_sessions(self.events)),
            "view id seen before": set(of_views_seen_before(self.events, self._view_id)),
        }
        gone = set().union(*self.left_out.values())
        self.counted = [event for event in self.events if event["uuid"] not in gone]

    @staticmethod
    def _expected(seeds: Path, name: str) -> list[Row]:
        with (seeds / "expected" / f"snowplow_{name}_expected.csv").open(encoding="utf-8") as lines:
            return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def seeds(shared_fixtures: Path) -> Path:
    return shared_fixtures / "snowplow" / "dbt-seeds"


@pytest.fixture(scope="module")
def web(seeds: Path) -> Sample:
    return Sample(seeds, "web", "page_views")


@pytest.fixture(scope="module")
def mobile(seeds: Path) -> Sample:
    return Sample(seeds, "mobile", "screen_views")


def views_per_day(events: Iterable[Event], name: str) -> Counter[str]:
    return Counter(day(event) for event in events if event["event"] == name)


def users_per_day(events: Iterable[Event], name: str) -> dict[str, int]:
    users = defaultdict(set)
    for event in events:
        if event["event"] == name:
            users[day(event)].add(event["distinct_id"])
    return {each: len(found) for each, found in users.items()}


def sessions_per_day(events: Iterable[Event]) -> Counter[str]:
    """Sessions by the day on which they begin; PostHog begins another one at midnight, which is taken back here."""
    started: dict[str | None, str] = {}
    for event in sorted(events, key=lambda event: event["timestamp"]):
        if "$session_id" in event["properties"]:
            started.setdefault(snowplow_session(event), event["properties"]["$session_id"])
    return Counter(str(dt.datetime.fromtimestamp(time_of(each), dt.UTC).date()) for each in started.values())


def time_of(session_id: str) -> float:
    return int(session_id.replace("-", "")[:12], 16) / 1000


# Numbers of every day.


def test_page_views_of_every_day(web: Sample) -> None:
    expected = Counter(row["derived_tstamp"][:10] for row in web.views)
    assert views_per_day(web.counted, "$pageview") == expected
    assert expected.total() == 43


def test_users_of_every_day(web: Sample) -> None:
    expected = defaultdict(set)
    for row in web.views:
        expected[row["derived_tstamp"][:10]].add(row["user_id"] or row["domain_userid"])
    assert users_per_day(web.counted, "$pageview") == {each: len(users) for each, users in expected.items()}
    assert sum(map(len, expected.values())) == 21


def test_sessions_of_every_day(web: Sample) -> None:
    pages = {session for session, events in by_snowplow_session(web.counted).items() if has_page(events)}
    ours = sessions_per_day(event for event in web.counted if snowplow_session(event) in pages)
    assert ours == Counter(row["start_tstamp"][:10] for row in web.sessions)
    assert ours.total() == 18


def has_page(events: list[Event]) -> bool:
    """Snowplow's sessions are made of page views and page pings; PostHog's of any event."""
    return any(event["event"] in PAGE for event in events)


def test_screens_users_and_sessions_of_every_day_of_an_app(mobile: Sample) -> None:
    screens = Counter(row["derived_tstamp"][:10] for row in mobile.views)
    assert views_per_day(mobile.counted, "$screen") == screens
    users = defaultdict(set)
    for row in mobile.views:
        users[row["derived_tstamp"][:10]].add(row["user_id"])
    assert users_per_day(mobile.counted, "$screen") == {each: len(found) for each, found in users.items()}
    assert sessions_per_day(mobile.counted) == Counter(row["start_tstamp"][:10] for row in mobile.sessions)
    assert (screens.total(), len(mobile.sessions)) == (77, 7)


def test_start_end_and_screens_of_every_session_of_an_app(mobile: Sample) -> None:
    seen_again = mobile.left_out["view id seen before"]  # no view more, yet its time counts
    ours = by_snowplow_session([*mobile.counted, *(each for each in mobile.events if each["uuid"] in seen_again)])
    for row in mobile.sessions:
        events = ours[row["session_id"]]
        assert (events[0]["timestamp"], events[-1]["timestamp"]) == (iso(row["start_tstamp"]), iso(row["end_tstamp"]))
        screens = [event for event in events if event["event"] == "$screen" and event["uuid"] not in seen_again]
        assert len(screens) == int(row["screen_views"] or 0)


def test_apps_by_system_device_and_place_but_by_no_browser(mobile: Sample) -> None:
    screens = [event["properties"] for event in mobile.counted if event["event"] == "$screen"]
    assert Counter((each["$os"], each["$device_type"]) for each in screens) == {
        ("Android", "Mobile"): sum("android/" in row["useragent"] for row in mobile.views),
        ("iOS", "Mobile"): sum("CFNetwork/" in row["useragent"] for row in mobile.views),
    }
    assert not any("$browser" in each for each in screens)
    assert Counter(each["$geoip_country_code"] for each in screens) == Counter(
        row["geo_country"] for row in mobile.views
    )
    assert {each["$screen_name"] for each in screens} == {row["screen_view_name"] for row in mobile.views}


# The entry of every session, from which PostHog takes channel, campaign and all breakdowns of web analytics.


def test_entry_and_exit_of_every_session(web: Sample) -> None:
    sessions = by_snowplow_session(web.counted)
    of_another_copy = []
    for row in web.sessions:
        pages = [event["properties"] for event in sessions[row["original_domain_sessionid"]] if event["event"] in PAGE]
        first, last = pages[0], pages[-1]
        assert (first["$current_url"], last["$current_url"]) == (row["first_page_url"], row["last_page_url"])
        assert first["$pathname"] == row["first_page_urlpath"]
        if first.get("title", "") != row["first_page_title"]:
            of_another_copy.append(row["user_id"])
    # Of the copies of one event Snowplow keeps the one that was collected first, PostHog the one that came last.
    assert of_another_copy == ["dupe: event_id different collector_tstamp"]


def test_campaign_and_referrer_of_every_entry(web: Sample) -> None:
    for row, first in entries(web):
        campaign = ("utm_source", "utm_medium", "utm_term", "utm_content", "utm_campaign", "gclid")
        theirs = ("mkt_source", "mkt_medium", "mkt_term", "mkt_content", "mkt_campaign", "mkt_clickid")
        assert [first.get(name, "") for name in campaign] == [row[name] for name in theirs]
        if first["event"] == "page_view" and not row["referrer"]:
            assert (first["$referrer"], first["$referring_domain"]) == ("$direct", "$direct")
        else:
            assert first.get("$referrer", "") == row["referrer"]
            # With its port, as PostHog's own SDK has it.
            port = urlsplit(row["referrer"]).port
            assert first.get("$referring_domain", "").partition(":")[2] == (f"{port}" if port else "")
            assert first.get("$referring_domain", "").partition(":")[0] == row["refr_urlhost"]
    assert sum("utm_source" in first for _, first in entries(web)) == 2


def test_browser_system_device_and_place_of_every_entry(web: Sample) -> None:
    for row, first in entries(web):
        ours = [first.get(name, "") for name in ("$browser", "$os", "$device_type", "$geoip_country_name")]
        theirs = ("agent_name", "operating_system_name", "device_category", "geo_country_name")
        assert ours == [POSTHOG_WORDS.get(row[name], row[name]) for name in theirs]
        assert str(first["$browser_version"]) == row["agent_version_major"]
        assert {theirs: first.get(ours, "") for ours, theirs in AS_IT_IS.items()} == {
            theirs: row[theirs] for theirs in AS_IT_IS.values()
        }
        assert f"{first['$screen_width']}x{first['$screen_height']}" == row["screen_resolution"]


def entries(sample: Sample) -> list[tuple[Row, Event]]:
    """Every session of Snowplow's with the properties of its first page view, or of its first ping without one."""
    sessions = by_snowplow_session(sample.counted)
    found = []
    for row in sample.sessions:
        events = sessions[row["original_domain_sessionid"]]
        views = [event for event in events if event["event"] == "$pageview"] or events
        found.append((row, views[0]["properties"]))
    return found


def test_bounces(web: Sample) -> None:
    """A bounce has one page view and lasts less than 10 s; without any page view PostHog says neither."""
    sessions = by_snowplow_session(web.counted)
    bounces = 0
    for row in web.sessions:
        events = sessions[row["original_domain_sessionid"]]
        seconds = (moment(events[-1]["timestamp"]) - moment(events[0]["timestamp"])).total_seconds()
        ours = sum(event["event"] == "$pageview" for event in events) == 1 and seconds < BOUNCE_DURATION / 1e6
        theirs = (
            int(row["page_views"]) == 1
            and (moment(row["end_tstamp"]) - moment(row["start_tstamp"])).total_seconds() < BOUNCE_DURATION / 1e6
        )
        has_page_view = any(event["event"] == "$pageview" for event in events)
        assert ours is (theirs and has_page_view)
        bounces += ours
    assert bounces == 6


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("$browser", "agent_name"), ("$os", "operating_system_name"), ("$device_type", "device_category"),
     ("$geoip_country_code", "geo_country"), ("$geoip_city_name", "geo_city"), ("$host", "page_urlhost"),
     ("$pathname", "page_urlpath"), ("utm_source", "mkt_source"), ("$raw_user_agent", "useragent"),
     ("$viewport_width", "br_viewwidth")],
)  # fmt: skip
def test_page_views_by_every_breakdown(web: Sample, ours: str, theirs: str) -> None:
    shown = Counter(
        str(event["properties"].get(ours, "")).removesuffix(":3000")  # PostHog's host has the port
        for event in web.counted
        if event["event"] == "$pageview"
    )
    assert shown == Counter(POSTHOG_WORDS.get(row[theirs], row[theirs]) for row in web.views)


# How large the named differences are.


def test_what_each_rule_costs_on_the_web(web: Sample) -> None:
    views = {event["uuid"] for event in web.events if event["event"] == "$pageview"}
    assert {rule: len(views & uuids) for rule, uuids in web.left_out.items()} == {
        "no page view id": 1,
        "sent three days late": 1,
        "three days after the start of its session": 3,
        "view id seen before": 1,
    }
    assert len(views) == 49


def test_what_each_rule_costs_in_an_app(mobile: Sample) -> None:
    views = {event["uuid"] for event in mobile.events if event["event"] == "$screen"}
    assert {rule: len(views & uuids) for rule, uuids in mobile.left_out.items()} == {
        "no page view id": 0,
        "sent three days late": 1,
        "three days after the start of its session": 24,
        "view id seen before": 2,
    }
    assert len(views) == 104


def iso(text: str) -> str:
    return f"{text.replace(' ', 'T')}Z"
