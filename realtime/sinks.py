"""Sinks: where a processed frame goes; the recorder, a watch on the model, a status line for whoever looks."""

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from camera_drivers.base import Camera
from models.base import PoseModel
from realtime.decision import Decision, State
from realtime.loop import ProcessedFrame, StopRequest
from realtime.recording import Recorder
from realtime.recording.records import (
    FrameRecord,
    IntentRecord,
    NoteRecord,
    OrderRecord,
    ReceiptRecord,
    TriggerEventRecord,
    pack_decision,
    pack_poses,
    pack_tracks,
)
from realtime.rules import Rule
from realtime.stimulus import Order, Stimulator
from realtime.tracks import Prediction, Switch

STATUS_PERIOD_NS = 250_000_000


def frame_record(processed: ProcessedFrame) -> FrameRecord:
    """Return a processed frame in the form in which it is logged."""
    frame, action = processed.frame, processed.action
    return FrameRecord(
        index=processed.index,
        frame_id=frame.frame_id,
        timestamp_ns=frame.timestamp_ns,
        available_ns=frame.available_ns,
        device_timestamp_ns=frame.device_timestamp_ns,
        decided_ns=processed.decided_ns,
        stage_ns=processed.stage_ns,
        poses=pack_poses(processed.poses),
        tracks=pack_tracks(processed.tracks),
        decisions=tuple([pack_decision(decision) for decision in processed.decisions]),
        # Attribute by attribute: slow, but a stimulus is rare.
        intents=tuple(msgspec.convert(intent, IntentRecord, from_attributes=True) for intent in action.intents),
        receipts=tuple(msgspec.convert(receipt, ReceiptRecord, from_attributes=True) for receipt in action.receipts),
        trigger_events=tuple(
            TriggerEventRecord(
                trigger=trigger,
                kind=event.kind,
                command_id=event.command_id,
                host_ns=event.host_ns,
                device_us=event.device_us,
                detail=event.detail,
                channel=event.channel,
            )
            for trigger, event in action.events
        ),
        orders=tuple(msgspec.convert(order, OrderRecord, from_attributes=True) for order in action.orders),
    )


def switch_text(switch: Switch, horizon_ns: int, px_per_mm: float | None) -> str:
    """Say that the look-ahead was switched off or on, and why."""
    unit, scale = ("px", 1.0) if px_per_mm is None else ("mm", 1.0 / px_per_mm)
    return (
        f"track {switch.track_id}, {switch.group}: switched {'on again' if switch.is_on else 'off'}: "
        f"{horizon_ns / 1e6:.1f} ms ahead it was off by {switch.error_px * scale:.3g} {unit}, "
        f"no prediction by {switch.pose_error_px * scale:.3g} {unit}"
    )


class RecorderSink:
    """Hands every frame to the recorder, and asks for the end of the session when it can no longer record.

    Args:
        recorder: The recorder.
        stop: Asked for the end.
        stop_on_failure: Whether the session ends when it can no longer record.
        px_per_mm: For the notes of the look-ahead; None = they are in px.
    """

    def __init__(
        self, recorder: Recorder, stop: StopRequest, *, stop_on_failure: bool, px_per_mm: float | None = None
    ) -> None:
        self._recorder = recorder
        self._stop = stop
        self._stop_on_failure = stop_on_failure
        self._px_per_mm = px_per_mm

    def append(self, processed: ProcessedFrame) -> None:
        """Hand over one frame, and a note where the look-ahead was switched; never waits."""
        self._recorder.append(frame_record(processed))
        if (prediction := processed.tracks.prediction) is not None:
            for switch in prediction.switches:
                text = switch_text(switch, prediction.horizon_ns, self._px_per_mm)
                self._recorder.append(NoteRecord(processed.decided_ns, "look-ahead", text))
        if self._stop_on_failure and self._recorder.failed is not None:
            self._stop.request(f"recording failed: {self._recorder.failed}")


class ModelWatch:
    """Disarms when the model gave what no healthy network gives in so many frames in a row.

    In those frames no rule can fire, since what is not a number counts as not seen. But a network that has gone wrong
    may come back in any state, and a person should look first.

    Args:
        model: Counts its own faults.
        n_frames: So many.
        disarm: Called with the order.
    """

    def __init__(self, model: PoseModel, n_frames: int, disarm: Callable[[Order], None]) -> None:
        self._model = model
        self._n_frames = n_frames
        self._disarm = disarm
        self._n_bad = 0
        self._n_faults = model.faults

    def append(self, processed: ProcessedFrame) -> None:
        """Look whether the model counted faults in this frame."""
        n_faults = self._model.faults
        if n_faults == self._n_faults:
            self._n_bad = 0
            return
        self._n_faults = n_faults
        self._n_bad += 1
        if self._n_bad == self._n_frames:
            reason = f"model: {self._n_bad} frames in a row with poses that no healthy network gives"
            self._disarm(Order("disarm", reason, processed.decided_ns, is_fault=True))
            self._n_bad = 0


