"""Rules on levelled tracks: of a camera with a tilt and a lens, every number is that of the plane; of px it is not."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from realtime.decision import State
from realtime.plane import Leveller, Plane, fitted_plane
from realtime.rules import RuleContext, RuleError, RuleSpec, TrackTable, ZoneSpec, compile_rule
from realtime.rules.zones import TOLERANCE_PX, encoded
from realtime.tracks import Tracks

Point: TypeAlias = tuple[float, float]
MakeTracks: TypeAlias = Callable[..., Tracks]

MS = 1_000_000
MATRIX = np.array([[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]])
BARREL = (-0.2, 0.0, 0.0, 0.0, 0.0)
TILT, AWAY = np.radians([20.0, 0.0, 0.0]), np.array([0.0, 0.0, 300.0])
PX_PER_MM = 2.0  # in the middle of the picture: 600 px / 300 mm


def px(*mm: Point) -> NDArray[np.float64]:
    """Where the camera, tilted by 20 deg and with k1 = -0.2, sees points of the plane."""
    flat = np.c_[np.array(mm, np.float64), np.zeros(len(mm))]
    return cv2.projectPoints(flat, TILT, AWAY, MATRIX, np.array(BARREL))[0].reshape(-1, 2)


@pytest.fixture(scope="module")
def plane() -> Plane:
    turn = cv2.Rodrigues(TILT)[0]
    homography = np.linalg.inv(MATRIX @ np.stack([turn[:, 0], turn[:, 1], AWAY], axis=1))
    to_mm, matrix = homography.tolist(), MATRIX.tolist()
    size_px = (640, 480)
    return fitted_plane(tuple(map(tuple, to_mm)), PX_PER_MM, size_px, tuple(map(tuple, matrix)), BARREL)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def level(plane: Plane) -> Callable[[Tracks], Tracks]:
    """Levels a frame of its own."""

    def make(tracks: Tracks) -> Tracks:
        return Leveller(plane, 2, 3).level(tracks)

    return make


@pytest.fixture
def scaled(context: RuleContext) -> RuleContext:
    """The rig with one scale."""
    return replace(context, px_per_mm=PX_PER_MM, zones={})


def headed(thorax: Point, angle_deg: float) -> Mapping[str, Point]:
    """An animal of 20 mm in the plane, head 10 mm before its thorax, as the camera sees it."""
    x, y = thorax
    dx, dy = 10.0 * math.cos(math.radians(angle_deg)), 10.0 * math.sin(math.radians(angle_deg))
    head, middle, abdomen = px((x + dx, y + dy), (x, y), (x - dx, y - dy)).tolist()
    return {"head": tuple(head), "thorax": tuple(middle), "abdomen": tuple(abdomen)}


# expression, unit, thorax and heading of two animals in the plane, the value by hand.
NUMBERS: dict[str, tuple[str, str, tuple[Point, float], tuple[Point, float], float]] = {
    "along the far edge": ("distance(first, second)", "mm", ((-90, -70), 0), ((-50, -70), 0), 40.0),
    "along the near edge": ("distance(first, second)", "mm", ((-90, 80), 0), ((-50, 80), 0), 40.0),
    "across": ("distance(first, second)", "mm", ((110, 40), 0), ((110, 70), 0), 30.0),
    "aslant": ("distance(first, second)", "mm", ((-110, 20), 0), ((-80, 60), 0), 50.0),
    "the nearest nodes": ("nearest(first, second)", "mm", ((-100, 60), 0), ((-50, 60), 180), 30.0),
    "facing": ("facing(first, second)", "deg", ((100, 60), 180), ((60, 100), 0), 45.0),
    "facing, to the side": ("facing(first, second)", "deg", ((90, 70), 90), ((50, 70), 0), 90.0),
    "headings": ("heading(first) - heading(second)", "deg", ((-100, -70), 60), ((100, -70), 120), -60.0),
    "orientation": ("orientation(first, second)", "deg", ((-100, 70), 30), ((100, -70), 75), 45.0),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_the_plane(
    name: str, scaled: RuleContext, make_tracks: MakeTracks, level: Callable[[Tracks], Tracks]
) -> None:
    expression, unit, one, other, expected = NUMBERS[name]
    spec = RuleSpec(when=f"{expression} < 1 {unit}", when_unknown="release")
    tracks = make_tracks({1: headed(*one), 2: headed(*other)}, predicted={1: (0.0, 0.0)})
    predicting = spec.model_copy(
        update={"when": spec.when.replace("(first", "(predicted(first)").replace("second)", "predicted(second))")}
    )
    rule = compile_rule("r", spec, scaled)
    [value] = rule.evaluate(level(tracks), 0, 0).values
    assert value == pytest.approx(expected, rel=1e-3)
    [predicted] = compile_rule("r", predicting, scaled).evaluate(level(tracks), 0, 0).values
    assert predicted == value
    [raw] = rule.evaluate(tracks, 1, 1).values
    assert abs(raw / expected - 1.0) > 0.03


@pytest.mark.parametrize("start", [(-100.0, -70.0), (60.0, 70.0)])
def test_a_speed_of_the_plane(
    start: Point, scaled: RuleContext, make_tracks: MakeTracks, level: Callable[[Tracks], Tracks]
) -> None:
    """24 mm to the right and 18 mm down in 0.1 s are 300 mm/s."""
    spec = RuleSpec(when="speed(first.thorax, 0.1 s) < 1 mm/s", when_unknown="release")
    levelled, raw = compile_rule("r", spec, scaled), compile_rule("r", spec, scaled)
    for step in range(21):
        place = px((start[0] + 2.4 * step, start[1] + 1.8 * step))[0]
        tracks = make_tracks({1: {"thorax": tuple(place.tolist())}})
        [speed] = levelled.evaluate(level(tracks), step, step * 10 * MS).values
        [wrong] = raw.evaluate(tracks, step, step * 10 * MS).values
    assert speed == pytest.approx(300.0, rel=1e-3)
    assert abs(wrong / 300.0 - 1.0) > 0.03


def test_a_zone_in_mm_is_as_large_everywhere(
    plane: Plane, context: RuleContext, make_tracks: MakeTracks, level: Callable[[Tracks], Tracks]
) -> None:
    """A circle of 15 mm round a point of the plane holds what is 14.98 mm away and not what is 15.02 mm away."""
    for x, y in ((-90.0, -70.0), (90.0, 60.0)):
        middle = plane.levelled(px((x, y)))[0] / PX_PER_MM
        zone = ZoneSpec(circle=(*middle.tolist(), 15.0), unit="mm")
        within = replace(context, px_per_mm=PX_PER_MM, zones={"food": zone}, plane=plane)
        rule = compile_rule("r", RuleSpec(when="in_zone(first.head, food)", when_unknown="release"), within)
        for angle in np.radians(np.arange(0.0, 360.0, 15.0)):
            for radius, state in ((14.98, State.ON), (15.02, State.OFF)):
                head = px((x + radius * math.cos(angle), y + radius * math.sin(angle)))[0]
                tracks = level(make_tracks({1: {"head": tuple(head.tolist())}}))
                assert rule.evaluate(tracks, 0, 0).state is state


ZONES = {
    "circle": ZoneSpec(circle=(150.0, 140.0, 120.0), unit="px"),
    "small circle": ZoneSpec(circle=(600.0, 30.0, 8.0), unit="px"),
    "rectangle": ZoneSpec(rectangle=(0.0, 0.0, 639.0, 200.0), unit="px"),
    "polygon": ZoneSpec(polygon=((20.0, 20.0), (600.0, 60.0), (300.0, 460.0), (320.0, 100.0)), unit="px"),
}


def border(zone: ZoneSpec) -> NDArray[np.float64]:
    """Points of a zone's border, `(n, 2)` px."""
    if zone.circle is not None:
        x, y, radius = zone.circle
        angles = np.linspace(0.0, 2.0 * math.pi, 1000, endpoint=False)
        return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)
    corners = np.array(zone.polygon or ())
    if zone.rectangle is not None:
        left, top, right, bottom = zone.rectangle
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    share = np.linspace(0.0, 1.0, 250, endpoint=False)[:, None]
    return np.concatenate([a + share * (b - a) for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)])


