"""Zones: named places of the image, and the numbers from which the kernel knows them."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

_Coordinate: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
_Corner: TypeAlias = Annotated[tuple[_Coordinate, _Coordinate], Field(strict=False)]


class ZoneSpec(BaseModel):
    """One `[zones.NAME]` table: a circle, a rectangle or a polygon; its border belongs to it.

    Attributes:
        circle: Centre and radius: `[x, y, radius]`.
        rectangle: `[left, top, right, bottom]`.
        polygon: Its corners in order, three or more; where its sides cross, what is enclosed twice is outside.
        unit: What the numbers are: `px` of the image, or `mm` from the image's upper left pixel.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    circle: Annotated[tuple[_Coordinate, _Coordinate, _Coordinate], Field(strict=False)] | None = None
    rectangle: Annotated[tuple[_Coordinate, _Coordinate, _Coordinate, _Coordinate], Field(strict=False)] | None = None
    polygon: Annotated[tuple[_Corner, ...], Field(strict=False, min_length=3)] | None = None
    unit: Literal["px", "mm"]

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        shapes = [shape for shape in ("circle", "rectangle", "polygon") if getattr(self, shape) is not None]
        if len(shapes) != 1:
            raise ValueError(f"expected one of circle, rectangle and polygon, got {' and '.join(shapes) or 'none'}")
        if self.circle is not None and self.circle[2] <= 0:
            raise ValueError(f"circle: expected a radius above 0, got {self.circle[2]:g}")
        if self.rectangle is not None:
            left, top, right, bottom = self.rectangle
            if right <= left or bottom <= top:
                raise ValueError(
                    "rectangle: expected [left, top, right, bottom] with left < right and top < bottom, got "
                    f"[{left:g}, {top:g}, {right:g}, {bottom:g}]"
                )
        return self


def encoded(zone: ZoneSpec, px_per_mm: float | None) -> Sequence[float]:
    """Return a zone in px as the kernel reads it: 0, x, y, radius; or the number of corners and their x, y in turn.

    Args:
        zone: The zone.
        px_per_mm: The calibration, needed for a zone in mm.
    """
    scale = 1.0 if zone.unit == "px" else px_per_mm or math.nan
    if zone.circle is not None:
        return [0.0, *(value * scale for value in zone.circle)]
    corners = zone.polygon or ()
    if zone.rectangle is not None:
        left, top, right, bottom = zone.rectangle
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return [float(len(corners)), *(value * scale for corner in corners for value in corner)]
