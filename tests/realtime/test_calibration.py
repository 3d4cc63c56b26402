"""Calibration files, and the rig that names one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from realtime.calibration import Calibration, CalibrationError, load_calibration, save_calibration
from realtime.rig import RigError, load_rig, parse_rig

DEMO = Path(__file__).parents[2] / "rigs" / "demo.toml"
PLAIN = Calibration(
    format_version=1,
    px_per_mm=30.25,
    scale_error_percent=0.5,
    reprojection_px=0.1,
    reprojection_mm=0.003,
    width_px=640,
    height_px=480,
    corners=(9, 6),
    square_mm=2.0,
    pictures=("board \u00e9.png",),
    homography_px_to_mm=((0.1, 0.0, -3.0), (0.0, 0.1, -4.0), (1e-9, 0.0, 1.0)),
)
WITH_LENS = PLAIN.model_copy(
    update={
        "camera_matrix": ((1200.0, 0.0, 320.0), (0.0, 1200.0, 240.0), (0.0, 0.0, 1.0)),
        "distortion": (-0.3, 0.01, 0.0, 1e-7, 0.0),
    }
)


@pytest.mark.parametrize("suffix", [".json", ".toml", ".TOML"])
@pytest.mark.parametrize("calibration", [PLAIN, WITH_LENS], ids=["one picture", "several"])
def test_what_was_written_is_read(tmp_path: Path, suffix: str, calibration: Calibration) -> None:
    path = tmp_path / f"calibration{suffix}"
    save_calibration(calibration, path)
    assert load_calibration(path) == calibration


def changed(**changes: Any) -> str:
    return json.dumps({**PLAIN.model_dump(mode="json", exclude_none=True), **changes})


WRONG: dict[str, tuple[str, str | None, str]] = {
    "missing": ("c.json", None, "cannot read the calibration: No such file or directory"),
    "another name": ("c.yaml", "", "expected a name that ends with .toml or .json"),
    "not JSON": ("c.json", "{", "not valid JSON: Expecting property name"),
    "not TOML": ("c.toml", "=", "not valid TOML: Invalid statement"),
    "no calibration": ("c.toml", "", "expected a calibration as poseloop calibrate writes it, got in format_version"),
    "no scale": ("c.json", changed(px_per_mm=0), "got in px_per_mm: Input should be greater than 0"),
    "another version": ("c.json", changed(format_version=2), "got in format_version: Input should be 1"),
    "no plane": (
        "c.json",
        changed(homography_px_to_mm=[[1.0, 0.0, 0.0]] * 3),
        "got in the file: expected a homography of a plane that is seen, got one without an inverse",
    ),
    "half a lens": (
        "c.json",
        changed(distortion=[0.1, 0.0, 0.0, 0.0, 0.0]),
        "got in the file: expected camera_matrix and distortion together, got one of them",
    ),
    "a distortion of another model": ("c.json", changed(distortion=[0.1] * 8), "got in distortion"),
    "another key": ("c.json", changed(scale=3), "got in scale: Extra inputs are not permitted"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_calibration(tmp_path: Path, name: str) -> None:
    file_name, text, message = WRONG[name]
    if text is not None:
        (tmp_path / file_name).write_text(text)
    with pytest.raises(CalibrationError) as caught:
        load_calibration(tmp_path / file_name)
    assert str(caught.value).startswith(f"{tmp_path / file_name}: ")
    assert message in str(caught.value)


@pytest.fixture
def rig(tmp_path: Path) -> Callable[[str], Path]:
    def make(line: str) -> Path:
        before = next(row for row in DEMO.read_text().splitlines() if row.startswith("px_per_mm"))
        (tmp_path / "rig.toml").write_text(DEMO.read_text().replace(before, line))
        return tmp_path / "rig.toml"

    return make


@pytest.mark.parametrize("calibration", [PLAIN, WITH_LENS], ids=["one picture", "several"])
def test_a_rig_takes_its_plane_from_the_file_and_keeps_it(
    tmp_path: Path, rig: Callable[[str], Path], calibration: Calibration
) -> None:
    save_calibration(calibration, tmp_path / "board.toml")
    loaded = load_rig(rig('file = "board.toml"'))
    assert loaded.calibration.px_per_mm == 30.25
    assert loaded.calibration.plane == calibration.plane()
    (tmp_path / "board.toml").unlink()
    kept = json.loads(json.dumps(loaded.settings))
    assert parse_rig(kept, loaded.path).calibration == loaded.calibration  # to the last bit


def test_a_file_of_a_version_that_did_not_level(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(changed())
    assert "levelled_error_percent" not in (tmp_path / "old.json").read_text()
    found = load_calibration(tmp_path / "old.json")
    assert found.levelled_error_percent is None
    assert found.plane().levelling == PLAIN.plane().levelling


PLANE = "{ width_px = 512, height_px = 512, levelling = [[1, 0, 0], [0, 1, 0], [0, 0, 1]] }"
MISTAKES = {
    "a file that is not there": (
        'file = "board.toml"',
        "$.calibration.file: {folder}/board.toml: cannot read the calibration: No such file or directory",
    ),
    "both": (
        'px_per_mm = 3.0\nfile = "board.toml"',
        "$.calibration: expected either px_per_mm or file, got both; remove one",
    ),
    "a plane beside a file": (
        f'file = "board.toml"\nplane = {PLANE}',
        "$.calibration: expected either plane or file, got both; remove one",
    ),
    "a plane without its scale": (f"plane = {PLANE}", "$.calibration: expected px_per_mm with plane, got none"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_rig_with_a_calibration_that_cannot_be(tmp_path: Path, rig: Callable[[str], Path], name: str) -> None:
    line, mistake = MISTAKES[name]
    path = rig(line)
    with pytest.raises(RigError) as caught:
        load_rig(path)
    assert caught.value.mistakes == [f"{path}: {mistake.format(folder=tmp_path)}"]
