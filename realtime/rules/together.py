"""The rules of a rig together: compiled in an order in which each comes after those that it asks for."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from realtime.rules.compiled import Program, compile_program
from realtime.rules.errors import RuleError
from realtime.rules.recording import DecisionTable, TrackTable
from realtime.rules.rule import Rule, States
from realtime.rules.spec import RuleContext, RuleSpec


def compile_rules(specs: Mapping[str, RuleSpec], context: RuleContext) -> tuple[Rule, ...]:
    """Check the rules of a rig file and make them ready to evaluate.

    Args:
        specs: The rules by name; they may ask for one another.
        context: What else their names may refer to.

    Returns:
        All rules, each after those that it asks for and else in the order of `specs`; every frame has to be evaluated
        in this order.

    Raises:
        RuleError: Everything that is wrong with them; the text quotes the expressions and points at the columns.
    """
    context = replace(context, rules=specs)
    programs: dict[str, Program] = {}
    problems = []
    for name, spec in specs.items():
        try:
            programs[name] = compile_program(name, spec, context)
        except RuleError as error:
            problems.append(str(error))
    if problems:
        raise RuleError(*problems)
    return _joined(programs, list(specs))


def compile_rule(name: str, spec: RuleSpec, context: RuleContext) -> Rule:
    """Check one rule and make it ready to evaluate.

    Args:
        name: The rule's name in the rig file.
        spec: Its table.
        context: What its names may refer to; the rules that it asks for are found there, and are in `Rule.needs`.

    Raises:
        RuleError: Everything that is wrong with it; the text quotes the expression and points at the column.
    """
    context = replace(context, rules={**context.rules, name: spec})
    return join_rule(compile_program(name, spec, context), context)


def evaluate_recording(rules: Sequence[Rule], recording: TrackTable, n_threads: int = 1) -> tuple[DecisionTable, ...]:
    """Evaluate rules on a whole recording from its first frame on, several at a time; their live state is left alone.

    Args:
        rules: The rules; each evaluates those that it names for itself.
        recording: The frames.
        n_threads: How many at a time, each on a core of its own: the compiled code lets other threads run beside it.

    Returns:
        What each rule says, the same as `Rule.evaluate_recording`.
    """
    if rules:
        rules[0].warm_up()  # compiled once, and not by every thread
    with ThreadPoolExecutor(n_threads) as threads:
        return tuple(threads.map(lambda rule: rule.evaluate_recording(recording), rules))


def join_rule(program: Program, context: RuleContext) -> Rule:
    """Return the rule of a compiled program, with those that it asks for.

    Args:
        program: The program.
        context: Has this rule and those that it asks for.

    Raises:
        RuleError: One of these is wrong, or they ask for one another in a circle.
    """
    programs = {program.name: program}
    wanted = list(program.needs)
    while wanted:
        needed = wanted.pop()
        if needed not in programs:
            programs[needed] = compile_program(needed, context.rules[needed], context)
            wanted += programs[needed].needs
    return _joined(programs, list(context.rules))[-1]  # all others are there because it needs them


def _joined(programs: Mapping[str, Program], columns: list[str]) -> tuple[Rule, ...]:
    order = _order(programs)
    named = {need for program in programs.values() for need in program.needs}
    shown = {name for name, program in programs.items() if name in named or program.plugin is not None}
    states = States(
        len(columns) if shown else 0, has_pairs=any(program.asks_for_pairs for program in programs.values())
    )
    rules: dict[str, Rule] = {}
    for name in order:
        needed = _all_needed(name, programs)
        rules[name] = Rule(
            programs[name],
            states,
            columns.index(name) if name in shown else -1,
            [rule for other, rule in rules.items() if other in needed],
        )
    return tuple(rules.values())


def _order(programs: Mapping[str, Program]) -> list[str]:
    """Return the rules, each after those that it needs.

    Raises:
        RuleError: Some need one another in a circle.
    """
    order: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in order:
            return
        for need, place in programs[name].needs.items():
            if need in (*path, name):
                circle = [*path, name, need][[*path, name].index(need) :]
                raise place.error(
                    f"expected rules that do not ask for one another in a circle, got {' -> '.join(circle)}; "
                    "take one of these state(...) out"
                )
            visit(need, (*path, name))
        order.append(name)

    for name in programs:
        visit(name, ())
    return order


def _all_needed(name: str, programs: Mapping[str, Program]) -> set[str]:
    found: set[str] = set()
    wanted: Iterable[str] = programs[name].needs
    while wanted:
        found.update(wanted)
        wanted = {further for need in wanted for further in programs[need].needs} - found
    return found
