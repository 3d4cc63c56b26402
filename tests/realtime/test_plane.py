"""Levelled px: a known camera's points come out in mm, an untilted one's as they were, none from beyond its sight."""

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from realtime.plane import Distortion, Leveller, Matrix, Plane, fitted_plane
from realtime.tracks import Prediction, Tracks

WIDTH, HEIGHT = 640, 480
IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
LENS: Matrix = ((600.0, 0.0, 320.0), (0.0, 610.0, 240.0), (0.0, 0.0, 1.0))
BARREL: Distortion = (-0.2, 0.0, 0.0, 0.0, 0.0)
PX_PER_MM = 2.0


def as_matrix(values: NDArray[np.float64]) -> Matrix:
    rows = [tuple(row) for row in values.tolist()]
    return rows[0], rows[1], rows[2]


class Seen:
    """A camera 300 mm above a plane, tilted by some degrees about the picture's x axis, with a lens."""

    def __init__(self, tilt_deg: float, distortion: Distortion | None = BARREL) -> None:
        self.turn = np.radians([tilt_deg, 0.0, 0.0])
        self.away = np.array([0.0, 0.0, 300.0])
        self.distortion = distortion
        matrix = cv2.Rodrigues(self.turn)[0]
        to_px = np.array(LENS) @ np.stack([matrix[:, 0], matrix[:, 1], self.away], axis=1)
        homography = np.linalg.inv(to_px)
        self.homography = as_matrix(homography / homography[2, 2])  # as OpenCV has it
        lens = None if distortion is None else LENS
        self.plane = fitted_plane(self.homography, PX_PER_MM, (WIDTH, HEIGHT), lens, distortion)

    def px(self, mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where it sees points of the plane, by OpenCV."""
        flat = np.c_[mm, np.zeros(len(mm))]
        lens = np.zeros(5) if self.distortion is None else np.array(self.distortion)
        return cv2.projectPoints(flat, self.turn, self.away, np.array(LENS), lens)[0].reshape(-1, 2)


def lengths(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of all steps from one point to another."""
    return np.linalg.norm(points[:, None] - points, axis=-1)[np.triu_indices(len(points), 1)]


PLACES_MM = np.stack(np.meshgrid(np.linspace(-120, 120, 9), np.linspace(-80, 80, 7)), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize("tilt_deg", [0.0, 20.0, -35.0])
@pytest.mark.parametrize("distortion", [None, BARREL, (0.1, -0.03, 0.001, -0.002, 0.01)])
def test_levelled_lengths_are_those_of_the_plane(tilt_deg: float, distortion: Distortion | None) -> None:
    camera = Seen(tilt_deg, distortion)
    levelled = camera.plane.levelled(camera.px(PLACES_MM))
    assert lengths(levelled) / PX_PER_MM == pytest.approx(lengths(PLACES_MM), rel=1e-9)


def test_one_scale_is_wrong_by_a_lot_where_levelled_lengths_are_right() -> None:
    camera = Seen(20.0)
    ends = PLACES_MM[:, None] + np.array([[0.0, 0.0], [3.0, 0.0]])
    px = camera.px(ends.reshape(-1, 2)).reshape(-1, 2, 2)
    raw = np.linalg.norm(px[:, 1] - px[:, 0], axis=1)
    levelled = camera.plane.levelled(px)
    off = np.abs(np.linalg.norm(levelled[:, 1] - levelled[:, 0], axis=1) / PX_PER_MM / 3.0 - 1.0)
    assert off.max() < 1e-9
    assert np.abs(raw / raw.mean() - 1.0).max() > 0.1


def test_the_lens_is_that_of_opencv() -> None:
    distortion: Distortion = (-0.25, 0.08, 0.002, -0.003, -0.01)
    plane = Plane(width_px=WIDTH, height_px=HEIGHT, levelling=IDENTITY, camera_matrix=LENS, distortion=distortion)
    undistorted = plane.levelled(plane.grid())
    rays = np.linalg.solve(np.array(LENS), np.c_[undistorted, np.ones(len(undistorted))].T).T
    nowhere = np.zeros(3)
    bent = cv2.projectPoints(rays, nowhere, nowhere, np.array(LENS), np.array(distortion))[0].reshape(-1, 2)
    assert np.abs(bent - plane.grid()).max() < 1e-6
    assert np.abs(undistorted - plane.grid()).max() > 10.0


def test_a_calibration_that_changes_nothing_changes_no_bit() -> None:
    plane = fitted_plane(IDENTITY, 1.0, (WIDTH, HEIGHT))
    points = np.random.default_rng(0).uniform(-10.0, 700.0, (50, 13, 2)).astype(np.float32)
    points[3, 4] = np.nan
    points[0, 0] = 0.0
    assert plane.levelled(points).tobytes() == points.tobytes()
    no_lens = fitted_plane(IDENTITY, 1.0, (WIDTH, HEIGHT), LENS, (0.0, 0.0, 0.0, 0.0, 0.0))
    assert np.nanmax(np.abs(no_lens.levelled(points) - points)) < 1e-4  # the next float32


@given(st.floats(0.2, 50.0), st.floats(-math.pi, math.pi), st.floats(-400, 400), st.floats(-400, 400), st.booleans())
def test_without_tilt_and_distortion_levelled_px_are_px(
    px_per_mm: float, turn: float, x_mm: float, y_mm: float, is_mirrored: bool
) -> None:
    scale, flip = 1.0 / px_per_mm, -1.0 if is_mirrored else 1.0
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    homography: Matrix = ((cos, -sin, x_mm), (flip * sin, flip * cos, y_mm), (0.0, 0.0, 1.0))
    plane = fitted_plane(homography, px_per_mm, (WIDTH, HEIGHT))
    assert np.abs(plane.levelled(plane.grid()) - plane.grid()).max() < 1e-6


@pytest.mark.parametrize("tilt_deg", [-20.0, 0.0, 20.0])
def test_levelled_px_lie_where_px_do(tilt_deg: float) -> None:
    plane = Seen(tilt_deg, None).plane
    middle = np.array([[320.0, 240.0], [321.0, 240.0], [320.0, 241.0]])
    there, right, down = plane.levelled(middle)
    assert np.abs(there - middle[0]).max() < 30.0
    along, across = right - there, down - there
    assert abs(along[1]) < 1e-3 * along[0]  # the picture's axes, not the board's
    assert across[1] > 0.9
    # No turn and no shift would bring them closer, weighed as the fit does.
    grid = plane.grid()
    depth = np.c_[grid, np.ones(len(grid))] @ np.array(plane.levelling)[2]

    def apart(turn: float, x: float, y: float) -> float:
        matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        off = (plane.levelled(grid) - there) @ matrix.T + there + np.array([x, y]) - grid
        return float((depth**2 * (off**2).sum(axis=1)).sum())

    best = apart(0.0, 0.0, 0.0)
    for change in ((1e-3, 0, 0), (-1e-3, 0, 0), (0, 0.5, 0), (0, -0.5, 0), (0, 0, 0.5), (0, 0, -0.5)):
        assert apart(*change) > best


@pytest.mark.parametrize("tilt_deg", [75.0, -75.0])
def test_beyond_the_horizon_there_is_nothing(tilt_deg: float) -> None:
    """Seen from the side, the horizon lies 610 px * tan(15 deg) from the middle, below it or above."""
    plane = Seen(tilt_deg, None).plane
    horizon = 240.0 + math.copysign(610.0 * math.tan(math.radians(15.0)), tilt_deg)
    rows = np.array([[320.0, horizon - 1.0], [320.0, horizon + 1.0]])
    expected = [False, True] if tilt_deg > 0 else [True, False]
    assert np.isnan(plane.levelled(rows)[:, 0]).tolist() == expected


def folding(k1: float, k2: float) -> Plane:
    return Plane(
        width_px=WIDTH,
        height_px=HEIGHT,
        levelling=IDENTITY,
        camera_matrix=((600.0, 0.0, 320.0), (0.0, 600.0, 240.0), (0.0, 0.0, 1.0)),
        distortion=(k1, k2, 0.0, 0.0, 0.0),
    )


FOLDS = {
    # r + k1 r^3 + k2 r^5 grows up to r = sqrt(1 / 1.5) = 0.816, where it is 0.544.
    "folded for good": (-0.5, 0.0, 0.816497, 0.544331),
    # ... up to r = sqrt(0.5), where it is 0.424, falls until 1 and grows again: 0.5 and more comes a second time.
    "comes again": (-1.0, 0.4, 0.707107, 0.424264),
}


@pytest.mark.parametrize("name", FOLDS)
def test_where_a_distortion_folds_back_there_is_nothing(name: str) -> None:
    k1, k2, fold, seen_fold = FOLDS[name]
    plane = folding(k1, k2)

    def undistorted(focal_lengths: float) -> float:
        return float(plane.levelled(np.array([[320.0 + 600.0 * focal_lengths, 240.0]]))[0, 0] - 320.0) / 600.0

    inside = 0.99 * fold
    assert undistorted(inside + k1 * inside**3 + k2 * inside**5) == pytest.approx(inside, abs=1e-9)
    for beyond in (1.01, 1.2, 1.5, 2.0, 3.0):
        assert math.isnan(undistorted(beyond * seen_fold))


SEVERAL: Sequence[int] = (0, 1, 3)


@pytest.fixture
def make_frame() -> Callable[[int], Tracks]:
    def make(n_tracks: int) -> Tracks:
        rng = np.random.default_rng(n_tracks)
        xy = rng.uniform(0.0, 480.0, (n_tracks, 13, 2)).astype(np.float32)
        xy[:1, 2] = np.nan
        nobody, unknown = np.zeros(n_tracks, np.int32), np.zeros((n_tracks, 1), np.float32)
        return Tracks(
            np.arange(1, n_tracks + 1, dtype=np.int32),
            xy,
            np.ones((n_tracks, 13), np.float32),
            np.ones(n_tracks, np.float32),
            np.zeros(n_tracks, np.int64),
            nobody,
            nobody,
            nobody,
            Prediction(1, xy + np.float32(3.0), np.ones((n_tracks, 1), np.bool_), unknown, unknown, ()),
        )

    return make


@pytest.mark.parametrize("n_tracks", SEVERAL)
def test_a_frame_is_levelled_like_an_array(make_frame: Callable[[int], Tracks], n_tracks: int) -> None:
    plane = Seen(20.0).plane
    leveller = Leveller(plane, 3, 13)
    leveller.warm_up()
    tracks = make_frame(n_tracks)
    before = tracks.xy.copy()
    levelled = leveller.level(tracks)
    assert levelled.xy.tobytes() == plane.levelled(tracks.xy).tobytes()
    assert tracks.prediction is not None
    assert levelled.prediction is not None
    assert levelled.prediction.xy.tobytes() == plane.levelled(tracks.prediction.xy).tobytes()
    assert np.isnan(levelled.xy[:1, 2]).all()
    assert not np.isnan(np.delete(levelled.xy, 2, axis=1)).any()
    assert tracks.xy.tobytes() == before.tobytes()
    assert levelled.track_ids is tracks.track_ids


def test_more_animals_than_there_is_room_for(make_frame: Callable[[int], Tracks]) -> None:
    leveller = Leveller(Seen(20.0).plane, 2, 13)
    with pytest.raises(ValueError, match="leveller: expected at most 2 tracks, got 3"):
        leveller.level(make_frame(3))


NO_PLANES: dict[str, tuple[Matrix, Matrix | None, Distortion | None, str]] = {
    "no inverse": (
        ((1.0, 0.0, 0.0), (2.0, 0.0, 0.0), (0.0, 0.0, 1.0)),
        None,
        None,
        "expected a homography of a plane that is seen, got one without an inverse",
    ),
    "all of it beyond the horizon": (
        ((1.0, 0.0, 0.0), (0.0, 1.0, 500.0), (0.0, -1.0, -10.0)),  # its origin is seen at (0, -500)
        None,
        None,
        "expected a homography of a plane that is seen, got one that lies beyond its horizon",
    ),
    "half a lens": (IDENTITY, LENS, None, "expected camera_matrix and distortion together, got one of them"),
    "the other half": (IDENTITY, None, BARREL, "expected camera_matrix and distortion together, got one of them"),
    "no focal length": (
        IDENTITY,
        ((0.0, 0.0, 320.0), (0.0, 610.0, 240.0), (0.0, 0.0, 1.0)),
        BARREL,
        "expected focal lengths above 0 on the diagonal of camera_matrix, got 0 and 610",
    ),
}


@pytest.mark.parametrize("name", NO_PLANES)
def test_what_is_no_plane(name: str) -> None:
    homography, matrix, distortion, message = NO_PLANES[name]
    with pytest.raises((ValueError, ValidationError)) as caught:
        fitted_plane(homography, 1.0, (WIDTH, HEIGHT), matrix, distortion)
    assert message in str(caught.value)