def distance_to_line(points: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """From each point to the closed line through the corners."""
    start, along = corners, np.roll(corners, -1, axis=0) - corners
    off = points[:, None] - start
    share = np.clip((off * along).sum(-1) / (along**2).sum(-1), 0.0, 1.0)
    return np.linalg.norm(off - share[..., None] * along, axis=-1).min(axis=1)


@pytest.mark.parametrize("name", ZONES)
def test_the_border_of_a_zone_in_px_is_kept(plane: Plane, name: str) -> None:
    n_corners, *numbers = encoded(ZONES[name], PX_PER_MM, plane)
    corners = np.array(numbers).reshape(-1, 2)
    assert n_corners == len(corners) < 200
    assert distance_to_line(plane.levelled(border(ZONES[name])), corners).max() <= TOLERANCE_PX
    inverse = distance_to_line(corners, plane.levelled(border(ZONES[name])))
    assert inverse.max() < 1e-3  # every corner lies on the border


@pytest.mark.parametrize("name", ZONES)
def test_a_zone_in_px_holds_what_it_held(
    plane: Plane, name: str, scaled: RuleContext, make_tracks: MakeTracks, level: Callable[[Tracks], Tracks]
) -> None:
    spec = RuleSpec(when="in_zone(first.head, place)", when_unknown="release")
    zones = {"place": ZONES[name]}
    levelled = compile_rule("r", spec, replace(scaled, zones=zones, plane=plane))
    raw = compile_rule("r", spec, replace(scaled, zones=zones))
    places = np.random.default_rng(0).uniform((0, 0), (639, 479), (400, 2))
    if name == "small circle":
        places = np.random.default_rng(0).uniform((585, 15), (615, 45), (400, 2))
    away = np.array([distance_to_line(place[None], border(ZONES[name]))[0] for place in places])
    states = set()
    for place in places[away > 0.1]:
        tracks = make_tracks({1: {"head": tuple(place.tolist())}})
        expected = raw.evaluate(tracks, 0, 0).state
        assert levelled.evaluate(level(tracks), 0, 0).state is expected
        states.add(expected)
    assert states == {State.ON, State.OFF}


def test_a_zone_where_nothing_can_be_levelled(context: RuleContext) -> None:
    """k1 = -0.5 folds back 327 px from the middle of a picture of 600 px a focal length."""
    plane = Plane(
        width_px=640,
        height_px=480,
        levelling=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
        camera_matrix=((600.0, 0.0, 320.0), (0.0, 600.0, 240.0), (0.0, 0.0, 1.0)),
        distortion=(-0.5, 0.0, 0.0, 0.0, 0.0),
    )
    zones = {
        "corner": ZoneSpec(rectangle=(0.0, 0.0, 100.0, 100.0), unit="px"),
        "middle": ZoneSpec(circle=(320.0, 240.0, 300.0), unit="px"),
        "in mm": ZoneSpec(rectangle=(0.0, 0.0, 100.0, 100.0), unit="mm"),
    }
    with pytest.raises(RuleError) as caught:
        replace(context, zones=zones, plane=plane)
    assert str(caught.value) == (
        "$.zones.corner: expected a zone within what the camera sees of the plane, got one with a border at (0, 0) px, "
        "beyond the plane's horizon or where the lens' distortion folds back; make it smaller"
    )


def test_a_zone_that_touches_the_horizon(context: RuleContext) -> None:
    plane = Plane(
        width_px=640, height_px=480, levelling=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 1e-2, -1.0))
    )  # the horizon is the row 100
    near = ZoneSpec(circle=(320.0, 220.0, 120.0 - 1e-9), unit="px")
    with pytest.raises(RuleError) as caught:
        replace(context, zones={"near": near}, plane=plane)
    assert str(caught.value).startswith("$.zones.near: expected a zone within what the camera sees well of the plane, ")


def test_live_and_recorded_are_the_same_bits(
    plane: Plane, scaled: RuleContext, make_tracks: MakeTracks, level: Callable[[Tracks], Tracks]
) -> None:
    rng = np.random.default_rng(4)
    spec = RuleSpec(when="distance(first, second) < 40 mm and speed(first) < 50 mm/s", when_unknown="hold")
    frames = [
        make_tracks({1: headed(tuple(rng.uniform(-90, 90, 2)), 0), 2: headed(tuple(rng.uniform(-90, 90, 2)), 90)})
        for _ in range(100)
    ]
    rule = compile_rule("r", spec, scaled)
    live = [rule.evaluate(level(tracks), index, index * 10 * MS) for index, tracks in enumerate(frames)]
    table = TrackTable.stack(range(100), [index * 10 * MS for index in range(100)], frames)
    whole = rule.evaluate_recording(replace(table, xy=plane.levelled(table.xy)))
    assert [repr(decision) for decision in live] == [repr(whole.decision(index)) for index in range(100)]
