"""How the simulated camera's insects move and how they are drawn."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

NODE_NAMES = ("head", "thorax", "abdomen", "wingL", "wingR")
EDGES = ((1, 0), (1, 2), (1, 3), (1, 4))
SYMMETRIES = ((3, 4),)
IDENTITIES = ("male", "female")  # of the animals with an even and with an odd index

# Lengths are in bodies, speeds in bodies/s, angles in rad; the body's axes are x forward, y to the animal's right.
_HEAD, _THORAX, _ABDOMEN = (0.38, 0.0), (0.17, 0.0), (-0.2, 0.0)
_WING_ROOT, _WING_LENGTH = (0.12, 0.07), 0.62
_WING_FOLDED_RAD, _WING_SINGING_RAD = 0.22, 1.15
_MALE_SIZE = 0.9

_WANDER, _COURT, _LEAVE = range(3)
_MODE_S = ((0.5, 1.2), (1.6, 2.4), (0.5, 0.8))  # shortest and longest stay in each mode, s
_COURT_DISTANCE = 1.35
_NEAREST = 0.95
_WALL = 0.7  # a thorax comes no nearer to the image's edge than this
_MAX_STEP_S = 1.0 / 50.0

_NOISE_TURN, _NOISE_PACE, _MODE, _SIDE, _PLACE = range(5)


def uniform(seed: int, stream: int, index: int) -> float:
    """Return a number in [0, 1) that depends on nothing but the arguments (Steele's SplitMix64, 53 bits)."""
    mask = 0xFFFFFFFFFFFFFFFF
    z = 0
    for key in (seed, stream, index):
        z = (z + key + 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        z ^= z >> 31
    return (z >> 11) / float(1 << 53)


class _Chance(NamedTuple):
    """The chance of one animal in one step."""

    seed: int
    moment: int

    def __call__(self, stream: int) -> float:
        return uniform(self.seed, stream, self.moment)


class Animal(NamedTuple):
    """One animal at one moment; its thorax is at (x, y), bodies from the arena's centre, x right, y down."""

    x: float
    y: float
    heading_rad: float
    turn: float = 0.0
    speed: float = 0.0
    wander_turn: float = 0.0
    wander_pace: float = 0.0
    gait: float = 0.0
    wing_left_rad: float = _WING_FOLDED_RAD
    wing_right_rad: float = _WING_FOLDED_RAD
    mode: int = _WANDER
    mode_left_s: float = 1.0
    partner: int = -1
    sings_left: bool = False


@dataclass(frozen=True, slots=True)
class Arena:
    """An elliptic arena that fills the image."""

    width_px: int
    height_px: int
    body_px: float

    @property
    def centre_px(self) -> tuple[float, float]:
        """Where the arena's centre is, px."""
        return (self.width_px - 1) / 2.0, (self.height_px - 1) / 2.0

    @property
    def axes(self) -> tuple[float, float]:
        """How far a thorax may go from the arena's centre along x and y, bodies."""
        return (0.48 * self.width_px / self.body_px - _WALL, 0.48 * self.height_px / self.body_px - _WALL)

    def place(self, n_animals: int, seed: int) -> tuple[Animal, ...]:
        """Put the animals on a ring, evenly spaced, with random headings."""
        a, b = self.axes
        turn = uniform(seed, _PLACE, 0)
        ring = [math.tau * (turn + index / max(n_animals, 1)) for index in range(n_animals)]
        return tuple(
            Animal(
                0.6 * a * math.cos(angle),
                0.6 * b * math.sin(angle),
                math.tau * uniform(seed, _PLACE, index + 1),
                mode_left_s=0.3 + 0.7 * uniform(seed, _PLACE, index + 101),
            )
            for index, angle in enumerate(ring)
        )

    def background(self, seed: int) -> NDArray[np.uint8]:
        """Draw the empty arena: a grainy floor inside a rim; `(height_px, width_px)` uint8."""
        rng = np.random.default_rng(seed)
        shape = (self.height_px, self.width_px)
        coarse = cv2.GaussianBlur(rng.normal(0.0, 1.0, shape), (0, 0), self.body_px / 4.0)
        fine = cv2.GaussianBlur(rng.normal(0.0, 1.0, shape), (0, 0), 1.0)
        texture = 5.0 * coarse / coarse.std() + 2.5 * fine / fine.std()
        rows, columns = np.ogrid[: self.height_px, : self.width_px]
        x_px, y_px = self.centre_px
        radius = np.hypot((columns - x_px) / (0.485 * self.width_px), (rows - y_px) / (0.485 * self.height_px))
        floor = np.where(radius < 1.0, 72.0 - 14.0 * radius**2, 30.0) + np.where(
            np.abs(radius - 1.0) < 0.012, 30.0, 0.0
        )
        image: NDArray[np.uint8] = np.clip(np.rint(floor + texture), 0, 255).astype(np.uint8)
        return image


def step(
    animals: tuple[Animal, ...], arena: Arena, frame_id: int, frame_rate_hz: float, seed: int
) -> tuple[Animal, ...]:
    """Return the animals one frame later; `frame_id` is the frame that they move to."""
    n_steps = math.ceil(1.0 / (frame_rate_hz * _MAX_STEP_S) - 1e-9)
    dt_s = 1.0 / (frame_rate_hz * n_steps)
    for k in range(n_steps):
        chances = [_Chance(seed, (frame_id * n_steps + k) * 16 + index) for index in range(len(animals))]
        moved = [_move(animals, index, arena, dt_s, chance) for index, chance in enumerate(chances)]
        animals = tuple(_keep_apart(moved, arena))
    return animals


def _move(animals: tuple[Animal, ...], index: int, arena: Arena, dt_s: float, chance: _Chance) -> Animal:
    animal = _change_mode(animals, index, dt_s, chance)
    # Ornstein–Uhlenbeck processes; a uniform deviate of unit variance will do as their noise.
    decay = math.exp(-dt_s / 0.7)
    kick = math.sqrt(12.0 * (1.0 - decay * decay))
    wander_turn = animal.wander_turn * decay + 1.6 * kick * (chance(_NOISE_TURN) - 0.5)
    wander_pace = animal.wander_pace * decay + 0.6 * kick * (chance(_NOISE_PACE) - 0.5)
    want_turn, want_speed = _want(animal, animals, index)
    want_turn += _wall_turn(animal, arena)
    turn = animal.turn + (want_turn - animal.turn) * -math.expm1(-dt_s / 0.06)
    speed = animal.speed + (want_speed - animal.speed) * -math.expm1(-dt_s / 0.1)
    heading = math.remainder(animal.heading_rad + turn * dt_s, math.tau)
    singing = animal.mode == _COURT and _distance(animal, animals[animal.partner]) < 2.0
    open_wing = -math.expm1(-dt_s / 0.08)
    wing_left = _WING_SINGING_RAD if singing and animal.sings_left else _WING_FOLDED_RAD
    wing_right = _WING_SINGING_RAD if singing and not animal.sings_left else _WING_FOLDED_RAD
    return animal._replace(
        x=animal.x + speed * dt_s * math.cos(heading),
        y=animal.y + speed * dt_s * math.sin(heading),
        heading_rad=heading,
        turn=turn,
        speed=speed,
        wander_turn=wander_turn,
        wander_pace=wander_pace,
        gait=math.fmod(animal.gait + (2.0 * abs(speed) + 0.2 * abs(turn)) * dt_s, 1.0),
        wing_left_rad=animal.wing_left_rad + (wing_left - animal.wing_left_rad) * open_wing,
        wing_right_rad=animal.wing_right_rad + (wing_right - animal.wing_right_rad) * open_wing,
    )


def _change_mode(animals: tuple[Animal, ...], index: int, dt_s: float, chance: _Chance) -> Animal:
    """Males wander, court the nearest female, leave her, and wander again; females wander."""
    animal = animals[index]
    if index % 2 or len(animals) < 2:
        return animal
    if animal.mode_left_s > dt_s:
        return animal._replace(mode_left_s=animal.mode_left_s - dt_s)
    mode = (animal.mode + 1) % len(_MODE_S)
    shortest_s, longest_s = _MODE_S[mode]
    partner = animal.partner
    if mode == _COURT:
        partner = min(range(1, len(animals), 2), key=lambda female: _distance(animal, animals[female]))
    return animal._replace(
        mode=mode,
        mode_left_s=shortest_s + (longest_s - shortest_s) * chance(_MODE),
        partner=partner,
        sings_left=chance(_SIDE) < 0.5,
    )


def _want(animal: Animal, animals: tuple[Animal, ...], index: int) -> tuple[float, float]:
    """The turning rate (rad/s) and the speed (bodies/s) that an animal in its mode wants."""
    if animal.mode == _WANDER:
        return animal.wander_turn, max(0.0, (1.0 if index % 2 else 1.7) + animal.wander_pace)
    partner = animals[animal.partner]
    bearing = math.atan2(partner.y - animal.y, partner.x - animal.x)
    if animal.mode == _LEAVE:
        return _turn_towards(bearing + math.pi, animal.heading_rad), 2.5
    ahead = max(0.0, math.cos(bearing - animal.heading_rad))
    too_far = _distance(animal, partner) - _COURT_DISTANCE
    return _turn_towards(bearing, animal.heading_rad), max(-1.0, min(4.5, 4.0 * too_far)) * ahead


def _wall_turn(animal: Animal, arena: Arena) -> float:
    """The nearer to the wall and the more it heads there, the harder an animal turns to the arena's centre."""
    a, b = arena.axes
    nearness = (math.hypot(animal.x / a, animal.y / b) - 0.6) / 0.4
    if nearness <= 0.0 or animal.mode == _COURT:
        return 0.0
    return 1.5 * nearness * _turn_towards(math.atan2(-animal.y, -animal.x), animal.heading_rad)


def _turn_towards(bearing: float, heading: float) -> float:
    return max(-7.0, min(7.0, 7.0 * math.remainder(bearing - heading, math.tau)))


def _distance(one: Animal, other: Animal) -> float:
    return math.hypot(one.x - other.x, one.y - other.y)


def _keep_apart(animals: list[Animal], arena: Arena) -> list[Animal]:
    """Push overlapping animals apart and put those beyond the wall back on it."""
    a, b = arena.axes
    for _ in range(4):
        for i in range(len(animals)):
            for j in range(i):
                distance = _distance(animals[i], animals[j])
                if distance < _NEAREST:
                    push = 0.5 * (_NEAREST - distance) / max(distance, 1e-6)
                    dx, dy = push * (animals[i].x - animals[j].x), push * (animals[i].y - animals[j].y)
                    animals[i] = animals[i]._replace(x=animals[i].x + dx, y=animals[i].y + dy)
                    animals[j] = animals[j]._replace(x=animals[j].x - dx, y=animals[j].y - dy)
        for i, animal in enumerate(animals):
            radius = math.hypot(animal.x / a, animal.y / b)
            if radius > 1.0:
                animals[i] = animal._replace(x=animal.x / radius, y=animal.y / radius)
    return animals


def nodes_of(animal: Animal, index: int, arena: Arena) -> NDArray[np.float64]:
    """Return the nodes of one animal, `(n_nodes, 2)` float64, px of the image, pixel centre = integer."""
    body = np.array(
        [_HEAD, _THORAX, _ABDOMEN, _wing_tip(animal.wing_left_rad, -1), _wing_tip(animal.wing_right_rad, 1)]
    )
    return _to_image(body, animal, index, arena)


def _wing_tip(angle_rad: float, side: int) -> tuple[float, float]:
    x, y = _WING_ROOT
    return x - _WING_LENGTH * math.cos(angle_rad), side * (y + _WING_LENGTH * math.sin(angle_rad))


def _to_image(body: NDArray[np.float64], animal: Animal, index: int, arena: Arena) -> NDArray[np.float64]:
    scale = arena.body_px * (1.0 if index % 2 else _MALE_SIZE)
    cos, sin = scale * math.cos(animal.heading_rad), scale * math.sin(animal.heading_rad)
    x_px, y_px = arena.centre_px
    here = (x_px + arena.body_px * animal.x, y_px + arena.body_px * animal.y)
    xy: NDArray[np.float64] = (body - _THORAX) @ np.array([[cos, sin], [-sin, cos]]) + here
    return xy


def _ellipse(centre: tuple[float, float], half_axes: tuple[float, float]) -> NDArray[np.float64]:
    angles = np.arange(24) * (math.tau / 24)
    return np.stack((centre[0] + half_axes[0] * np.cos(angles), centre[1] + half_axes[1] * np.sin(angles)), axis=1)


# The rigid parts from the bottom up, with their brightness. The eyes lie symmetrically about the node "head".
_TIP = 3
_PARTS = (
    (_ellipse(_ABDOMEN, (0.27, 0.155)), 165),
    (_ellipse((-0.14, 0.0), (0.03, 0.145)), 120),
    (_ellipse((-0.25, 0.0), (0.03, 0.145)), 120),
    (_ellipse((-0.38, 0.0), (0.085, 0.1)), 165),
    (_ellipse(_THORAX, (0.155, 0.145)), 195),
    (_ellipse(_HEAD, (0.095, 0.13)), 170),
    (_ellipse((_HEAD[0], 0.105), (0.065, 0.05)), 250),
    (_ellipse((_HEAD[0], -0.105), (0.065, 0.05)), 250),
)
_PART_POINTS = np.concatenate([points for points, _ in _PARTS])
_WING = _ellipse((0.5, 0.0), (0.5, 0.17)) * _WING_LENGTH
_HIPS = np.array([(0.26, 0.11), (0.17, 0.13), (0.09, 0.11)])
_FEET = np.array([(0.52, 0.3), (0.2, 0.45), (-0.24, 0.4)])
_KNEES = 0.5 * (_HIPS + _FEET) + np.array([(0.03, 0.06), (0.03, 0.04), (0.06, 0.07)])
_SIDES = np.array([(1.0, 1.0), (1.0, -1.0)])
_SHIFT_BITS = 6


def draw_animal(image: NDArray[np.uint8], animal: Animal, index: int, arena: Arena) -> None:
    """Draw one animal into `(height, width)` uint8, antialiased, exact to a fraction of a pixel."""
    thickness = max(1, round(arena.body_px / 50.0))
    legs = _fixed_point(_to_image(_legs(animal.gait), animal, index, arena)).reshape(6, 3, 2)
    cv2.polylines(image, list(legs), False, 118, thickness, cv2.LINE_AA, _SHIFT_BITS)
    wings = np.concatenate((_wing(animal.wing_left_rad, -1), _wing(animal.wing_right_rad, 1)))
    for wing in _fixed_point(_to_image(wings, animal, index, arena)).reshape(2, -1, 2):
        cv2.fillConvexPoly(image, wing, 135, cv2.LINE_AA, _SHIFT_BITS)
        cv2.polylines(image, [wing[[0, 12]]], False, 110, 1, cv2.LINE_AA, _SHIFT_BITS)
    parts = _fixed_point(_to_image(_PART_POINTS, animal, index, arena)).reshape(len(_PARTS), -1, 2)
    for k, (_, brightness) in enumerate(_PARTS):
        is_male_tip = k == _TIP and index % 2 == 0
        cv2.fillConvexPoly(image, parts[k], 95 if is_male_tip else brightness, cv2.LINE_AA, _SHIFT_BITS)


def _fixed_point(xy_px: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.rint(xy_px * (1 << _SHIFT_BITS)).astype(np.int32)


def _legs(gait: float) -> NDArray[np.float64]:
    """Hip, knee and foot of six legs, `(18, 2)`; three and three swing together (tripod gait)."""
    legs = np.empty((2, 3, 3, 2))
    for side in range(2):
        swing = 0.08 * math.sin(math.tau * (gait + 0.5 * side)) * np.array([1.0, -1.0, 1.0])
        legs[side, :, 0], legs[side, :, 1], legs[side, :, 2] = _HIPS, _KNEES, _FEET
        legs[side, :, 1, 0] += 0.5 * swing
        legs[side, :, 2, 0] += swing
        legs[side] *= _SIDES[side]
    return legs.reshape(18, 2)


def _wing(angle_rad: float, side: int) -> NDArray[np.float64]:
    """Outline of a wing, `(24, 2)`, from its root backwards."""
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    x = _WING_ROOT[0] - _WING[:, 0] * cos - _WING[:, 1] * sin
    y = _WING_ROOT[1] + _WING[:, 0] * sin - _WING[:, 1] * cos
    return np.stack((x, side * y), axis=1)
