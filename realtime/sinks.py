"""Sinks: where a processed frame goes; the recorder, and a status line for whoever watches."""

import contextlib
import json
import os
from typing import Any

import msgspec
import numpy as np

from camera_drivers.base import Camera
from realtime.decision import Decision, State
from realtime.loop import ProcessedFrame, StopRequest
from realtime.recording import Recorder
from realtime.recording.records import (
    FrameRecord,
    IntentRecord,
    ReceiptRecord,
    TriggerEventRecord,
    pack_decision,
    pack_poses,
    pack_tracks,
)

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
            )
            for trigger, event in action.events
        ),
    )


class RecorderSink:
    """Hands every frame to the recorder, and asks for the end of the session when it can no longer record."""

    def __init__(self, recorder: Recorder, stop: StopRequest, *, stop_on_failure: bool) -> None:
        self._recorder = recorder
        self._stop = stop
        self._stop_on_failure = stop_on_failure

    def append(self, processed: ProcessedFrame) -> None:
        """Hand over one frame; never waits."""
        self._recorder.append(frame_record(processed))
        if self._stop_on_failure and self._recorder.failed is not None:
            self._stop.request(f"recording failed: {self._recorder.failed}")


class StatusSink:
    """Writes a line of JSON four times a second to a pipe; a reader that does not keep up misses lines.

    Args:
        file_descriptor: Write end of a pipe; made non-blocking.
        camera: Asked for its lost frames when a line is due.
    """

    def __init__(self, file_descriptor: int, camera: Camera) -> None:
        os.set_blocking(file_descriptor, False)
        self._fd = file_descriptor
        self._camera = camera
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
        seconds = (now_ns - self._first_ns) / 1e9
        return {
            "n_frames": self._n_frames,
            "frame_id": processed.frame.frame_id,
            "frames_per_s": (self._n_frames - 1) / seconds if seconds > 0 else None,
            "latency_p50_ms": float(p50),
            "latency_max_ms": float(largest),
            "n_animals": int(np.isfinite(processed.tracks.xy[..., 0]).any(axis=1).sum()),
            "rules": {decision.rule: _state(decision) for decision in processed.decisions},
            "stimuli": self._outcomes,
            "drops": dict(self._camera.drops),
        }

    def _write(self, line: dict[str, Any]) -> None:
        # Where nobody reads, a status line is not worth a wait.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._fd, json.dumps(line).encode() + b"\n")


def _state(decision: Decision) -> str:
    return State(decision.state).name
