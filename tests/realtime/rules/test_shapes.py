"""Directions, contact and zones, computed by hand."""

import itertools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from realtime.assemble import load_model, make_rules
from realtime.decision import Decision, State
from realtime.rig import RigError, parse_rig
from realtime.rules import RoleSpec, RuleContext, RuleError, RuleSpec, ZoneSpec, compile_rule, shapes
from realtime.tracks import Tracks

MakeTracks = Callable[..., Tracks]
Point = tuple[float, float]

ON, OFF, UNKNOWN = State.ON, State.OFF, State.UNKNOWN


def decide(when: str, context: RuleContext, tracks: Tracks) -> Decision:
    return compile_rule("r", RuleSpec(when=when, when_unknown="release"), context).evaluate(tracks, 0, 0)


def axis(angle_deg: float) -> dict[str, Point]:
    """An animal of 20 px that heads in a direction: 0 deg is right, 90 deg is down."""
    dx, dy = 10 * math.cos(math.radians(angle_deg)), 10 * math.sin(math.radians(angle_deg))
    return {"head": (100 + dx, 100 + dy), "abdomen": (100 - dx, 100 - dy)}


# (first's heading, second's heading, expression, expected value)
CIRCLE = {
    "right": (0, 0, "heading(first) - 0 deg < 999 deg", 0.0),
    "down": (90, 0, "heading(first) - 0 deg < 999 deg", 90.0),
    "up": (-90, 0, "heading(first) - 0 deg < 999 deg", -90.0),
    "down left": (135, 0, "heading(first) - 0 deg < 999 deg", 135.0),
    "up left": (-135, 0, "heading(first) - 0 deg < 999 deg", -135.0),
    "in radians": (90, 0, "heading(first) - 0 deg < 9 rad", math.pi / 2),
    "in radians, across 180 deg": (170, 0, "heading(first) + 20 deg < 9 rad", math.radians(-170)),
    "across 180 deg from above": (-170, 0, "heading(first) - 170 deg < 999 deg", 20.0),
    "across 180 deg from below": (170, 0, "heading(first) + 170 deg < 999 deg", -20.0),
    "the direction on the right": (-170, 0, "170 deg - heading(first) < 999 deg", -20.0),
    "a sum goes on round the circle": (170, 0, "heading(first) + 170 deg + 170 deg < 999 deg", 150.0),
    "two directions across 180 deg": (170, -170, "heading(first) - heading(second) < 999 deg", -20.0),
    "two directions, the other way round": (170, -170, "heading(second) - heading(first) < 999 deg", 20.0),
    "the size of a difference": (170, -170, "abs(heading(first) - heading(second)) < 999 deg", 20.0),
    "a size is a plain angle": (170, -170, "abs(heading(first) - heading(second)) + 350 deg < 999 deg", 370.0),
    "a negative difference": (170, -170, "-(heading(first) - heading(second)) < 999 deg", 20.0),
    "orientation, the same way": (35, 35, "orientation(first, second) < 999 deg", 0.0),
    "orientation, opposite": (35, -145, "orientation(first, second) < 999 deg", 180.0),
    "orientation, across": (35, 125, "orientation(first, second) < 999 deg", 90.0),
    "orientation, across 180 deg": (170, -170, "orientation(first, second) < 999 deg", 20.0),
    "orientation has no sign": (-170, 170, "orientation(first, second) < 999 deg", 20.0),
    "orientation of itself": (35, 0, "orientation(first, first) < 999 deg", 0.0),
}


@pytest.mark.parametrize("name", CIRCLE)
def test_circular_quantities(name: str, context: RuleContext, make_tracks: MakeTracks) -> None:
    first, second, expression, expected = CIRCLE[name]
    decision = decide(expression, context, make_tracks({1: axis(first), 2: axis(second)}))
    assert decision.values[0] == pytest.approx(expected, abs=1e-4)  # points are float32
    assert decision.state is ON


@settings(max_examples=200, deadline=None)
@given(first=st.floats(-720, 720), second=st.floats(-720, 720))
def test_a_difference_is_the_shortest_turn(
    first: float, second: float, context: RuleContext, make_tracks: MakeTracks
) -> None:
    tracks = make_tracks({1: axis(first), 2: axis(second)})
    value = decide("heading(first) - heading(second) < 999 deg", context, tracks).values[0]
    assert -180.0 <= value < 180.0
    assert math.cos(math.radians(value)) == pytest.approx(math.cos(math.radians(first - second)), abs=1e-5)
    assert math.sin(math.radians(value)) == pytest.approx(math.sin(math.radians(first - second)), abs=1e-5)
    assert abs(value) == pytest.approx(
        decide("orientation(first, second) < 999 deg", context, tracks).values[0], abs=1e-9
    )


