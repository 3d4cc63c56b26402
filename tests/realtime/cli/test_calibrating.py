"""`poseloop calibrate`: a file for a rig, a drawing for the eye, and refusals with what to do."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from realtime.calibration import load_calibration
from realtime.cli.commands import app

SQUARE_PX = 40


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A board of 8x5 squares of 40 px, seen straight from above."""
    y, x = np.mgrid[: 5 * SQUARE_PX, : 8 * SQUARE_PX] // SQUARE_PX
    squares = np.where((x + y) % 2 == 0, 30, 220).astype(np.uint8)
    path = tmp_path / "board.png"
    assert cv2.imwrite(str(path), np.pad(squares, 50, constant_values=220))
    return path


def calibrate(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["calibrate", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_a_calibration_and_a_drawing(tmp_path: Path, board: Path) -> None:
    out = tmp_path / "calibration.toml"
    code, text, _ = calibrate(board, "--corners", "7x4", "--square-mm", "2.5", "--out", out)
    assert code == 0
    assert load_calibration(out).px_per_mm == pytest.approx(16.0, rel=1e-3)
    assert re.search(
        r" px/mm; on the board a length is off by at most 0\.\d\d % levelled, 0\.\d\d % with one px_per_mm; ", text
    )
    drawing = cv2.imread(str(tmp_path / "calibration.1.png"))
    assert drawing is not None
    assert drawing.shape == (300, 420, 3)
    assert (drawing[..., 0] != drawing[..., 2]).any()  # coloured marks on a gray picture


def test_json(tmp_path: Path, board: Path) -> None:
    out = tmp_path / "calibration.json"
    code, text, _ = calibrate(board, "--corners", "7x4", "--square-mm", "2.5", "--out", out, "--json")
    told = json.loads(text)
    assert code == 0
    assert told["drawings"] == [str(tmp_path / "calibration.1.png")]
    assert told["px_per_mm"] == load_calibration(out).px_per_mm


WRONG = {
    "corners": ("9by6", "2", "c.toml", "--corners: expected two numbers of 3 or more, as in 9x6, got '9by6'"),
    "too few corners": ("2x6", "2", "c.toml", "--corners: expected two numbers of 3 or more, as in 9x6, got '2x6'"),
    "squares": ("7x4", "0", "c.toml", "--square-mm: expected a length above 0, got 0"),
    "another board": ("8x5", "2", "c.toml", "expected a checkerboard of 8x5 inner corners"),
    "a file name": ("7x4", "2", "c.yaml", "expected a name that ends with .toml or .json"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_and_nothing_is_written(tmp_path: Path, board: Path, name: str) -> None:
    corners, square_mm, out, message = WRONG[name]
    code, _, err = calibrate(board, "--corners", corners, "--square-mm", square_mm, "--out", tmp_path / out)
    assert code == 2
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["board.png"]
