"""The small part of HogQL that finding one's events again needs, translated to SQLite.

    SELECT [DISTINCT] expression [AS name], ... FROM events [WHERE ...] [GROUP BY ...] [HAVING ...]
        [ORDER BY expression [ASC|DESC], ...] [LIMIT n [OFFSET m]]

Columns: uuid, event, distinct_id, timestamp, created_at, properties (as JSON text), properties.name,
properties.`odd name`, properties['name'], $session_id, person_mode. Operators: AND OR NOT, = == != <> < <= > >=,
[NOT] IN (...), [NOT] LIKE, ILIKE, IS [NOT] NULL, + and - with numbers or INTERVAL n SECOND|MINUTE|HOUR|DAY.
Functions: those in `hogql_terms`. `{name}` stands for a value given beside the query. As in PostHog
a query without LIMIT answers 100 rows, and never more than 50,000; times are UTC.

Only what is listed reaches SQLite: names come from the tables in `hogql_terms`, every literal is a bound parameter.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from snowplow_posthog_dagster.sandbox.hogql_terms import (
    AGGREGATES,
    COLUMNS,
    FUNCTIONS,
    TIME_FUNCTIONS,
    UNITS,
    Expression,
    HogQLError,
    as_time,
    bound,
    joined,
    literal,
    meet,
)
from snowplow_posthog_dagster.sandbox.timestamps import SECOND, to_text

DEFAULT_ROWS = 100
MOST_ROWS = 50_000

TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<string>'(?:[^'\\]|\\.|'')*')|(?P<quoted>`[^`]*`|"[^"]*")
    |(?P<name>[A-Za-z_$][\w$]*)|(?P<value>\{\w+\})|(?P<sign><=|>=|!=|<>|==|[=<>(),.*+\-\[\];]))""",
    re.VERBOSE,
)
ESCAPES = {"n": "\n", "t": "\t", "0": "\0", "r": "\r"}


@dataclass(frozen=True)
class Query:
    """A query ready for SQLite: the statement, its values, and the name and kind of each column."""

    sql: str
    values: tuple[Any, ...]
    columns: list[str]
    kinds: list[str]
    limit: int
    offset: int

    def present(self, row: tuple[Any, ...]) -> list[Any]:
        """A row of SQLite as PostHog's API writes it."""
        return [_present(value, kind) for value, kind in zip(row, self.kinds, strict=True)]


