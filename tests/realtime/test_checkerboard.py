"""Checkerboards rendered with a known camera: scale, tilt and distortion come out; bad pictures are refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from realtime.calibration import CalibrationError
from realtime.checkerboard import Board, calibrate, drawn, find_board

BOARD = Board(9, 6, 2.0)
WIDTH, HEIGHT = 640, 480
FOCAL_PX = 600.0
MATRIX = np.array([[FOCAL_PX, 0.0, 320.0], [0.0, FOCAL_PX, 240.0], [0.0, 0.0, 1.0]])
NO_DISTORTION = np.zeros(5)


def rendered(
    distance_mm: float,
    tilt_deg: tuple[float, float] = (0.0, 0.0),
    turn_deg: float = 0.0,
    distortion: NDArray[np.float64] = NO_DISTORTION,
) -> NDArray[np.uint8]:
    """A camera's picture of the board, four rays a pixel, its middle in the middle of the picture."""
    turn, _ = cv2.Rodrigues(np.array([0.0, 0.0, np.radians(turn_deg)]))
    tilt, _ = cv2.Rodrigues(np.array([*np.radians(tilt_deg), 0.0]))
    rotation = tilt @ turn
    x, y = np.meshgrid(np.arange(-0.25, WIDTH - 0.5, 0.5), np.arange(-0.25, HEIGHT - 0.5, 0.5))
    pixels = np.stack([x.ravel(), y.ravel()], axis=1).reshape(-1, 1, 2)
    rays = cv2.undistortPoints(pixels, MATRIX, distortion).reshape(-1, 2)
    rays = np.concatenate([rays, np.ones((len(rays), 1))], axis=1)
    normal, origin = rotation[:, 2], np.array([0.0, 0.0, distance_mm])
    hits = rays * ((normal @ origin) / (rays @ normal))[:, None] - origin
    on_board = hits @ rotation[:, :2] + np.array([4.0, 2.5]) * BOARD.square_mm
    squares = np.floor(on_board / BOARD.square_mm).astype(int)
    inside = (squares >= -1).all(axis=1) & (squares <= np.array([8, 5])).all(axis=1)
    gray = np.where(inside & (squares.sum(axis=1) % 2 == 0), 30.0, 220.0)
    return gray.reshape(HEIGHT, 2, WIDTH, 2).mean(axis=(1, 3)).astype(np.uint8)


def picture(folder: Path, name: str, image: NDArray[np.uint8]) -> Path:
    assert cv2.imwrite(str(folder / name), image)
    return folder / name


@pytest.mark.parametrize("turn_deg", [0.0, 33.0, 90.0])
def test_the_scale_of_a_board_that_lies_flat(tmp_path: Path, turn_deg: float) -> None:
    path = picture(tmp_path, "flat.png", rendered(30.0, turn_deg=turn_deg))
    found = calibrate([find_board(path, BOARD)], BOARD, 2.0)
    assert found.px_per_mm == pytest.approx(FOCAL_PX / 30.0, rel=5e-4)
    assert found.scale_error_percent < 0.3
    assert found.reprojection_px < 0.1
    assert found.reprojection_mm == pytest.approx(found.reprojection_px / found.px_per_mm, rel=0.05)
    assert (found.width_px, found.height_px) == (WIDTH, HEIGHT)
    assert found.distortion is None


def test_the_corners_lie_where_the_camera_saw_them(tmp_path: Path) -> None:
    sighting = find_board(picture(tmp_path, "flat.png", rendered(30.0)), BOARD)
    truth = (BOARD.points_mm - np.array([8.0, 5.0])) * FOCAL_PX / 30.0 + np.array([320.0, 240.0])
    order = np.lexsort((np.round(sighting.corners_px[:, 0]), np.round(sighting.corners_px[:, 1], -1)))
    assert np.abs(sighting.corners_px[order] - truth).max() < 0.15
    assert drawn(sighting, BOARD).shape == (HEIGHT, WIDTH, 3)
    assert (drawn(sighting, BOARD)[..., 0] != sighting.image).any()


