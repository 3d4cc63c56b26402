"""Fires the planned pulses and keeps what the camera saw; the output is off when it ends, whatever ends it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from camera_drivers.base import Camera
from camera_drivers.errors import CameraFailedError, CameraTimeoutError
from camera_drivers.frame import Frame
from realtime.loop import StopRequest
from realtime.looptest.plan import Plan
from realtime.looptest.region import Look
from realtime.stimulus import Interlock, LimitSpec
from triggers.base import FireReceipt, Trigger
from triggers.errors import TriggerFailedError

Limits = Mapping[tuple[str, int], LimitSpec]  # by trigger and channel

# Short enough for heartbeats and signals.
_GRAB_S = 0.005
_CAMERA_LOST_NS = 2_000_000_000
_EXPIRES_NS = 100_000_000
_N_TIMING_FRAMES = 40


class StoppedError(Exception):
    """A person or a signal asked for the end; the message says which."""


@dataclass(slots=True)
class Seen:
    """Frames, one entry each: identity, times (ns) and what was to be seen where one looked."""

    frame_ids: list[int] = field(default_factory=list)
    available_ns: list[int] = field(default_factory=list)
    device_ns: list[int | None] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)

    def append(self, frame: Frame, look: Look) -> None:
        """Keep one frame."""
        self.frame_ids.append(frame.frame_id)
        self.available_ns.append(frame.available_ns)
        self.device_ns.append(frame.device_timestamp_ns)
        self.looks.append(look)

    @property
    def n_lost(self) -> int:
        """Frames that are missing between the first and the last one."""
        return self.frame_ids[-1] - self.frame_ids[0] + 1 - len(self.frame_ids) if self.frame_ids else 0

    def device_times(self) -> NDArray[np.int64] | None:
        """Return the camera's own times, ns, `(n,)`, or None if a frame has none."""
        times = [time for time in self.device_ns if time is not None]
        return np.array(times, dtype=np.int64) if len(times) == len(self.device_ns) else None

    def period_ns(self) -> float:
        """Return the frame interval: the median between frames with ids next to each other, ns.

        Raises:
            CameraFailedError: There are no two such frames.
        """
        device = self.device_times()
        times = np.array(self.available_ns, dtype=np.int64) if device is None or _stands(device) else device
        steps = np.diff(times)[np.diff(self.frame_ids) == 1]
        if not steps.size or np.median(steps) <= 0:
            raise CameraFailedError(f"looptest: expected frames in a row, got {len(self.frame_ids)} frames")
        return float(np.median(steps))


def _stands(times: NDArray[np.int64]) -> bool:
    return bool(np.any(np.diff(times) <= 0))


class Watcher:
    """Takes the camera's frames, one after the other, and says when it is lost.

    Args:
        camera: Open.
        now_ns: Host monotonic clock, ns.
        stop: Ends everything.
    """

    def __init__(self, camera: Camera, now_ns: Callable[[], int], stop: StopRequest) -> None:
        self._camera = camera
        self._now_ns = now_ns
        self._stop = stop
        self._last_ns = now_ns()

    def step(self, until_ns: int) -> Frame | None:
        """Wait for the next frame, at most 5 ms and not beyond `until_ns`.

        Raises:
            StoppedError: A stop was asked for.
            CameraFailedError: The camera failed or ended.
            CameraTimeoutError: No frame has come for 2 s.
        """
        if self._stop.reason:
            raise StoppedError(self._stop.reason)
        now_ns = self._now_ns()
        frame = self._camera.grab(min(max(until_ns - now_ns, 0) / 1e9, _GRAB_S))
        if frame is not None:
            self._last_ns = self._now_ns()
        elif self._camera.ended:
            raise CameraFailedError("looptest: the camera ended before the test did; expected one that does not end")
        elif self._now_ns() - self._last_ns > _CAMERA_LOST_NS:
            raise CameraTimeoutError(f"looptest: expected a frame within {_CAMERA_LOST_NS / 1e9:g} s, got none")
        return frame

    def drain(self) -> None:
        """Throw away the frames that came while nobody looked."""
        while self._camera.grab(0.0) is not None:
            pass
        self._last_ns = self._now_ns()

    def time_frames(self) -> float:
        """Watch 40 frames and return the frame interval, ns. Raises as `step` does."""
        seen = Seen()
        while len(seen.frame_ids) < _N_TIMING_FRAMES:
            frame = self.step(self._now_ns() + _CAMERA_LOST_NS)
            if frame is not None:
                seen.append(frame, Look(0.0, 0.0))
        return seen.period_ns()