class RuleWatch:
    """Disarms when a rule in Python breaks its protocol, or was too slow in so many frames in a row.

    A rule that raised or gave no answer is unknown from then on, so that it asks for nothing. One that is slow goes on,
    because no decision may depend on how fast a computer is; a replay has the order to disarm from the record.

    Args:
        rules: Those of the session; only those in Python are watched.
        n_frames: So many.
        disarm: Called with the order.
    """

    def __init__(self, rules: Sequence[Rule], n_frames: int, disarm: Callable[[Order], None]) -> None:
        self._watched = [(rule, rule.plugin) for rule in rules if rule.plugin is not None]
        self._n_frames = n_frames
        self._disarm = disarm
        self._n_slow = dict.fromkeys((rule.name for rule in rules), 0)
        self._told: set[str] = set()

    def append(self, processed: ProcessedFrame) -> None:
        """Look how the rules behaved in this frame."""
        for rule, plugin in self._watched:
            reason = ""
            if rule.fault and rule.name not in self._told:
                self._told.add(rule.name)
                reason = rule.fault
            is_slow = rule.asked_ns > plugin.max_ms * 1e6
            self._n_slow[rule.name] = self._n_slow[rule.name] + 1 if is_slow else 0
            if self._n_slow[rule.name] == self._n_frames:
                self._n_slow[rule.name] = 0
                reason = (
                    f"rule {rule.name}: {plugin.installed.target}: expected its answers on a frame within "
                    f"{plugin.max_ms:g} ms, took longer in {self._n_frames} frames in a row, at last "
                    f"{rule.asked_ns / 1e6:.1f} ms"
                )
            if reason:
                self._disarm(Order("disarm", reason, processed.decided_ns, is_fault=True))


class StatusSink:
    """Writes a line of JSON four times a second to a pipe; a reader that does not keep up misses lines.

    Args:
        file_descriptor: Write end of a pipe; made non-blocking.
        camera: Asked for its lost frames when a line is due.
        stimulator: Asked whether it is armed.
    """

    def __init__(self, file_descriptor: int, camera: Camera, stimulator: Stimulator) -> None:
        os.set_blocking(file_descriptor, False)
        self._fd = file_descriptor
        self._camera = camera
        self._stimulator = stimulator
        self._due_ns = 0
        self._latency_ns: list[int] = []
        self._outcomes: dict[str, int] = {}
        self._n_frames = 0
        self._first_ns = 0

    def append(self, processed: ProcessedFrame) -> None:
        """Count one frame and write a line if one is due."""
        now_ns = processed.decided_ns
        self._n_frames += 1
        self._latency_ns.append(sum(processed.stage_ns))
        for intent in processed.action.intents:
            self._outcomes[intent.outcome] = self._outcomes.get(intent.outcome, 0) + 1
        if now_ns >= self._due_ns:
            self._first_ns = self._first_ns or now_ns
            self._due_ns = now_ns + STATUS_PERIOD_NS
            self._write({"status": self._line(processed, now_ns)})
            self._latency_ns.clear()

    def _line(self, processed: ProcessedFrame, now_ns: int) -> dict[str, Any]:
        p50, largest = np.percentile(self._latency_ns, (50, 100)) / 1e6
        seconds, prediction = (now_ns - self._first_ns) / 1e9, processed.tracks.prediction
        return {
            "n_frames": self._n_frames,
            "frame_id": processed.frame.frame_id,
            "frames_per_s": (self._n_frames - 1) / seconds if seconds > 0 else None,
            "latency_p50_ms": float(p50),
            "latency_max_ms": float(largest),
            "n_animals": int(np.isfinite(processed.tracks.xy[..., 0]).any(axis=1).sum()),
            "rules": {decision.rule: _state(decision) for decision in processed.decisions},
            "lookahead": None
            if prediction is None
            else {"horizon_ms": prediction.horizon_ns / 1e6, **_groups(prediction)},
            "stimuli": self._outcomes,
            "drops": dict(self._camera.drops),
            "armed": self._stimulator.armed,
        }

    def _write(self, line: dict[str, Any]) -> None:
        # Where nobody reads, a status line is not worth a wait.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._fd, json.dumps(line).encode() + b"\n")


def _groups(prediction: Prediction) -> dict[str, int]:
    """Count the groups of nodes of all animals whose look-ahead is switched off, and all of them."""
    return {"n_off": int(np.count_nonzero(~prediction.is_on)), "n_groups": prediction.is_on.size}


def _state(decision: Decision) -> str:
    return State(decision.state).name
