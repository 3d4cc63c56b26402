"""The rule language: text into a tree.

    condition   = condition "or" condition | condition "and" condition | "not" condition
                | quantity ("<" | "<=" | ">" | ">=") quantity
                | call | "(" condition ")"
    quantity    = quantity ("+" | "-") quantity | quantity ("*" | "/") quantity | "-" quantity
                | number [unit] | call | "(" quantity ")"
    call        = name "(" argument ("," argument)* ")"
    argument    = point | "predicted" "(" point ")" | quantity | condition
    unit        = name ["/" name]
    point       = role ["." node]

The order is that of binding, weakest first. A name that is not a plain word is quoted: `mouse.'left ear'`.
Names, units and types are checked by `compiled`; this file knows none of them.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from realtime.rules.errors import Source, Span

# Deeper trees would only meet Python's recursion limit in place of a readable error.
MAX_DEPTH = 100

_OR, _AND, _NOT, _COMPARISON, _SUM, _PRODUCT, _SIGN = range(1, 8)
_POWERS: Mapping[str, int] = MappingProxyType(
    {
        "or": _OR,
        "and": _AND,
        **dict.fromkeys(("<", "<=", ">", ">="), _COMPARISON),
        **dict.fromkeys(("+", "-"), _SUM),
        **dict.fromkeys(("*", "/"), _PRODUCT),
    }
)
_KEYWORDS = ("and", "or", "not")
_FOREIGN: Mapping[str, str] = MappingProxyType(
    {
        "==": "measured numbers are never exactly equal: write <, <=, > or >=",
        "!=": "measured numbers are never exactly equal: write < or >",
        "=": "to compare, write <, <=, > or >=",
        "&&": "write 'and'",
        "||": "write 'or'",
        "!": "write 'not'",
    }
)
_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[^\W\d]\w*)"
    r"|'(?P<quoted>[^'\n]+)'"
    r"|(?P<sign><=|>=|==|!=|&&|\|\||[-+*/<>=!(),.])"
)


class _Token(NamedTuple):
    kind: str  # number, name, quoted, sign or end
    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Number:
    """A number as written, with the word behind it, if any."""

    span: Span
    value: float
    unit: str | None
    unit_span: Span
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Point:
    """`role` or `role.node`."""

    span: Span
    role: str
    role_span: Span
    node: str | None
    node_span: Span
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Call:
    """`name(argument, …)`."""

    span: Span
    name: str
    name_span: Span
    arguments: tuple["Node", ...]
    depth: int


@dataclass(frozen=True, slots=True)
class Prefix:
    """`not x` or `-x`."""

    span: Span
    operator: str
    operand: "Node"
    depth: int


@dataclass(frozen=True, slots=True)
class Infix:
    """`x operator y`: logic, comparison or arithmetic."""

    span: Span
    operator: str
    left: "Node"
    right: "Node"
    depth: int


Node: TypeAlias = Number | Point | Call | Prefix | Infix

PREDICTED = "predicted"
"""The call that stands for a point at the time of the stimulus, where a point can stand."""


def parse(source: Source) -> Node:
    """Return the tree of an expression.

    Raises:
        RuleError: The text is not an expression of the language.
    """
    return _Parser(source).whole()


def walk(node: Node) -> Iterator[Node]:
    """Yield a tree's nodes, each before what is in it, from left to right."""
    yield node
    match node:
        case Prefix():
            yield from walk(node.operand)
        case Infix():
            yield from walk(node.left)
            yield from walk(node.right)
        case Call():
            for argument in node.arguments:
                yield from walk(argument)


def is_predicted(node: Node) -> bool:
    """Whether a tree is a call of `predicted`."""
    return isinstance(node, Call) and node.name == PREDICTED


def point_of(node: Node) -> Point | None:
    """Return the point that a tree stands for, as it is or predicted; None where it is neither."""
    if isinstance(node, Call) and node.name == PREDICTED and len(node.arguments) == 1:
        node = node.arguments[0]
    return node if isinstance(node, Point) else None


def is_constant(node: Node) -> bool:
    """Whether a tree depends on no animal."""
    return not any(isinstance(part, Point) for part in walk(node))


def _tokens(source: Source) -> Iterator[_Token]:
    position = 0
    while position < len(source.text):
        match = _TOKEN.match(source.text, position)
        if match is None or match.lastgroup is None:
            character = source.text[position]
            hint = "; a quoted name ends with another '" if character == "'" else ""
            raise source.error(
                Span(position, position + 1), f"expected a name, a number or an operator, got {character!r}{hint}"
            )
        position = match.end()
        if match.lastgroup != "space":
            yield _Token(match.lastgroup, match[match.lastgroup], Span(*match.span()))
    yield _Token("end", "", Span(position, position + 1))