LENGTHS = st.floats(-1e6, 1e6, allow_subnormal=False)


@settings(max_examples=500, deadline=None)
@given(x=LENGTHS, y=LENGTHS)
def test_a_direction_is_that_of_the_arc_tangent(x: float, y: float) -> None:
    assume(x != 0.0 or y != 0.0)
    expected = math.degrees(math.atan2(y + 0.0, x))  # of -0.0 it makes -180 deg
    assert shapes.direction(x, y) == pytest.approx(expected, rel=2e-15, abs=1e-300)
    assert shapes.angle_between(1.0, 0.0, x, y) == abs(shapes.direction(x, y))


@pytest.mark.parametrize("length", [0.1, 1.0, 77.7])
def test_eighths_of_a_turn_are_exact(length: float) -> None:
    around = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    found = [shapes.direction(length * x, length * y) for x, y in around]
    assert found == [0.0, 45.0, 90.0, 135.0, 180.0, -135.0, -90.0, -45.0]


# For these the C library's arc tangent gives other bits with FMA than without it, and never these.
BITS = {
    (44.310830976782334, 87.21507532030068): "0x1.f8883bea2c7e9p+5",
    (91.48880349978441, 72.09952435679497): "0x1.31ecabd5e3feap+5",
    (86.4180989259716, 159.30906305437932): "0x1.ec2d53fabbbe6p+5",
    (54.958639453209834, 9.229082819521436): "0x1.310b281e60b9fp+3",
}


def test_an_angle_has_the_same_bits_on_every_processor() -> None:
    assert {vector: shapes.direction(*vector).hex() for vector in BITS} == BITS


UNKNOWN_SHAPES = {
    "heading without a front": ("heading(first) - 0 deg > 0 deg", {1: {"abdomen": (1, 1)}}),
    "heading without a back": ("heading(first) - 0 deg > 0 deg", {1: {"head": (1, 1)}}),
    "heading of a point": ("heading(first) - 0 deg > 0 deg", {1: {"head": (1, 1), "abdomen": (1, 1)}}),
    "heading of an absent animal": ("heading(first) - 0 deg > 0 deg", {}),
    "orientation to an absent animal": ("orientation(first, second) > 0 deg", {1: axis(0)}),
    "orientation of one without extent": (
        "orientation(first, second) > 0 deg",
        {1: axis(0), 2: {"head": (1, 1), "abdomen": (1, 1)}},
    ),
    "nearest to an absent animal": ("nearest(first, second) > 0 px", {1: axis(0)}),
    "nearest to one of whom nothing is seen": ("nearest(first, second) > 0 px", {1: axis(0), 2: {}}),
    "nearest of one of whom nothing is seen": ("nearest(second, first) > 0 px", {1: axis(0), 2: {}}),
    "contact with one of whom nothing is seen": ("contact(first, second, 1 mm)", {1: axis(0), 2: {}}),
    "no contact with one of whom nothing is seen": ("not contact(first, second, 1 mm)", {1: axis(0), 2: {}}),
    "a node that is not seen in a zone": ("in_zone(first.thorax, food)", {1: axis(0)}),
    "an absent animal in a zone": ("in_zone(first, food)", {}),
    "an absent animal not in a zone": ("not in_zone(first, nest)", {}),
    "count while one's centre is not seen": (
        "count_in_zone(food) >= 0",
        {1: {"thorax": (30, 40)}, 2: {"head": (0, 0)}},
    ),
    "confidence of an absent animal": ("confidence(first) < 2", {}),
}


@pytest.mark.parametrize("name", UNKNOWN_SHAPES)
def test_what_is_not_seen_is_unknown(name: str, context: RuleContext, make_tracks: MakeTracks) -> None:
    expression, animals = UNKNOWN_SHAPES[name]
    assert decide(expression, context, make_tracks(animals)).state is UNKNOWN


