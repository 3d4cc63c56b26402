"""Calibration files: what `poseloop calibrate` found out about a camera, written and read again."""

import json
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from realtime.plane import Distortion, Matrix, Plane, check_lens, fitted_plane

_Pair: TypeAlias = Annotated[tuple[int, int], Field(strict=False)]


class CalibrationError(ValueError):
    """A picture that shows no board that can be used, or a file that is no calibration; the text says what to do."""


class Calibration(BaseModel):
    """How a camera sees the plane of the animals; `plane` is what rules make of it.

    Attributes:
        format_version: 1.
        px_per_mm: Mean over the board, with the lens' distortion left in; and exactly that of the levelled px.
        scale_error_percent: By how much a short length in mm anywhere on the board would be off at most, if there were
            only `px_per_mm`.
        levelled_error_percent: The same in levelled px; None in files of versions that did not level.
        reprojection_px: Root mean square distance of the corners from where the fitted board has them, px.
        reprojection_mm: The same in mm.
        width_px, height_px: Of the pictures; the calibration is for this size.
        corners: Inner corners of the board along its two sides.
        square_mm: Side of a square.
        pictures: Names of the pictures; the first shows the board in the plane of the animals.
        homography_px_to_mm: `(3, 3)`, from px to mm in the plane of the animals, from the first corner of the board; of
            undistorted px where there is a distortion.
        camera_matrix: `(3, 3)`, px; None with one picture.
        distortion: OpenCV's k1, k2, p1, p2, k3; None with one picture.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format_version: Literal[1]
    px_per_mm: float = Field(gt=0, allow_inf_nan=False)
    scale_error_percent: float = Field(ge=0, allow_inf_nan=False)
    levelled_error_percent: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    reprojection_px: float = Field(ge=0, allow_inf_nan=False)
    reprojection_mm: float = Field(ge=0, allow_inf_nan=False)
    width_px: int = Field(gt=0)
    height_px: int = Field(gt=0)
    corners: _Pair
    square_mm: float = Field(gt=0, allow_inf_nan=False)
    pictures: Annotated[tuple[str, ...], Field(strict=False)]
    homography_px_to_mm: Matrix
    camera_matrix: Matrix | None = None
    distortion: Distortion | None = None

    @model_validator(mode="after")
    def _has_a_plane(self) -> Self:
        check_lens(self.camera_matrix, self.distortion)
        self.plane()
        return self

    def plane(self) -> Plane:
        """Return the plane in which one `px_per_mm` holds."""
        size_px = self.width_px, self.height_px
        return fitted_plane(self.homography_px_to_mm, self.px_per_mm, size_px, self.camera_matrix, self.distortion)


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write a calibration as TOML or JSON, as the file's name says.

    Raises:
        CalibrationError: The name says neither.
        OSError: It cannot be written.
    """
    values = calibration.model_dump(mode="json", exclude_none=True)
    if _suffix(path) == ".json":
        text = json.dumps(values, indent=2) + "\n"
    else:
        text = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
    path.write_text(text, encoding="utf-8")


def load_calibration(path: Path) -> Calibration:
    """Read a calibration.

    Raises:
        CalibrationError: It is missing, or is no calibration.
    """
    suffix = _suffix(path)
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if suffix == ".json" else tomllib.loads(text)
        return Calibration.model_validate(values)
    except OSError as error:
        raise CalibrationError(f"{path}: cannot read the calibration: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        what = first["msg"].removeprefix("Value error, ")
        raise CalibrationError(
            f"{path}: expected a calibration as poseloop calibrate writes it, got in {where}: {what}"
        ) from error
    except ValueError as error:
        raise CalibrationError(f"{path}: not valid {suffix[1:].upper()}: {error}") from error


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in {".json", ".toml"}:
        raise CalibrationError(f"{path}: expected a name that ends with .toml or .json")
    return suffix
