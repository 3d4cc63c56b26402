"""A rule compiled so that it tells the value of every part of its expressions, by the same code that decides."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from realtime.rules.compiled import Comparison, Condition, Emitter, Program, checked_conditions, emit_program
from realtime.rules.errors import Span
from realtime.rules.functions import Result
from realtime.rules.language import Call, Infix, Node, Number, Point, Prefix, is_constant, point_of
from realtime.rules.rule import Rule
from realtime.rules.spec import RuleContext, RuleSpec
from realtime.rules.together import compile_rule, join_rule

CONDITION = "condition"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an expression: a condition, a number, or what a function is given.

    Attributes:
        key: `when` or `until`.
        text: As it is written.
        kind: `condition`, or what it measures, such as `a length`; `a role`, `a constant` and the like where it is
            neither true nor false nor measured.
        unit: The unit of its values; empty for none.
        depth: How many parts it is inside of.
        column: Where `Decision.values` of the traced rule has its value; -1 where it has none.
        node: Its tree.
    """

    key: str
    text: str
    kind: str
    unit: str
    depth: int
    column: int
    node: Node


@dataclass(frozen=True, slots=True)
class TracedRule:
    """A rule and the parts whose values it tells; apart from these it decides what the plain rule decides.

    Attributes:
        rule: Its `Decision.values` have a column for each measured part.
        parts: Of `when`, then of `until`, each before what is in it.
    """

    rule: Rule
    parts: tuple[Part, ...]


def compile_traced(name: str, spec: RuleSpec, context: RuleContext) -> TracedRule:
    """Check a rule and compile it so that it tells the value of every part; a rule in Python has none.

    Args:
        name: The rule's name.
        spec: Its table.
        context: What its names may refer to, other rules included.

    Raises:
        RuleError: Everything that is wrong with it.
    """
    if spec.python is not None:
        return TracedRule(compile_rule(name, spec, context), ())
    context = replace(context, rules={**context.rules, name: spec})
    conditions = checked_conditions(name, spec, context)
    emitter = _TracingEmitter(context, spec)
    program = _with_columns(emit_program(name, spec, conditions, emitter), emitter)
    columns = {
        (trace.key, span): len(emitter.comparisons) + index
        for index, (trace, span) in enumerate(zip(emitter.traces, emitter.spans, strict=True))
    }
    units = {(trace.key, span): trace.unit for trace, span in zip(emitter.traces, emitter.spans, strict=True)}
    parts = tuple(
        Part(
            condition.key,
            " ".join(condition.source.text[node.span.start : node.span.stop].split()),
            _kind(node, condition),
            units.get((condition.key, node.span), ""),
            depth,
            columns.get((condition.key, node.span), -1),
            node,
        )
        for condition in conditions
        for node, depth in _with_depths(condition.tree, 0)
    )
    return TracedRule(join_rule(program, context), parts)


class _TracingEmitter(Emitter):
    """Remembers where the value of every part is."""

    def __init__(self, context: RuleContext, spec: RuleSpec) -> None:
        super().__init__(context, spec)
        self.traces: list[Comparison] = []
        self.registers: list[int] = []
        self.spans: list[Span] = []

    def truth(self, node: Node, condition: Condition) -> None:
        super().truth(node, condition)
        self._trace(node, condition, "")

    def quantity(self, node: Node, scale: float, condition: Condition) -> None:
        super().quantity(node, scale, condition)
        base_unit = condition.checker.direction_or_quantity(node).plain.base_unit
        self._trace(node, condition, base_unit if scale == 1.0 else self.unit)

    def _trace(self, node: Node, condition: Condition, unit: str) -> None:
        self.registers.append(self.results[-1])
        text = condition.source.text[node.span.start : node.span.stop]
        self.traces.append(Comparison(condition.key, text, unit))
        self.spans.append(node.span)


def _with_columns(program: Program, emitter: _TracingEmitter) -> Program:
    numbers = np.array([*emitter.numbers, *emitter.registers], np.int32)
    return replace(program, numbers=numbers, comparisons=(*program.comparisons, *emitter.traces))


def _with_depths(node: Node, depth: int) -> Iterator[tuple[Node, int]]:
    yield node, depth
    match node:
        case Prefix():
            yield from _with_depths(node.operand, depth + 1)
        case Infix():
            # A chain of the same logic is one list, however it is nested: a and b and c.
            for side in (node.left, node.right):
                is_chain = isinstance(side, Infix) and side.operator == node.operator and node.operator in {"and", "or"}
                for part, below in _with_depths(side, depth if is_chain else depth + 1):
                    if not (is_chain and part is side):
                        yield part, below
        case Call():
            for argument in node.arguments:
                yield from _with_depths(argument, depth + 1)


def _kind(node: Node, condition: Condition) -> str:
    if (point := point_of(node)) is not None and isinstance(node, Call):
        return "a role, predicted" if point.node is None else "a node of a role, predicted"
    if isinstance(node, Point):
        if node.role in condition.checker.rules:
            return "a rule"
        if node.role not in condition.checker.used:
            return "a zone"
        return "a role" if node.node is None else "a node of a role"
    kind = condition.checker.kind(node)
    if kind is Result.TRUTH:
        return CONDITION
    return f"{kind}, constant" if isinstance(node, Number) or is_constant(node) else str(kind)