NEAR = {1: {"head": (0, 0), "thorax": (10, 0)}, 2: {"head": (13, 4), "thorax": (50, 50), "abdomen": (10, 80)}}
VALUES = {
    "nearest is the closest pair of nodes": ("nearest(first, second) < 99 px", 5.0),
    "nearest is symmetric": ("nearest(second, first) < 99 px", 5.0),
    "nearest in mm": ("nearest(first, second) < 99 mm", 0.5),
    "nearest to itself": ("nearest(first, first) < 99 px", 0.0),
    "confidence counts what is not seen as 0": ("confidence(first) < 99", 0.4),
    "confidence": ("confidence(second) < 99", 0.75),
    "one in the zone": ("count_in_zone(nest) < 99", 1.0),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str, context: RuleContext, make_tracks: MakeTracks) -> None:
    expression, expected = VALUES[name]
    tracks = make_tracks(NEAR, scores={1: 0.6, 2: 0.75})
    assert decide(expression, context, tracks).values == (pytest.approx(expected, rel=1e-6),)


@pytest.mark.parametrize(("length", "state"), [("5 px", OFF), ("5.01 px", ON), ("0.51 mm", ON), ("3 px + 0.21 mm", ON)])
def test_contact_is_nearer_than_a_length(
    length: str, state: State, context: RuleContext, make_tracks: MakeTracks
) -> None:
    assert decide(f"contact(first, second, {length})", context, make_tracks(NEAR)).state is state


# A zone, and points: inside or on the border, and outside.
ZONES: dict[str, tuple[dict[str, Any], list[Point], list[Point]]] = {
    "circle": (
        {"circle": [10, 20, 5]},
        [(10, 20), (15, 20), (10, 15), (13, 24), (6.5, 23.5)],
        [(15.01, 20), (14, 24), (5, 15), (10, 26)],
    ),
    "rectangle": (
        {"rectangle": [0, 0, 20, 10]},
        [(0, 0), (20, 10), (0, 10), (20, 0), (10, 5), (10, 0), (0, 5), (20, 5), (10, 10)],
        [(-0.01, 5), (20.01, 5), (10, -0.01), (10, 10.01), (-5, 0), (25, 10), (25, 0)],
    ),
    "triangle": (
        {"polygon": [[0, 0], [20, 0], [0, 20]]},
        [(0, 0), (20, 0), (0, 20), (10, 10), (5, 5), (0, 7), (7, 0)],
        [(10.5, 10), (20, 20), (-1, 0), (21, 0), (-1, 20), (0, 21)],
    ),
    "the other way round": ({"polygon": [[0, 20], [20, 0], [0, 0]]}, [(5, 5), (10, 10), (0, 0)], [(10.5, 10), (-1, 0)]),
    "L": (
        {"polygon": [[0, 0], [30, 0], [30, 10], [10, 10], [10, 30], [0, 30]]},
        [(5, 25), (25, 5), (10, 10), (10, 20), (20, 10), (5, 10), (5, 0)],
        [(20, 20), (10.1, 10.1), (11, 30), (-1, 10), (31, 10), (40, 0), (-5, 30)],
    ),
    "a ray through a corner": (
        {"polygon": [[0, 10], [10, 0], [20, 10], [10, 20]]},
        [(10, 10), (0, 10), (10, 0), (5, 10)],
        [(-5, 10), (25, 10), (5, 0), (5, 20), (-5, 0), (-5, 20)],
    ),
    "in mm": ({"rectangle": [0, 0, 2, 1], "unit": "mm"}, [(20, 10), (1, 1)], [(20.1, 5), (5, 10.1)]),
}


@pytest.mark.parametrize("name", ZONES)
def test_in_zone(name: str, make_tracks: MakeTracks) -> None:
    table, inside, outside = ZONES[name]
    context = RuleContext(
        ("head", "thorax", "abdomen"),
        roles={"first": RoleSpec(track=1)},
        centre="thorax",
        px_per_mm=10.0,
        zones={
            "other": ZoneSpec(circle=(500, 500, 1), unit="px"),
            "it": ZoneSpec.model_validate({"unit": "px"} | table),
        },
    )
    for points, state in ((inside, ON), (outside, OFF)):
        for point in points:
            for node in (".thorax", ""):
                tracks = make_tracks({1: {"thorax": point}})
                assert decide(f"in_zone(first{node}, it)", context, tracks).state is state, point
                assert decide("not in_zone(first, other)", context, tracks).state is ON
    tracks = make_tracks({k: {"thorax": point} for k, point in enumerate((*inside, *outside), 1)})
    assert decide("count_in_zone(it) < 99", context, tracks).values == (float(len(inside)),)


def test_count_without_animals(context: RuleContext, make_tracks: MakeTracks) -> None:
    assert decide("count_in_zone(food) < 1", context, make_tracks({})).values == (0.0,)


