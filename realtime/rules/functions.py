"""The functions of the rule language: what each takes, what it gives, and the operation that calculates it.

| function | gives | unknown when |
|---|---|---|
| `distance(p, q)` | length between two points | a point is not seen |
| `facing(a, q)` | angle 0–180 deg between a's heading (back → front) and the direction from a's centre to q | a node of a or q is not seen, a has no extent, or q is a's centre |
| `visible(p)` | whether the node is seen; of an animal, whether any of its nodes is | never: an absent animal is not visible |
| `score(a.node)` | the network's score of a node, 0–1; 0 where it is not seen | the animal is absent |
| `identity_confidence(a)` | how sure the tracker is that a is still a, 0–1 | the animal is absent |
| `swap_suspected(a)` | whether a may be another animal since some time, as far as the tracker knows | the animal is absent |
| `abs(x)` `min(x, y, …)` `max(x, y, …)` | a number of the same kind | an argument is unknown |

A point is `role.node`, or `role` alone for the animal's centre.
"""  # noqa: E501 - a table's row is one line

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, unique
from types import MappingProxyType

from realtime.rules.calculation import Op
from realtime.rules.units import ANGLE, LENGTH, NUMBER, Dimension


@unique
class Parameter(Enum):
    """What an argument may be; the value is how an error message asks for it."""

    QUANTITY = "a number"
    POINT = "a role or a role.node"
    HEADED = "a role"  # an animal of which back, front and centre are needed
    ANIMAL = "a role without a node"
    NODE = "a role.node"
    ANIMAL_OR_NODE = "a role or role.node"


class Result(Enum):
    """What a function gives where that is not a fixed dimension."""

    TRUTH = "true or false"
    AS_ARGUMENTS = "the dimension that all arguments share"


@dataclass(frozen=True, slots=True)
class Function:
    """One function.

    Attributes:
        op: The operation that calculates it; with `AS_ARGUMENTS` and several arguments it folds them two by two.
        parameters: One for each argument.
        result: What it gives.
        repeats: Whether the last parameter may come again and again.
    """

    op: Op
    parameters: tuple[Parameter, ...]
    result: Dimension | Result
    repeats: bool = False


FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "distance": Function(Op.DISTANCE, (Parameter.POINT, Parameter.POINT), LENGTH),
        "facing": Function(Op.FACING, (Parameter.HEADED, Parameter.POINT), ANGLE),
        "visible": Function(Op.VISIBLE, (Parameter.ANIMAL_OR_NODE,), Result.TRUTH),
        "score": Function(Op.SCORE, (Parameter.NODE,), NUMBER),
        "identity_confidence": Function(Op.IDENTITY_CONFIDENCE, (Parameter.ANIMAL,), NUMBER),
        "swap_suspected": Function(Op.SWAP_SUSPECTED, (Parameter.ANIMAL,), Result.TRUTH),
        "abs": Function(Op.ABS, (Parameter.QUANTITY,), Result.AS_ARGUMENTS),
        "min": Function(Op.MIN, (Parameter.QUANTITY, Parameter.QUANTITY), Result.AS_ARGUMENTS, repeats=True),
        "max": Function(Op.MAX, (Parameter.QUANTITY, Parameter.QUANTITY), Result.AS_ARGUMENTS, repeats=True),
    }
)
