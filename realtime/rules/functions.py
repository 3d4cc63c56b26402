"""The functions of the rule language: what each takes, what it gives, and the operations that calculate it.

| function | gives | unknown when |
|---|---|---|
| `distance(p, q)` | length between two points | a point is not seen |
| `nearest(a, b)` | smallest length between a node of a and a node of b, of those that are seen | nothing of a or nothing of b is seen |
| `contact(a, b, length)` | whether `nearest(a, b)` is less than that length | as `nearest` |
| `facing(a, q)` | angle 0–180 deg between a's heading (back → front) and the direction from a's centre to q | a node of a or q is not seen, a has no extent, or q is a's centre |
| `heading(a)` | the direction back → front on the image: 0 deg is right, 90 deg down; only differences of it can be compared: they lie between -180 and 180 deg, in `heading(a) - 90 deg` as in `heading(a) - heading(b)` | front or back is not seen, or they are one point |
| `orientation(a, b)` | angle 0–180 deg between two headings: 0 is the same way, 180 the opposite one | as `heading`, of either |
| `in_zone(p, zone)` | whether the point is in a zone of the rig or on its border | the point is not seen |
| `count_in_zone(zone)` | how many animals have their centre in the zone | the centre of any animal is not seen |
| `visible(p)` | whether the node is seen; of an animal, whether any of its nodes is | never: an absent animal is not visible |
| `score(a.node)` | the network's score of a node, 0–1; 0 where it is not seen | the animal is absent |
| `confidence(a)` | the mean score of all of a's nodes | the animal is absent |
| `identity_confidence(a)` | how sure the tracker is that a is still a, 0–1 | the animal is absent |
| `swap_suspected(a)` | whether a may be another animal since some time, as far as the tracker knows | the animal is absent |
| `state(rule)` | whether another rule of the rig is on in this frame; one with `any_pair`, whether it is for any | the other rule is UNKNOWN |
| `state(rule, a, b)` | whether another rule, one with `any_pair`, is on for a and b in this order; its `for_s` and `refractory_s` count | it is UNKNOWN for them, a or b is absent, or both are one animal |
| `predicted(p)` | the point, or the animal, where it will be when a stimulus that is decided now takes effect; it stands for a point in `distance`, `nearest`, `contact`, `facing`, `heading`, `orientation` and `in_zone`, needs `[lookahead]` in the rig, and is where it is seen while the look-ahead has switched itself off | it is not seen |
| `abs(x)` `min(x, y, …)` `max(x, y, …)` | a number of the same kind | an argument is unknown |
| `speed(p)` `speed(p, window)` | how far the point is from where it was a window ago, per second | it is not seen now, or was not between one and three windows ago |
| `approach_speed(a, b)` `…(a, b, window)` | by how much a came nearer, per second, to where b is now; b's own way does not count, so that who keeps up with one that flees approaches it; negative when it goes away | b is not seen, or as `speed` of a |
| `angular_speed(a)` `…(a, window)` | by how much the heading turned, either way, per second | as `speed`, of the heading |
| `held(condition, window)` | whether it was true all the time for so long | false wins over unknown: else when it was unknown at some time in the window |
| `once(condition, window)` | whether it was true at some time in the window | true wins over unknown: else when it was unknown at some time in the window |
| `rising(condition)` | whether it is true and was false in the frame before | the frame before, or this one, could make the difference and is unknown |
| `fraction(condition, window)` | share of the window, 0–1, in which it was true; what is unknown is left out | less than half of the window is known |
| `mean(x, window)` | mean over the window, of a number of any kind but a direction; what is unknown is left out | less than half of the window is known |

A point is `role.node`, or `role` alone for the animal's centre. A window is a constant time; for speeds it is 0.1 s where
none is written.

Time is that of the frames, so that dropped frames and jitter change nothing but what could not be seen: a condition keeps
its value from one frame to the next, a number is between two frames what it is in the middle. Before the first frame,
for a pair before both tracks were there, everything is unknown. Speeds follow a track, and start anew where the
tracker corrects a swap; with `require_identity`, frames in which it is doubtful who is who are remembered as unknown.

Rules that name others are evaluated after them, in the same frame; they cannot name one another in a circle.
"""  # noqa: E501 - a table's row is one line

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, unique
from types import MappingProxyType
from typing import Final

from realtime.rules.calculation import Op
from realtime.rules.language import PREDICTED, Point
from realtime.rules.spec import RuleContext
from realtime.rules.units import ANGLE, DIRECTION, LENGTH, NUMBER, SPEED, TURNING, Dimension
from realtime.rules.windows import Average, Motion, Past

DEFAULT_WINDOW_S: Final = 0.1


@unique
class Parameter(Enum):
    """What an argument may be; the value is how an error message asks for it."""

    QUANTITY = "a number"
    LENGTH = "a length"
    CONDITION = "a condition"
    WINDOW = "a duration"
    POINT = "a role or a role.node"
    HEADED = "a role"  # an animal of which back, front and centre are needed
    AXIS = "a role with a heading"  # an animal of which back and front are needed
    ANIMAL = "a role without a node"
    NODE = "a role.node"
    ANIMAL_OR_NODE = "a role or role.node"
    ZONE = "a zone"
    RULE = "a rule"


