"""User agents are read as ua-parser reads them, by the few of its expressions that can match."""

import re
from typing import Any

import pytest
import ua_parser
from hypothesis import given, settings
from hypothesis import strategies as st
from ua_parser.loaders import load_builtins

from snowplow_posthog_dagster.generator.browsers import FAMILIES
from snowplow_posthog_dagster.mapping import user_agents
from snowplow_posthog_dagster.mapping.user_agents import Expressions, needs, parsed
from tests.mapping.support import properties

ASCII = st.characters(min_codepoint=32, max_codepoint=126)
MATCHERS: list[Any] = [matcher for kind in load_builtins() for matcher in kind]
AGENTS = [
    *(family.agent.format(major=117, build=2345, patch=67) for family in FAMILIES),
    "", "x", "-", "Mozilla/5.0", "okhttp/4.9.1", "curl/7.88.1", "Ruby",
    "Dalvik/2.1.0 (Linux; U; Android 9; SM-T500 Build/X)",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "UCWEB/2.0", "MyApp/6 CFNetwork/1220.1",
    "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0)", "Opera/9.80 (X11; Linux i686) Presto/2.12.388",
    "Mozilla/5.0 (iPad; CPU OS 15_5 like Mac OS X)", "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) Chrome/117.0",
    "\u212aINDLE bu\u0131ld",
]  # fmt: skip


def same(text: str) -> bool:
    theirs, ours = ua_parser.parse(text), user_agents.parse(text)
    return (theirs.user_agent, theirs.os, theirs.device) == (ours.user_agent, ours.os, ours.device)


@pytest.mark.parametrize("agent", AGENTS)
def test_a_user_agent_is_read_as_ua_parser_reads_it(agent: str) -> None:
    assert same(agent)
    assert same(agent.lower()) and same(agent.upper())


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(MATCHERS).flatmap(lambda matcher: st.from_regex(matcher.pattern, alphabet=ASCII)))
def test_whatever_an_expression_matches_is_read_as_ua_parser_reads_it(text: str) -> None:
    try:
        ua_parser.parse(text)
    except ValueError:
        assert user_agents.parse(text).device is None
        return
    assert same(text)


class Counted:
    """An expression that counts how often any of its kind is tried."""

    def __init__(self, matcher: Any, tried: list[str]) -> None:
        self.pattern: re.Pattern[str] = matcher.pattern
        self._matcher = matcher
        self._tried = tried

    def __call__(self, text: str) -> Any:
        self._tried.append(text)
        return self._matcher(text)


def test_few_of_the_expressions_are_tried() -> None:
    tried: list[str] = []
    kinds = [Expressions([Counted(matcher, tried) for matcher in kind]) for kind in load_builtins()]
    for agent in AGENTS[: len(FAMILIES)]:
        threes = {agent.lower()[start : start + 3] for start in range(len(agent))}
        tried.clear()
        for kind in kinds:
            kind.first(agent, threes)
        assert 0 < len(tried) < len(MATCHERS) / 6, agent


def test_a_device_without_a_name_costs_neither_the_record_nor_its_object() -> None:
    agent = "Mozilla/5.0 (Linux; U; Android 4.0; en; wetab Build/X) AppleWebKit/534.30 Version/4.0 Mobile Safari/534.30"
    with pytest.raises(ValueError, match="Unable to find device family"):
        ua_parser.parse(agent)
    found = properties(useragent=agent)
    assert found["$os"] == "Android" and "$device" not in found


def test_only_what_must_be_there_is_asked_for() -> None:
    def of(expression: str) -> list[set[str]]:
        return [set(words) for words in needs(parsed(re.compile(expression)))]

    assert of(r"Nokia(\d+)") == [{"nokia"}]
    assert of(r"(?:Acer |Asus )?[Bb]uild") == [{"build"}]
    assert of(r"(Nokia|Huawei)x") == [{"nokia", "huawei"}]
    assert of(r"(Nokia|\d)x") == []
    assert of(r"(Foo|\d+)/(?:bar)+(?!quux)(?:baz)*") == [{"bar"}]
    assert of(r"[^a]b.") == []
