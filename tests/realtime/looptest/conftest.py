"""A camera and a light on a clock that a test moves: everything of a real test but the waiting."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from camera_drivers.base import Camera, CameraInfo
from camera_drivers.frame import Frame
from realtime.loop import StopRequest
from realtime.looptest.firing import Watcher
from realtime.looptest.measure import measure_light
from realtime.looptest.plan import Output, Plan, make_plan
from realtime.looptest.region import N_LOCATING, Region
from realtime.looptest.result import LightResult
from realtime.stimulus import LimitSpec
from triggers.base import FireReceipt, Trigger, TriggerEvent, TriggerInfo

MS = 1_000_000
LIMITS = {("lamp", 0): LimitSpec(max_on_s=1.0, max_duty=1.0, max_dose_s=1000.0)}


@dataclass
class Clock:
    now_ns: int = 7_000_000_000

    def __call__(self) -> int:
        return self.now_ns


@dataclass
class Lamp(Trigger):
    """Lights `delay_ms(n)` after the n-th command, NaN for never, and notes when it was switched off."""

    clock: Clock
    delay_ms: Callable[[int], float]
    lit: deque[tuple[float, float]] = field(default_factory=deque)
    delays_ms: list[float] = field(default_factory=list)
    events: deque[TriggerEvent] = field(default_factory=deque)
    delivered: bool = True
    is_off: bool = True

    class Options(BaseModel):
        pass

    def open(self) -> TriggerInfo:
        return TriggerInfo("lamp", "", {}, acknowledges=False, dead_man_ms=None)

    def fire(self, pulse: Any, command_id: int, expires_ns: int) -> FireReceipt:
        self.clock.now_ns += 50_000
        self.is_off = False
        delay_ms = self.delay_ms(command_id)
        self.delays_ms.append(delay_ms)
        if not np.isnan(delay_ms):
            start_ns = self.clock.now_ns + delay_ms * MS
            self.lit.append((start_ns, start_ns + pulse.duration_us * 1000))
        return FireReceipt(command_id, self.clock.now_ns, delivered=self.delivered)

    def poll(self) -> tuple[TriggerEvent, ...]:
        found = tuple(self.events)
        self.events.clear()
        return found

    def stop(self, channel: int) -> None:
        self.is_off = True

    def all_off(self) -> None:
        self.is_off = True

    def close(self) -> None:
        self.is_off = True


@dataclass
class Scene(Camera):
    """A gray picture with a lamp in it, `period_ms` a frame, lit by `exposure_ms` of it.

    Frames come `transfer_ms` after their exposure and up to `late_ms` later, by chance. A room lamp flickers by
    `flicker` gray levels. The camera's own clock has another zero and runs fast by 20 parts in a million.
    """

    clock: Clock
    lamp: Lamp
    period_ms: float = 10.0
    exposure_ms: float = 4.0
    transfer_ms: float = 0.0
    late_ms: float = 0.0
    noise_sd: float = 2.0
    level: float = 80.0
    background: float = 90.0
    flicker: float = 0.0
    flicker_hz: float = 100.0
    dropped: float = 0.0
    has_clock: bool = True
    fails_at: int = -1
    next_id: int = 1
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(3))

    class Options(BaseModel):
        pass

    def __post_init__(self) -> None:
        self.start_ns = self.clock.now_ns
        self.held_ns = 0
        shape = (32, 48)
        self.noises = [self.rng.normal(0.0, self.noise_sd, shape).astype(np.float32) for _ in range(64)]
        self._prepare()

    def open(self) -> CameraInfo:
        raise NotImplementedError

    def _prepare(self) -> None:
        while self.rng.random() < self.dropped:
            self.next_id += 1
        due_ns = self.end_ns + round((self.transfer_ms + self.late_ms * self.rng.random() ** 4) * MS)
        self.held_ns = max(due_ns, self.held_ns)

    @property
    def end_ns(self) -> int:
        return self.start_ns + round(self.next_id * self.period_ms * MS)

    def grab(self, timeout_s: float) -> Frame | None:
        if self.next_id == self.fails_at:
            raise OSError("camera unplugged")
        until_ns = self.clock.now_ns + round(timeout_s * 1e9)
        if self.held_ns > until_ns:
            self.clock.now_ns = max(until_ns, self.clock.now_ns + 1)
            return None
        self.clock.now_ns = max(self.clock.now_ns, self.held_ns)
        device_ns = round((self.end_ns - self.start_ns) * 1.00002) + 12_345
        frame = Frame(
            self.next_id, self.clock.now_ns, self.clock.now_ns, device_ns if self.has_clock else None, self._image()
        )
        self.next_id += 1
        self._prepare()
        return frame

    def _image(self) -> Any:
        end_ns, exposure_ns = self.end_ns, self.exposure_ms * MS
        while self.lamp.lit and self.lamp.lit[0][1] < end_ns - exposure_ns:
            self.lamp.lit.popleft()
        share = sum(max(0.0, min(end_ns, off) - max(end_ns - exposure_ns, on)) for on, off in self.lamp.lit)
        room = self.background + self.flicker * np.sin(2e-9 * np.pi * self.flicker_hz * (end_ns - 0.5 * exposure_ns))
        image = self.noises[int(self.rng.integers(len(self.noises)))] + np.float32(room)
        image[6:13, 8:17] += np.float32(self.level * share / exposure_ns)
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)

    @property
    def ended(self) -> bool:
        return False

    def close(self) -> None:
        pass


@dataclass
class Bench:
    clock: Clock
    lamp: Lamp
    scene: Scene
    stop: StopRequest
    limits: dict[tuple[str, int], LimitSpec]
    plan: Plan

    def measure(self, region: Region | None = None, **options: Any) -> LightResult:
        watcher = Watcher(self.scene, self.clock, self.stop)
        return measure_light(watcher, self.lamp, self.plan, self.limits, region, now_ns=self.clock, **options)

    def true_ms(self) -> Any:
        """The delays of the pulses that count."""
        return np.array(self.lamp.delays_ms[self.plan.n_locating :])


@pytest.fixture
def make_bench():
    def make(
        delay_ms: float | Callable[[int], float] = 12.34,
        *,
        n_pulses: int = 60,
        locate: bool = True,
        longest_ms: float = 60.0,
        limits: dict[tuple[str, int], LimitSpec] = LIMITS,
        **scene: Any,
    ) -> Bench:
        clock = Clock()
        lamp = Lamp(clock, delay_ms if callable(delay_ms) else lambda _: float(delay_ms))
        camera = Scene(clock, lamp, **scene)
        plan = make_plan(
            Output("lamp", 0, 1.0),
            limits,
            n_pulses=n_pulses,
            n_locating=N_LOCATING if locate else 0,
            duration_us=round(3.1 * camera.period_ms * 1000),
            period_ns=camera.period_ms * MS,
            longest_ns=round(longest_ms * MS),
            seed=0,
        )
        return Bench(clock, lamp, camera, StopRequest(), limits, plan)

    return make
