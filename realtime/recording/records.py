"""The records of the event log, and the way from the loop's types into them and back.

Arrays are kept as their raw little-endian bytes, C order, beside the sizes that give their shape, so that every bit of
them comes back, those of a NaN included.
"""

from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.poses import Poses
from realtime.decision import Decision, Edge, State
from realtime.tracks import Prediction, Tracks

STAGES = ("grab", "predict", "update", "evaluate", "fire")
"""Of the loop, in the order of `FrameRecord.stage_ns`."""


class PosesRecord(msgspec.Struct, frozen=True, gc=False):
    """`Poses`, its arrays as float32 bytes.

    Attributes:
        n_instances: Animals found.
        n_nodes: Landmarks of the skeleton.
        n_classes: Identities that the model tells apart; 0 without `class_probs`.
        xy: `(n_instances, n_nodes, 2)`, px.
        node_scores: `(n_instances, n_nodes)`.
        instance_scores: `(n_instances,)`.
        class_probs: `(n_instances, n_classes)`, or None where the model tells no identities.
    """

    n_instances: int
    n_nodes: int
    n_classes: int
    xy: bytes
    node_scores: bytes
    instance_scores: bytes
    class_probs: bytes | None


class PredictionRecord(msgspec.Struct, frozen=True, gc=False):
    """`Prediction`, its arrays as bytes; what switched is told by `is_on` of two frames, and by a note.

    Attributes:
        horizon_ns: How far ahead, ns.
        n_groups: Groups of nodes that are predicted.
        xy: `(n_tracks, n_nodes, 2)` float32, px.
        is_on: `(n_tracks, n_groups)`, one byte each.
        error_px: `(n_tracks, n_groups)` float32.
        pose_error_px: `(n_tracks, n_groups)` float32.
    """

    horizon_ns: int
    n_groups: int
    xy: bytes
    is_on: bytes
    error_px: bytes
    pose_error_px: bytes


class TracksRecord(msgspec.Struct, frozen=True, gc=False):
    """`Tracks`, its arrays as bytes.

    Attributes:
        n_tracks: Living tracks.
        n_nodes: Landmarks of the skeleton.
        track_ids: `(n_tracks,)` int32.
        xy: `(n_tracks, n_nodes, 2)` float32, px.
        node_scores: `(n_tracks, n_nodes)` float32.
        identity_confidence: `(n_tracks,)` float32.
        last_seen_ns: `(n_tracks,)` int64, ns.
        class_ids: `(n_tracks,)` int32.
        suspect_ids: `(n_tracks,)` int32; None in logs from before it was recorded.
        corrected_ids: `(n_tracks,)` int32; None likewise.
        prediction: Where they will be; None without look-ahead.
    """

    n_tracks: int
    n_nodes: int
    track_ids: bytes
    xy: bytes
    node_scores: bytes
    identity_confidence: bytes
    last_seen_ns: bytes
    class_ids: bytes
    suspect_ids: bytes | None = None
    corrected_ids: bytes | None = None
    prediction: PredictionRecord | None = None


class DecisionRecord(msgspec.Struct, frozen=True, gc=False):
    """`Decision`, field by field."""

    rule: str
    frame_id: int
    timestamp_ns: int
    state: State
    edge: Edge
    track_ids: tuple[int, ...]
    values: tuple[float, ...]
    units: tuple[str, ...]


class IntentRecord(msgspec.Struct, frozen=True, gc=False):
    """What the stimulator meant to do, and what became of it.

    Attributes:
        stimulus: Name of the stimulus.
        rule: Name of the rule that asked for it; the empty string where no rule did.
        frame_id: The frame that asked for it.
        decided_ns: Host monotonic clock, ns, when it was decided.
        channel: Output channel of the triggers.
        duration_us: Length of the pulse or train, µs.
        intensity: 0–1.
        train_hz: Pulses a second, or None for one unbroken pulse.
        width_us: Width of each pulse of a train, µs, or None.
        outcome: What became of it, as the stimulator names it: fired, or why not.
        detail: For a person.
        commands: (trigger name, command id) of every command that was sent for it.
        arm: `real` or `sham`; `real` in logs from before there were shams.
        ordinal: How many of this stimulus had been asked for before; 0 in older logs, like the next two empty.
        track_ids: The animals that the rule named.
        identity_confidence: How sure it was who they are, one for each of `track_ids`.
        extended: (trigger name, command id of the pulse) where a pulse that runs was made to last longer; empty in logs
            from before devices could do that.
    """

    stimulus: str
    rule: str
    frame_id: int
    decided_ns: int
    channel: int
    duration_us: int
    intensity: float
    train_hz: float | None
    width_us: int | None
    outcome: str
    detail: str
    commands: tuple[tuple[str, int], ...]
    arm: str = "real"
    ordinal: int = 0
    track_ids: tuple[int, ...] = ()
    identity_confidence: tuple[float, ...] = ()
    extended: tuple[tuple[str, int], ...] = ()


