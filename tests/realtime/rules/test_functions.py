"""What the functions, the units and the logic of the language give, computed by hand."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.decision import Decision, State
from realtime.rules import RoleSpec, RuleContext, RuleSpec, compile_rule, functions
from realtime.rules.compiled import compile_program
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
    "across 180 deg: heading and direction on either side of the negative x axis": (
        (-4, 3),
        (-4, -3),
        73.73979529168804,
    ),
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
    "identity confidence in a sum": ("1 - identity_confidence(second)", 0.25),
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
    "numbers in all spellings": ("score(second.head) + 1. + .5 + 25e-2 + 1E1 + 1.0e+1", 22.0),
}


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


UNITS = {
    "the right side's unit": ("distance(first, second) < 3 mm", 1.3, "mm"),
    "no space before the unit": ("distance(first, second) < 3mm", 1.3, "mm"),
    "pixels": ("distance(first, second) < 30 px", 13.0, "px"),
    "centimetres": ("distance(first, second) < 1 cm", 0.13, "cm"),
    "the first unit of the right side": ("distance(first, second) < 1 mm + 20 px", 1.3, "mm"),
    "the left side's unit if the right has none": (
        "distance(first, second) - 1 mm < distance(first.head, second.head) * 8",
        0.3,
        "mm",
    ),
    "px where neither side has a unit": ("distance(first, second) < 3 * distance(first.head, second.head)", 13.0, "px"),
    "a constant on the left: the right side is reported": ("3 mm > distance(first, second)", 1.3, "mm"),
    "degrees": ("facing(first, second.head) < 200 deg", 90.0, "deg"),
    "radians": ("facing(first, second.head) < 3 rad", math.pi / 2, "rad"),
    "an area": ("distance(first, second) * distance(first, second) < 9 mm * 9 mm", 169.0, "px^2"),
    "a negative limit": ("-distance(first, second) > -3 mm", -1.3, "mm"),
    "a unit inside of a function": ("max(distance(first, second), 1 mm) < 3 mm", 1.3, "mm"),
}


@pytest.mark.parametrize("name", UNITS)
def test_a_comparison_is_reported_in_the_unit_of_its_limit(
    name: str, context: RuleContext, make_tracks: MakeTracks
) -> None:
    tracks = make_tracks(
        {
            1: {"head": (8, 0), "thorax": (0, 0), "abdomen": (-8, 0)},
            2: {"head": (0, 5), "thorax": (5, 12)},
        }
    )
    expression, expected, unit = UNITS[name]
    decision = decide(expression, context, tracks)
    assert decision.values[0] == pytest.approx(expected, rel=1e-12)
    assert decision.units == (unit,)
    assert decision.state is State.ON


def test_a_limit_in_mm_is_compared_as_written() -> None:
    # 0.7 * 30.3 / 30.3 is not 0.7 in floating point: the limit may not make that detour.
    context = RuleContext(("head", "thorax"), roles={"first": RoleSpec(track=1)}, px_per_mm=30.3)
    spec = RuleSpec(when="distance(first.head, first.thorax) < 0.7 mm", when_unknown="hold")
    assert compile_program("r", spec, context).constants.tolist() == [30.3, 0.7]


def test_a_limit_is_met_exactly(context: RuleContext, make_tracks: MakeTracks) -> None:
    tracks = make_tracks({1: {"head": (0, 0), "thorax": (18, 24)}})
    for limit, state in (("<= 3 mm", State.ON), (">= 3 mm", State.ON), ("< 3 mm", State.OFF), ("> 3 mm", State.OFF)):
        assert decide(f"distance(first.head, first.thorax) {limit}", context, tracks).state is state


VISIBLE = {
    "node seen": ("visible(first.head)", True),
    "node not seen": ("visible(first.abdomen)", False),
    "animal with a node seen": ("visible(first)", True),
    "animal of which nothing is seen": ("visible(second)", False),
    "node of an absent animal": ("visible(female.head)", False),
    "absent animal": ("visible(female)", False),
}


@pytest.mark.parametrize("name", VISIBLE)
def test_visible_is_never_unknown(name: str, context: RuleContext, make_tracks: MakeTracks) -> None:
    expression, expected = VISIBLE[name]
    tracks = make_tracks({1: {"head": (1, 1)}, 2: {}})
    assert decide(expression, context, tracks).state is (State.ON if expected else State.OFF)
    assert decide(f"not {expression}", context, tracks).state is (State.OFF if expected else State.ON)


SUSPECTED = {
    "suspected": ("swap_suspected(second)", State.ON),
    "not suspected": ("swap_suspected(first)", State.OFF),
    "negated": ("not swap_suspected(first)", State.ON),
    "absent animal": ("swap_suspected(female)", State.UNKNOWN),
    "not of an absent animal": ("not swap_suspected(female)", State.UNKNOWN),
}


@pytest.mark.parametrize("name", SUSPECTED)
def test_swap_suspected(name: str, context: RuleContext, make_tracks: MakeTracks) -> None:
    expression, expected = SUSPECTED[name]
    tracks = make_tracks({1: {"head": (1, 1)}, 2: {}}, suspects={2: 1})
    assert decide(expression, context, tracks).state is expected


ROLES = {
    "by identity": ({4: "male", 7: "female"}, "male", (4,)),
    "nobody has the identity": ({7: "female"}, "male", ()),
    "two have the identity": ({4: "male", 5: "male", 7: "female"}, "male", ()),
    "by track": ({1: "female", 2: "male"}, "second", (2,)),
    "the track has ended": ({1: "female"}, "second", ()),
}


@pytest.mark.parametrize("name", ROLES)
def test_roles_find_their_animal(name: str, context: RuleContext, make_tracks: MakeTracks) -> None:
    identities, role, track_ids = ROLES[name]
    tracks = make_tracks({i: {"head": (i, 0), "thorax": (0, 0)} for i in identities}, identities=identities)
    decision = decide(f"distance({role}.head, {role}.thorax) < 100 px", context, tracks)
    assert decision.track_ids == track_ids
    assert decision.values == (pytest.approx(float(track_ids[0]) if track_ids else math.nan, nan_ok=True),)
    assert decision.state is (State.ON if track_ids else State.UNKNOWN)


def test_names_that_are_no_words_are_quoted(make_tracks: MakeTracks) -> None:
    context = RuleContext(("left ear", "and", "tail-1"), roles={"mouse-1": RoleSpec(track=1)})
    source = make_tracks({1: {"head": (0, 0), "thorax": (3, 4)}})
    decision = decide("distance('mouse-1'.'left ear', 'mouse-1'.'and') < 9 px", context, source)
    assert decision.values == (5.0,)


T, F, U = State.ON, State.OFF, State.UNKNOWN
AND = {(T, T): T, (T, F): F, (T, U): U, (F, T): F, (F, F): F, (F, U): F, (U, T): U, (U, F): F, (U, U): U}
OR = {(T, T): T, (T, F): T, (T, U): T, (F, T): T, (F, F): F, (F, U): U, (U, T): T, (U, F): U, (U, U): U}
NOT = {T: F, F: T, U: U}
LEAVES = {T: "score(first.head) > 0.5", F: "score(first.head) < 0.5", U: "score(female.head) < 0.5"}


@pytest.mark.parametrize("left", [T, F, U])
@pytest.mark.parametrize("right", [T, F, U])
def test_logic_is_kleenes(left: State, right: State, context: RuleContext, make_tracks: MakeTracks) -> None:
    tracks = make_tracks({1: {"head": (0, 0)}})
    assert decide(f"{LEAVES[left]} and {LEAVES[right]}", context, tracks).state is AND[left, right]
    assert decide(f"{LEAVES[left]} or {LEAVES[right]}", context, tracks).state is OR[left, right]
    assert decide(f"not {LEAVES[left]}", context, tracks).state is NOT[left]


def binary(word: str, table: dict[tuple[State, State], State]) -> Callable[..., tuple[str, State]]:
    return lambda left, right: (f"({left[0]}) {word} ({right[0]})", table[left[1], right[1]])


CONDITIONS = st.recursive(
    st.sampled_from([(text, state) for state, text in LEAVES.items()]),
    lambda inner: st.one_of(
        st.builds(binary("and", AND), inner, inner),
        st.builds(binary("or", OR), inner, inner),
        st.builds(lambda operand: (f"not ({operand[0]})", NOT[operand[1]]), inner),
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(condition=CONDITIONS)
def test_any_tree_of_logic(condition: tuple[str, State], context: RuleContext, make_tracks: MakeTracks) -> None:
    text, expected = condition
    assert decide(text, context, make_tracks({1: {"head": (0, 0)}})).state is expected


BINDING = {
    "and before or": (f"{LEAVES[T]} or {LEAVES[T]} and {LEAVES[F]}", T),
    "parentheses": (f"({LEAVES[T]} or {LEAVES[T]}) and {LEAVES[F]}", F),
    "not before and": (f"not {LEAVES[F]} and {LEAVES[F]}", F),
    "not over parentheses": (f"not ({LEAVES[F]} and {LEAVES[F]})", T),
    "not after and": (f"{LEAVES[T]} and not {LEAVES[F]}", T),
    "not of a not": (f"not not {LEAVES[T]}", T),
    "several lines": ("\n  score(first.head) > 0.5\n\tand not score(first.head) < 0.5\n", T),
    "as deep as it may be": ("(" * (MAX_DEPTH - 2) + LEAVES[T] + ")" * (MAX_DEPTH - 2), T),
    "as long as it may be": (" and ".join([LEAVES[T]] * (MAX_DEPTH - 5)), T),
}


@pytest.mark.parametrize("name", BINDING)
def test_words_bind_as_written(name: str, context: RuleContext, make_tracks: MakeTracks) -> None:
    text, expected = BINDING[name]
    assert decide(text, context, make_tracks({1: {"head": (0, 0)}})).state is expected


def test_every_function_is_described() -> None:
    for name in functions.FUNCTIONS:
        assert f"`{name}(" in (functions.__doc__ or "")
