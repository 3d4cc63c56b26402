"""What a rule is made of, in words: its parts, what it needs, what makes it UNKNOWN, how much work it is."""

from collections.abc import Iterator
from dataclasses import dataclass

from realtime.rules import functions
from realtime.rules.asked import Plugin
from realtime.rules.language import Call, Number, Point, point_of
from realtime.rules.spec import RuleContext, RuleSpec
from realtime.rules.together import compile_rule
from realtime.rules.traced import CONDITION, Part, compile_traced


@dataclass(frozen=True, slots=True)
class Explanation:
    """One rule in words.

    Attributes:
        rule: Its name.
        lines: Its expressions as a tree, one part a line, each with what it is.
        roles: The roles that it needs, with what each stands for.
        nodes: The nodes that it needs, those of a heading and of a centre included.
        rules: The other rules that it asks for.
        windows: The times over which it remembers, as written.
        unknown_when: What makes its parts unknown, by function.
        timing: `for_s`, `refractory_s` and the like in words.
        n_operations: Operations a frame, for each pair of animals where it is about any pair.
    """

    rule: str
    lines: tuple[str, ...]
    roles: dict[str, str]
    nodes: tuple[str, ...]
    rules: tuple[str, ...]
    windows: tuple[str, ...]
    unknown_when: dict[str, str]
    timing: tuple[str, ...]
    n_operations: int


def explain(name: str, spec: RuleSpec, context: RuleContext) -> Explanation:
    """Explain one rule.

    Raises:
        RuleError: Something is wrong with it.
    """
    parts = compile_traced(name, spec, context).parts
    rule = compile_rule(name, spec, context)
    used = {part.node.name for part in parts if isinstance(part.node, Call)}
    return Explanation(
        name,
        tuple(_lines(parts)) if rule.plugin is None else tuple(_python_lines(rule.plugin)),
        {role: _what(role, spec, context) for role in rule.roles},
        _nodes(parts, context),
        tuple(needed.name for needed in rule.needs),
        tuple(dict.fromkeys(window for part in parts for window in _windows(part))),
        {function: told for function, told in unknown_table().items() if function in used},
        timing(spec),
        rule.n_operations,
    )


def headline(part: Part) -> str:
    """Return a part as a short line; of a list of conditions only how they are joined."""
    operator = getattr(part.node, "operator", "")
    if operator in {"and", "or"}:
        return "all of" if operator == "and" else "any of"
    return part.text


def unknown_table() -> dict[str, str]:
    """Return the last column of the table of functions: when each is unknown."""
    rows = [line.strip("| ").split(" | ") for line in (functions.__doc__ or "").splitlines() if line.startswith("| `")]
    found: dict[str, str] = {}
    for calls, *_, unknown in rows:
        for call in calls.split("` `"):
            function = call.strip("`").partition("(")[0]
            if function in functions.FUNCTIONS:
                found[function] = f"{found[function]}; for one pair: {unknown}" if function in found else unknown
    return found


def timing(spec: RuleSpec) -> tuple[str, ...]:
    """Return in words what decides beside the expressions."""
    told = []
    if spec.for_s:
        told.append(f"turns on when it has been true for {spec.for_s:g} s without a break")
    if spec.refractory_s:
        told.append(f"does not turn on again within {spec.refractory_s:g} s of having turned on")
    if spec.python is not None:
        told.append("is off as soon as the rule in Python does not answer True")
    else:
        told.append("stays on until 'until' is true" if spec.until is not None else "is off as soon as 'when' is false")
    held = "stays on" if spec.when_unknown == "hold" else "turns off"
    told.append(f"{held} when it is unknown; never turns on by what is unknown")
    if spec.require_identity is not None:
        told.append(f"is unknown where the tracker is less sure than {spec.require_identity:g} who an animal is")
    return tuple(told)


def _lines(parts: tuple[Part, ...]) -> Iterator[str]:
    """Yield the tree; points and constants are told in the text of what they stand in."""
    key = ""
    for part in parts:
        if part.key != key:
            key = part.key
            yield f"  {key}:"
        if not isinstance(part.node, Point | Number):
            unit = f" in {part.unit}" if part.unit else ""
            yield f"{'  ' * (part.depth + 2)}{headline(part)}  [{part.kind}{unit}]"


def _python_lines(plugin: Plugin) -> Iterator[str]:
    installed = plugin.installed
    yield f"  python: {plugin.entry}  [{installed.target} of {installed.package} {installed.version}]"
    if installed.kind.__doc__:
        yield f"    {installed.kind.__doc__.strip().splitlines()[0]}"
    for key, value in plugin.options.model_dump(mode="json").items():
        yield f"    {key} = {value}"


def _what(role: str, spec: RuleSpec, context: RuleContext) -> str:
    if spec.any_pair is not None and role in spec.any_pair:
        return "either animal of any pair"
    found = context.roles[role]
    return f"the animal with identity '{found.identity}'" if found.identity is not None else f"track {found.track}"


def _nodes(parts: tuple[Part, ...], context: RuleContext) -> tuple[str, ...]:
    needed = {part.node.node for part in parts if isinstance(part.node, Point) and part.kind != "a rule"}
    for part in parts:
        if isinstance(part.node, Call):
            for argument, parameter in zip(
                part.node.arguments, functions.FUNCTIONS[part.node.name].parameters, strict=False
            ):
                point = point_of(argument)
                needed |= set() if point is None else functions.needed_nodes(point, parameter, context)
    return tuple(node for node in context.node_names if node in needed)


def _windows(part: Part) -> list[str]:
    node = part.node
    if not isinstance(node, Call):
        return []
    function = functions.FUNCTIONS[node.name]
    if functions.Parameter.WINDOW not in function.parameters:
        return []
    last = node.arguments[-1]
    if isinstance(last, Number) and len(node.arguments) == len(function.parameters):
        return [f"{last.value:g} {last.unit}"]
    return [f"{functions.DEFAULT_WINDOW_S:g} s"]


__all__ = ["CONDITION", "Explanation", "explain", "headline", "timing", "unknown_table"]