class ReceiptRecord(msgspec.Struct, frozen=True, gc=False):
    """What was known of a command when it had been sent.

    Attributes:
        trigger: Name of the trigger.
        command_id: The command.
        sent_ns: Host monotonic clock, ns, when the last byte was handed over.
        acked_ns: Host monotonic clock, ns, when the device answered, or None.
        delivered: False if it could not be handed over at all.
    """

    trigger: str
    command_id: int
    sent_ns: int
    acked_ns: int | None
    delivered: bool


class TriggerEventRecord(msgspec.Struct, frozen=True, gc=False):
    """What a trigger's device reported.

    Attributes:
        trigger: Name of the trigger.
        kind: `ack`, `refused`, `over`, `stopped`, `fault` or `reopened`.
        command_id: The command in question, or None.
        host_ns: Host monotonic clock, ns, when it was read.
        device_us: The device's own clock, µs, or None.
        detail: For a person.
        channel: The output that was stopped, or None, as in logs from before stops were reported.
    """

    trigger: str
    kind: Literal["ack", "refused", "over", "stopped", "fault", "reopened"]
    command_id: int | None
    host_ns: int
    device_us: int | None
    detail: str
    channel: int | None = None


class OrderRecord(msgspec.Struct, frozen=True, gc=False):
    """An order to arm or to disarm, and what came of it.

    Attributes:
        kind: `arm` or `disarm`.
        by: Who gave it, or what; for a person.
        host_ns: Host monotonic clock, ns, when it was given.
        is_fault: Something was wrong; False for what a person wished.
        refused: Why it was not obeyed; the empty string if it was.
    """

    kind: Literal["arm", "disarm"]
    by: str
    host_ns: int
    is_fault: bool
    refused: str


class FrameRecord(msgspec.Struct, frozen=True, gc=False, tag="frame"):
    """One frame's whole journey through the loop.

    Attributes:
        index: 0, 1, 2, … over the frames that the loop took.
        frame_id: `Frame.frame_id`.
        timestamp_ns: `Frame.timestamp_ns`.
        available_ns: `Frame.available_ns`.
        device_timestamp_ns: `Frame.device_timestamp_ns`.
        decided_ns: The clock reading with which the stimulator acted, ns.
        stage_ns: Time spent in each of `STAGES`, ns.
        poses: What the model found.
        tracks: Who that is.
        decisions: What each rule said, in the rig's order.
        intents: What the stimulator meant to do.
        receipts: What was sent.
        trigger_events: What the devices reported since the frame before.
        orders: What was ordered since the frame before.
    """

    index: int
    frame_id: int
    timestamp_ns: int
    available_ns: int
    device_timestamp_ns: int | None
    decided_ns: int
    stage_ns: tuple[int, int, int, int, int]
    poses: PosesRecord
    tracks: TracksRecord
    decisions: tuple[DecisionRecord, ...]
    intents: tuple[IntentRecord, ...] = ()
    receipts: tuple[ReceiptRecord, ...] = ()
    trigger_events: tuple[TriggerEventRecord, ...] = ()
    orders: tuple[OrderRecord, ...] = ()


class NoteRecord(msgspec.Struct, frozen=True, gc=False, tag="note"):
    """Something that happened beside the frames: a fault, a signal, what the experimenter wrote.

    Attributes:
        host_ns: Host monotonic clock, ns.
        kind: One word.
        text: For a person.
    """

    host_ns: int
    kind: str
    text: str


class EndRecord(msgspec.Struct, frozen=True, tag="end"):
    """The session ended in order; a log without it was cut short.

    Attributes:
        host_ns: Host monotonic clock, ns.
        reason: Why it ended, for a person.
        drops: Frames that the loop did not see, counted by reason.
        n_events_lost: Records that should stand in the log and do not.
    """

    host_ns: int
    reason: str
    drops: dict[str, int]
    n_events_lost: int = 0


Record = FrameRecord | NoteRecord | EndRecord