class Result(Enum):
    """What a function gives where that is not a fixed dimension."""

    TRUTH = "true or false"
    POINT = "a point"
    AS_ARGUMENTS = "the dimension that all arguments share"


@dataclass(frozen=True, slots=True)
class Function:
    """One function.

    Attributes:
        ops: The operations that calculate it, after its arguments; of those that take any number of arguments, the one
            that folds them two by two.
        parameters: One for each argument.
        result: What it gives.
        repeats: Whether the last parameter may come again and again.
        slot: Columns of memory that it needs.
        n_optional: How many of the last arguments may be left out, all of them together.
        predicts: Whether its points may be predicted ones.
    """

    ops: tuple[Op, ...]
    parameters: tuple[Parameter, ...]
    result: Dimension | Result
    repeats: bool = False
    slot: int = 0
    n_optional: int = 0
    predicts: bool = False


def _motion(op: Op, parameters: tuple[Parameter, ...], result: Dimension, *before: Op) -> Function:
    return Function((*before, op), (*parameters, Parameter.WINDOW), result, slot=Motion.SIZE, n_optional=1)


_QUANTITY, _CONDITION, _WINDOW = Parameter.QUANTITY, Parameter.CONDITION, Parameter.WINDOW
_POINT, _AXIS, _ANIMAL, _ZONE = Parameter.POINT, Parameter.AXIS, Parameter.ANIMAL, Parameter.ZONE
_TRUTH, _AS_ARGUMENTS = Result.TRUTH, Result.AS_ARGUMENTS

FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "distance": Function((Op.DISTANCE,), (_POINT, _POINT), LENGTH, predicts=True),
        "nearest": Function((Op.NEAREST,), (_ANIMAL, _ANIMAL), LENGTH, predicts=True),
        "contact": Function((Op.NEAREST, Op.GREATER), (_ANIMAL, _ANIMAL, Parameter.LENGTH), _TRUTH, predicts=True),
        "facing": Function((Op.FACING,), (Parameter.HEADED, _POINT), ANGLE, predicts=True),
        "heading": Function((Op.HEADING,), (_AXIS,), DIRECTION, predicts=True),
        "orientation": Function((Op.ORIENTATION,), (_AXIS, _AXIS), ANGLE, predicts=True),
        "in_zone": Function((Op.IN_ZONE,), (_POINT, _ZONE), _TRUTH, predicts=True),
        "count_in_zone": Function((Op.COUNT_IN_ZONE,), (_ZONE,), NUMBER),
        "visible": Function((Op.VISIBLE,), (Parameter.ANIMAL_OR_NODE,), _TRUTH),
        "score": Function((Op.SCORE,), (Parameter.NODE,), NUMBER),
        "confidence": Function((Op.CONFIDENCE,), (_ANIMAL,), NUMBER),
        "identity_confidence": Function((Op.IDENTITY_CONFIDENCE,), (_ANIMAL,), NUMBER),
        "swap_suspected": Function((Op.SWAP_SUSPECTED,), (_ANIMAL,), _TRUTH),
        "state": Function((Op.STATE,), (Parameter.RULE, _ANIMAL, _ANIMAL), _TRUTH, n_optional=2),
        PREDICTED: Function((Op.PREDICTED_POINT,), (Parameter.ANIMAL_OR_NODE,), Result.POINT),
        "abs": Function((Op.ABS,), (_QUANTITY,), _AS_ARGUMENTS),
        "min": Function((Op.MIN,), (_QUANTITY, _QUANTITY), _AS_ARGUMENTS, repeats=True),
        "max": Function((Op.MAX,), (_QUANTITY, _QUANTITY), _AS_ARGUMENTS, repeats=True),
        "speed": _motion(Op.SPEED, (_POINT,), SPEED),
        "approach_speed": _motion(Op.APPROACH_SPEED, (_POINT, _POINT), SPEED),
        "angular_speed": _motion(Op.ANGULAR_SPEED, (_AXIS,), TURNING, Op.HEADING),
        "held": Function((Op.HELD,), (_CONDITION, _WINDOW), _TRUTH, slot=Past.SIZE),
        "once": Function((Op.NOT, Op.HELD, Op.NOT), (_CONDITION, _WINDOW), _TRUTH, slot=Past.SIZE),
        "rising": Function((Op.RISING,), (_CONDITION,), _TRUTH, slot=Past.SIZE),
        "fraction": Function((Op.MEAN,), (_CONDITION, _WINDOW), NUMBER, slot=Average.SIZE),
        "mean": Function((Op.MEAN,), (_QUANTITY, _WINDOW), _AS_ARGUMENTS, slot=Average.SIZE),
    }
)


def needed_nodes(point: Point, parameter: Parameter, context: RuleContext) -> set[str]:
    """Return the nodes that a function needs of an animal that it is given, those of its heading included."""
    if parameter is Parameter.HEADED:
        needed = {context.front, context.back, context.centre}
    elif parameter is Parameter.AXIS:
        needed = {context.front, context.back}
    elif parameter is Parameter.POINT:
        needed = {point.node or context.centre}
    elif parameter is Parameter.ZONE:
        needed = {context.centre}
    else:
        needed = set()
    return {node for node in needed if node is not None}
