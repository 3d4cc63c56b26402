"""The boundary to rules in Python: somebody else's code may raise anything, and all of it becomes one error here."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Returned = TypeVar("_Returned")


class ForeignError(Exception):
    """A rule in Python broke its protocol; the text says which rule, and what it did."""


def call(whose: str, function: Callable[_Given, _Returned], *given: _Given.args, **named: _Given.kwargs) -> _Returned:
    """Call a function that comes with a rule in Python.

    Args:
        whose: What the function belongs to, for the error.
        function: The function.
        given: For it.
        named: For it.

    Raises:
        ForeignError: It raised.
    """
    try:
        return function(*given, **named)
    except Exception as error:
        raise ForeignError(f"{whose} raised {type(error).__name__}: {error}") from error
