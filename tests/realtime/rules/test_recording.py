"""A recording evaluated at once says what the live rule said frame by frame, to the last bit."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from numpy.typing import NDArray
from pydantic import BaseModel

from realtime.decision import Decision, Edge, State
from realtime.rules import (
    Animal,
    DecisionTable,
    PythonRule,
    RuleContext,
    RuleSpec,
    TrackTable,
    compile_rule,
    compile_rules,
    evaluate_recording,
    registry,
)
from realtime.rules.kernel import BLOCK
from realtime.tracks import ARRAYS, Prediction, Tracks

NEAR = "distance(a.head, b.thorax) < 3 mm and facing(a, b) < 90 deg"
SPECS = {
    "pair": {"when": NEAR, "any_pair": ("a", "b")},
    "pair with hysteresis": {"when": NEAR, "until": "distance(a, b) > 4 mm or not visible(b)", "any_pair": ("a", "b")},
    "identities": {"when": "facing(male, female.head) < 2 rad and score(male.head) * 2 > 0.5"},
    "tracks": {
        "when": "min(distance(first, second), 1 cm) < 5 mm",
        "until": "abs(identity_confidence(second) - 0.5) > 0.4 or visible(first.head)",
    },
    "suspicion": {"when": "swap_suspected(a) and not swap_suspected(b)", "any_pair": ("a", "b")},
    "doubt": {"when": NEAR, "any_pair": ("a", "b"), "require_identity": 0.3},
    "shapes": {
        "when": "abs(heading(a) - heading(b)) < 60 deg and orientation(a, b) < 60 deg or contact(a, b, 2 px)",
        "until": "in_zone(a, food) or count_in_zone(nest) > 2 or nearest(a, b) > 1 mm or confidence(b) < 0.5",
        "any_pair": ("a", "b"),
    },
    "motion of pairs": {
        "when": "approach_speed(a, b, 10 ms) > 5 px/s and speed(a.head, 20 ms) > 10 mm/s",
        "until": "angular_speed(b, 15 ms) > 999 deg/s or speed(a, 33 ms) < 9 mm/s",
        "any_pair": ("a", "b"),
    },
    "motion of identities": {
        "when": "approach_speed(male, first, 10 ms) > 5 px/s or speed(first.head, 20 ms) > 10 mm/s",
        "until": "angular_speed(first, 30 ms) > 99 deg/s",
    },
    "past of pairs": {
        "when": "once(distance(a.head, b.thorax) < 1 mm, 50 ms) and fraction(visible(a.head), 99 ms) > 0.7",
        "until": "held(visible(b.head), 40 ms) and rising(distance(a, b) > 2 mm) or mean(score(a.head), 1 s) > 0.7",
        "any_pair": ("a", "b"),
    },
    "doubt about the past": {
        "when": "once(distance(a.head, b.thorax) < 2 mm, 50 ms) and mean(score(a.head), 20 ms) < 2",
        "until": "held(visible(b), 5 ms) and speed(a, 5 ms) > 1 mm/s",
        "any_pair": ("a", "b"),
        "require_identity": 0.05,
    },
    "past of tracks": {
        "when": "mean(speed(first, 20 ms), 100 ms) > 9 mm/s or rising(held(visible(second), 33 ms))",
        "until": "fraction(once(rising(visible(first.head)), 20 ms), 200 ms) > 0.3",
    },
    "predicted": {
        "when": "distance(predicted(a.head), predicted(b)) < 3 mm and facing(a, predicted(b)) < 90 deg",
        "until": "contact(predicted(a), b, 2 px) or nearest(a, predicted(b)) > 3 mm or in_zone(predicted(b), food)",
        "any_pair": ("a", "b"),
    },
    "predicted headings": {
        "when": "orientation(predicted(first), second) < 60 deg or facing(predicted(first), second.head) < 60 deg",
        "until": "abs(heading(predicted(first)) - heading(first)) > 30 deg",
    },
    "pair and identity": {"when": f"{NEAR} and distance(male, b) < 20 px", "any_pair": ("a", "b")},
}


def random_frames(seed: int, n_frames: int, n_most: int = 5, leave: float = 0.05) -> list[Tracks]:
    """Up to so many tracks that come, go, lose nodes, stand on one another and change identity."""
    rng = np.random.default_rng(seed)
    living: list[int] = []
    newest = 0
    frames = []
    for _ in range(n_frames):
        living = [track_id for track_id in living if rng.random() > leave]
        while len(living) < n_most and rng.random() < 0.3:
            newest += 1
            living.append(newest)
        n_tracks = len(living)
        xy = rng.integers(0, 60, (n_tracks, 3, 2)).astype(np.float32)  # a grid makes ties and zero vectors likely
        xy += rng.choice([0.0, 0.125, 0.3], (n_tracks, 1, 1)).astype(np.float32)
        xy[rng.random((n_tracks, 3)) < 0.1] = np.nan
        frames.append(
            Tracks(
                np.array(living, np.int32),
                xy,
                rng.random((n_tracks, 3), np.float32),
                rng.random(n_tracks, np.float32),
                np.zeros(n_tracks, np.int64),
                rng.integers(-1, 2, n_tracks).astype(np.int32),
                rng.integers(0, 2, n_tracks).astype(np.int32),
                (rng.random(n_tracks) < 0.03).astype(np.int32),
                _prediction(xy, rng),
            )
        )
    return frames


def _prediction(xy: NDArray[np.float32], rng: np.random.Generator) -> Prediction:
    """Every node goes its own way; what is not seen is not predicted."""
    n_tracks = len(xy)
    nothing = np.full((n_tracks, 1), np.nan, np.float32)
    moved = xy + rng.choice([-8.0, 0.0, 0.1, 8.0], xy.shape).astype(np.float32)
    return Prediction(20_000_000, moved, np.ones((n_tracks, 1), np.bool_), nothing, nothing, ())


def same(one: Decision, other: Decision) -> bool:
    """Equal to the last bit: NaN equals NaN and 0.0 is not -0.0."""
    *rest, values, _ = structs.astuple(one)
    *other_rest, other_values, _ = structs.astuple(other)
    return rest == other_rest and np.array(values).tobytes() == np.array(other_values).tobytes()


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(SPECS)),
    seed=st.integers(0, 2**32 - 1),
    policy=st.sampled_from(["hold", "release"]),
    for_s=st.sampled_from([0.0, 0.015, 0.04]),
    refractory_s=st.sampled_from([0.0, 0.05]),
    # From a new set of animals in nearly every frame to the same two in many blocks of frames.
    living=st.sampled_from([(5, 0.05), (5, 0.0), (3, 0.01), (2, 0.0), (2, 0.005)]),
)
def test_live_and_recording_agree(
    name: str,
    seed: int,
    policy: str,
    for_s: float,
    refractory_s: float,
    living: tuple[int, float],
    context: RuleContext,
) -> None:
    spec = RuleSpec.model_validate(SPECS[name] | {"when_unknown": policy, "for_s": for_s, "refractory_s": refractory_s})
    rng = np.random.default_rng(seed)
    n_frames = 2 * BLOCK + 44
    frames = random_frames(seed, n_frames, *living)
    frame_ids = np.cumsum(rng.integers(1, 4, n_frames)).tolist()  # gaps: dropped frames
    timestamps_ns = np.cumsum(rng.integers(0, 20_000_000, n_frames)).tolist()
    rule = compile_rule("r", spec, context)
    live = []
    table: DecisionTable | None = None
    for index, (frame, frame_id, timestamp_ns) in enumerate(zip(frames, frame_ids, timestamps_ns, strict=True)):
        live.append(rule.evaluate(frame, frame_id, timestamp_ns))
        if index == n_frames // 2:  # in the middle of the live run, which it may not disturb
            table = rule.evaluate_recording(TrackTable.stack(frame_ids, timestamps_ns, frames))
    assert table is not None
    assert len(table) == n_frames
    assert all(same(decision, table.decision(index)) for index, decision in enumerate(live))


def test_rules_side_by_side_say_what_each_says_alone(context: RuleContext) -> None:
    specs = {name: RuleSpec.model_validate(spec | {"when_unknown": "hold"}) for name, spec in SPECS.items()}
    specs["asks"] = RuleSpec(when="state(pair, a, b)", any_pair=("a", "b"), when_unknown="hold")
    rules = compile_rules(specs, context)
    recording = TrackTable.stack(range(400), [index * 10_000_000 for index in range(400)], random_frames(7, 400))
    for rule, table in zip(rules, evaluate_recording(rules, recording, n_threads=3), strict=True):
        alone = rule.evaluate_recording(recording)
        assert table.rule == rule.name
        assert all(same(table.decision(index), alone.decision(index)) for index in range(400))


@pytest.mark.parametrize("name", SPECS)
def test_the_random_recordings_reach_every_state(name: str, context: RuleContext) -> None:
    rule = compile_rule("r", RuleSpec.model_validate(SPECS[name] | {"when_unknown": "release"}), context)
    timestamps_ns = [index * 10_000_000 for index in range(150)]
    tables = [
        rule.evaluate_recording(TrackTable.stack(range(150), timestamps_ns, random_frames(seed, 150)))
        for seed in range(20)
    ]
    assert {state for table in tables for state in table.states.tolist()} == set(State)
    assert {edge for table in tables for edge in table.edges.tolist()} == set(Edge)


def test_a_recording_without_tracks(context: RuleContext) -> None:
    spec = RuleSpec(when=NEAR, any_pair=("a", "b"), when_unknown="hold")
    nobody = random_frames(0, 1)[0]
    nobody = Tracks(**{name: getattr(nobody, name)[:0] for name in ARRAYS})
    table = compile_rule("r", spec, context).evaluate_recording(TrackTable.stack([4, 5], [0, 1], [nobody, nobody]))
    assert table.states.tolist() == [State.UNKNOWN, State.UNKNOWN]
    assert table.track_ids.tolist() == [[0, 0], [0, 0]]
    assert np.isnan(table.values).all()


def test_a_table_needs_as_many_of_each() -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        TrackTable.stack([1, 2], [0], random_frames(0, 1))
    assert str(caught.value) == (
        "track table: expected as many frame ids, timestamps and tracks, and at least one, got 2, 1 and 1"
    )


class _NoOptions(BaseModel):
    pass


class _Approaching(PythonRule):
    """Nearer than when it was asked before."""

    Options = _NoOptions
    n_animals = 2
    before = np.nan

    def evaluate(self, animals: Sequence[Animal], timestamp_ns: int) -> bool | None:
        gap = float(np.hypot(*(animals[0]["head"] - animals[1]["thorax"])))
        before, self.before = self.before, gap
        return None if np.isnan(before - gap) else gap < before

    def reset(self) -> None:
        self.before = np.nan


@pytest.mark.parametrize("seed", range(5))
def test_a_rule_in_python_says_the_same_live_and_on_a_recording_and_to_other_rules(
    seed: int, context: RuleContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "load", lambda _: registry.Installed(_Approaching, "here:Approaching", "here", "1"))
    python = {"python": "approaching", "when_unknown": "hold"}
    specs = {
        "asks": {"when": "state(pair, a, b)", "any_pair": ("a", "b"), "when_unknown": "hold"},
        "pair": python | {"any_pair": ("a", "b"), "for_s": 0.01},
        "roles": python | {"roles": ("male", "second"), "when_unknown": "release"},
        "sure": python | {"any_pair": ("a", "b"), "require_identity": 0.3, "refractory_s": 0.05},
    }
    rules = compile_rules({name: RuleSpec.model_validate(spec) for name, spec in specs.items()}, context)
    frames, times_ns = random_frames(seed, 200, 3, 0.02), [index * 10_000_000 for index in range(200)]
    tables = {rule.name: rule.evaluate_recording(TrackTable.stack(range(200), times_ns, frames)) for rule in rules}
    for index, tracks in enumerate(frames):
        for rule in rules:
            assert same(rule.evaluate(tracks, index, times_ns[index]), tables[rule.name].decision(index))
    assert set(tables["pair"].states.tolist()) == set(State)
    assert tables["asks"].states.tolist() == tables["pair"].states.tolist()
