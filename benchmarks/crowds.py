"""Crowds: seeded simulated animals that cross, huddle, hide one another, leave and enter, and what a model would find.

Only poses are simulated, no images. An animal is a stiff plan of nodes that walks towards goals with pauses, at 1 to 3
body lengths a second; where the goals lie is what makes the scene. They walk through one another, which is harder than
real animals make it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.poses import Poses

Scene = Literal["cross", "huddle", "occlude", "leave"]
SCENES: tuple[Scene, ...] = get_args(Scene)
"""`cross`: all walk from side to side through the middle. `huddle`: all meet in one place and part again. `occlude`: as
`huddle`, and of two animals that overlap the lower one is not found. `leave`: as `cross`, over the edge, and some
seconds later in again somewhere else."""

SIDE_PX = 1024.0
_BODY_PX = 90.0
_SPEED_PX_S = 180.0
_TURN_RAD_S = 8.0
_PAUSE_S = 0.4
_HUDDLE_S = 6.0
_NOISE_PX = 1.0
_OVERLAP = 0.35
_MISSED = 0.02
_FALSE = 0.05
_NODE_MISSED = 0.03


@dataclass(frozen=True, slots=True)
class CrowdFrame:
    """What a model finds in one frame, and what is there.

    Attributes:
        timestamp_ns: The frame's time.
        poses: Detections in random order.
        truth: `(n_detections,)` identity of the animal of each detection, −1 = there is none. Who comes back after
            leaving is somebody else.
        n_animals: Animals in view, found or not.
    """

    timestamp_ns: int
    poses: Poses
    truth: NDArray[np.int64]
    n_animals: int


def body_plan() -> NDArray[np.float64]:
    """Return `(13, 2)` px: nodes along (x) and to the left (y) of an animal at the origin, as a fly has them."""
    along = np.array([0.42, 0.0, -0.45, -0.55, -0.55, 0.45, 0.45, 0.05, 0.05, -0.45, -0.45, 0.36, 0.36])
    left = np.array([0.0, 0.0, 0.0, 0.12, -0.12, 0.28, -0.28, 0.4, -0.4, 0.35, -0.35, 0.1, -0.1])
    return _BODY_PX / 1.4 * np.stack([along, left], axis=1)


def simulate(
    scene: Scene, n_animals: int, *, seconds: float = 20.0, rate_hz: float = 60.0, seed: int = 0
) -> Iterator[CrowdFrame]:
    """Yield the frames of a crowd; the same arguments give the same crowd.

    Args:
        scene: See `SCENES`.
        n_animals: How many.
        seconds: Duration.
        rate_hz: Frames a second.
        seed: Of the random numbers.
    """
    random = np.random.default_rng((seed, n_animals, SCENES.index(scene)))
    crowd = _Crowd(scene, n_animals, random)
    for k in range(round(seconds * rate_hz)):
        crowd.step(1.0 / rate_hz, k / rate_hz)
        yield crowd.frame(round(k * 1e9 / rate_hz))


class _Crowd:
    """Where the animals are; axis 0 of every array is the animal."""

    def __init__(self, scene: Scene, n: int, random: np.random.Generator) -> None:
        self._scene, self._random = scene, random
        self._plan = body_plan()
        self._size = random.uniform(0.85, 1.15, n)
        self._xy = self._spread(n)
        self._heading = random.uniform(-np.pi, np.pi, n)
        self._speed = random.uniform(0.6, 1.4, n) * _SPEED_PX_S
        self._goal = random.uniform(0.1, 0.9, (n, 2)) * SIDE_PX
        self._pause_s = np.zeros(n)
        self._identity = np.arange(n)
        self._outside = np.zeros(n, dtype=bool)
        self._away_s = np.zeros(n)

    def _spread(self, n: int) -> NDArray[np.float64]:
        """Return places that are at least a body length apart."""
        places = np.empty((0, 2))
        while len(places) < n:
            place = self._random.uniform(0.1, 0.9, 2) * SIDE_PX
            if not len(places) or np.hypot(*(places - place).T).min() > _BODY_PX:
                places = np.vstack([places, place])
        return places

    def step(self, elapsed_s: float, now_s: float) -> None:
        """Let everybody walk on."""
        to_goal = self._goal - self._xy
        arrived = np.hypot(*to_goal.T) < 0.3 * _BODY_PX
        for i in np.flatnonzero(arrived).tolist():
            self._goal[i] = self._next_goal(i, now_s)
            self._pause_s[i] = self._random.exponential(_PAUSE_S)
        self._pause_s -= elapsed_s
        turn = _wrapped(np.arctan2(to_goal[:, 1], to_goal[:, 0]) - self._heading)
        limit = _TURN_RAD_S * elapsed_s
        self._heading += np.clip(turn, -limit, limit) + self._random.normal(0, 0.05, len(turn))
        walking = (self._pause_s <= 0) * np.maximum(np.cos(turn), 0.2)
        ahead = np.stack([np.cos(self._heading), np.sin(self._heading)], axis=1)
        self._xy += (self._speed * walking * elapsed_s)[:, None] * ahead
        self._away_s -= elapsed_s
        self._leave_and_enter()

    def _next_goal(self, i: int, now_s: float) -> NDArray[np.float64]:
        here, random = self._xy[i], self._random
        if self._scene in ("huddle", "occlude") and now_s % (2 * _HUDDLE_S) < _HUDDLE_S:
            return 0.5 * SIDE_PX + random.normal(0, 0.5 * _BODY_PX, 2)
        if self._scene in ("huddle", "occlude"):
            return random.uniform(0.1, 0.9, 2) * SIDE_PX
        reach = 0.6 if self._scene == "leave" else 0.4
        across = 0.5 * SIDE_PX - here
        angle = np.arctan2(across[1], across[0]) + random.normal(0, 0.4)
        return 0.5 * SIDE_PX + reach * SIDE_PX * np.array([np.cos(angle), np.sin(angle)])

    def _leave_and_enter(self) -> None:
        random = self._random
        left = ((self._xy < 0) | (self._xy > SIDE_PX)).any(axis=1) & ~self._outside
        self._away_s[left] = random.uniform(2, 4, left.sum())
        self._outside |= left
        for i in np.flatnonzero(self._outside & (self._away_s <= 0)):
            angle = random.uniform(-np.pi, np.pi)
            edge = np.array([np.cos(angle), np.sin(angle)])
            self._xy[i] = (0.5 + 0.49 * edge / np.abs(edge).max()) * SIDE_PX
            self._goal[i], self._heading[i] = 0.5 * SIDE_PX + random.normal(0, 100, 2), angle + np.pi
            self._identity[i] = self._identity.max() + 1
            self._outside[i] = False

    def frame(self, timestamp_ns: int) -> CrowdFrame:
        """Return what a model finds now."""
        random = self._random
        found = ~self._outside & (random.random(len(self._xy)) >= _MISSED) & ~self._hidden()
        xy = self._poses()[found]
        truth = self._identity[found]
        if random.random() < _FALSE:
            xy = np.concatenate([xy, self._false_detection()[None]])
            truth = np.append(truth, -1)
        order = random.permutation(len(truth))
        noisy = (xy + random.normal(0, _NOISE_PX, xy.shape)).astype(np.float32)[order]
        noisy[random.random(noisy.shape[:2]) < _NODE_MISSED] = np.nan
        scores = random.uniform(0.6, 1.0, len(noisy)).astype(np.float32)
        node_scores = np.where(np.isnan(noisy[..., 0]), 0.0, scores[:, None]).astype(np.float32)
        return CrowdFrame(timestamp_ns, Poses(noisy, node_scores, scores), truth[order], int((~self._outside).sum()))

    def _poses(self) -> NDArray[np.float64]:
        cos, sin = np.cos(self._heading), np.sin(self._heading)
        turns = np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1)
        bodies = np.einsum("nij,kj->nki", turns, self._plan) * self._size[:, None, None]
        return np.asarray(self._xy[:, None] + bodies, dtype=np.float64)

    def _hidden(self) -> NDArray[np.bool_]:
        """Return who lies below another animal, where the scene has that; later animals lie above."""
        hidden = np.zeros(len(self._xy), dtype=bool)
        if self._scene == "occlude":
            apart = np.hypot(*np.moveaxis(self._xy[:, None] - self._xy[None], -1, 0))
            hidden = np.triu(apart < _OVERLAP * _BODY_PX, k=1).any(axis=1)
        return hidden

    def _false_detection(self) -> NDArray[np.float64]:
        angle, place = self._random.uniform(-np.pi, np.pi), self._random.uniform(0.05, 0.95, 2) * SIDE_PX
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.asarray(place + self._plan @ turn.T, dtype=np.float64)


def _wrapped(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    return (angle + np.pi) % (2 * np.pi) - np.pi