class Firing:
    """Fires pulses of a plan, through the rig's limits, while the camera is watched.

    Args:
        watcher: The camera.
        trigger: Open.
        plan: What to fire and when.
        interlock: The rig's limits; asked again before each pulse, with the times at which they are fired in fact.
        now_ns: Host monotonic clock, ns.
    """

    def __init__(
        self, watcher: Watcher, trigger: Trigger, plan: Plan, interlock: Interlock, now_ns: Callable[[], int]
    ) -> None:
        self._watcher = watcher
        self._trigger = trigger
        self._plan = plan
        self._interlock = interlock
        self._now_ns = now_ns
        self._n_fired = 0
        self.seen = Seen()

    def fire(
        self,
        offsets_ns: tuple[int, ...],
        look: Callable[[NDArray[np.uint8]], Look],
        on_command: Callable[[], None] = lambda: None,
    ) -> NDArray[np.int64]:
        """Fire at the given times after now, and watch until the last pulse must have been seen.

        Args:
            offsets_ns: Times, ns, ascending.
            look: Gives what is kept of each frame in `seen`.
            on_command: Called after each command.

        Returns:
            When each command had been written, host clock, ns, `(n,)`.

        Raises:
            StoppedError, CameraError: As `Watcher.step`.
            TriggerError: The trigger failed, refused a pulse, or had no one to send it to.
        """
        commands = []
        behind_ns = 0
        start_ns = self._now_ns()
        for offset_ns in offsets_ns:
            self._watch_until(start_ns + offset_ns + behind_ns, look)
            while self._interlock.allow(self._plan.output.trigger, self._plan.pulse, self._now_ns()):
                # Planned to be allowed just now, and a little early because the last one was a little late.
                behind_ns += round(self._plan.period_ns)
                self._watch_until(start_ns + offset_ns + behind_ns, look)
            commands.append(self._command())
            on_command()
        tail_ns = self._plan.longest_ns + self._plan.pulse.duration_us * 1000 + 10 * round(self._plan.period_ns)
        self._watch_until(commands[-1] + tail_ns, look)
        return np.array(commands, dtype=np.int64)

    def _command(self) -> int:
        self._n_fired += 1
        return send(self._trigger, self._plan, self._n_fired, self._interlock, self._now_ns()).sent_ns

    def _watch_until(self, time_ns: int, look: Callable[[NDArray[np.uint8]], Look]) -> None:
        while self._now_ns() < time_ns:
            check(self._trigger)
            frame = self._watcher.step(time_ns)
            if frame is not None:
                self.seen.append(frame, look(frame.image))


def send(trigger: Trigger, plan: Plan, command_id: int, interlock: Interlock, now_ns: int) -> FireReceipt:
    """Fire a plan's pulse and account for it.

    Raises:
        TriggerError: The trigger failed, or had no one to send it to.
    """
    receipt = trigger.fire(plan.pulse, command_id, now_ns + _EXPIRES_NS)
    interlock.commit(plan.output.trigger, plan.pulse, now_ns)
    if not receipt.delivered:
        raise TriggerFailedError(
            f"looptest: {plan.output.trigger}: nobody takes the commands; is the receiver running?"
        )
    return receipt


def check(trigger: Trigger) -> tuple[tuple[int | None, int], ...]:
    """Keep a trigger alive; return (command id, host clock when read, ns) of each acknowledgement.

    Raises:
        TriggerFailedError: It reports a fault, or that it refused a pulse.
    """
    acks = []
    for event in trigger.poll():
        if event.kind != "ack":
            raise TriggerFailedError(f"looptest: {event.kind}: {event.detail}")
        acks.append((event.command_id, event.host_ns))
    return tuple(acks)
