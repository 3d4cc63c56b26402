"""The simulated camera: insects that court in an arena, with exact ground truth; needs no hardware."""

import time
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from camera_drivers.base import Camera, CameraInfo
from camera_drivers.errors import CameraFailedError
from camera_drivers.frame import Frame
from camera_drivers.insects import (
    EDGES,
    IDENTITIES,
    NODE_NAMES,
    SYMMETRIES,
    Animal,
    Arena,
    draw_animal,
    nodes_of,
    step,
    uniform,
)
from camera_drivers.light import LightLog, Spot

__all__ = ["EDGES", "IDENTITIES", "NODE_NAMES", "SYMMETRIES", "SimCamera", "SimOptions", "SimScene"]

# Streams of the hash, one for every question that is put to chance; `insects` has its own.
_NOISE_SHIFT, _INVISIBLE, _DROPPED, _LATE = range(100, 104)
_BLOCK_FRAMES = 1024
_INVISIBLE_FRAMES = 10
_NOISE_MARGIN_PX = 61
_DEVICE_QUEUE_FRAMES = 4
_AWAKE_S = 0.0003  # before a frame with a light: a sleeper wakes up late, and that would count as the light's delay

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class SimOptions(BaseModel):
    """Settings of the simulated camera. The frames are a pure function of them, unless a stimulator lights them.

    Attributes:
        seed: Another seed, another film.
        n_animals: Animals with an even index are males (smaller, dark abdomen tip, they court), the others females.
        n_frames: The film's length, or None for a camera that does not end.
        noise_sd: Standard deviation of the pixel noise, gray levels.
        body_px: Length of a female, px; a male has 0.9 of it.
        invisible_fraction: How much of the time an animal is missing from the picture, 10 frames at a time.
        dropped_fraction: Frames that the camera never delivers; their ids are missing.
        late_fraction: Frames that are delivered `late_ms` too late (with pace "realtime" only).
        pace: "realtime": frames come at `frame_rate_hz` of the host's clock, and a consumer that stalls for more than
            four frames loses the oldest. "consumer": each `grab` returns the next frame at once.
        light_log_path: The `log_path` of a simulated stimulator: its output lights a spot in the upper left corner.
            Only with pace "realtime"; what it did before the camera was opened is not seen.
        light_channel: The output that drives the light.
        light_delay_ms: How long after its output the light goes on and off, ms.
        light_level: Gray levels that the light adds, at full intensity for a whole exposure.
        exposure_ms: How long a frame gathers light, up to its time stamp, ms; None for the whole frame interval. Only
            the light depends on it, animals are drawn where they are at the frame's time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    seed: Annotated[int, Field(ge=0)] = 0
    width_px: Annotated[int, Field(ge=32, le=8192)] = 512
    height_px: Annotated[int, Field(ge=32, le=8192)] = 512
    frame_rate_hz: Annotated[float, Field(ge=0.001, le=10_000.0)] = 60.0
    n_animals: Annotated[int, Field(ge=0, le=16)] = 2
    n_frames: Annotated[int, Field(gt=0)] | None = None
    noise_sd: Annotated[float, Field(ge=0.0, le=30.0)] = 3.0
    body_px: Annotated[float, Field(ge=8.0)] = 60.0
    invisible_fraction: Fraction = 0.0
    dropped_fraction: Annotated[float, Field(ge=0.0, le=0.9)] = 0.0
    late_fraction: Fraction = 0.0
    late_ms: Annotated[float, Field(ge=0.0, le=10_000.0)] = 50.0
    pace: Literal["realtime", "consumer"] = "realtime"
    light_log_path: Annotated[Path | None, Field(strict=False)] = None
    light_channel: Annotated[int, Field(ge=0, le=15)] = 0
    light_delay_ms: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0
    light_level: Annotated[float, Field(gt=0.0, le=255.0)] = 100.0
    exposure_ms: Annotated[float, Field(gt=0.0)] | None = None

    @model_validator(mode="after")
    def _light_in_real_time(self) -> Self:
        if self.light_log_path is not None and self.pace != "realtime":
            raise ValueError('expected pace = "realtime" with light_log_path, since a stimulator works in real time')
        if self.exposure_ms is not None and self.exposure_ms > 1e3 / self.frame_rate_hz:
            raise ValueError(
                f"expected exposure_ms of at most the frame interval of {1e3 / self.frame_rate_hz:g} ms, "
                f"got {self.exposure_ms:g} ms"
            )
        return self

    @model_validator(mode="after")
    def _room_enough(self) -> Self:
        room = min(self.width_px, self.height_px) / self.body_px
        if room < 4.0:
            raise ValueError(
                f"expected an image at least 4 bodies wide and high, got {self.width_px} × {self.height_px} px "
                f"with body_px = {self.body_px:g}"
            )
        if self.n_animals > 2 and self.n_animals > (room / 2.0) ** 2:
            raise ValueError(
                f"expected at most {int((room / 2.0) ** 2)} animals in an image so small, got {self.n_animals}"
            )
        return self


class SimScene:
    """The film of a `SimOptions`: the picture and the true poses of every frame, pure functions of the frame's id.

    Frames in ascending order are cheap; going back costs up to 1024 steps of the animals' movement, jumping far ahead
    costs all the steps between.
    """

    def __init__(self, options: SimOptions) -> None:
        self.options = options
        self._arena = Arena(options.width_px, options.height_px, options.body_px)
        self._block = 0
        self._block_starts = [self._arena.place(options.n_animals, options.seed)]
        self._states = [self._block_starts[0]]

    def image(self, frame_id: int, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Draw one frame.

        Args:
            frame_id: The frame, from 0.
            out: `(height_px, width_px)` uint8, C-contiguous, to draw into; a new array by default.

        Returns:
            `(height_px, width_px)` uint8.
        """
        if out is None:
            out = np.empty((self.options.height_px, self.options.width_px), np.uint8)
        np.copyto(out, self.background)
        for index, animal in enumerate(self._animals(frame_id)):
            if self._visible(index, frame_id):
                draw_animal(out, animal, index, self._arena)
        if self.options.noise_sd > 0.0:
            cv2.add(out, self._noise_of(frame_id), dst=out, dtype=cv2.CV_8U)
        return out

    def poses(self, frame_id: int) -> NDArray[np.float32]:
        """Return where the nodes are: `(n_animals, n_nodes, 2)` float32 px, pixel centre = integer; NaN = invisible."""
        xy = np.full((self.options.n_animals, len(NODE_NAMES), 2), np.nan, np.float32)
        for index, animal in enumerate(self._animals(frame_id)):
            if self._visible(index, frame_id):
                xy[index] = nodes_of(animal, index, self._arena)
        return xy

    @cached_property
    def background(self) -> NDArray[np.uint8]:
        """The empty arena, `(height_px, width_px)` uint8."""
        return self._arena.background(self.options.seed)

    def dropped(self, frame_id: int) -> bool:
        """True if the camera never delivers this frame."""
        return uniform(self.options.seed, _DROPPED, frame_id) < self.options.dropped_fraction

    def late(self, frame_id: int) -> bool:
        """True if the camera delivers this frame `late_ms` too late."""
        return uniform(self.options.seed, _LATE, frame_id) < self.options.late_fraction

    def _visible(self, index: int, frame_id: int) -> bool:
        spell = frame_id // _INVISIBLE_FRAMES * 16 + index
        return uniform(self.options.seed, _INVISIBLE, spell) >= self.options.invisible_fraction

    def _animals(self, frame_id: int) -> tuple[Animal, ...]:
        """Every block's first state is kept for good, the other states only for the block in hand."""
        block, offset = divmod(frame_id, _BLOCK_FRAMES)
        if block != self._block:
            self._enter(min(block, len(self._block_starts) - 1))
        while self._block < block:
            self._advance(_BLOCK_FRAMES)
            self._block_starts.append(self._states[_BLOCK_FRAMES])
            self._enter(self._block + 1)
        self._advance(offset)
        return self._states[offset]

    def _enter(self, block: int) -> None:
        self._block = block
        self._states = [self._block_starts[block]]

    def _advance(self, offset: int) -> None:
        first = self._block * _BLOCK_FRAMES
        while len(self._states) <= offset:
            now = first + len(self._states)
            self._states.append(step(self._states[-1], self._arena, now, self.options.frame_rate_hz, self.options.seed))

    @cached_property
    def _noise(self) -> NDArray[np.int16]:
        shape = (self.options.height_px + _NOISE_MARGIN_PX, self.options.width_px + _NOISE_MARGIN_PX)
        noise = np.random.default_rng(self.options.seed).normal(0.0, self.options.noise_sd, shape)
        return np.rint(noise).astype(np.int16)

    def _noise_of(self, frame_id: int) -> NDArray[np.int16]:
        """A fresh normal deviate for every pixel would cost 10 ms; a shifted tile costs nothing."""
        shift = int(uniform(self.options.seed, _NOISE_SHIFT, frame_id) * (_NOISE_MARGIN_PX + 1) ** 2)
        top, left = divmod(shift, _NOISE_MARGIN_PX + 1)
        return self._noise[top : top + self.options.height_px, left : left + self.options.width_px]