def test_a_tilted_board_is_levelled_and_told_how_far_one_scale_would_be_off(tmp_path: Path) -> None:
    found = calibrate([find_board(picture(tmp_path, "tilted.png", rendered(30.0, (25.0, 0.0))), BOARD)], BOARD, 2.0)
    # Along the tilt a length is shortened to cos 25 deg = 0.906, and perspective adds 2.1 mm of 30 at either edge.
    assert found.scale_error_percent == pytest.approx(15.0, abs=7.0)
    assert found.levelled_error_percent is not None
    assert found.levelled_error_percent < 0.6  # of a square of 38 px, 0.2 px: how well a corner is found


def test_a_lens_that_one_picture_does_not_tell_is_refused(tmp_path: Path) -> None:
    bent = rendered(22.5, distortion=np.array([-0.3, 0.0, 0.0, 0.0, 0.0]))
    sighting = find_board(picture(tmp_path, "bent.png", bent), BOARD)
    found = calibrate([sighting], BOARD, 100.0)
    assert found.levelled_error_percent is not None
    assert found.levelled_error_percent > 3.0
    with pytest.raises(CalibrationError) as caught:
        calibrate([sighting], BOARD, 2.0)
    assert str(caught.value) == (
        f"{sighting.path}: expected a board on which levelled lengths are right to 2 %, got one on which they are off "
        f"by up to {found.levelled_error_percent:.1f} % (with one px_per_mm {found.scale_error_percent:.1f} %); give "
        "more pictures, at other tilts, if the lens bends lines; see that the board is flat and its corners are right, "
        "or allow more with --max-error-percent"
    )
    assert calibrate([sighting], BOARD, found.levelled_error_percent).px_per_mm == found.px_per_mm


def test_the_homography_gives_mm_of_a_tilted_plane(tmp_path: Path) -> None:
    sighting = find_board(picture(tmp_path, "tilted.png", rendered(30.0, (20.0, 10.0))), BOARD)
    homography = np.array(calibrate([sighting], BOARD, 100.0).homography_px_to_mm)
    mm = cv2.perspectiveTransform(sighting.corners_px.reshape(-1, 1, 2), homography).reshape(-1, 2)
    assert np.abs(mm - BOARD.points_mm).max() < 0.02


TILTS = ((0.0, 0.0), (30.0, 0.0), (-30.0, 5.0), (5.0, 30.0), (0.0, -30.0), (20.0, 20.0))


def test_the_distortion_of_a_lens(tmp_path: Path) -> None:
    bent = np.array([-0.35, 0.0, 0.0, 0.0, 0.0])
    sightings = [
        find_board(picture(tmp_path, f"{index}.png", rendered(27.0, tilt, 5.0 * index, bent)), BOARD)
        for index, tilt in enumerate(TILTS)
    ]
    found = calibrate(sightings, BOARD, 30.0)
    assert found.distortion is not None
    assert found.camera_matrix is not None
    # The coefficients trade off against one another; what counts is which ray a pixel belongs to.
    corners = sightings[0].corners_px.reshape(-1, 1, 2)
    rays = cv2.undistortPoints(corners, np.array(found.camera_matrix), np.array(found.distortion))
    truth = cv2.undistortPoints(corners, MATRIX, bent)
    without = cv2.undistortPoints(corners, MATRIX, NO_DISTORTION)
    assert np.abs(rays - truth).max() < 0.25 * np.abs(without - truth).max()
    assert found.reprojection_px < 0.15
    assert found.reprojection_mm < 0.01  # of undistorted px
    assert calibrate(sightings[:1], BOARD, 30.0).reprojection_px > 2 * found.reprojection_px


