"""The loop: grab, predict, update, evaluate, fire, append, review; the same for a live rig and for a replay."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic_ns
from typing import Protocol

import msgspec

from camera_drivers.base import Camera
from camera_drivers.errors import CameraTimeoutError
from camera_drivers.frame import Frame
from models.base import PoseModel
from models.poses import Poses
from realtime.decision import Decision
from realtime.lookahead import LookAhead
from realtime.plane import Leveller
from realtime.stimulus import Action, Stimulator
from realtime.timing import Clock
from realtime.tracking import GreedyTracker
from realtime.tracks import Tracks

# Short enough that a signal is answered and a heartbeat is sent while no frame comes.
GRAB_TIMEOUT_S = 0.01


class Rule(Protocol):
    """Decides on one condition, frame by frame."""

    def evaluate(self, tracks: Tracks, frame_id: int, timestamp_ns: int) -> Decision:
        """Return what the rule says of this frame."""
        ...


class Sink(Protocol):
    """Takes what happened to a frame, without ever waiting."""

    def append(self, frame: "ProcessedFrame") -> None:
        """Take one frame's outcome."""
        ...


class StopRequest:
    """Asks the loop to end; the first reason counts."""

    def __init__(self) -> None:
        self.reason = ""

    def request(self, reason: str) -> None:
        """Ask the loop to end after the frame in hand."""
        self.reason = self.reason or reason


@dataclass(frozen=True, slots=True)
class Parts:
    """What one run of the loop is made of.

    Attributes:
        sinks: Each is given every processed frame, in this order.
        camera_lost_s: No frame for this long ends the run.
        lookahead: Says where the animals will be; None where the rig does not ask for it.
        leveller: Makes levelled px of px for rules; None where the rig has no file of `poseloop calibrate`.
    """

    camera: Camera
    model: PoseModel
    tracker: GreedyTracker
    rules: Sequence[Rule]
    stimulator: Stimulator
    clock: Clock
    sinks: Sequence[Sink]
    camera_lost_s: float
    lookahead: LookAhead | None = None
    leveller: Leveller | None = None


class ProcessedFrame(msgspec.Struct, frozen=True):
    """One frame's whole journey.

    The image and the tracks are overwritten when the camera's ring has gone round (`loop.ring_frames`); copy to keep.

    Attributes:
        index: 0 for the first processed frame of the session.
        decided_ns: The clock reading on which the deadline was judged.
        stage_ns: Time spent in grab (frame available → in hand), predict, update, evaluate and fire, ns, host clock.
    """

    index: int
    frame: Frame
    decided_ns: int
    stage_ns: tuple[int, int, int, int, int]
    poses: Poses
    tracks: Tracks
    decisions: tuple[Decision, ...]
    action: Action


def run_loop(parts: Parts, stop: StopRequest) -> int:
    """Process frames until the camera ends or a stop is requested; return how many were processed.

    Raises:
        CameraError: The camera failed, or delivered nothing for `camera_lost_s`.
        ModelError: Inference failed.
    """
    camera, stimulator = parts.camera, parts.stimulator
    index = 0
    last_frame_ns = monotonic_ns()
    while not stop.reason and not camera.ended:
        frame = camera.grab(GRAB_TIMEOUT_S)
        grabbed_ns = monotonic_ns()
        stimulator.poll()
        if frame is None:
            _check_camera(grabbed_ns - last_frame_ns, parts.camera_lost_s)
            continue
        last_frame_ns = grabbed_ns
        processed = process(parts, frame, index, grabbed_ns)
        for sink in parts.sinks:
            sink.append(processed)
        parts.model.review(frame.image, frame.frame_id)
        index += 1
    return index


def process(parts: Parts, frame: Frame, index: int, grabbed_ns: int) -> ProcessedFrame:
    """Take one frame from its image to its stimulus."""
    expected_xy = parts.tracker.expected_xy(frame.timestamp_ns) if parts.model.uses_expected_xy else None
    poses = parts.model.predict(frame.image, frame.frame_id, expected_xy)
    predicted_ns = monotonic_ns()
    tracks = parts.tracker.update(poses, frame.timestamp_ns, frame.image)
    if parts.lookahead is not None:
        tracks = parts.lookahead.predict(tracks, frame.timestamp_ns)
    updated_ns = monotonic_ns()
    seen = tracks if parts.leveller is None else parts.leveller.level(tracks)
    decisions = tuple([rule.evaluate(seen, frame.frame_id, frame.timestamp_ns) for rule in parts.rules])
    evaluated_ns = monotonic_ns()
    decided_ns = parts.clock.now_ns()
    if parts.lookahead is not None:
        parts.lookahead.learn_latency(decided_ns - frame.available_ns)
    action = parts.stimulator.act(decisions, tracks, frame.frame_id, frame.timestamp_ns, frame.available_ns, decided_ns)
    fired_ns = monotonic_ns()
    stage_ns = (
        grabbed_ns - frame.available_ns,
        predicted_ns - grabbed_ns,
        updated_ns - predicted_ns,
        evaluated_ns - updated_ns,
        fired_ns - evaluated_ns,
    )
    return ProcessedFrame(index, frame, decided_ns, stage_ns, poses, tracks, decisions, action)


def _check_camera(silent_ns: int, camera_lost_s: float) -> None:
    if silent_ns > camera_lost_s * 1e9:
        raise CameraTimeoutError(
            f"camera: expected a frame within {camera_lost_s:g} s, got none; check its cable and its trigger, "
            "or raise loop.camera_lost_s"
        )
