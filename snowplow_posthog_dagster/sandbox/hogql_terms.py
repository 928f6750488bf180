"""The terms of the small HogQL: columns, functions, and expressions that know what kind of value they are.

A literal gets its meaning from what it is compared with: beside `timestamp` a text is a time, beside `uuid` a uuid in
lower case. All times are microseconds since 1970 UTC inside SQLite.
"""

from typing import Any, NamedTuple

from snowplow_posthog_dagster.sandbox.timestamps import DAY, HOUR, SECOND, parse

UNITS = {"second": SECOND, "minute": 60 * SECOND, "hour": HOUR, "day": DAY, "week": 7 * DAY}

COLUMNS = {
    "uuid": ("events.uuid", "uuid"),
    "event": ("events.event", "string"),
    "distinct_id": ("events.distinct_id", "string"),
    "timestamp": ("events.timestamp", "time"),
    "created_at": ("events.arrived", "time"),
    "properties": ("properties.properties", "string"),
    "$session_id": ("events.session_id", "string"),
    "person_mode": ("events.person_mode", "string"),
}
# Name: SQL of the argument, kind of the result.
FUNCTIONS = {
    "toDate": ("({0} / 86400000000)", "date"),
    "toStartOfDay": ("({0} / 86400000000 * 86400000000)", "time"),
    "toStartOfHour": ("({0} / 3600000000 * 3600000000)", "time"),
    "toDateTime": ("{0}", "time"),
    "toUnixTimestamp": ("({0} / 1000000)", "number"),
    "toUnixTimestamp64Milli": ("({0} / 1000)", "number"),
    "toUUID": ("{0}", "uuid"),
    "toString": ("{0}", "string"),
    "lower": ("lower({0})", "string"),
    "length": ("length({0})", "number"),
}
TIME_FUNCTIONS = {"toDate", "toStartOfDay", "toStartOfHour", "toDateTime", "toUnixTimestamp", "toUnixTimestamp64Milli"}
AGGREGATES = {
    "count": "count({0})",
    "uniq": "count(DISTINCT {0})",
    "uniqExact": "count(DISTINCT {0})",
    "countIf": "coalesce(sum({0}), 0)",
    "sum": "sum({0})",
    "min": "min({0})",
    "max": "max({0})",
    "any": "min({0})",
}


class HogQLError(Exception):
    """The query is not HogQL, or not of the part that the stand-in knows; PostHog would answer 400."""


class Expression(NamedTuple):
    """SQL with its bound values. A `literal` stays as it was written: its neighbour decides what it means."""

    sql: str
    kind: str
    values: tuple[Any, ...] = ()
    name: str = ""
    literal: Any = None


def literal(value: Any) -> Expression:
    """A value that was written in the query or given beside it."""
    return Expression("?", "literal", (value,), literal=value)


def bound(expression: Expression) -> Expression:
    """The expression with a kind of its own: a literal becomes a text or a number."""
    if expression.kind != "literal":
        return expression
    return expression._replace(kind="string" if isinstance(expression.literal, str) else "number")


def joined(word: str, parts: list[Expression]) -> Expression:
    """A clause: the word, then the parts between commas."""
    values = tuple(value for part in parts for value in part.values)
    return Expression(word + ", ".join(part.sql for part in parts), "", values)


def meet(left: Expression, right: Expression) -> tuple[Expression, Expression]:
    """Give a literal the meaning of what it is compared with: a time, a day, a uuid."""
    if left.kind == "literal" and right.kind != "literal":
        return _meaning(left, right.kind), right
    if right.kind == "literal":
        return left, _meaning(right, left.kind)
    return left, right


def _meaning(term: Expression, kind: str) -> Expression:
    """A literal as the kind of value that it stands beside."""
    if kind == "time":
        return as_time(term)
    if kind == "date":
        return Expression("?", "date", (as_time(term).values[0] // DAY,))
    if kind == "uuid":
        return Expression("?", "uuid", (str(term.literal).lower(),))
    return bound(term)


def as_time(expression: Expression) -> Expression:
    """Microseconds of a literal time; what is a time already stays.

    Raises:
        HogQLError: it is no time.
    """
    if expression.kind != "literal":
        if expression.kind not in {"time", "date"}:
            raise HogQLError("A time is expected here")
        factor = f"({expression.sql} * 86400000000)" if expression.kind == "date" else expression.sql
        return expression._replace(sql=factor, kind="time")
    written = expression.literal
    moment = parse(written)[0] if isinstance(written, str) else int(written * SECOND)
    if moment is None:
        raise HogQLError(f"Cannot parse a time from {written!r}")
    return Expression("?", "time", (moment,))
