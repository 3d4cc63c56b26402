"""The checker: whether every name of a tree exists and every operation gets what it can work with."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from realtime.rules.errors import RuleError, Source, Span, suggestion
from realtime.rules.functions import FUNCTIONS, Function, Parameter, Result, needed_nodes
from realtime.rules.language import PREDICTED, Call, Infix, Node, Number, Point, Prefix, is_constant
from realtime.rules.spec import RuleContext
from realtime.rules.units import DIFFERENCE, DURATION, LENGTH, NUMBER, UNITS, Dimension, units_of

MAX_WINDOW_S = 86_400
Kind: TypeAlias = Dimension | Literal[Result.TRUTH]


class Checker:
    """Checks the trees of one expression.

    Args:
        source: The expression, for messages.
        context: What names may refer to.
        role_names: The roles that the expression may name.
        rule_name: The rule that the expression belongs to.

    Attributes:
        used: The roles that it names, as far as it has been checked.
        rules: The other rules that it names, and where first.
    """

    def __init__(self, source: Source, context: RuleContext, role_names: tuple[str, ...], rule_name: str) -> None:
        self._source = source
        self._context = context
        self._role_names = role_names
        self._rule_name = rule_name
        self.used: set[str] = set()
        self.rules: dict[str, Span] = {}

    def condition(self, node: Node) -> None:
        """Check a tree that has to be true or false.

        Raises:
            RuleError: It is not a condition, or something in it is wrong.
        """
        kind = self.kind(node)
        if kind is Result.TRUTH:
            return
        hint = "" if is_constant(node) else f"; compare it, as in '{self._text(node)} < {_example(kind)}'"
        if kind.is_direction:
            hint = f"; {_difference(self._text(node))}"
        raise self._error(node.span, f"expected a condition, got {kind}{hint}")

    def quantity(self, node: Node) -> Dimension:
        """Check a tree that has to be a number, and no direction, and return what it measures.

        Raises:
            RuleError: It is not such a number, or something in it is wrong.
        """
        dimension = self.direction_or_quantity(node)
        if dimension.is_direction:
            raise self._error(
                node.span, f"expected a difference of directions, got a direction; {_difference(self._text(node))}"
            )
        return dimension

    def direction_or_quantity(self, node: Node) -> Dimension:
        """Check a tree that has to be a number and return what it measures.

        Raises:
            RuleError: It is not a number, or something in it is wrong.
        """
        kind = self.kind(node)
        if kind is Result.TRUTH:
            raise self._error(node.span, f"expected a number, got the condition '{self._text(node)}'")
        return kind

    def kind(self, node: Node) -> Kind:
        """Check a tree and return what it gives.

        Raises:
            RuleError: Something in it is wrong.
        """
        match node:
            case Number():
                return self._number(node)
            case Point():
                self._point(node)
                raise self._error(
                    node.span,
                    f"expected a number or a condition, got the point '{self._text(node)}'; points go into "
                    f"functions, as in 'visible({self._text(node)})'",
                )
            case Prefix(operator="not"):
                self.condition(node.operand)
                return Result.TRUTH
            case Prefix():
                return self.quantity(node.operand)
            case Infix():
                return self._infix(node)
            case Call():
                return self._call(node)

    def _number(self, node: Number) -> Dimension:
        if node.unit is None:
            return NUMBER
        unit = UNITS.get(node.unit)
        if unit is None:
            alike = tuple(symbol for symbol in UNITS if ("/" in symbol) == ("/" in node.unit))
            raise self._error(
                node.unit_span,
                f"expected a unit ({', '.join(UNITS)}), got '{node.unit}'{suggestion(node.unit, alike)}",
            )
        if unit.calibrated and self._context.px_per_mm is None:
            raise self._error(
                node.unit_span,
                f"expected $.calibration.px_per_mm for '{node.unit}', got none; calibrate the rig or "
                "write the length in px",
            )
        return unit.dimension

    def _infix(self, node: Infix) -> Kind:
        if node.operator in {"and", "or"}:
            self.condition(node.left)
            self.condition(node.right)
            return Result.TRUTH
        if node.operator in {"+", "-"}:
            left, right = self.direction_or_quantity(node.left), self.direction_or_quantity(node.right)
            self._same(left.plain, right.plain, node.left, node.right)
            return DIFFERENCE if left.wraps or right.wraps else left
        left, right = self.quantity(node.left).plain, self.quantity(node.right).plain
        if node.operator == "*":
            return left * right
        if node.operator == "/":
            return left / right
        self._same(left, right, node.left, node.right)
        if is_constant(node.left) and is_constant(node.right):
            raise self._error(
                node.span, "expected something measured, as in 'distance(a, b) < 3 mm', got two constants"
            )
        return Result.TRUTH

    def _same(self, left: Dimension, right: Dimension, left_node: Node, right_node: Node) -> None:
        """Refuse two quantities of different dimensions, pointing at the constant one where there is one."""
        if left == right:
            return
        expected, got, culprit = left, right, right_node
        if is_constant(left_node) and not is_constant(right_node):
            expected, got, culprit = right, left, left_node
        units = units_of(expected)
        message = f"expected {expected}{f' ({units})' if units else ''}, got {got}"
        if isinstance(culprit, Number) and culprit.unit is None and units:
            message += f"; write '{self._text(culprit)} {units.split(', ')[0]}' or another unit"
        raise self._error(culprit.span, message)

    def _call(self, node: Call) -> Kind:
        function = FUNCTIONS.get(node.name)
        if function is None:
            raise self._error(
                node.name_span,
                f"expected a function ({', '.join(FUNCTIONS)}), got '{node.name}'"
                f"{suggestion(node.name, tuple(FUNCTIONS))}",
            )
        self._count(node, function)
        if function.result is Result.POINT:
            raise self._error(
                node.span,
                f"expected a number or a condition, got the point '{self._text(node)}'; points go into "
                f"functions, as in 'distance({self._text(node)}, ...)'",
            )
        dimensions: list[Dimension] = []
        for index, argument in enumerate(node.arguments):
            parameter = function.parameters[min(index, len(function.parameters) - 1)]
            if parameter is Parameter.QUANTITY:
                dimensions.append(self._plain(node, function, argument))
                self._same(dimensions[0], dimensions[-1], node.arguments[0], argument)
            elif parameter is Parameter.LENGTH:
                self._length(argument)
            elif parameter is Parameter.CONDITION:
                self.condition(argument)
            elif parameter is Parameter.WINDOW:
                self._window(node.name, argument)
            elif parameter is Parameter.ZONE:
                self._zone(node.name, argument)
            elif parameter is Parameter.RULE:
                self._rule(node, argument)
            else:
                self._point_argument(node.name, parameter, argument, predicts=function.predicts)
        return dimensions[0] if function.result is Result.AS_ARGUMENTS else function.result

    def _plain(self, call: Call, function: Function, argument: Node) -> Dimension:
        dimension = self.quantity(argument)
        if dimension.wraps and function.slot:
            text = self._text(argument)
            raise self._error(
                argument.span,
                f"expected a number that does not jump at 180 deg for '{call.name}', got a difference of directions; "
                f"write 'abs({text})'",
            )
        return dimension.plain

    def _length(self, argument: Node) -> None:
        got = self.quantity(argument).plain
        if got != LENGTH:
            hint = f"; write '{self._text(argument)} px' or another unit" if _is_bare(argument) else ""
            raise self._error(argument.span, f"expected {LENGTH} ({units_of(LENGTH)}), got {got}{hint}")

    def _window(self, name: str, argument: Node) -> None:
        """Refuse what is not a constant time above zero; memory is laid out for it before the first frame."""
        text = self._text(argument)
        if not isinstance(argument, Number):
            raise self._error(argument.span, f"expected a constant duration for '{name}', such as 0.2 s, got '{text}'")
        got = self._number(argument)
        if got != DURATION:
            hint = f"; write '{text} s' or another unit" if argument.unit is None else ""
            raise self._error(argument.span, f"expected {DURATION} ({units_of(DURATION)}), got {got}{hint}")
        seconds = argument.value * UNITS[argument.unit or "s"].scale
        if not 1e-3 <= seconds <= MAX_WINDOW_S:
            raise self._error(argument.span, f"expected a duration from 1 ms to {MAX_WINDOW_S} s, got {text}")

    def _zone(self, name: str, argument: Node) -> None:
        zones = tuple(self._context.zones)
        if not isinstance(argument, Point) or argument.node is not None:
            raise self._error(argument.span, f"expected a zone for '{name}', got '{self._text(argument)}'")
        if argument.role not in zones:
            raise self._error(
                argument.span,
                f"expected a zone ({', '.join(zones) or 'the rig has none'}), got '{argument.role}'"
                f"{suggestion(argument.role, zones)}",
            )
        if name == "count_in_zone" and self._context.centre is None:
            raise self._error(
                argument.span, f"expected $.animal.centre for '{name}', got none; name the node in the rig file"
            )

    def _rule(self, call: Call, argument: Node) -> None:
        """Refuse what is not another rule, and a question after one pair of a rule that has none."""
        rules = tuple(name for name in self._context.rules if name != self._rule_name)
        if not isinstance(argument, Point) or argument.node is not None:
            raise self._error(argument.span, f"expected a rule for '{call.name}', got '{self._text(argument)}'")
        name = argument.role
        if name == self._rule_name:
            raise self._error(
                argument.span, f"expected another rule, got '{name}' itself; a rule cannot ask for itself"
            )
        if name not in rules:
            known = ", ".join(rules) or "the rig has none"
            raise self._error(argument.span, f"expected another rule ({known}), got '{name}'{suggestion(name, rules)}")
        if len(call.arguments) > 1 and self._context.rules[name].any_pair is None:
            raise self._error(
                call.span, f"expected a rule with any_pair to ask for one pair, got '{name}'; write 'state({name})'"
            )
        self.rules.setdefault(name, argument.span)

    def _count(self, node: Call, function: Function) -> None:
        n_expected, n_got = len(function.parameters), len(node.arguments)
        if n_got in {n_expected, n_expected - function.n_optional} or (function.repeats and n_got > n_expected):
            return
        names = [parameter.value for parameter in function.parameters]
        kept, optional = names[: n_expected - function.n_optional], names[n_expected - function.n_optional :]
        tail = f"[, {', '.join(optional)}]" if optional else ", ..." if function.repeats else ""
        raise self._error(
            node.span,
            f"expected {node.name}({', '.join(kept)}{tail}), got {n_got} argument{'' if n_got == 1 else 's'}",
        )

    def _point_argument(self, name: str, parameter: Parameter, argument: Node, *, predicts: bool) -> None:
        if isinstance(argument, Call) and argument.name == PREDICTED:
            self._predicted(name, parameter, argument, predicts=predicts)
            return
        if not isinstance(argument, Point):
            raise self._error(
                argument.span, f"expected {parameter.value} as argument of '{name}', got '{self._text(argument)}'"
            )
        self._point(argument)
        if parameter in {Parameter.ANIMAL, Parameter.HEADED, Parameter.AXIS} and argument.node is not None:
            raise self._error(argument.node_span, f"expected a role without a node for '{name}', got '{argument.node}'")
        if parameter is Parameter.NODE and argument.node is None:
            raise self._error(
                argument.span,
                f"expected a node for '{name}', got the role alone; write for example "
                f"'{self._text(argument)}.{self._context.node_names[0]}'",
            )
        self._animal_nodes(name, parameter, argument)

    def _predicted(self, name: str, parameter: Parameter, argument: Call, *, predicts: bool) -> None:
        """Refuse what cannot be predicted, or where it cannot stand."""
        self._count(argument, FUNCTIONS[PREDICTED])
        inside = argument.arguments[0]
        predicted = self._context.predicted_nodes
        if predicted is None:
            raise self._error(
                argument.span,
                f"expected $.lookahead for '{PREDICTED}', got none; add the section [lookahead] to the rig, or write "
                f"'{self._text(inside)}', where it is seen",
            )
        if not predicts:
            able = ", ".join(function for function, what in FUNCTIONS.items() if what.predicts)
            raise self._error(
                argument.span,
                f"expected what is seen for '{name}', got '{self._text(argument)}'; write '{self._text(inside)}' "
                f"(predicted points go into {able})",
            )
        if not isinstance(inside, Point):
            raise self._error(
                inside.span,
                f"expected {Parameter.ANIMAL_OR_NODE.value} as argument of '{PREDICTED}', got '{self._text(inside)}'",
            )
        self._point_argument(name, parameter, inside, predicts=False)
        for node in sorted(needed_nodes(inside, parameter, self._context), key=self._context.node_names.index):
            if node not in predicted:
                raise self._error(
                    inside.node_span,
                    f"expected a node that is predicted ({', '.join(predicted)}), got '{node}'; add it to a group in "
                    "$.lookahead.groups",
                )

    def _animal_nodes(self, name: str, parameter: Parameter, argument: Point) -> None:
        """Refuse a role whose front, back or centre is needed where the rig names none."""
        needed: Sequence[tuple[str, str | None]] = ()
        if parameter is Parameter.HEADED:
            needed = (("front", self._context.front), ("back", self._context.back), ("centre", self._context.centre))
        elif parameter is Parameter.AXIS:
            needed = (("front", self._context.front), ("back", self._context.back))
        elif parameter is Parameter.POINT and argument.node is None:
            needed = (("centre", self._context.centre),)
        missing = [f"$.animal.{part}" for part, node in needed if node is None]
        if missing:
            raise self._error(
                argument.span,
                f"expected {' and '.join(missing)} for '{name}' of '{self._text(argument)}', got none; "
                "name the node in the rig file",
            )

    def _point(self, node: Point) -> None:
        if node.role not in self._role_names:
            known = ", ".join(self._role_names) or "the rig has none"
            hint = suggestion(node.role, self._role_names)
            if node.role in FUNCTIONS:
                hint = f"; '{node.role}' is a function: write '{node.role}(...)'"
            raise self._error(node.role_span, f"expected a role ({known}), got '{node.role}'{hint}")
        nodes = self._context.node_names
        if node.node is not None and node.node not in nodes:
            raise self._error(
                node.node_span, f"expected a node ({', '.join(nodes)}), got '{node.node}'{suggestion(node.node, nodes)}"
            )

        self.used.add(node.role)

    def _text(self, node: Node) -> str:
        return self._source.text[node.span.start : node.span.stop]

    def _error(self, span: Span, message: str) -> RuleError:
        return self._source.error(span, message)


def _is_bare(node: Node) -> bool:
    return isinstance(node, Number) and node.unit is None


def _difference(text: str) -> str:
    return f"170 deg is next to -170 deg, so compare how far it is from another, as in 'abs({text} - 90 deg) < 30 deg'"


def _example(dimension: Dimension) -> str:
    """Return a limit of a dimension for a message, such as `3 px`."""
    return "0.5" if dimension == NUMBER else f"3 {dimension.base_unit}"