@settings(max_examples=100, deadline=None)
@given(x=st.integers(-3, 23), y=st.integers(-3, 13), data=st.data())
def test_a_rectangle_is_a_polygon_from_any_corner(x: int, y: int, data: st.DataObject, make_tracks: MakeTracks) -> None:
    corners = [(0.0, 0.0), (20.0, 0.0), (20.0, 10.0), (0.0, 10.0)]
    start = data.draw(st.integers(0, 3))
    turned = tuple(itertools.islice(itertools.cycle(corners), start, start + 4))
    context = RuleContext(
        ("head", "thorax", "abdomen"),
        roles={"first": RoleSpec(track=1)},
        zones={"it": ZoneSpec(polygon=turned, unit="px")},
    )
    state = decide("in_zone(first.head, it)", context, make_tracks({1: {"head": (x, y)}})).state
    assert state is (ON if 0 <= x <= 20 and 0 <= y <= 10 else OFF)


WRONG_ZONES: dict[str, tuple[Mapping[str, Any], str]] = {
    "no shape": ({"unit": "px"}, "expected one of circle, rectangle and polygon, got none"),
    "two shapes": (
        {"circle": [1, 2, 3], "rectangle": [0, 0, 1, 1], "unit": "px"},
        "expected one of circle, rectangle and polygon, got circle and rectangle",
    ),
    "no unit": ({"circle": [1, 2, 3]}, "unit\n  Field required"),
    "unit of another kind": ({"circle": [1, 2, 3], "unit": "deg"}, "Input should be 'px' or 'mm'"),
    "no radius": ({"circle": [1, 2], "unit": "px"}, "Field required"),
    "radius of nothing": ({"circle": [1, 2, 0], "unit": "px"}, "circle: expected a radius above 0, got 0"),
    "empty rectangle": (
        {"rectangle": [5, 0, 5, 9], "unit": "px"},
        "rectangle: expected [left, top, right, bottom] with left < right and top < bottom, got [5, 0, 5, 9]",
    ),
    "rectangle upside down": ({"rectangle": [0, 9, 5, 0], "unit": "px"}, "with left < right and top < bottom"),
    "a line": ({"polygon": [[0, 0], [1, 1]], "unit": "px"}, "at least 3 items"),
    "not a number": ({"circle": [float("nan"), 2, 3], "unit": "px"}, "finite number"),
    "unknown key": ({"circle": [1, 2, 3], "unit": "px", "radius": 3}, "Extra inputs are not permitted"),
}


@pytest.mark.parametrize("name", WRONG_ZONES)
def test_wrong_zones(name: str) -> None:
    table, text = WRONG_ZONES[name]
    with pytest.raises(ValidationError) as caught:
        ZoneSpec.model_validate(table)
    assert text in str(caught.value)


def test_a_zone_in_mm_needs_a_calibration() -> None:
    with pytest.raises(RuleError) as caught:
        RuleContext(("head",), zones={"nest": ZoneSpec(circle=(1, 2, 3), unit="mm")})
    assert str(caught.value) == (
        "$.zones.nest.unit: expected $.calibration.px_per_mm for 'mm', got none; calibrate the rig or "
        "write the zone in px"
    )


def test_zones_come_from_the_rig_and_back_from_its_record() -> None:
    tables = {
        "food": {"circle": [1, 2, 3], "unit": "px"},
        "nest": {"rectangle": [0, 0, 2, 1], "unit": "px"},
        "ramp": {"polygon": [[0, 0], [5, 0], [0, 5]], "unit": "px"},
    }
    data = {
        "camera": {"driver": "sim"},
        "model": {"kind": "exported", "path": "zoo:sim_pair"},
        "animal": {"front": "head", "back": "abdomen", "centre": "thorax"},
        "zones": tables,
        "rules": {
            "eating": {"any_pair": ["a", "b"], "when": "in_zone(a, food) and in_zone(b, nest)", "when_unknown": "hold"}
        },
    }
    rig = parse_rig(data, Path("rig.toml"))
    assert rig.zones == {name: ZoneSpec.model_validate(table) for name, table in tables.items()}
    assert parse_rig(rig.settings, Path("rig.toml")).zones == rig.zones
    assert [rule.name for rule in make_rules(rig, load_model(rig))] == ["eating"]


def test_a_mistake_in_a_rigs_zone_is_named() -> None:
    with pytest.raises(RigError) as caught:
        parse_rig({"zones": {"food": {"circle": [1, 2, 0], "unit": "px"}}}, Path("rig.toml"))
    assert "rig.toml: $.zones.food: circle: expected a radius above 0, got 0" in caught.value.mistakes