def test_a_tilted_camera_with_a_lens_gives_mm_of_the_plane(tmp_path: Path) -> None:
    """Tilted by 20 deg, k1 = -0.2: what comes out of pictures of a board is right to 0.1 %, one scale by several."""
    bent = np.array([-0.2, 0.0, 0.0, 0.0, 0.0])
    tilts = ((20.0, 0.0), (0.0, 0.0), (-30.0, 5.0), (5.0, 30.0), (0.0, -30.0), (-20.0, -20.0), (30.0, 20.0))
    sightings = [
        find_board(picture(tmp_path, f"{index}.png", rendered(27.0, tilt, 7.0 * index, bent)), BOARD)
        for index, tilt in enumerate(tilts)
    ]
    found = calibrate(sightings, BOARD, 2.0)
    assert found.scale_error_percent > 5.0
    assert found.levelled_error_percent is not None
    assert found.levelled_error_percent < 0.5
    # Lengths on the board by the camera that drew it, far from the corners that were fitted.
    turn = cv2.Rodrigues(np.radians([20.0, 0.0, 0.0]))[0]
    mm = np.random.default_rng(0).uniform((-7.0, -4.5), (7.0, 4.5), (60, 2))
    px = cv2.projectPoints(np.c_[mm, np.zeros(60)], turn, np.array([0.0, 0.0, 27.0]), MATRIX, bent)[0].reshape(-1, 2)
    long_mm = np.linalg.norm(mm[:30] - mm[30:], axis=1)
    levelled = found.plane().levelled(px)
    long_levelled = np.linalg.norm(levelled[:30] - levelled[30:], axis=1) / found.px_per_mm
    long_px = np.linalg.norm(px[:30] - px[30:], axis=1) / found.px_per_mm
    assert np.abs(long_levelled / long_mm - 1.0).max() < 1e-3
    assert np.abs(long_px / long_mm - 1.0).max() > 0.05


def test_one_scale_does_not_hide_a_lens_distortion(tmp_path: Path) -> None:
    straight = calibrate([find_board(picture(tmp_path, "one.png", rendered(22.5)), BOARD)], BOARD, 100.0)
    bent_image = rendered(22.5, distortion=np.array([-0.2, 0.0, 0.0, 0.0, 0.0]))
    bent = calibrate([find_board(picture(tmp_path, "two.png", bent_image), BOARD)], BOARD, 100.0)
    assert straight.scale_error_percent < 0.5
    assert bent.scale_error_percent > 3.0  # at the edge a radial length shrinks by up to 3 * 0.2 * 0.4^2 = 10 %


def test_too_few_pictures_for_a_distortion(tmp_path: Path) -> None:
    sighting = find_board(picture(tmp_path, "flat.png", rendered(30.0)), BOARD)
    with pytest.raises(CalibrationError) as caught:
        calibrate([sighting] * 4, BOARD, 2.0)
    assert str(caught.value) == (
        "expected one picture, or at least 5 of the board at different tilts for the distortion, got 4"
    )


def test_pictures_of_two_sizes(tmp_path: Path) -> None:
    image = rendered(30.0)
    whole = find_board(picture(tmp_path, "whole.png", image), BOARD)
    cut = find_board(picture(tmp_path, "cut.png", image[:, 20:]), BOARD)
    with pytest.raises(CalibrationError) as caught:
        calibrate([whole, *[cut] * 4], BOARD, 2.0)
    assert str(caught.value) == f"{cut.path}: expected 640x480 px as in {whole.path}, got 620x480"


NO_BOARDS = {
    "no board": (lambda: np.full((HEIGHT, WIDTH), 128, np.uint8), BOARD),
    "more corners asked for": (lambda: rendered(30.0), Board(10, 6, 2.0)),
    "fewer corners asked for": (lambda: rendered(30.0), Board(7, 5, 2.0)),
    "squares counted instead": (lambda: rendered(30.0), Board(10, 7, 2.0)),
    "a board that is cut off": (lambda: rendered(30.0)[:, :450], BOARD),
}


@pytest.mark.parametrize("name", NO_BOARDS)
def test_a_picture_without_this_board(tmp_path: Path, name: str) -> None:
    make, board = NO_BOARDS[name]
    path = picture(tmp_path, "picture.png", make())
    with pytest.raises(CalibrationError) as caught:
        find_board(path, board)
    assert str(caught.value).startswith(
        f"{path}: expected a checkerboard of {board.columns}x{board.rows} inner corners, all of them in the picture"
    )


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    for path in (tmp_path / "text.png", tmp_path / "missing.png"):
        with pytest.raises(CalibrationError) as caught:
            find_board(path, BOARD)
        assert str(caught.value) == f"{path}: expected a picture that can be read (PNG, JPEG, TIFF), got none"
