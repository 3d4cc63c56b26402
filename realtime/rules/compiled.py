"""The compiler: a rule into the arrays that the kernel runs.

A comparison is calculated in one unit, that of the first number on its right (else on its left) that has its
dimension: `distance(a, b) < 3 mm` divides the pixels by `px_per_mm` and compares with exactly 3. That is also the unit
in which the number is reported, so what a log shows is what was compared.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from realtime.rules.asked import Plugin
from realtime.rules.bindings import Role
from realtime.rules.calculation import N_INPUTS, Column, Op, has_memory, has_operands
from realtime.rules.checked import Checker
from realtime.rules.errors import Place, RuleError, Source
from realtime.rules.functions import DEFAULT_WINDOW_S, FUNCTIONS, Function, Parameter, Result
from realtime.rules.installed import checked_plugin, pair_problems
from realtime.rules.kernel import Setting
from realtime.rules.language import (
    Call,
    Infix,
    Node,
    Number,
    Point,
    Prefix,
    is_constant,
    is_predicted,
    parse,
    point_of,
    walk,
)
from realtime.rules.spec import RuleContext, RuleSpec
from realtime.rules.units import UNITS, Dimension
from realtime.rules.zones import encoded

_LOGIC: Mapping[str, Op] = MappingProxyType({"and": Op.AND, "or": Op.OR})
_COMPARISONS: Mapping[str, Op] = MappingProxyType(
    {"<": Op.LESS, "<=": Op.LESS_EQUAL, ">": Op.GREATER, ">=": Op.GREATER_EQUAL}
)
_SUMS: Mapping[str, Op] = MappingProxyType({"+": Op.ADD, "-": Op.SUBTRACT})
_PRODUCTS: Mapping[str, Op] = MappingProxyType({"*": Op.MULTIPLY, "/": Op.DIVIDE})


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison of a rule; `Decision.values` stand in the order of the comparisons.

    Attributes:
        key: `when` or `until`.
        text: The comparison as written, such as `distance(a, b) < 3 mm`.
        unit: The unit of the reported number, such as `mm`; empty for a plain number.
    """

    key: str
    text: str
    unit: str


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled rule; the arrays are those of `kernel.evaluate_frames`.

    Attributes:
        name: The rule's name.
        roles: The roles that the rule uses, in the order of `Decision.track_ids`.
        comparisons: The order of `Decision.values`.
        code: `(n_rows, 9)` int32, see `calculation.Column`.
        constants: `(n_constants,)` float64.
        numbers: `(n_comparisons,)` int32, the registers of the numbers compared.
        bindings: `(n_roles, 2)` int32, how each role finds its animal, see `bindings.Role`.
        settings: `(11,)` int64, see `kernel.Setting`.
        width: Columns of memory that a binding needs, see `windows`.
        needs: The rules that it names, and where.
        asks_for_pairs: Whether it asks for one pair of such a rule.
        predicts: Whether it asks where an animal will be.
        plugin: Where it is a rule in Python, whose answers stand in this rule's own column of the states.
    """

    name: str
    roles: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    code: NDArray[np.int32]
    constants: NDArray[np.float64]
    numbers: NDArray[np.int32]
    bindings: NDArray[np.int32]
    settings: NDArray[np.int64]
    width: int
    needs: Mapping[str, Place]
    asks_for_pairs: bool
    predicts: bool
    plugin: Plugin | None = None


def compile_program(name: str, spec: RuleSpec, context: RuleContext) -> Program:
    """Check a rule and compile it.

    Raises:
        RuleError: See `checked_conditions` and `checked_plugin`.
    """
    if spec.python is not None:
        plugin = checked_plugin(name, spec.python, spec, context)
        emitter = Emitter(context, spec)
        emitter.answers(name, spec)
        return replace(_program(name, spec, emitter, {}), plugin=plugin)
    return emit_program(name, spec, checked_conditions(name, spec, context), Emitter(context, spec))


def checked_conditions(name: str, spec: RuleSpec, context: RuleContext) -> list["Condition"]:
    """Return a rule's `when` and, if there is one, its `until`, as trees in which everything is right.

    Raises:
        RuleError: Everything that is wrong with the rule, one message for each of its keys.
    """
    pair = spec.any_pair or ()
    problems = pair_problems(name, spec, context)
    conditions: list[Condition] = []
    for key, text in (("when", spec.when), ("until", spec.until)):
        if text is None:
            continue
        try:
            conditions.append(Condition.checked(name, key, text, context, pair))
        except RuleError as error:
            problems.append(str(error))
    used = {role for condition in conditions for role in condition.checker.used}
    unused = [member for member in pair if member not in used]
    if unused and not problems:
        problems.append(f"$.rules.{name}.any_pair: expected both names in when or until, '{unused[0]}' is in neither")
    if spec.require_identity is not None and not used and not problems:
        problems.append(
            f"$.rules.{name}.require_identity: expected an animal in when or until whose identity could be asked for, "
            "got none; name one or leave the key out"
        )
    if problems:
        raise RuleError("\n".join(problems))
    return conditions


@dataclass(frozen=True, slots=True)
class Condition:
    """A `when` or an `until` without mistakes."""

    key: str
    source: Source
    checker: Checker
    tree: Node

    @classmethod
    def checked(cls, name: str, key: str, text: str, context: RuleContext, pair: tuple[str, ...]) -> "Condition":
        """Parse and check the text of one key of a rule."""
        source = Source(f"$.rules.{name}.{key}", text)
        checker = Checker(source, context, (*pair, *context.roles), name)
        tree = parse(source)
        checker.condition(tree)
        return cls(key, source, checker, tree)


def emit_program(name: str, spec: RuleSpec, conditions: list["Condition"], emitter: "Emitter") -> Program:
    """Compile checked conditions with a new emitter."""
    for condition in conditions:
        emitter.truth(condition.tree, condition)
    return _program(name, spec, emitter, _needs(conditions))


def _program(name: str, spec: RuleSpec, emitter: "Emitter", needs: Mapping[str, Place]) -> Program:
    settings = np.zeros(len(Setting), np.int64)
    settings[Setting.N_REGISTERS] = emitter.n_registers
    settings[[Setting.WHEN, Setting.UNTIL]] = [*emitter.results, -1][:2]
    settings[Setting.FOR_NS] = round(spec.for_s * 1e9)
    settings[Setting.REFRACTORY_NS] = round(spec.refractory_s * 1e9)
    settings[Setting.HOLDS] = spec.when_unknown == "hold"
    settings[Setting.ANY_PAIR] = spec.any_pair is not None
    settings[Setting.IDENTITY] = emitter.least_confidence(spec.require_identity)
    return Program(
        name=name,
        roles=tuple(emitter.roles),
        comparisons=tuple(emitter.comparisons),
        code=np.array(emitter.code, np.int32).reshape(-1, Column.SIZE),
        constants=np.array(emitter.constants, np.float64),
        numbers=np.array(emitter.numbers, np.int32),
        bindings=np.array(list(emitter.roles.values()), np.int32).reshape(-1, 2),
        settings=settings,
        width=emitter.width,
        needs=needs,
        asks_for_pairs=emitter.asks_for_pairs,
        predicts=emitter.predicts,
    )


def _needs(conditions: list[Condition]) -> dict[str, Place]:
    needs: dict[str, Place] = {}
    for condition in conditions:
        for rule, span in condition.checker.rules.items():
            needs.setdefault(rule, Place(condition.source, span))
    return needs


class Emitter:
    """Appends the code of checked trees, operands before their operation; what is there already is not made again.

    Attributes:
        code: The rows, see `calculation.Column`.
        constants: The numbers of the expressions.
        comparisons: Those of the expressions, in order.
        numbers: The register of each comparison's number.
        results: The registers of what was asked for and not used since: at the end those of `when` and `until`.
        n_registers: How many are written.
        width: Columns of memory that a binding needs.
        roles: How each role finds its animal, see `bindings.Role`.
    """

    def __init__(self, context: RuleContext, spec: RuleSpec) -> None:
        self._context = context
        self.code: list[tuple[int, ...]] = []
        self.constants: list[float] = []
        self.comparisons: list[Comparison] = []
        self.numbers: list[int] = []
        self.results: list[int] = []
        self.n_registers = 0
        self.width = 0
        self.unit = ""  # of the comparison in hand
        self.asks_for_pairs = False
        self.predicts = False
        self._made: dict[tuple[int, ...], int] = {}  # the register of an operation on the same inputs
        self._places: dict[str, int] = {}  # of constants, by all of their digits
        self._zones: dict[str, int] = {}
        self.roles: dict[str, tuple[int, int]] = {
            role: (how, 0) for role, how in zip(spec.any_pair or (), (Role.PAIR_FIRST, Role.PAIR_SECOND), strict=False)
        }

    def least_confidence(self, confidence: float | None) -> int:
        """Return where the constants hold the confidence that is required, or -1 for none.

        The tracker's confidences are float32: what it stores for 0.9 has to reach a required 0.9.
        """
        if confidence is None:
            return -1
        return self._stored(float(np.float32(confidence)))

    def truth(self, node: Node, condition: Condition) -> None:
        """Append a tree that is true or false."""
        match node:
            case Infix(operator=operator) if operator in _LOGIC:
                self.truth(node.left, condition)
                self.truth(node.right, condition)
                self._emit(_LOGIC[operator])
            case Infix():
                self._comparison(node, condition)
            case Prefix():
                self.truth(node.operand, condition)
                self._emit(Op.NOT)
            case Call():
                self._call(node, 1.0, condition)

    def answers(self, rule: str, spec: RuleSpec) -> None:
        """Append what a rule in Python answered on its animals, which stands where its state will."""
        for role in spec.roles:
            self._role(role)
        self.asks_for_pairs = spec.any_pair is not None
        self._emit(Op.STATE, list(self._context.rules).index(rule), *((-1, -1) if spec.any_pair is None else (0, 1)))

    def _comparison(self, node: Infix, condition: Condition) -> None:
        dimension = condition.checker.quantity(node.left).plain
        unit = next((unit for side in (node.right, node.left) for unit in _units(side, dimension)), None)
        scale = self._scale(unit)
        record = len(self.comparisons)
        outer, self.unit = self.unit, unit or dimension.base_unit
        text = condition.source.text[node.span.start : node.span.stop]
        self.comparisons.append(Comparison(condition.key, text, unit or dimension.base_unit))
        self.numbers.append(-1)
        for side in (node.left, node.right):
            self.quantity(side, scale, condition)
            if side is (node.right if is_constant(node.left) else node.left):
                self.numbers[record] = self.results[-1]
        self._emit(_COMPARISONS[node.operator])
        self.unit = outer

    def quantity(self, node: Node, scale: float, condition: Condition) -> None:
        """Append a number in a unit of `scale` base units of its dimension."""
        match node:
            case Number():
                own_scale = self._scale(node.unit)
                self._constant(node.value if own_scale == scale else node.value * own_scale / scale)
            case Prefix():
                self.quantity(node.operand, scale, condition)
                self._emit(Op.NEGATIVE)
            case Infix(operator=operator) if operator in _SUMS:
                self.quantity(node.left, scale, condition)
                self.quantity(node.right, scale, condition)
                self._emit(_SUMS[operator])
                if condition.checker.quantity(node).wraps:
                    self._emit(Op.WRAP, self._stored(180.0 / scale))
            case Infix():
                self.quantity(node.left, 1.0, condition)
                self.quantity(node.right, 1.0, condition)
                self._emit(_PRODUCTS[node.operator])
                self._divide_by(scale)
            case Call():
                self._call(node, scale, condition)
                if FUNCTIONS[node.name].result is not Result.AS_ARGUMENTS:
                    self._divide_by(scale)

    def _call(self, node: Call, scale: float, condition: Condition) -> None:
        function = FUNCTIONS[node.name]
        if function.result is Result.AS_ARGUMENTS and not function.slot:
            self._fold(node, function.ops[0], scale, condition)
            return
        operands: list[int] = []  # of the operations, in the order of their arguments
        predicted: list[bool] = []  # of its points
        for parameter, argument in zip(function.parameters, node.arguments, strict=False):
            if parameter is Parameter.CONDITION:
                self.truth(argument, condition)
            elif parameter in {Parameter.QUANTITY, Parameter.LENGTH}:
                self.quantity(argument, scale, condition)
            elif (point := point_of(argument)) is not None:
                predicted.append(is_predicted(argument))
                operands += self._operands(point, parameter, Op.PREDICTED_POINT if predicted[-1] else Op.POINT)
        self.predicts |= any(predicted)
        if function.slot:
            operands = self._window(node, function)
        if Parameter.RULE in function.parameters:
            self.asks_for_pairs |= len(operands) > 1
            operands += [-1] * (len(function.parameters) - len(operands))
        if Op.NEAREST in function.ops:
            operands.append(predicted[0] + 2 * predicted[1])
        for op in function.ops:
            self._emit(op, *(operands if has_operands(op) else ()), slot=function.slot)

    def _fold(self, node: Call, op: Op, scale: float, condition: Condition) -> None:
        for index, argument in enumerate(node.arguments):
            self.quantity(argument, scale, condition)
            if index > 0 or len(node.arguments) == 1:
                self._emit(op)

    def _window(self, node: Call, function: Function) -> list[int]:
        """Return the operands of a function with a memory but for its slot: its window in ns and whose motion it is."""
        first, last = node.arguments[0], node.arguments[-1]
        window_s = DEFAULT_WINDOW_S if Parameter.WINDOW in function.parameters else 0.0
        if isinstance(last, Number) and len(node.arguments) == len(function.parameters):
            window_s = last.value * self._scale(last.unit)
        role = self._role(first.role) if isinstance(first, Point) else -1
        return [0, self._stored(round(window_s * 1e9)), role]

    def _operands(self, point: Point, parameter: Parameter, push: Op) -> list[int]:
        if parameter is Parameter.ZONE:
            return self._zone(point)
        if parameter is Parameter.RULE:
            return [list(self._context.rules).index(point.role)]
        return self._point(point, parameter, push)

    def _zone(self, point: Point) -> list[int]:
        """Return where the constants hold a zone, and the centre's node."""
        if point.role not in self._zones:
            self._zones[point.role] = len(self.constants)
            self.constants += encoded(self._context.zones[point.role], self._context.px_per_mm, self._context.plane)
        centre = self._context.centre
        return [self._zones[point.role], 0 if centre is None else self._context.node_names.index(centre)]

    def _point(self, point: Point, parameter: Parameter, push: Op) -> list[int]:
        """Push the points that a parameter stands for, or return the operands that do: a role, perhaps with a node."""
        role, nodes, context = self._role(point.role), self._context.node_names, self._context
        if parameter is Parameter.ANIMAL:
            return [role]
        if parameter in {Parameter.NODE, Parameter.ANIMAL_OR_NODE}:
            return [role, -1 if point.node is None else nodes.index(point.node)]
        pushed = [context.back, context.front, context.centre]
        if parameter is Parameter.AXIS:
            pushed = pushed[:2]
        elif parameter is Parameter.POINT:
            pushed = [point.node or context.centre]
        for node in pushed:
            if node is not None:  # the checker lets no rule through that needs a node which the rig does not name
                self._emit(push, role, nodes.index(node))
        return []

    def _role(self, name: str) -> int:
        if name not in self.roles:
            spec = self._context.roles[name]
            if spec.identity is not None:
                self.roles[name] = (Role.IDENTITY, self._context.class_names.index(spec.identity))
            elif spec.track is not None:
                self.roles[name] = (Role.TRACK, spec.track)
        return list(self.roles).index(name)

    def _scale(self, unit: str | None) -> float:
        if unit is None:
            return 1.0
        return UNITS[unit].scale * (self._context.px_per_mm or 1.0 if UNITS[unit].calibrated else 1.0)

    def _divide_by(self, scale: float) -> None:
        if scale != 1.0:
            self._constant(scale)
            self._emit(Op.DIVIDE)

    def _constant(self, value: float) -> None:
        self._emit(Op.CONSTANT, self._stored(value))

    def _stored(self, value: float) -> int:
        digits = float(value).hex()
        if digits not in self._places:
            self._places[digits] = len(self.constants)
            self.constants.append(value)
        return self._places[digits]

    def _emit(self, op: Op, a: int = 0, b: int = 0, c: int = 0, *, slot: int = 0) -> None:
        """Append an operation on the newest results, in whose place comes its own.

        One with a memory is given a slot of so many columns, which it shares with those that are just like it.
        """
        n_inputs = N_INPUTS[op]
        inputs = self.results[len(self.results) - n_inputs :]
        del self.results[len(self.results) - n_inputs :]
        key = (op, a, b, c, *inputs)
        if key not in self._made:
            self._made[key] = self.n_registers
            if has_memory(op):
                a, self.width = self.width, self.width + slot
            unused = [0] * (Column.SIZE - Column.INPUTS - n_inputs)
            self.code.append((op, a, b, c, self.n_registers, *inputs, *unused))
            self.n_registers += 2 if op in {Op.POINT, Op.PREDICTED_POINT} else 1
        self.results.append(self._made[key])


def _units(node: Node, dimension: Dimension) -> Iterator[str]:
    """Yield the units of one dimension in the order in which they are written."""
    for part in walk(node):
        if isinstance(part, Number) and part.unit is not None and UNITS[part.unit].dimension == dimension:
            yield part.unit