def pack_poses(poses: Poses) -> PosesRecord:
    """Return the record of one frame's poses."""
    n_instances, n_nodes = poses.node_scores.shape
    class_probs = poses.class_probs
    return PosesRecord(
        n_instances,
        n_nodes,
        0 if class_probs is None else class_probs.shape[1],
        poses.xy.tobytes(),
        poses.node_scores.tobytes(),
        poses.instance_scores.tobytes(),
        None if class_probs is None else class_probs.tobytes(),
    )


def unpack_poses(record: PosesRecord) -> Poses:
    """Return the poses of a record, in arrays of their own.

    Raises:
        ValueError: The bytes do not fill the shapes that the record claims.
    """
    instances, nodes = record.n_instances, record.n_nodes
    return Poses(
        _array("poses.xy", record.xy, "<f4", (instances, nodes, 2)),
        _array("poses.node_scores", record.node_scores, "<f4", (instances, nodes)),
        _array("poses.instance_scores", record.instance_scores, "<f4", (instances,)),
        None
        if record.class_probs is None
        else _array("poses.class_probs", record.class_probs, "<f4", (instances, record.n_classes)),
    )


def pack_tracks(tracks: Tracks) -> TracksRecord:
    """Return the record of one frame's tracks."""
    n_tracks, n_nodes = tracks.node_scores.shape
    return TracksRecord(
        n_tracks,
        n_nodes,
        tracks.track_ids.tobytes(),
        tracks.xy.tobytes(),
        tracks.node_scores.tobytes(),
        tracks.identity_confidence.tobytes(),
        tracks.last_seen_ns.tobytes(),
        tracks.class_ids.tobytes(),
        tracks.suspect_ids.tobytes(),
        tracks.corrected_ids.tobytes(),
        None if tracks.prediction is None else _pack_prediction(tracks.prediction),
    )


def _pack_prediction(prediction: Prediction) -> PredictionRecord:
    return PredictionRecord(
        prediction.horizon_ns,
        prediction.is_on.shape[1],
        prediction.xy.tobytes(),
        prediction.is_on.tobytes(),
        prediction.error_px.tobytes(),
        prediction.pose_error_px.tobytes(),
    )


def unpack_tracks(record: TracksRecord) -> Tracks:
    """Return the tracks of a record, in arrays of their own.

    Raises:
        ValueError: The bytes do not fill the shapes that the record claims.
    """
    tracks, nodes = record.n_tracks, record.n_nodes
    return Tracks(
        _array("tracks.track_ids", record.track_ids, "<i4", (tracks,)),
        _array("tracks.xy", record.xy, "<f4", (tracks, nodes, 2)),
        _array("tracks.node_scores", record.node_scores, "<f4", (tracks, nodes)),
        _array("tracks.identity_confidence", record.identity_confidence, "<f4", (tracks,)),
        _array("tracks.last_seen_ns", record.last_seen_ns, "<i8", (tracks,)),
        _array("tracks.class_ids", record.class_ids, "<i4", (tracks,)),
        _array("tracks.suspect_ids", record.suspect_ids or bytes(4 * tracks), "<i4", (tracks,)),
        _array("tracks.corrected_ids", record.corrected_ids or bytes(4 * tracks), "<i4", (tracks,)),
        None if record.prediction is None else _unpack_prediction(record.prediction, tracks, nodes),
    )


def _unpack_prediction(record: PredictionRecord, tracks: int, nodes: int) -> Prediction:
    groups = record.n_groups
    return Prediction(
        record.horizon_ns,
        _array("prediction.xy", record.xy, "<f4", (tracks, nodes, 2)),
        _array("prediction.is_on", record.is_on, "?", (tracks, groups)),
        _array("prediction.error_px", record.error_px, "<f4", (tracks, groups)),
        _array("prediction.pose_error_px", record.pose_error_px, "<f4", (tracks, groups)),
        (),
    )


def pack_decision(decision: Decision) -> DecisionRecord:
    """Return the record of one rule's decision."""
    return DecisionRecord(
        decision.rule,
        decision.frame_id,
        decision.timestamp_ns,
        decision.state,
        decision.edge,
        decision.track_ids,
        decision.values,
        decision.units,
    )


def unpack_decision(record: DecisionRecord) -> Decision:
    """Return the decision of a record."""
    return Decision(
        record.rule,
        record.frame_id,
        record.timestamp_ns,
        record.state,
        record.edge,
        record.track_ids,
        record.values,
        record.units,
    )


def _array(name: str, data: bytes, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if len(data) != n_bytes:
        raise ValueError(f"{name}: expected {n_bytes} bytes for the shape {shape}, got {len(data)}")
    # A copy, because kernels are compiled for writable arrays.
    return np.frombuffer(data, dtype).reshape(shape).copy()