def _present(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "time":
        return to_text(value)
    if kind == "date":
        return (date(1970, 1, 1) + timedelta(days=value)).isoformat()
    return value


def translate(text: str, values: Mapping[str, Any], *, source: str, source_values: tuple[Any, ...]) -> Query:
    """Translate HogQL to a statement on `source`, a SQL FROM-and-WHERE text that binds `source_values`.

    Raises:
        HogQLError: what stands in the query is not known here.
    """
    return _Parser(_tokens(text), values).query(source, source_values)


class _Token(NamedTuple):
    kind: str
    text: str


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    text = text.rstrip().rstrip(";").rstrip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise HogQLError(f"Syntax error at {text[position : position + 20]!r}")
        tokens.append(_Token(match.lastgroup, match.group(match.lastgroup)))
        position = match.end()
    return tokens


def _unquote(text: str) -> str:
    body = text[1:-1].replace("''", "'")
    return re.sub(r"\\(.)", lambda match: ESCAPES.get(match.group(1), match.group(1)), body, flags=re.DOTALL)


class _Parser:
    """Recursive descent over the tokens of one query."""

    def __init__(self, tokens: list[_Token], values: Mapping[str, Any]) -> None:
        self._tokens = tokens
        self._position = 0
        self._values = values
        self._names: dict[str, Expression] = {}

    # The statement.

    def query(self, source: str, source_values: tuple[Any, ...]) -> Query:
        self._need("select")
        distinct = "DISTINCT " if self._word("distinct") else ""
        columns = self._list(self._column)
        self._need("from")
        if self._next().text != "events":
            raise HogQLError("Only the table events can be queried here")
        self._names = {column.name: column for column in columns if column.name}
        clauses: list[Expression] = []
        if self._word("where"):
            condition = self._or()
            clauses.append(condition._replace(sql=f" AND ({condition.sql})"))
        if self._word("group"):
            self._need("by")
            clauses.append(joined(" GROUP BY ", self._list(self._or)))
        if self._word("having"):
            condition = self._or()
            clauses.append(condition._replace(sql=f" HAVING {condition.sql}"))
        if self._word("order"):
            self._need("by")
            clauses.append(joined(" ORDER BY ", self._list(self._order)))
        limit = min(self._count(), MOST_ROWS) if self._word("limit") else DEFAULT_ROWS
        offset = self._count() if self._word("offset") else 0
        if self._position < len(self._tokens):
            raise HogQLError(f"Syntax error at {self._tokens[self._position].text!r}")
        selected = ", ".join(column.sql for column in columns)
        values = [value for column in columns for value in column.values]
        values += [*source_values, *(value for clause in clauses for value in clause.values), limit + 1, offset]
        sql = f"SELECT {distinct}{selected} {source}{''.join(clause.sql for clause in clauses)} LIMIT ? OFFSET ?"
        names = [column.name for column in columns]
        return Query(sql, tuple(values), names, [column.kind for column in columns], limit, offset)

    def _column(self) -> Expression:
        start = self._position
        expression = bound(self._or())
        written = "".join(token.text for token in self._tokens[start : self._position])
        if self._word("as"):
            written = self._next().text.strip('`"')
        return expression._replace(name=written)

    def _order(self) -> Expression:
        expression = self._or()
        direction = "DESC" if self._word("desc") else "ASC"
        self._word("asc")
        return expression._replace(sql=f"{expression.sql} {direction}")

    def _count(self) -> int:
        token = self._next()
        if token.kind != "number" or "." in token.text:
            raise HogQLError("LIMIT and OFFSET take whole numbers")
        return int(token.text)

    # Conditions, from the loosest binding to the tightest.

    def _or(self) -> Expression:
        return self._chain("or", self._and)

    def _and(self) -> Expression:
        return self._chain("and", self._not)

    def _chain(self, word: str, part: Callable[[], Expression]) -> Expression:
        left = part()
        while self._word(word):
            right = part()
            left = Expression(f"({left.sql} {word.upper()} {right.sql})", "number", left.values + right.values)
        return left

    def _not(self) -> Expression:
        if self._word("not"):
            operand = self._not()
            return Expression(f"(NOT {operand.sql})", "number", operand.values)
        return self._comparison()

    def _comparison(self) -> Expression:
        left = self._sum()
        negated = "NOT " if self._word("not") else ""
        if self._word("in"):
            return self._membership(left, negated)
        for word in ("ilike", "like"):
            if self._word(word):
                return self._likeness(left, negated, word)
        if negated:
            raise HogQLError("NOT must be followed by IN, LIKE or ILIKE here")
        if self._word("is"):
            negated = "NOT " if self._word("not") else ""
            self._need("null")
            return Expression(f"({left.sql} IS {negated}NULL)", "number", left.values)
        sign = self._peek()
        if sign.kind == "sign" and sign.text in {"=", "==", "!=", "<>", "<", "<=", ">", ">="}:
            self._position += 1
            right = self._sum()
            left, right = meet(left, right)
            return Expression(f"({left.sql} {sign.text} {right.sql})", "number", left.values + right.values)
        return left

    def _membership(self, left: Expression, negated: str) -> Expression:
        if self._peek().kind == "value":
            members = [literal(value) for value in self._given(self._next(), list)]
        else:
            opening, closing = ("[", "]") if self._peek().text == "[" else ("(", ")")
            self._sign(opening)
            members = self._list(self._sum)
            self._sign(closing)
        members = [meet(left, member)[1] for member in members]
        listed = ", ".join(member.sql for member in members)
        values = tuple(value for member in members for value in member.values)
        return Expression(f"({left.sql} {negated}IN ({listed}))", "number", left.values + values)

    def _likeness(self, left: Expression, negated: str, word: str) -> Expression:
        pattern = bound(self._sum())
        if word == "ilike":
            sql = f"({left.sql} {negated}LIKE {pattern.sql} ESCAPE '\\')"
            return Expression(sql, "number", left.values + pattern.values)
        # SQLite's LIKE ignores case; GLOB does not, so the pattern is turned into one.
        glob = re.sub(r"[*?\[]", r"[\g<0>]", str(pattern.literal)).replace("%", "*").replace("_", "?")
        return Expression(f"({left.sql} {negated}GLOB ?)", "number", (*left.values, glob))

    def _sum(self) -> Expression:
        left = self._operand()
        while (sign := self._peek()).text in {"+", "-"} and sign.kind == "sign":
            self._position += 1
            right = bound(self._operand())
            kind = left.kind if left.kind == "time" else "number"
            left = Expression(f"({bound(left).sql} {sign.text} {right.sql})", kind, left.values + right.values)
        return left

    # Operands.

    def _operand(self) -> Expression:
        token = self._next()
        if token.kind == "number":
            return literal(float(token.text) if "." in token.text else int(token.text))
        if token.kind == "string":
            return literal(_unquote(token.text))
        if token.kind == "value":
            return literal(self._given(token, (str, int, float, bool)))
        if token.text == "(":
            inside = self._or()
            self._sign(")")
            return inside
        if token.text == "-":
            operand = bound(self._operand())
            return Expression(f"(-{operand.sql})", "number", operand.values)
        if token.kind == "name" and token.text.lower() == "interval":
            return self._interval()
        if token.kind in {"name", "quoted"}:
            return self._named(token)
        raise HogQLError(f"Syntax error at {token.text!r}")

    def _interval(self) -> Expression:
        count = self._count()
        unit = self._next().text.lower().removesuffix("s")
        if unit not in UNITS:
            raise HogQLError(f"Unknown unit of time {unit!r}")
        return Expression("?", "number", (count * UNITS[unit],))

    def _named(self, token: _Token) -> Expression:
        if token.kind == "name" and self._peek().text == "(":
            return self._call(token.text)
        name = token.text.strip('`"')
        if name == "events" and self._peek().text == ".":
            self._position += 1
            name = self._next().text.strip('`"')
        if name == "properties" and self._peek().text in {".", "["}:
            return self._property()
        if name in COLUMNS:
            return Expression(*COLUMNS[name], name=name)
        if name in self._names:
            return self._names[name]
        raise HogQLError(f"Unable to resolve field: {name}")

    def _property(self) -> Expression:
        path = "$"
        while self._peek().text in {".", "["}:
            bracket = self._next().text == "["
            token = self._next()
            name = _unquote(token.text) if token.kind == "string" else token.text.strip('`"')
            if '"' in name:
                raise HogQLError("A property name with a double quote cannot be queried here")
            path += f'."{name}"'
            if bracket:
                self._sign("]")
        sql = (
            "(CASE json_type(properties.properties, ?) WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' "
            "ELSE CAST(json_extract(properties.properties, ?) AS TEXT) END)"
        )
        return Expression(sql, "string", (path, path))

    def _call(self, name: str) -> Expression:
        self._sign("(")
        distinct = "DISTINCT " if name == "count" and self._word("distinct") else ""
        arguments = [] if self._peek().text in {")", "*"} else self._list(self._or)
        if self._peek().text == "*":
            self._position += 1
        self._sign(")")
        if name == "now" and not arguments:
            return Expression("?", "time", (int(datetime.now(UTC).timestamp() * SECOND),))
        if name == "count" and not arguments:
            return Expression("count(*)", "number")
        if len(arguments) != 1 or (name not in FUNCTIONS and name not in AGGREGATES):
            raise HogQLError(f"Unsupported function call '{name}(...)' with {len(arguments)} arguments")
        argument = arguments[0]
        if name in AGGREGATES:
            kind = argument.kind if name in {"min", "max", "any"} else "number"
            return Expression(AGGREGATES[name].format(distinct + argument.sql), kind, argument.values)
        argument = as_time(argument) if name in TIME_FUNCTIONS else argument
        template, kind = FUNCTIONS[name]
        return Expression(template.format(argument.sql), kind, argument.values)

    # Tokens.

    def _list(self, part: Callable[[], Expression]) -> list[Expression]:
        parts = [part()]
        while self._peek().text == "," and self._peek().kind == "sign":
            self._position += 1
            parts.append(part())
        return parts

    def _given(self, token: _Token, kinds: type | tuple[type, ...]) -> Any:
        name = token.text[1:-1]
        if not isinstance(self._values.get(name), kinds):
            raise HogQLError(f"Placeholder {token.text} has no fitting value")
        return self._values[name]

    def _peek(self) -> _Token:
        return self._tokens[self._position] if self._position < len(self._tokens) else _Token("end", "")

    def _next(self) -> _Token:
        token = self._peek()
        if token.kind == "end":
            raise HogQLError("Syntax error at the end of the query")
        self._position += 1
        return token

    def _word(self, word: str) -> bool:
        token = self._peek()
        if token.kind == "name" and token.text.lower() == word:
            self._position += 1
            return True
        return False

    def _need(self, word: str) -> None:
        if not self._word(word):
            raise HogQLError(f"Syntax error: {word.upper()} expected at {self._peek().text!r}")

    def _sign(self, sign: str) -> None:
        if self._next().text != sign:
            raise HogQLError(f"Syntax error: {sign!r} expected")
