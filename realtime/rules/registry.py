"""The rules in Python that a rig file can name: entry points in the group `poseloop.rules`, name → "module:Class"."""

from dataclasses import dataclass
from importlib.metadata import entry_points

from pydantic import BaseModel

from realtime.rules import foreign
from realtime.rules.base import PythonRule
from realtime.rules.errors import suggestion

GROUP = "poseloop.rules"


@dataclass(frozen=True, slots=True)
class Installed:
    """One rule that is installed.

    Attributes:
        kind: Its class.
        target: Where that is, "module:Class".
        package: The name of the package that brought it.
        version: The package's.
    """

    kind: type[PythonRule]
    target: str
    package: str
    version: str


def names() -> tuple[str, ...]:
    """Return the names of all rules in Python."""
    return tuple(sorted({entry.name for entry in entry_points(group=GROUP)}))


def load(name: str) -> Installed:
    """Return an installed rule; nothing but its module is imported.

    Raises:
        LookupError: There is no rule of this name; the message lists those there are.
        TypeError: It is not a `PythonRule`, or has not what every one has.
        ForeignError: Its module cannot be imported, or does not have the class.
    """
    entry = next(iter(entry_points(group=GROUP, name=name)), None)
    if entry is None:
        known = names()
        listed = ", ".join(known) or f"no package is installed that has one in the group {GROUP}"
        raise LookupError(f"expected a rule in Python ({listed}), got '{name}'{suggestion(name, known)}")
    kind = foreign.call(entry.value, entry.load)
    if not (isinstance(kind, type) and issubclass(kind, PythonRule)):
        raise TypeError(f"{entry.value}: expected a subclass of realtime.rules.PythonRule, got {kind!r}")
    _check_attributes(entry.value, kind)
    package, version = ("", "") if entry.dist is None else (entry.dist.name, entry.dist.version)
    return Installed(kind, entry.value, package, version)


def _check_attributes(target: str, kind: type[PythonRule]) -> None:
    n_animals = getattr(kind, "n_animals", None)
    if type(n_animals) is not int or n_animals < 1:
        raise TypeError(f"{target}.n_animals: expected a number of animals, 1 or more, got {_written(n_animals)}")
    options = getattr(kind, "Options", None)
    if not (isinstance(options, type) and issubclass(options, BaseModel)):
        raise TypeError(f"{target}.Options: expected a pydantic model, got {_written(options)}")


def _written(value: object) -> str:
    return "nothing" if value is None else repr(value)
