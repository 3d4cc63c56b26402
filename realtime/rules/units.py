"""Units of the rule language and the dimensions that they measure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Dimension:
    """What a number measures, as exponents of length, angle and time; all zero for a number without a unit."""

    length: int = 0
    angle: int = 0
    time: int = 0

    def __mul__(self, other: "Dimension") -> "Dimension":
        return Dimension(self.length + other.length, self.angle + other.angle, self.time + other.time)

    def __truediv__(self, other: "Dimension") -> "Dimension":
        return Dimension(self.length - other.length, self.angle - other.angle, self.time - other.time)

    @property
    def base_unit(self) -> str:
        """The unit in which values of this dimension are calculated, such as `px`, `deg` or `px^2`; empty for none."""
        parts = (("px", self.length), ("deg", self.angle), ("s", self.time))
        return " ".join(symbol if power == 1 else f"{symbol}^{power}" for symbol, power in parts if power)

    def __str__(self) -> str:
        return _NAMES.get(self) or f"a quantity in {self.base_unit}"


NUMBER = Dimension()
LENGTH = Dimension(length=1)
ANGLE = Dimension(angle=1)
DURATION = Dimension(time=1)
_NAMES = {NUMBER: "a number without a unit", LENGTH: "a length", ANGLE: "an angle", DURATION: "a duration"}


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as it is written behind a number.

    Attributes:
        dimension: What it measures.
        scale: How many base units (px, deg, s) it is; for a calibrated unit how many millimetres.
        calibrated: Whether it needs the rig's `px_per_mm`.
    """

    dimension: Dimension
    scale: float = 1.0
    calibrated: bool = False


UNITS: Mapping[str, Unit] = MappingProxyType(
    {
        "px": Unit(LENGTH),
        "mm": Unit(LENGTH, calibrated=True),
        "cm": Unit(LENGTH, scale=10.0, calibrated=True),
        "deg": Unit(ANGLE),
        "rad": Unit(ANGLE, scale=180.0 / math.pi),
        "s": Unit(DURATION),
        "ms": Unit(DURATION, scale=1e-3),
    }
)


def units_of(dimension: Dimension) -> str:
    """Return the units of a dimension as a list for a message, such as `px, mm, cm`; empty where there is none."""
    return ", ".join(symbol for symbol, unit in UNITS.items() if unit.dimension == dimension)
