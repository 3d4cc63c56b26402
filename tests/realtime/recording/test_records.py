"""Records: what the loop hands over comes back from bytes, bit for bit."""

from typing import Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.poses import Poses
from realtime.decision import Decision, Edge, State
from realtime.recording.records import (
    DecisionRecord,
    EndRecord,
    FrameRecord,
    IntentRecord,
    NoteRecord,
    OrderRecord,
    PosesRecord,
    PredictionRecord,
    ReceiptRecord,
    Record,
    TracksRecord,
    TriggerEventRecord,
    pack_decision,
    pack_poses,
    pack_tracks,
    unpack_decision,
    unpack_poses,
    unpack_tracks,
)
from realtime.tracks import Prediction, Tracks

INT64 = st.integers(-(2**63), 2**63 - 1)
ANY_FLOAT64 = st.integers(0, 2**64 - 1).map(lambda bits: float(np.uint64(bits).view(np.float64)))


def through_the_log(record):
    return msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=type(record))


def arrays(shape, dtype=np.float32):
    """Arrays of any bits: every NaN payload, infinities, subnormals."""
    bits = np.dtype(f"u{np.dtype(dtype).itemsize}")
    return hnp.arrays(bits, shape).map(lambda array: array.view(dtype))


@st.composite
def poses(draw):
    n_instances, n_nodes, n_classes = draw(st.tuples(st.integers(0, 4), st.integers(1, 5), st.integers(0, 3)))
    return Poses(
        draw(arrays((n_instances, n_nodes, 2))),
        draw(arrays((n_instances, n_nodes))),
        draw(arrays((n_instances,))),
        draw(st.none() | arrays((n_instances, n_classes))),
    )


@st.composite
def tracks(draw):
    n_tracks, n_nodes = draw(st.tuples(st.integers(0, 4), st.integers(1, 5)))
    return Tracks(
        draw(arrays((n_tracks,), np.int32)),
        draw(arrays((n_tracks, n_nodes, 2))),
        draw(arrays((n_tracks, n_nodes))),
        draw(arrays((n_tracks,))),
        draw(arrays((n_tracks,), np.int64)),
        draw(arrays((n_tracks,), np.int32)),
        draw(arrays((n_tracks,), np.int32)),
        draw(arrays((n_tracks,), np.int32)),
        draw(st.none() | predictions(n_tracks, n_nodes)),
    )


@st.composite
def predictions(draw, n_tracks, n_nodes):
    n_groups = draw(st.integers(1, 3))
    return Prediction(
        draw(st.integers(0, 10**9)),
        draw(arrays((n_tracks, n_nodes, 2))),
        draw(hnp.arrays(np.bool_, (n_tracks, n_groups))),
        draw(arrays((n_tracks, n_groups))),
        draw(arrays((n_tracks, n_groups))),
        (),
    )


def assert_same_bits(one, other):
    for name in one.__slots__:
        left, right = getattr(one, name), getattr(other, name)
        assert (left is None) == (right is None), name
        if isinstance(left, Prediction):
            assert (left.horizon_ns, left.switches) == (right.horizon_ns, right.switches)
            for array in ("xy", "is_on", "error_px", "pose_error_px"):
                assert getattr(left, array).shape == getattr(right, array).shape, array
                assert getattr(left, array).tobytes() == getattr(right, array).tobytes(), array
        elif left is not None:
            assert (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes()), name


@given(poses())
def test_poses_come_back_bit_for_bit(original):
    assert_same_bits(original, unpack_poses(through_the_log(pack_poses(original))))


@given(tracks())
def test_tracks_come_back_bit_for_bit(original):
    assert_same_bits(original, unpack_tracks(through_the_log(pack_tracks(original))))


DECISIONS = st.builds(
    Decision,
    rule=st.text(),
    frame_id=INT64,
    timestamp_ns=INT64,
    state=st.sampled_from(State),
    edge=st.sampled_from(Edge),
    track_ids=st.lists(INT64).map(tuple),
    values=st.lists(ANY_FLOAT64).map(tuple),
    units=st.lists(st.text()).map(tuple),
)