class SimCamera(Camera):
    """Delivers the frames of a `SimScene`. The film starts with the first `grab`."""

    Options: ClassVar[type[BaseModel]] = SimOptions

    def __init__(self, options: SimOptions) -> None:
        self._options = options
        self._period_ns = 1e9 / options.frame_rate_hz
        self._exposure_ns = self._period_ns if options.exposure_ms is None else options.exposure_ms * 1e6
        self._scene: SimScene | None = None
        self._light: LightLog | None = None
        self._drawn_id = -1
        self._started_ns = 0
        self._held_ns = 0
        self._next_id = 0
        self._lost = 0

    def open(self) -> CameraInfo:
        """Prepare the film."""
        options = self._options
        self._scene = SimScene(options)
        self._buffer = np.empty((options.height_px, options.width_px), np.uint8)
        self._spot = Spot(options.width_px, options.height_px, options.light_level)
        if options.light_log_path is not None:
            delay_ns = round(options.light_delay_ms * 1e6)
            self._light = LightLog(options.light_log_path, options.light_channel, delay_ns)
        self._drawn_id = -1
        self._draw(self._scene, 0)  # so that the first frame is not late
        self._started_ns = self._held_ns = self._next_id = self._lost = 0
        self._skip_dropped(self._scene)
        return CameraInfo(
            height=options.height_px,
            width=options.width_px,
            channels=1,
            frame_rate_hz=options.frame_rate_hz,
            n_frames=options.n_frames,
            reproducible=self._light is None,
            source={"driver": "sim", "options": options.model_dump(mode="json")},
        )

    def grab(self, timeout_s: float) -> Frame | None:
        """Return the next frame of the film that is delivered at all."""
        scene = self._scene
        if scene is None:
            raise CameraFailedError("sim: expected an open camera, got grab before open; call open first")
        self._started_ns = self._started_ns or time.monotonic_ns()
        if self._light is not None and not self.ended:
            self._draw(scene, self._next_id)  # while it is exposed: a camera's picture is there when the light is
        if self.ended or not (self.waits_for_consumer or self._wait(scene, timeout_s)):
            return None
        frame_id, device_ns = self._next_id, self._device_ns(self._next_id)
        self._draw(scene, frame_id)
        if self._light is not None:
            end_ns = self._started_ns + device_ns
            self._spot.add(self._buffer, self._light.share(end_ns - round(self._exposure_ns), end_ns))
        image = self._buffer.view()
        image.flags.writeable = False
        self._next_id += 1
        self._skip_dropped(scene)
        now_ns = time.monotonic_ns()
        timestamp_ns = self._started_ns + device_ns if self.waits_for_consumer else now_ns
        return Frame(frame_id, timestamp_ns, now_ns, device_ns, image)

    @property
    def ended(self) -> bool:
        """True after the last frame of a film with `n_frames`."""
        return self._options.n_frames is not None and self._next_id >= self._options.n_frames

    @property
    def answers_at_once(self) -> bool:
        """True unless the frame has a light, which is drawn while it is exposed."""
        return self._light is None

    @property
    def waits_for_consumer(self) -> bool:
        """True with pace "consumer"."""
        return self._options.pace == "consumer"

    @property
    def drops(self) -> dict[str, int]:
        """`device_queue`: frames that were not taken in time."""
        return {"device_queue": self._lost} if self._lost else {}

    def close(self) -> None:
        """Forget the film."""
        self._scene = None
        if self._light is not None:
            self._light.close()
            self._light = None

    def _draw(self, scene: SimScene, frame_id: int) -> None:
        if frame_id != self._drawn_id:
            scene.image(frame_id, self._buffer)
            self._drawn_id = frame_id

    def _device_ns(self, frame_id: int) -> int:
        return round(frame_id * self._period_ns)

    def _skip_dropped(self, scene: SimScene) -> None:
        while not self.ended and scene.dropped(self._next_id):
            self._next_id += 1

    def _wait(self, scene: SimScene, timeout_s: float) -> bool:
        """Wait until the next frame is due; skip those that a real device's queue would have lost by now."""
        now_ns = time.monotonic_ns()
        while now_ns - self._due_ns(scene) >= _DEVICE_QUEUE_FRAMES * self._period_ns and not self._last:
            self._next_id += 1
            self._lost += 1
            self._skip_dropped(scene)
        wait_s = (self._due_ns(scene) - now_ns) / 1e9
        awake_s = 0.0 if self._light is None else _AWAKE_S
        if wait_s > awake_s and timeout_s > 0.0:  # a sleep of 0 s takes 50 µs
            time.sleep(min(wait_s - awake_s, timeout_s))
        if wait_s > timeout_s:
            return False
        while awake_s and time.monotonic_ns() < now_ns + wait_s * 1e9:
            pass
        return True

    def _due_ns(self, scene: SimScene) -> int:
        """A late frame holds back those behind it, as on a real bus; frames keep their order."""
        due_ns = self._started_ns + self._device_ns(self._next_id)
        if scene.late(self._next_id):
            self._held_ns = max(self._held_ns, due_ns + round(self._options.late_ms * 1e6))
        return max(due_ns, self._held_ns)

    @property
    def _last(self) -> bool:
        return self._options.n_frames is not None and self._next_id >= self._options.n_frames - 1
