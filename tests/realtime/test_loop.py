"""The loop: every frame once, in order, from image to stimulus to sinks."""

from dataclasses import replace

import numpy as np
import pytest

from camera_drivers.errors import CameraTimeoutError
from models.poses import Poses
from realtime.decision import State
from realtime.lookahead import LookAhead, LookAheadOptions
from realtime.loop import run_loop
from realtime.plane import Leveller, Plane
from realtime.rules import RuleContext, RuleSpec, compile_rule


def test_every_frame_is_processed_once_and_in_order(make_bench):
    bench = make_bench(n_frames=4)
    assert run_loop(bench.parts, bench.stop) == 4
    assert [(frame.index, frame.frame.frame_id) for frame in bench.sink.frames] == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert [list(frame.tracks.track_ids) for frame in bench.sink.frames] == [[1, 2]] * 4


def test_a_rising_edge_fires_in_its_frame(make_bench):
    bench = make_bench(rising_at=(2,))
    run_loop(bench.parts, bench.stop)
    outcomes = [[intent.outcome for intent in frame.action.intents] for frame in bench.sink.frames]
    assert outcomes == [[], [], ["sent"], [], []]
    assert [fired.pulse.duration_us for fired in bench.trigger.fired] == [10_000]


def test_a_pose_after_its_deadline_does_not_fire_and_is_logged_as_late(make_bench):
    bench = make_bench(rising_at=(2,), deadline_ns=1_000_000)
    bench.clock.time_ns = 1_000_001
    run_loop(bench.parts, bench.stop)
    assert [intent.outcome for frame in bench.sink.frames for intent in frame.action.intents] == ["late"]
    assert bench.trigger.fired == []


def test_stage_times_follow_one_another(make_bench):
    bench = make_bench(n_frames=2)
    run_loop(bench.parts, bench.stop)
    for processed in bench.sink.frames:
        assert len(processed.stage_ns) == 5
        assert all(stage >= 0 for stage in processed.stage_ns)


def test_a_stop_ends_the_loop_after_the_frame_in_hand(make_bench):
    bench = make_bench(n_frames=1000)
    bench.sink.append = lambda processed: bench.stop.request("enough") if processed.index == 2 else None
    assert run_loop(bench.parts, bench.stop) == 3


def test_the_first_reason_to_stop_counts(make_bench):
    bench = make_bench()
    bench.stop.request("signal SIGINT")
    bench.stop.request("recording failed")
    assert bench.stop.reason == "signal SIGINT"
    assert run_loop(bench.parts, bench.stop) == 0


def test_a_camera_that_falls_silent_ends_the_run(make_bench):
    bench = make_bench(silent=True, camera_lost_s=0.02)
    with pytest.raises(CameraTimeoutError) as caught:
        run_loop(bench.parts, bench.stop)
    assert str(caught.value) == (
        "camera: expected a frame within 0.02 s, got none; check its cable and its trigger, or raise loop.camera_lost_s"
    )


def test_the_trigger_is_polled_while_no_frame_comes(make_bench):
    bench = make_bench(silent=True, camera_lost_s=0.02)
    polls = []
    bench.trigger.poll = lambda: polls.append(None) or ()
    with pytest.raises(CameraTimeoutError):
        run_loop(bench.parts, bench.stop)
    assert polls


class BlindModel:
    """Finds both animals until frame 2; then every number that it gives is NaN."""

    uses_expected_xy = False

    def predict(self, image, frame_id, expected_xy=None):
        xy = np.array([[[0, 0], [10, 0], [20, 0]], [[40, 0], [50, 0], [60, 0]]], np.float32)
        fill = np.nan if frame_id >= 2 else 1.0
        return Poses(xy * np.float32(fill), np.full((2, 3), fill, np.float32), np.full(2, fill, np.float32))

    def review(self, image, frame_id):
        pass

    def close(self):
        pass