@given(DECISIONS)
def test_a_decision_comes_back_bit_for_bit(original):
    returned = unpack_decision(through_the_log(pack_decision(original)))
    assert np.array(returned.values).tobytes() == np.array(original.values).tobytes()
    assert msgspec.structs.replace(returned, values=original.values) == original
    assert isinstance(returned.state, State)
    assert isinstance(returned.edge, Edge)


def records_of(struct):
    """Any instance of a record type without floats: those are compared bit for bit above."""
    names = {field.name: field.type for field in msgspec.structs.fields(struct)}
    return st.builds(struct, **{name: FIELDS[kind] for name, kind in names.items()})


FIELDS = {
    int: INT64,
    str: st.text(),
    bytes: st.binary(max_size=40),
    bytes | None: st.none() | st.binary(max_size=40),
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
    int | None: st.none() | INT64,
    float | None: st.none() | st.floats(allow_nan=False),
    Literal["arm", "disarm"]: st.sampled_from(["arm", "disarm"]),
    Literal["ack", "refused", "over", "stopped", "fault", "reopened"]: st.sampled_from(
        ["ack", "refused", "over", "stopped", "fault", "reopened"]
    ),
    State: st.sampled_from(State),
    Edge: st.sampled_from(Edge),
    tuple[int, ...]: st.lists(INT64, max_size=3).map(tuple),
    tuple[float, ...]: st.lists(st.floats(allow_nan=False), max_size=3).map(tuple),
    tuple[str, ...]: st.lists(st.text(), max_size=3).map(tuple),
    tuple[tuple[str, int], ...]: st.lists(st.tuples(st.text(), INT64), max_size=3).map(tuple),
    tuple[int, int, int, int, int]: st.tuples(*[INT64] * 5),
    dict[str, int]: st.dictionaries(st.text(), INT64, max_size=3),
}
FIELDS[PredictionRecord | None] = st.none() | records_of(PredictionRecord)
for part in (PosesRecord, TracksRecord):
    FIELDS[part] = records_of(part)
for part in (DecisionRecord, IntentRecord, ReceiptRecord, TriggerEventRecord, OrderRecord):
    FIELDS[tuple[part, ...]] = st.lists(records_of(part), max_size=2).map(tuple)


@given(st.one_of(records_of(FrameRecord), records_of(NoteRecord), records_of(EndRecord)))
@settings(max_examples=50)
def test_every_record_comes_back_as_what_it_was(record):
    returned = msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=Record)
    assert type(returned) is type(record)
    assert returned == record


def test_an_intent_from_before_there_were_arms_was_real():
    fields = ("light", "near", 5, 100, 0, 200, 0.5, None, None, "sent", "", (("laser", 1),))
    names = [field.name for field in msgspec.structs.fields(IntentRecord)]
    old = msgspec.msgpack.encode(dict(zip(names, fields, strict=False)))
    record = msgspec.msgpack.decode(old, type=IntentRecord)
    assert record == IntentRecord(*fields)
    assert (record.arm, record.ordinal, record.track_ids, record.identity_confidence) == ("real", 0, (), ())


def test_unpacked_arrays_are_ours_to_write():
    original = Poses(np.zeros((1, 2, 2), np.float32), np.zeros((1, 2), np.float32), np.zeros(1, np.float32))
    assert unpack_poses(pack_poses(original)).xy.flags.writeable


def test_bytes_that_do_not_fill_the_shape_are_an_error():
    record = PosesRecord(
        n_instances=2,
        n_nodes=3,
        n_classes=0,
        xy=bytes(44),
        node_scores=bytes(24),
        instance_scores=bytes(8),
        class_probs=None,
    )
    with pytest.raises(ValueError, match="poses") as caught:
        unpack_poses(record)
    assert str(caught.value) == "poses.xy: expected 48 bytes for the shape (2, 3, 2), got 44"
