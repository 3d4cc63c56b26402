"""The plane of the animals: px of the picture into levelled px, in which one `px_per_mm` holds everywhere."""

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, Final, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from realtime.compiled import compiled, inner
from realtime.tracks import Prediction, Tracks

Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
_Row: TypeAlias = Annotated[tuple[Number, Number, Number], Field(strict=False)]
Matrix: TypeAlias = Annotated[tuple[_Row, _Row, _Row], Field(strict=False)]
Distortion: TypeAlias = Annotated[tuple[Number, Number, Number, Number, Number], Field(strict=False)]

_Float = TypeVar("_Float", np.float32, np.float64)

GRID: Final = 33
"""Points along a side of the picture over which levelled px are laid as close to px as can be."""

MOST_STEPS: Final = 20
"""Of Newton's method; four are enough but beside the place where a distortion folds back."""

NEAR_ENOUGH: Final = 1e-12
"""The last step, in focal lengths: less than a millionth of a px."""

_NO_MAP: Final = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


class Plane(BaseModel):
    """How a camera sees the plane of the animals: undoes the lens' distortion, then the camera's tilt.

    A levelled px is where a camera would see a point that has no distortion and looks straight down. Levelled px lie
    about where the px of the picture do and have their axes, so that what was said in px means what it did.

    A px beyond the plane's horizon, or where the distortion folds back on itself, shows no point of the plane: its
    levelled px are NaN.

    Attributes:
        width_px, height_px: Of the pictures for which it holds.
        levelling: `(3, 3)`, homogeneous, from undistorted px to levelled px; its last row gives more than 0 for what
            the camera sees of the plane.
        camera_matrix: `(3, 3)`, px; None without a distortion.
        distortion: OpenCV's k1, k2, p1, p2, k3; None for none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    width_px: int = Field(gt=0)
    height_px: int = Field(gt=0)
    levelling: Matrix
    camera_matrix: Matrix | None = None
    distortion: Distortion | None = None

    @model_validator(mode="after")
    def _whole_lens(self) -> Self:
        check_lens(self.camera_matrix, self.distortion)
        return self

    def levelled(self, xy: NDArray[_Float]) -> NDArray[_Float]:
        """Return points in levelled px, in a new array.

        Args:
            xy: `(..., 2)` px of the picture; NaN = not seen.

        Returns:
            The same shape and dtype; NaN where it was, and where the px shows no point of the plane.
        """
        points = np.ascontiguousarray(xy).reshape(1, -1, 2)
        found = np.empty_like(points)
        _level(_numbers(self), points, found)
        return found.reshape(xy.shape)

    def grid(self) -> NDArray[np.float64]:
        """Return `(GRID * GRID, 2)` px, whole ones, from corner to corner of the picture."""
        x, y = np.meshgrid(
            np.linspace(0, self.width_px - 1, GRID).round(), np.linspace(0, self.height_px - 1, GRID).round()
        )
        return np.stack([x.ravel(), y.ravel()], axis=1)


def check_lens(camera_matrix: Sequence[Sequence[float]] | None, distortion: Sequence[float] | None) -> None:
    """Check that a camera matrix and a distortion go together.

    Raises:
        ValueError: One is without the other, or a focal length is not above 0.
    """
    if (camera_matrix is None) != (distortion is None):
        raise ValueError("expected camera_matrix and distortion together, got one of them")
    if camera_matrix is not None and not (camera_matrix[0][0] > 0 and camera_matrix[1][1] > 0):
        raise ValueError(
            "expected focal lengths above 0 on the diagonal of camera_matrix, got "
            f"{camera_matrix[0][0]:g} and {camera_matrix[1][1]:g}"
        )


def fitted_plane(
    homography_px_to_mm: Matrix,
    px_per_mm: float,
    size_px: tuple[int, int],
    camera_matrix: Matrix | None = None,
    distortion: Distortion | None = None,
) -> Plane:
    """Return the plane whose levelled px are `px_per_mm` a mm and lie as close to the px of the picture as they can.

    Turned and shifted, but not stretched, by least squares over the picture; what the camera sees from afar counts
    less, by the square of its distance.

    Args:
        homography_px_to_mm: From undistorted px to mm of the plane; its origin is seen.
        px_per_mm: Of the levelled px.
        size_px: Width and height of the picture.
        camera_matrix: See `Plane`.
        distortion: See `Plane`.

    Raises:
        ValueError: The homography is no view of a plane, or camera matrix and distortion do not go together.
    """
    to_mm = np.array(homography_px_to_mm)
    origin = np.linalg.solve(to_mm, (0.0, 0.0, 1.0))[2] if np.linalg.matrix_rank(to_mm) == 3 else 0.0
    if origin == 0.0:
        raise ValueError("expected a homography of a plane that is seen, got one without an inverse")
    if origin < 0.0:
        to_mm = -to_mm  # the side of the horizon on which the origin lies is the one that is seen
    width_px, height_px = size_px

    def plane(levelling: Sequence[Sequence[float]]) -> Plane:
        return Plane(
            width_px=width_px,
            height_px=height_px,
            levelling=levelling,  # type: ignore[arg-type]
            camera_matrix=camera_matrix,
            distortion=distortion,
        )

    undistorted = plane(_NO_MAP)
    grid = undistorted.grid()
    seen = np.c_[undistorted.levelled(grid), np.ones(len(grid))] @ to_mm.T
    is_seen = seen[:, 2] > 0.0
    if not is_seen.any():
        raise ValueError("expected a homography of a plane that is seen, got one that lies beyond its horizon")
    mm = seen[is_seen, :2] / seen[is_seen, 2:]
    return plane((_similarity(mm, grid[is_seen], seen[is_seen, 2] ** 2, px_per_mm) @ to_mm).tolist())


def _similarity(
    source: NDArray[np.float64], target: NDArray[np.float64], weights: NDArray[np.float64], scale: float
) -> NDArray[np.float64]:
    """Return `(3, 3)`: how to turn, perhaps mirror, and shift scaled points `(n, 2)` so that they lie near others."""
    from_x, to_x = source[:, 0] + 1j * source[:, 1], target[:, 0] + 1j * target[:, 1]
    from_middle, to_middle = np.average(from_x, weights=weights), np.average(to_x, weights=weights)
    off, wanted = from_x - from_middle, to_x - to_middle
    plain, mirrored = (weights * off.conj() * wanted).sum(), (weights * off * wanted).sum()
    flip = -1.0 if abs(mirrored) > abs(plain) else 1.0
    turn = mirrored if flip < 0 else plain
    length = math.hypot(turn.real, turn.imag)
    cos, sin = scale * (turn.real / length), scale * (turn.imag / length)
    x, y = from_middle.real, flip * from_middle.imag
    return np.array(
        [
            [cos, -sin * flip, to_middle.real - (cos * x - sin * y)],
            [sin, cos * flip, to_middle.imag - (sin * x + cos * y)],
            [0.0, 0.0, 1.0],
        ]
    )


class Leveller:
    """Levels the tracks of one frame after the other, without allocating an array.

    Args:
        plane: How.
        max_tracks: More never live at a time.
        n_nodes: Landmarks of the skeleton.
    """

    def __init__(self, plane: Plane, max_tracks: int, n_nodes: int) -> None:
        self._numbers = _numbers(plane)
        self._xy = np.full((max_tracks, n_nodes, 2), np.nan, np.float32)
        self._predicted_xy = self._xy.copy()

    def warm_up(self) -> None:
        """Compile what `level` needs."""
        _level(self._numbers, self._xy, self._predicted_xy)

    def level(self, tracks: Tracks) -> Tracks:
        """Return a frame's tracks, and where they will be, in levelled px; overwritten by the next call.

        Raises:
            ValueError: There are more than `max_tracks`.
        """
        n, prediction = len(tracks.track_ids), tracks.prediction
        if n > len(self._xy):
            raise ValueError(f"leveller: expected at most {len(self._xy)} tracks, got {n}")
        _level(self._numbers, tracks.xy, self._xy)
        if prediction is not None:
            _level(self._numbers, prediction.xy, self._predicted_xy)
            prediction = Prediction(
                prediction.horizon_ns,
                self._predicted_xy[:n],
                prediction.is_on,
                prediction.error_px,
                prediction.pose_error_px,
                prediction.switches,
            )
        return tracks.placed(self._xy[:n], prediction)


class _At(IntEnum):
    """Positions in the numbers of a plane; the first nine are `levelling`, row by row."""

    FOCAL_X = 9  # 0 where there is no distortion
    FOCAL_Y = 10
    CENTRE_X = 11
    CENTRE_Y = 12
    K1 = 13
    K2 = 14
    P1 = 15
    P2 = 16
    K3 = 17
    FOLD = 18  # square of the distance from the axis, in focal lengths, at which the distortion folds back
    SIZE = 19


def _numbers(plane: Plane) -> NDArray[np.float64]:
    """Return a plane as the compiled code reads it, see `_At`."""
    numbers = np.zeros(_At.SIZE)
    numbers[: _At.FOCAL_X] = np.ravel(plane.levelling)
    if plane.camera_matrix is not None and plane.distortion is not None:
        (focal_x, _, centre_x), (_, focal_y, centre_y), _ = plane.camera_matrix
        k1, k2, _, _, k3 = plane.distortion
        numbers[_At.FOCAL_X : _At.K1] = focal_x, focal_y, centre_x, centre_y
        numbers[_At.K1 : _At.FOLD] = plane.distortion
        # Where the distance from the axis stops growing: d/dr (r + k1 r^3 + k2 r^5 + k3 r^7) = 0.
        roots = np.roots([7.0 * k3, 5.0 * k2, 3.0 * k1, 1.0])
        folds = roots.real[(roots.imag == 0.0) & (roots.real > 0.0)]
        numbers[_At.FOLD] = folds.min(initial=math.inf)
    return numbers


@compiled
def _level(numbers: NDArray[np.float64], xy: NDArray[_Float], levelled: NDArray[_Float]) -> None:
    """Write rows of points, `(n, n_nodes, 2)` px, into the first rows of others, in levelled px."""
    for row in range(xy.shape[0]):
        for node in range(xy.shape[1]):
            x, y = _undistorted(numbers, xy[row, node, 0], xy[row, node, 1])
            depth = numbers[6] * x + numbers[7] * y + numbers[8]
            if depth > 0.0:
                levelled[row, node, 0] = (numbers[0] * x + numbers[1] * y + numbers[2]) / depth
                levelled[row, node, 1] = (numbers[3] * x + numbers[4] * y + numbers[5]) / depth
            else:  # NaN too
                levelled[row, node, 0] = np.nan
                levelled[row, node, 1] = np.nan


@inner
def _undistorted(numbers: NDArray[np.float64], x_px: float, y_px: float) -> tuple[float, float]:
    """Return where an ideal lens would have seen a px, by Newton's method; NaN where there is no such place.

    Source: the distortion model of OpenCV, docs.opencv.org, camera calibration and 3D reconstruction.
    """
    if numbers[_At.FOCAL_X] == 0.0:
        return float(x_px), float(y_px)
    k1, k2, k3 = numbers[_At.K1], numbers[_At.K2], numbers[_At.K3]
    p1, p2 = numbers[_At.P1], numbers[_At.P2]
    seen_x = (x_px - numbers[_At.CENTRE_X]) / numbers[_At.FOCAL_X]
    seen_y = (y_px - numbers[_At.CENTRE_Y]) / numbers[_At.FOCAL_Y]
    x, y = seen_x, seen_y
    for _ in range(MOST_STEPS):
        square = x * x + y * y
        radial = 1.0 + square * (k1 + square * (k2 + square * k3))
        slope = 2.0 * (k1 + square * (2.0 * k2 + square * 3.0 * k3))
        off_x = x * radial + 2.0 * p1 * x * y + p2 * (square + 2.0 * x * x) - seen_x
        off_y = y * radial + p1 * (square + 2.0 * y * y) + 2.0 * p2 * x * y - seen_y
        along_x = radial + slope * x * x + 2.0 * p1 * y + 6.0 * p2 * x
        along_y = radial + slope * y * y + 6.0 * p1 * y + 2.0 * p2 * x
        across = slope * x * y + 2.0 * (p1 * x + p2 * y)
        area = along_x * along_y - across * across
        if not area > 0.0:  # folded back, or NaN
            return math.nan, math.nan
        step_x = (along_y * off_x - across * off_y) / area
        step_y = (along_x * off_y - across * off_x) / area
        x -= step_x
        y -= step_y
        if abs(step_x) + abs(step_y) < NEAR_ENOUGH:
            if x * x + y * y >= numbers[_At.FOLD]:
                break
            return x * numbers[_At.FOCAL_X] + numbers[_At.CENTRE_X], y * numbers[_At.FOCAL_Y] + numbers[_At.CENTRE_Y]
    return math.nan, math.nan
