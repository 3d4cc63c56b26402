"""Units of the rule language and the dimensions that they measure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Dimension:
    """What a number measures, as exponents of length, angle and time; all zero for a number without a unit.

    Attributes:
        length, angle, time: The exponents.
        wraps: Whether it goes round a circle, so that a sum or a difference with it is brought back to ±180 deg.
        is_direction: Whether it says where on the circle something is: then 170 deg is neither more nor less than
            -170 deg, and only differences of it can be compared.
    """

    length: int = 0
    angle: int = 0
    time: int = 0
    wraps: bool = False
    is_direction: bool = False

    def __mul__(self, other: "Dimension") -> "Dimension":
        return Dimension(self.length + other.length, self.angle + other.angle, self.time + other.time)

    def __truediv__(self, other: "Dimension") -> "Dimension":
        return Dimension(self.length - other.length, self.angle - other.angle, self.time - other.time)

    @property
    def plain(self) -> "Dimension":
        """The same without a circle."""
        return Dimension(self.length, self.angle, self.time)

    @property
    def base_unit(self) -> str:
        """The unit of the calculation, such as `px`, `deg`, `px/s` or `px^2`; empty for none."""
        parts = (("px", self.length), ("deg", self.angle), ("s", self.time))
        above = " ".join(symbol if power == 1 else f"{symbol}^{power}" for symbol, power in parts if power > 0)
        below = [symbol if power == -1 else f"{symbol}^{-power}" for symbol, power in parts if power < 0]
        return "/".join([above or "1", *below]) if below else above

    def __str__(self) -> str:
        return _NAMES.get(self) or f"a quantity in {self.base_unit}"


NUMBER = Dimension()
LENGTH = Dimension(length=1)
ANGLE = Dimension(angle=1)
DURATION = Dimension(time=1)
SPEED = Dimension(length=1, time=-1)
TURNING = Dimension(angle=1, time=-1)
DIRECTION = Dimension(angle=1, wraps=True, is_direction=True)
DIFFERENCE = Dimension(angle=1, wraps=True)  # of two directions
_NAMES = {
    NUMBER: "a number without a unit",
    LENGTH: "a length",
    ANGLE: "an angle",
    DURATION: "a duration",
    SPEED: "a speed",
    TURNING: "an angle per time",
    DIRECTION: "a direction",
    DIFFERENCE: "an angle",
}


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
        "px/s": Unit(SPEED),
        "mm/s": Unit(SPEED, calibrated=True),
        "cm/s": Unit(SPEED, scale=10.0, calibrated=True),
        "deg/s": Unit(TURNING),
        "rad/s": Unit(TURNING, scale=180.0 / math.pi),
    }
)


def units_of(dimension: Dimension) -> str:
    """Return the units of a dimension as a list for a message, such as `px, mm, cm`; empty where there is none."""
    return ", ".join(symbol for symbol, unit in UNITS.items() if unit.dimension == dimension.plain)
