"""Sinks beside the recorder's: the watches on the model and on rules in Python, in the loop with a real stimulator."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest

from models.poses import Poses
from realtime.loop import run_loop
from realtime.sinks import ModelWatch, RuleWatch

N_BAD = 3


@dataclass
class FailingModel:
    """Finds two animals; in the frames `bad_at` what no healthy network gives, and counts that as a real one does."""

    bad_at: tuple = ()
    faults: int = 0
    uses_expected_xy = False
    seen: list = field(default_factory=list)

    def predict(self, image, frame_id, expected_xy=None):
        bad = frame_id in self.bad_at
        self.faults += 26 * bad
        xy = np.array([[[0, 0], [10, 0], [20, 0]], [[100, 0], [110, 0], [120, 0]]], np.float32)
        return Poses(np.full_like(xy, np.nan) if bad else xy, np.ones((2, 3), np.float32), np.ones(2, np.float32))

    def review(self, image, frame_id):
        pass

    def close(self):
        pass


@pytest.fixture
def run(make_bench):
    """Run the loop over `n_frames` with a rule that rises in each; return what became of each stimulus."""

    def run_with(bad_at, n_frames=12):
        bench = make_bench(n_frames=n_frames, rising_at=range(n_frames))
        model = FailingModel(bad_at)
        watch = ModelWatch(model, N_BAD, bench.parts.stimulator.obey)
        run_loop(replace(bench.parts, model=model, sinks=(*bench.parts.sinks, watch)), bench.stop)
        return bench, [frame.action.intents[0].outcome for frame in bench.sink.frames]

    return run_with


def test_so_many_bad_frames_in_a_row_disarm(run):
    bench, outcomes = run(bad_at=(4, 5, 6))
    assert outcomes[7:] == ["disarmed"] * 5
    assert "disarmed" not in outcomes[:7]
    reason = "model: 3 frames in a row with poses that no healthy network gives"
    assert bench.parts.stimulator.fault == reason
    assert [(order.kind, order.by, order.is_fault) for order in bench.sink.frames[7].action.orders] == [
        ("disarm", reason, True)
    ]
    assert bench.events == ["all off"], "at once, not with the next stimulus"


@pytest.mark.parametrize("bad_at", [(), (4, 5), (1, 2, 4, 5, 7, 8, 10, 11)], ids=["none", "few", "never in a row"])
def test_fewer_do_not(run, bad_at):
    bench, outcomes = run(bad_at)
    assert "disarmed" not in outcomes
    assert bench.parts.stimulator.armed


class OddRule:
    """Decides as another rule does, like a rule in Python that is slow in some frames or breaks its protocol in one."""

    name = "odd"
    plugin = SimpleNamespace(max_ms=5.0, installed=SimpleNamespace(target="acme:Odd"))

    def __init__(self, rule, slow_at, fails_at):
        self.rule, self.slow_at, self.fails_at = rule, slow_at, fails_at
        self.fault, self.asked_ns = "", 0

    def evaluate(self, tracks, frame_id, timestamp_ns):
        self.asked_ns = 6_000_000 if frame_id in self.slow_at else 4_000_000
        if frame_id == self.fails_at:
            self.fault = "rule odd: acme:Odd raised KeyError: 'tail', on frame 4"
        return self.rule.evaluate(tracks, frame_id, timestamp_ns)


@pytest.mark.parametrize(
    ("slow_at", "fails_at", "disarmed_from", "reason"),
    [
        ((), None, None, ""),
        ((1, 2, 4, 5, 7, 8), None, None, ""),
        ((), 4, 5, "rule odd: acme:Odd raised KeyError: 'tail', on frame 4"),
        (
            (4, 5, 6),
            None,
            7,
            "rule odd: acme:Odd: expected its answers on a frame within 5 ms, took longer in 3 frames in a row, at "
            "last 6.0 ms",
        ),
    ],
    ids=["well", "now and then slow", "broken", "slow"],
)
def test_a_rule_in_python_that_breaks_its_protocol_disarms(make_bench, slow_at, fails_at, disarmed_from, reason):
    bench = make_bench(n_frames=12, rising_at=range(12))
    odd = OddRule(bench.parts.rules[0], slow_at, fails_at)
    watch = RuleWatch([odd], N_BAD, bench.parts.stimulator.obey)
    run_loop(replace(bench.parts, model=FailingModel(), rules=(odd,), sinks=(*bench.parts.sinks, watch)), bench.stop)
    outcomes = [frame.action.intents[0].outcome for frame in bench.sink.frames]
    n_armed = 12 if disarmed_from is None else disarmed_from
    assert "disarmed" not in outcomes[:n_armed]
    assert outcomes[n_armed:] == ["disarmed"] * (12 - n_armed)
    assert bench.parts.stimulator.fault == reason
    orders = [(order.by, order.is_fault) for frame in bench.sink.frames for order in frame.action.orders]
    assert orders == ([(reason, True)] if reason else []), "once"
