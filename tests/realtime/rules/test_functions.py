"""What the functions, the units and the logic of the language give, computed by hand."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.decision import Decision, State
from realtime.rules import RoleSpec, RuleContext, RuleSpec, compile_rule
from realtime.rules.functions import FUNCTIONS
from realtime.rules.language import MAX_DEPTH
from realtime.tracks import Tracks

MakeTracks = Callable[..., Tracks]


def decide(when: str, context: RuleContext, tracks: Tracks) -> Decision:
    return compile_rule("r", RuleSpec(when=when, when_unknown="release"), context).evaluate(tracks, 0, 0)


def value(expression: str, context: RuleContext, tracks: Tracks) -> float:
    return decide(f"{expression} < 0.5", context, tracks).values[0]


# The male's thorax is at (100, 100) and he looks along `heading`; the female's thorax is at (100, 100) + `offset`.
# x is right, y is down.
FACING_CASES = {
    "ahead, heading right": ((1, 0), (5, 0), 0.0),
    "behind, heading right": ((1, 0), (-5, 0), 180.0),
    "below, heading right": ((1, 0), (0, 5), 90.0),
    "above, heading right": ((1, 0), (0, -5), 90.0),
    "below right, heading right": ((1, 0), (5, 5), 45.0),
    "above right, heading right": ((1, 0), (5, -5), 45.0),
    "below left, heading right": ((1, 0), (-5, 5), 135.0),
    "above left, heading right": ((1, 0), (-5, -5), 135.0),
    "ahead, heading left": ((-1, 0), (-5, 0), 0.0),
    "behind, heading left": ((-1, 0), (5, 0), 180.0),
    "ahead, heading up": ((0, -1), (0, -5), 0.0),
    "behind, heading up": ((0, -1), (0, 5), 180.0),
    "left, heading up": ((0, -1), (-5, 0), 90.0),
    "ahead, heading down": ((0, 1), (0, 5), 0.0),
    "ahead, heading down left": ((-1, 1), (-5, 5), 0.0),
    "across 180 deg: heading and direction on either side of the negative x axis": ((-4, 3), (-4, -3), 73.73979529168804),
    "30 deg, a 1-√3-2 triangle": ((1, 0), (math.sqrt(3) * 16, 16), 30.0),
    "far away": ((1, 0), (4096, 4096), 45.0),
    "on the same point": ((1, 0), (0, 0), math.nan),
    "no extent": ((0, 0), (5, 0), math.nan),
}


@pytest.mark.parametrize("name", FACING_CASES)
def test_facing(name: str, context: RuleContext, make_tracks: MakeTracks) -> None:
    (hx, hy), (dx, dy), expected = FACING_CASES[name]
    for mirror_x, mirror_y in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
        tracks = make_tracks(
            {
                1: {
                    "head": (100 + 2 * mirror_x * hx, 100 + 2 * mirror_y * hy),
                    "thorax": (100, 100),
                    "abdomen": (100 - 2 * mirror_x * hx, 100 - 2 * mirror_y * hy),
                },
                2: {"thorax": (100 + mirror_x * dx, 100 + mirror_y * dy)},
            }
        )
        decision = decide("facing(first, second) < 400 deg", context, tracks)
        assert decision.values[0] == pytest.approx(expected, rel=1e-6, nan_ok=True)
        assert decision.state is (State.UNKNOWN if math.isnan(expected) else State.ON)


def test_facing_looks_from_the_centre_and_at_a_named_node(context: RuleContext, make_tracks: MakeTracks) -> None:
    # A bent animal: the heading is back → front, but the direction starts at the centre.
    bent = {"head": (10.0, 0.0), "thorax": (5.0, 5.0), "abdomen": (0.0, 0.0)}
    tracks = make_tracks({1: bent, 2: {"head": (5.0, 25.0), "thorax": (25.0, 5.0)}})
    assert value("facing(first, second.head) / 1 deg", context, tracks) == 90.0
    assert value("facing(first, second) / 1 deg", context, tracks) == 0.0


VALUES = {
    "distance of a 3-4-5 triangle": ("distance(first.head, second.head) / 1 px", 5.0),
    "distance in mm": ("distance(first.head, second.head) / 1 mm", 0.5),
    "distance in cm": ("distance(first.head, second.head) / 1 cm", 0.05),
    "distance is symmetric": ("distance(second.head, first.head) / 1 px", 5.0),
    "distance within an animal": ("distance(first.head, first.thorax) / 1 px", 2.0),
    "a role alone is its centre": ("distance(first, second) / 1 px", 13.0),
    "distance to itself": ("distance(first, first) / 1 px", 0.0),
    "distance to a node that is not seen": ("distance(first.head, second.abdomen) / 1 px", math.nan),
    "distance to an absent animal": ("distance(first.head, female.head) / 1 px", math.nan),
    "score": ("score(second.head)", 0.25),
    "score of a node that is not seen": ("score(second.abdomen)", 0.0),
    "score of an absent animal": ("score(female.head)", math.nan),
    "identity confidence": ("identity_confidence(second)", 0.75),
    "identity confidence of an absent animal": ("identity_confidence(female)", math.nan),
    "abs": ("abs(score(second.head) - 1)", 0.75),
    "min": ("min(score(second.head), 0.5)", 0.25),
    "min of three": ("min(score(first.head), 0.5, 0.125)", 0.125),
    "max": ("max(score(second.head), 0.5)", 0.5),
    "max of four": ("max(0.1, score(second.head), 3, 2)", 3.0),
    "min with an unknown": ("min(score(female.head), 0.5)", math.nan),
    "max with an unknown": ("max(0.5, score(female.head))", math.nan),
    "product before sum": ("1 + 2 * score(second.head)", 1.5),
    "parentheses": ("(1 + 2) * score(second.head)", 0.75),
    "left to right": ("1 - 2 - score(second.head)", -1.25),
    "division left to right": ("8 / 2 / score(second.head)", 16.0),
    "minus binds most": ("-score(second.head) + 1", 0.75),
    "minus of a minus": ("- -score(second.head)", 0.25),
    "minus behind an operator": ("2 * -score(second.head)", -0.5),
    "division by zero is unknown": ("1 / (score(first.head) - 1)", math.nan),
    "zero over zero is unknown": ("0 / (score(first.head) - 1)", math.nan),
    "ratio of lengths": ("distance(first, second) / distance(first.head, second.head)", 2.6),
    "numbers in all spellings": ("score(second.head) + 1. + .5 + 2e-1 + 1E1 + 0x", 0.0),
}
del VALUES["numbers in all spellings"]  # replaced by the next test


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str, context: RuleContext, make_tracks: MakeTracks) -> None:
    tracks = make_tracks(
        {1: {"head": (0, 0), "thorax": (2, 0)}, 2: {"head": (3, 4), "thorax": (7, 12)}},
        scores={2: 0.25},
        confidence={2: 0.75},
    )
    expression, expected = VALUES[name]
    decision = decide(f"{expression} < 100", context, tracks)
    assert decision.values[0] == pytest.approx(expected, rel=1e-12, abs=0, nan_ok=True)
    assert decision.state is (State.UNKNOWN if math.isnan(expected) else State.ON)
    assert decision.units == ("",)
