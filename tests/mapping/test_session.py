"""Session ids that PostHog's session table accepts."""

import hashlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowplow_posthog_dagster.mapping.event_time import DAY_MS
from snowplow_posthog_dagster.mapping.session import session_uuid
from tests.mapping.support import CLIENT_SESSION, properties

TIMES = st.integers(min_value=946_684_800_000, max_value=4_102_444_799_999)


@given(st.text(min_size=1), TIMES)
def test_the_id_is_a_uuid_of_version_7_whose_time_fits_every_event(session, timestamp):
    made = uuid.UUID(session_uuid(session, timestamp))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    started = made.int >> 80
    assert started <= timestamp < started + DAY_MS
    assert started % DAY_MS == 0


@given(st.text(min_size=1), TIMES)
def test_its_other_bits_are_the_first_74_of_sha256(session, timestamp):
    made = uuid.UUID(session_uuid(session, timestamp)).int
    random_bits = (made >> 64 & 0xFFF) << 62 | made & (1 << 62) - 1
    digest = int.from_bytes(hashlib.sha256(session.encode()).digest(), "big")
    assert random_bits == digest >> 256 - 74


def test_a_session_is_one_within_a_day_and_two_over_midnight():
    def session(time):
        return properties(domain_sessionid="s", derived_tstamp=time, collector_tstamp="2022-06-08 00:00:00")[
            "$session_id"
        ]

    assert session("2022-06-06 00:00:00.000") == session("2022-06-06 23:59:59.999")
    assert session("2022-06-06 23:59:59.999") != session("2022-06-07 00:00:00.000")


def test_the_day_is_that_of_the_timestamp_that_is_sent():
    replaced = properties(domain_sessionid="s", derived_tstamp="1970-01-01 00:00:00.000")
    assert replaced["$session_id"] == properties(domain_sessionid="s")["$session_id"]


def test_apps_have_their_session_in_an_entity():
    entity = (CLIENT_SESSION, {"sessionId": "s", "userId": "u"})
    assert properties(entities=[entity])["$session_id"] == properties(domain_sessionid="s")["$session_id"]


@pytest.mark.parametrize("session", ["", "00000000-0000-0000-0000-000000000000"])
def test_without_a_session_there_is_no_id(session):
    assert "$session_id" not in properties(domain_sessionid=session)


def test_snowplows_own_id_stays():
    found = properties(domain_sessionid="s", domain_sessionidx="7")
    assert (found["domain_sessionid"], found["domain_sessionidx"]) == ("s", 7)
