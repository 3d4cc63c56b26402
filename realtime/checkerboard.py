"""A checkerboard in pictures, and what it says of the camera: scale, tilt, distortion."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime.calibration import Calibration, CalibrationError

MIN_PICTURES: Final = 5
"""Fewer pictures than this do not tell a lens' distortion from a tilted board."""

_FLAGS: Final = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY


@dataclass(frozen=True, slots=True)
class Board:
    """A checkerboard: inner corners along its two sides, and the side of a square in mm."""

    columns: int
    rows: int
    square_mm: float

    @property
    def points_mm(self) -> NDArray[np.float64]:
        """`(columns * rows, 2)`, the corners in mm, row by row from the first one."""
        y, x = np.mgrid[: self.rows, : self.columns]
        return np.stack([x.ravel(), y.ravel()], axis=1) * self.square_mm


@dataclass(frozen=True, slots=True)
class Sighting:
    """A picture of the board.

    Attributes:
        path: The picture.
        image: `(height, width)` uint8.
        corners_px: `(n_corners, 2)` float64, in the order of `Board.points_mm`.
    """

    path: Path
    image: NDArray[np.uint8]
    corners_px: NDArray[np.float64]


def find_board(path: Path, board: Board) -> Sighting:
    """Find the corners of the board in a picture.

    Raises:
        CalibrationError: The picture cannot be read, or does not show the whole board.
    """
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    if image is None:
        raise CalibrationError(f"{path}: expected a picture that can be read (PNG, JPEG, TIFF), got none")
    gray = np.asarray(image, np.uint8)
    is_found, corners = cv2.findChessboardCornersSB(gray, (board.columns, board.rows), flags=_FLAGS)
    if not is_found:
        raise CalibrationError(
            f"{path}: expected a checkerboard of {board.columns}x{board.rows} inner corners, all of them in the "
            "picture, got none; count the corners where four squares meet, not the squares, and see that the board is "
            "sharp, evenly lit and has a white border"
        )
    return Sighting(path, gray, np.asarray(corners, np.float64).reshape(-1, 2))


def calibrate(sightings: Sequence[Sighting], board: Board, max_error_percent: float) -> Calibration:
    """Return what the board says of the camera.

    Args:
        sightings: One picture of the board in the plane of the animals; or that one first, and more at other tilts, for
            the distortion.
        board: The board.
        max_error_percent: How much a length may be off anywhere on the board after levelling.

    Raises:
        CalibrationError: There are pictures of several sizes or too few for a distortion, or a levelled length is off
            by too much.
    """
    plane = sightings[0]
    height_px, width_px = plane.image.shape
    for other in sightings[1:]:
        if other.image.shape != plane.image.shape:
            raise CalibrationError(
                f"{other.path}: expected {width_px}x{height_px} px as in {plane.path}, got "
                f"{other.image.shape[1]}x{other.image.shape[0]}"
            )
    if 1 < len(sightings) < MIN_PICTURES:
        raise CalibrationError(
            f"expected one picture, or at least {MIN_PICTURES} of the board at different tilts for the distortion, got "
            f"{len(sightings)}"
        )
    px_per_mm = float(np.mean(_scales(plane.corners_px, board)))
    lens = _lens(sightings, board) if len(sightings) > 1 else None
    corners_px = plane.corners_px if lens is None else lens.undistorted(plane.corners_px)
    homography = _homography(corners_px, board.points_mm)
    off_mm = np.linalg.norm(_through(homography, corners_px) - board.points_mm, axis=1)
    back_px = np.linalg.norm(_through(_homography(board.points_mm, corners_px), board.points_mm) - corners_px, axis=1)
    found = Calibration(
        format_version=1,
        px_per_mm=px_per_mm,
        scale_error_percent=_error_percent(plane.corners_px, px_per_mm, board),
        reprojection_px=_rms(back_px) if lens is None else lens.reprojection_px,
        reprojection_mm=_rms(off_mm),
        width_px=width_px,
        height_px=height_px,
        corners=(board.columns, board.rows),
        square_mm=board.square_mm,
        pictures=tuple(sighting.path.name for sighting in sightings),
        homography_px_to_mm=homography.tolist(),
        camera_matrix=None if lens is None else lens.matrix.tolist(),
        distortion=None if lens is None else tuple(lens.distortion.tolist()),
    )
    levelled = _error_percent(found.plane().levelled(plane.corners_px), px_per_mm, board)
    if not levelled <= max_error_percent:
        more = "" if lens is not None else "give more pictures, at other tilts, if the lens bends lines; "
        raise CalibrationError(
            f"{plane.path}: expected a board on which levelled lengths are right to {max_error_percent:g} %, got one "
            f"on which they are off by up to {levelled:.1f} % (with one px_per_mm {found.scale_error_percent:.1f} %); "
            f"{more}see that the board is flat and its corners are right, or allow more with --max-error-percent"
        )
    return found.model_copy(update={"levelled_error_percent": levelled})