def test_the_model_looks_again_when_the_command_is_out_and_the_frame_is_handed_on(make_bench):
    bench = make_bench(n_frames=3, rising_at=(1,))
    happened = []
    bench.sink.append = lambda processed: happened.append(("append", processed.index))
    bench.parts.model.review = lambda image, frame_id: happened.append(("review", frame_id, len(bench.trigger.fired)))
    run_loop(bench.parts, bench.stop)
    assert happened == [
        ("append", 0), ("review", 0, 0), ("append", 1), ("review", 1, 1), ("append", 2), ("review", 2, 1)
    ]  # fmt: skip


def test_a_model_that_gives_nan_makes_rules_unknown_and_fires_nothing(make_bench):
    context = RuleContext(node_names=("head", "thorax", "abdomen"), front="head", back="abdomen", centre="thorax")
    spec = RuleSpec(when="distance(a, b) < 100 px", any_pair=("a", "b"), when_unknown="release")
    bench = make_bench(n_frames=5)
    run_loop(replace(bench.parts, model=BlindModel(), rules=(compile_rule("near", spec, context),)), bench.stop)
    states = [frame.decisions[0].state for frame in bench.sink.frames]
    assert states == [State.ON, State.ON, State.UNKNOWN, State.UNKNOWN, State.UNKNOWN]
    outcomes = [[intent.outcome for intent in frame.action.intents] for frame in bench.sink.frames]
    assert outcomes == [["sent"], [], [], [], []]


def test_rules_and_sinks_are_given_where_the_animals_will_be_at_the_measured_latency(make_bench):
    bench = make_bench(n_frames=3)
    bench.clock.time_ns = 700_000
    ahead = LookAhead(LookAheadOptions(camera_latency_ms=2.0, device_latency_ms=3.0), ("a", "b", "c"), 2)
    asked = []
    bench.parts = replace(bench.parts, lookahead=ahead, rules=(NotingRule(bench.parts.rules[0].evaluate, asked),))
    run_loop(bench.parts, bench.stop)
    seen = [frame.tracks.prediction for frame in bench.sink.frames]
    assert [tracks.prediction for tracks in asked] == seen
    assert [prediction.horizon_ns for prediction in seen] == [5_000_000, 5_700_000, 5_700_000]


class NotingRule:
    """Notes the tracks that it is asked about."""

    def __init__(self, evaluate, asked):
        self._evaluate = evaluate
        self._asked = asked

    def evaluate(self, tracks, frame_id, timestamp_ns):
        self._asked.append(tracks)
        return self._evaluate(tracks, frame_id, timestamp_ns)


def test_rules_see_levelled_px_and_everybody_else_px(make_bench):
    """Every px is one and a half levelled ones: of animals that are 100 px apart, 150 are told."""
    plane = Plane(width_px=8, height_px=8, levelling=((1.5, 0.0, 7.0), (0.0, 1.5, 0.0), (0.0, 0.0, 1.0)))
    bench = make_bench(n_frames=3)
    options = LookAheadOptions(horizon_ms=20.0)
    context = RuleContext(("head", "thorax", "abdomen"), centre="thorax", predicted_nodes=("thorax",), plane=plane)
    spec = RuleSpec(
        when="distance(a, predicted(b)) > 140 px and distance(a, b) > 160 px", any_pair=("a", "b"), when_unknown="hold"
    )
    parts = replace(
        bench.parts,
        rules=(compile_rule("near", spec, context),),
        lookahead=LookAhead(options, ("head", "thorax", "abdomen"), 8),
        leveller=Leveller(plane, 8, 3),
    )
    run_loop(parts, bench.stop)
    for frame in bench.sink.frames:
        assert frame.decisions[0].values == (150.0, 150.0)
        assert frame.tracks.xy[:, 1, 0].tolist() == [10.0, 110.0]
        assert frame.tracks.prediction.xy[:, 1, 0].tolist() == [10.0, 110.0]