class _Parser:
    """A Pratt parser: each infix operator binds its operands as strongly as its power says."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._tokens = list(_tokens(source))
        self._next = 0
        self._open = 0

    def whole(self) -> Node:
        if self._token.kind == "end":
            raise self._unexpected("a condition")
        tree = self._expression(0)
        if self._token.kind != "end":
            raise self._unexpected("an operator or the end")
        return tree

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._token
        self._next += 1
        return token

    def _is(self, text: str) -> bool:
        return self._token.text == text and self._token.kind in {"name", "sign"}

    def _expression(self, power: int) -> Node:
        self._open += 1
        if self._open > MAX_DEPTH:
            raise self._too_deep(self._token.span)
        left = self._operand()
        while True:
            operator = self._infix()
            if operator is None or _POWERS[operator] <= power:
                break
            self._take()
            right = self._expression(_POWERS[operator])
            span = Span(left.span.start, right.span.stop)
            left = Infix(span, operator, left, right, self._depth(span, left, right))
            if _POWERS[operator] == _COMPARISON and self._infix_power() == _COMPARISON:
                raise self._source.error(
                    self._token.span,
                    f"expected 'and', 'or' or the end, got a second {self._token.text!r}; "
                    "comparisons do not chain: write 'x > low and x < high'",
                )
        self._open -= 1
        return left

    def _infix(self) -> str | None:
        return self._token.text if self._token.kind in {"name", "sign"} and self._token.text in _POWERS else None

    def _infix_power(self) -> int:
        operator = self._infix()
        return 0 if operator is None else _POWERS[operator]

    def _operand(self) -> Node:
        token = self._token
        if self._is("(") or self._is("not") or self._is("-"):
            return self._bracketed() if token.text == "(" else self._prefixed()
        if token.kind == "number":
            return self._number()
        if token.kind == "quoted" or (token.kind == "name" and token.text not in _KEYWORDS):
            self._take()
            return self._call(token) if self._is("(") else self._point(token)
        raise self._unexpected("a number, a role, a function or '('")

    def _prefixed(self) -> Node:
        token = self._take()
        operand = self._expression(_NOT if token.text == "not" else _SIGN)
        span = Span(token.span.start, operand.span.stop)
        return Prefix(span, token.text, operand, self._depth(span, operand))

    def _bracketed(self) -> Node:
        start = self._take().span
        inside = self._expression(0)
        stop = self._close(start)
        return replace(inside, span=Span(start.start, stop.stop))

    def _number(self) -> Number:
        token = self._take()
        value = float(token.text)
        if not math.isfinite(value):
            raise self._source.error(token.span, f"expected a number below 1.8e308, got {token.text}")
        if self._token.kind == "name" and self._token.text not in _KEYWORDS:
            text, span = self._unit()
            return Number(Span(token.span.start, span.stop), value, text, span)
        return Number(token.span, value, None, token.span)

    def _unit(self) -> tuple[str, Span]:
        unit = self._take()
        per, after = self._tokens[self._next + 1 : self._next + 3] if self._is("/") else (None, None)
        if per is None or after is None or per.kind != "name" or after.text in {"(", "."}:
            return unit.text, unit.span
        self._next += 2  # no quantity is a lone name, so it can only be a unit
        return f"{unit.text}/{per.text}", Span(unit.span.start, per.span.stop)

    def _call(self, name: _Token) -> Call:
        opening = self._take().span
        arguments: list[Node] = []
        if not self._is(")"):
            arguments.append(self._expression(0))
            while self._is(","):
                self._take()
                arguments.append(self._expression(0))
        span = Span(name.span.start, self._close(opening).stop)
        return Call(span, name.text, name.span, tuple(arguments), self._depth(span, *arguments))

    def _point(self, role: _Token) -> Point:
        if not self._is("."):
            return Point(role.span, role.text, role.span, None, role.span)
        self._take()
        if self._token.kind not in {"name", "quoted"}:
            raise self._unexpected("a node after the dot")
        node = self._take()
        return Point(Span(role.span.start, node.span.stop), role.text, role.span, node.text, node.span)

    def _close(self, opening: Span) -> Span:
        if self._token.kind == "end":
            raise self._source.error(opening, "expected a ')' for this '(', got the end of the expression")
        if not self._is(")"):
            raise self._unexpected("an operator, ',' or ')'")
        return self._take().span

    def _depth(self, span: Span, *children: Node) -> int:
        depth = 1 + max((child.depth for child in children), default=0)
        if depth > MAX_DEPTH:
            raise self._too_deep(span)
        return depth

    def _too_deep(self, span: Span) -> Exception:
        return self._source.error(
            span, f"expected at most {MAX_DEPTH} operations inside one another, got more; split the rule"
        )

    def _unexpected(self, expected: str) -> Exception:
        token = self._token
        got = "the end of the expression" if token.kind == "end" else repr(token.text)
        foreign = _FOREIGN.get(token.text) if token.kind == "sign" else None
        return self._source.error(token.span, f"expected {expected}, got {got}" + (f"; {foreign}" if foreign else ""))