def drawn(sighting: Sighting, board: Board) -> NDArray[np.uint8]:
    """Return the picture with its corners drawn in their order, `(height, width, 3)`, for a person to look at."""
    image = cv2.cvtColor(sighting.image, cv2.COLOR_GRAY2BGR)
    corners = np.ascontiguousarray(sighting.corners_px, np.float32).reshape(-1, 1, 2)
    cv2.drawChessboardCorners(image, (board.columns, board.rows), corners, True)
    return np.asarray(image, np.uint8)


@dataclass(frozen=True, slots=True)
class _Lens:
    matrix: NDArray[np.float64]
    distortion: NDArray[np.float64]
    reprojection_px: float

    def undistorted(self, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
        found = cv2.undistortPoints(points_px.reshape(-1, 1, 2), self.matrix, self.distortion, P=self.matrix)
        return np.asarray(found, np.float64).reshape(-1, 2)


def _lens(sightings: Sequence[Sighting], board: Board) -> _Lens:
    flat = np.concatenate([board.points_mm, np.zeros((len(board.points_mm), 1))], axis=1).astype(np.float32)
    seen = [sighting.corners_px.astype(np.float32).reshape(-1, 1, 2) for sighting in sightings]
    height, width = sightings[0].image.shape
    start = np.eye(3)
    error_px, matrix, distortion, _, _ = cv2.calibrateCamera(
        [flat] * len(seen), seen, (width, height), start, np.zeros(5)
    )
    return _Lens(np.asarray(matrix, np.float64), np.asarray(distortion, np.float64).ravel(), float(error_px))


def _error_percent(corners_px: NDArray[np.float64], px_per_mm: float, board: Board) -> float:
    """Return by how many percent a square's side or diagonal is off at most."""
    return float(np.abs(_scales(_smoothed(corners_px, board), board) / px_per_mm - 1.0).max() * 100.0)


def _scales(corners_px: NDArray[np.float64], board: Board) -> NDArray[np.float64]:
    """Return px a mm along every side and every diagonal of a square."""
    grid_px = corners_px.reshape(board.rows, board.columns, 2)
    side, diagonal = board.square_mm, board.square_mm * np.sqrt(2.0)
    steps = (
        (grid_px[:, 1:] - grid_px[:, :-1], side),
        (grid_px[1:] - grid_px[:-1], side),
        (grid_px[1:, 1:] - grid_px[:-1, :-1], diagonal),
        (grid_px[1:, :-1] - grid_px[:-1, 1:], diagonal),
    )
    return np.concatenate([np.linalg.norm(step, axis=-1).ravel() / mm for step, mm in steps])


def _smoothed(corners_px: NDArray[np.float64], board: Board) -> NDArray[np.float64]:
    """Return the corners on a cubic surface: it follows tilt and distortion, and leaves out the noise of corners."""
    x, y = (board.points_mm / board.points_mm.max(axis=0) * 2.0 - 1.0).T
    terms = np.stack([x**i * y**k for i in range(4) for k in range(4 - i)], axis=1)
    return np.asarray(terms @ np.linalg.lstsq(terms, corners_px, rcond=None)[0], np.float64)


def _homography(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cv2.findHomography(source, target)[0], np.float64)


def _through(homography: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cv2.perspectiveTransform(points.reshape(-1, 1, 2), homography), np.float64).reshape(-1, 2)


def _rms(distances: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(distances**2)))
