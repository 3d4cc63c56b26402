"""A rule in Python as a rig names it: found among the installed ones, its settings and roles checked."""

from pydantic import BaseModel, ValidationError

from realtime.rules import foreign, registry
from realtime.rules.asked import Plugin
from realtime.rules.errors import RuleError, suggestion
from realtime.rules.foreign import ForeignError
from realtime.rules.spec import RuleContext, RuleSpec

_MAX_MS = 5.0


def checked_plugin(name: str, entry: str, spec: RuleSpec, context: RuleContext) -> Plugin:
    """Return the rule in Python of a `[rules.NAME]` table, after one instance was made of it.

    Raises:
        RuleError: Everything that is wrong with it.
    """
    key = f"$.rules.{name}"
    try:
        installed = registry.load(entry)
    except (LookupError, TypeError, ForeignError) as error:
        raise RuleError(f"{key}.python: {error}") from error
    problems = pair_problems(name, spec, context)
    problems += [
        f"{key}.roles: expected a role ({', '.join(context.roles) or 'the rig has none'}), got '{role}'"
        f"{suggestion(role, tuple(context.roles))}"
        for role in spec.roles
        if role not in context.roles
    ]
    n_animals = len(spec.any_pair or ()) + len(spec.roles)
    if n_animals != installed.kind.n_animals:
        problems.append(
            f"{key}.roles: expected {installed.kind.n_animals} animals in any_pair and roles together, as "
            f"{installed.target} is about, got {n_animals}"
        )
    try:
        options: BaseModel = foreign.call(
            f"{installed.target}.Options", installed.kind.Options.model_validate, spec.options
        )
    except ForeignError as error:
        problems += _option_problems(f"{key}.options", error)
        raise RuleError("\n".join(problems)) from error
    plugin = Plugin(name, entry, installed, options, context, _MAX_MS if spec.max_ms is None else spec.max_ms)
    try:
        plugin.make()
    except ForeignError as error:
        problems.append(f"{key}.python: {error}")
    if problems:
        raise RuleError("\n".join(problems))
    return plugin


def pair_problems(name: str, spec: RuleSpec, context: RuleContext) -> list[str]:
    """Return what is wrong with the names of `any_pair`."""
    return [
        f"$.rules.{name}.any_pair: expected names that are not roles, got '{member}'; choose others, as in ['a', 'b']"
        for member in spec.any_pair or ()
        if member in context.roles
    ]


def _option_problems(key: str, error: ForeignError) -> list[str]:
    """Return what the settings' model found wrong, or what it raised instead of saying so."""
    if not isinstance(error.__cause__, ValidationError):
        return [f"{key}: {error}"]
    return [
        f"{key}{''.join(f'.{part}' for part in detail['loc'])}: {detail['msg']}, got {detail['input']!r}"
        for detail in error.__cause__.errors()
    ]
