"""Functions with a memory: hand-computed timelines, and a slow reference that keeps the whole past."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.decision import State
from realtime.rules import RuleContext, RuleSpec, compile_rule
from realtime.tracks import Tracks

MakeTracks = Callable[..., Tracks]

ON, OFF, UNKNOWN = State.ON, State.OFF, State.UNKNOWN
STATES = {"T": ON, "F": OFF, "U": UNKNOWN}
MS = 1_000_000
CONDITION = "score(first.head) > 0.5"

# The condition in each frame as (time in ms, T, F or U), and what the expression gives.
TRUTHS: dict[str, tuple[str, list[tuple[int, str, str]]]] = {
    "held: unknown until the window is full": (
        f"held({CONDITION}, 0.1 s)",
        [(0, "T", "U"), (50, "T", "U"), (99, "T", "U"), (100, "T", "T"), (150, "T", "T")],
    ),
    "held: false at once, and until the false is out of the window": (
        f"held({CONDITION}, 100 ms)",
        [(0, "F", "F"), (10, "T", "F"), (60, "T", "F"), (109, "T", "F"), (110, "T", "T"), (120, "F", "F")],
    ),
    "held: a false lasts until the next frame": (
        f"held({CONDITION}, 0.1 s)",
        [(0, "T", "U"), (100, "F", "F"), (190, "T", "F"), (289, "T", "F"), (290, "T", "T")],
    ),
    "held: dropped frames between two trues change nothing": (
        f"held({CONDITION}, 0.1 s)",
        [(0, "F", "F"), (10, "T", "F"), (500, "T", "T")],
    ),
    "held: an unknown is in the window until it is out of it": (
        f"held({CONDITION}, 0.1 s)",
        [(0, "T", "U"), (100, "T", "T"), (110, "U", "U"), (120, "T", "U"), (219, "T", "U"), (220, "T", "T")],
    ),
    "held: false wins over unknown": (
        f"held({CONDITION}, 0.1 s)",
        [(0, "F", "F"), (10, "U", "F"), (50, "U", "F"), (109, "U", "F"), (110, "U", "U"), (120, "F", "F")],
    ),
    "not held": (f"not held({CONDITION}, 0.1 s)", [(0, "T", "U"), (100, "T", "F"), (110, "F", "T"), (120, "T", "T")]),
    "once: unknown until a true or a full window": (
        f"once({CONDITION}, 0.1 s)",
        [(0, "F", "U"), (99, "F", "U"), (100, "F", "F"), (110, "T", "T"), (120, "F", "T")],
    ),
    "once: true at once, and until the true is out of the window": (
        f"once({CONDITION}, 0.1 s)",
        [(0, "T", "T"), (10, "F", "T"), (109, "F", "T"), (110, "F", "F")],
    ),
    "once: true wins over unknown": (
        f"once({CONDITION}, 0.1 s)",
        [(0, "T", "T"), (10, "U", "T"), (109, "U", "T"), (110, "U", "U"), (120, "F", "U"), (220, "F", "F")],
    ),
    "once: over a gap": (f"once({CONDITION}, 0.1 s)", [(0, "T", "T"), (500, "F", "T"), (600, "F", "F")]),
    "rising": (
        f"rising({CONDITION})",
        [(0, "F", "F"), (10, "T", "T"), (20, "T", "F"), (30, "F", "F"), (500, "T", "T"), (510, "T", "F")],
    ),
    "rising: in the first frame it is not known": (f"rising({CONDITION})", [(0, "T", "U"), (10, "T", "F")]),
    "rising: after an unknown": (
        f"rising({CONDITION})",
        [(0, "F", "F"), (10, "U", "U"), (20, "T", "U"), (30, "U", "F"), (40, "F", "F"), (50, "T", "T")],
    ),
    "fraction: half a window is enough": (
        f"fraction({CONDITION}, 0.1 s) > 0.99",
        [(0, "T", "U"), (49, "T", "U"), (50, "T", "T"), (100, "T", "T"), (200, "T", "T")],
    ),
    "inside of one another": (
        f"once(rising({CONDITION}), 0.1 s) and not {CONDITION}",
        [
            (0, "F", "U"),
            (10, "F", "U"),
            (20, "T", "F"),
            (30, "F", "T"),
            (119, "F", "T"),
            (129, "F", "T"),
            (130, "F", "F"),
        ],
    ),
    "in a comparison that decides": (
        f"held({CONDITION}, 0.1 s) or score(second.head) > 0.5",
        [(0, "TT", "T"), (100, "TF", "T"), (110, "FF", "F"), (210, "TF", "F")],
    ),
}


def seen(make_tracks: MakeTracks, letters: str) -> Tracks:
    """Tracks whose head has a score above or below one half; with U the track is missing."""
    animals = {track_id: {"head": (1.0, 1.0)} for track_id, letter in enumerate(letters, 1) if letter != "U"}
    return make_tracks(animals, scores={k: 0.9 if letter == "T" else 0.1 for k, letter in enumerate(letters, 1)})


@pytest.mark.parametrize("name", TRUTHS)
@pytest.mark.parametrize("start_ms", [0, 86_400_000 * 365], ids=["clock at zero", "clock after a year"])
def test_truths(name: str, start_ms: int, context: RuleContext, make_tracks: MakeTracks) -> None:
    when, steps = TRUTHS[name]
    rule = compile_rule("r", RuleSpec(when=when, when_unknown="release"), context)
    for _ in range(2):  # the second time after a reset
        got = []
        for time_ms, letters, _ in steps:
            decision = rule.evaluate(seen(make_tracks, letters), 0, (start_ms + time_ms) * MS)
            got.append((time_ms, letters, decision.state))
        assert got == [(time_ms, letters, STATES[expected]) for time_ms, letters, expected in steps]
        rule.reset()


# Where the head of track 1 is, in each frame as (time in ms, position on x or None, expected number).
NAN = math.nan
NUMBERS: dict[str, tuple[str, list[tuple[int, float | None, float]]]] = {
    "mean: trapezes": (
        "mean(distance(first.head, first.thorax), 0.1 s) < 999 px",
        [(0, 10, NAN), (40, 20, NAN), (60, 40, (15 * 40 + 30 * 20) / 60), (100, 40, (600 + 600 + 1600) / 100)],
    ),
    "mean: the window begins within a segment": (
        "mean(distance(first.head, first.thorax), 0.1 s) < 999 px",
        [(0, 10, NAN), (80, 30, 20), (140, 50, (20 * 40 + 40 * 60) / 100)],
    ),
    "mean: in mm": ("mean(distance(first.head, first.thorax), 0.1 s) < 999 mm", [(0, 10, NAN), (100, 20, 1.5)]),
    "mean: of a constant over a gap": (
        "mean(distance(first.head, first.thorax), 0.1 s) < 999 px",
        [(0, 7, NAN), (9000, 7, 7)],
    ),
    "mean: what is not seen is left out": (
        "mean(distance(first.head, first.thorax), 0.1 s) < 999 px",
        [
            (0, 10, NAN),
            (60, 10, 10),
            (80, None, 10),
            (100, 30, 10),
            (120, 30, (10 * 40 + 30 * 20) / 60),
            (140, 30, (10 * 20 + 30 * 40) / 60),
        ],
    ),
    "mean: goes on while it is not seen": (
        "mean(distance(first.head, first.thorax), 0.1 s) < 999 px",
        [(0, 10, NAN), (100, 10, 10), (140, None, 10), (150, None, 10), (151, None, NAN)],
    ),
    "mean: of a difference": (
        "mean(distance(first.head, first.thorax) - 5 px, 0.1 s) < 999 px",
        [(0, 10, NAN), (100, 20, 10)],
    ),
    "speed": (
        "speed(first.head) < 999 px/s",
        [(0, 0, NAN), (50, 10, NAN), (100, 20, 200), (150, 30, 200), (200, 30, 100), (300, 30, 0)],
    ),
    "speed: backwards is a speed as well": ("speed(first.head) < 999 px/s", [(0, 50, NAN), (100, 20, 300)]),
    "speed: in mm": ("speed(first.head) < 999 mm/s", [(0, 0, NAN), (100, 20, 20)]),
    "speed: its own window": (
        "speed(first.head, 20 ms) < 999 px/s",
        [(0, 0, NAN), (10, 1, NAN), (20, 2, 100), (30, 6, 250)],
    ),
    "speed: by the time that passed": (
        "speed(first.head) < 999 px/s",
        [(0, 0, NAN), (90, 9, NAN), (160, 40, 250), (189, 40, 40 / 0.189), (190, 40, 310)],
    ),
    "speed: over a dropped frame": ("speed(first.head) < 999 px/s", [(0, 0, NAN), (250, 50, 200)]),
    "speed: not over a gap of more than three windows": (
        "speed(first.head) < 999 px/s",
        [(0, 0, NAN), (300, 60, 200), (601, 60, NAN), (701, 70, 100)],
    ),
    "speed: not seen now": (
        "speed(first.head) < 999 px/s",
        [(0, 0, NAN), (100, 10, 100), (110, None, NAN), (120, 12, 100), (210, 30, 20 / 0.11)],
    ),
    "approach: towards the thorax at 0": (
        "approach_speed(first.head, first.thorax) < 999 px/s",
        [(0, 50, NAN), (100, 30, 200), (200, 40, -100), (300, 40, 0), (400, -10, 300), (500, None, NAN)],
    ),
    "approach: its own window": (
        "approach_speed(first.head, first.thorax, 1 s) < 99 mm/s",
        [(0, 50, NAN), (900, 10, NAN), (1000, 10, 4)],
    ),
    "a sum of speeds": ("speed(first.head) + 1 mm/s < 999 px/s", [(0, 0, NAN), (100, 20, 210)]),
    "length over time is a speed": ("speed(first.head) - 5 px / 0.1 s < 999 px/s", [(0, 0, NAN), (100, 20, 150)]),
    "way: speed times time is a length": ("speed(first.head) * 100 ms < 999 px", [(0, 0, NAN), (100, 20, 20)]),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name: str, context: RuleContext, make_tracks: MakeTracks) -> None:
    when, steps = NUMBERS[name]
    rule = compile_rule("r", RuleSpec(when=when, when_unknown="release"), context)
    for time_ms, x, expected in steps:
        points: dict[str, tuple[float, float]] = {"thorax": (0, 0)} | ({} if x is None else {"head": (x, 0)})
        decision = rule.evaluate(make_tracks({1: points}), 0, time_ms * MS)
        assert decision.values[0] == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True), time_ms
        assert decision.state is (UNKNOWN if math.isnan(expected) else ON), time_ms


def test_a_quantity_in_a_condition_in_a_quantity_is_recorded(context: RuleContext, make_tracks: MakeTracks) -> None:
    spec = RuleSpec(when="fraction(distance(first.head, first.thorax) < 3 mm, 0.1 s) > 0.7", when_unknown="release")
    rule = compile_rule("r", spec, context)
    assert [(c.text, c.unit) for c in rule.comparisons] == [
        ("fraction(distance(first.head, first.thorax) < 3 mm, 0.1 s) > 0.7", ""),
        ("distance(first.head, first.thorax) < 3 mm", "mm"),
    ]
    got = [
        rule.evaluate(make_tracks({1: {"thorax": (0, 0), "head": (x, 0)}}), 0, time_ms * MS).values
        for time_ms, x in ((0, 10), (50, 20), (75, 40), (100, 40))
    ]
    assert got[1:] == [(1.0, 2.0), ((50 + 12.5) / 75, 4.0), (0.625, 4.0)]


def test_approach_is_ones_own_and_keeping_up_counts(context: RuleContext, make_tracks: MakeTracks) -> None:
    spec = RuleSpec(
        when="approach_speed(first, second) > 99 px/s and approach_speed(second, first) > -99 px/s",
        when_unknown="release",
    )
    rule = compile_rule("r", spec, context)
    # The first follows the second at the same speed of 200 px/s, 30 px behind.
    for time_ms in (0, 100):
        x = 0.2 * time_ms
        decision = rule.evaluate(make_tracks({1: {"thorax": (x, 0)}, 2: {"thorax": (x + 30, 0)}}), 0, time_ms * MS)
    assert decision.values == pytest.approx((200.0, -200.0))


def headed(angle_deg: float | None) -> Mapping[str, tuple[float, float]]:
    if angle_deg is None:
        return {"head": (1, 1)}
    angle = math.radians(angle_deg)
    return {"abdomen": (0, 0), "head": (1000 * math.cos(angle), 1000 * math.sin(angle))}


TURNS: dict[str, list[tuple[int, float | None, float]]] = {
    "right and left": [(0, 0, NAN), (100, 30, 300), (200, 10, 200)],
    "across 180 deg": [(0, 170, NAN), (100, -170, 200), (200, 160, 300)],
    "across 0 deg": [(0, -10, NAN), (100, 10, 200)],
    "more than half a turn in the window": [
        (0, 0, NAN),
        (25, 90, NAN),
        (50, 180, NAN),
        (75, 270, NAN),
        (100, 360, 3600),
    ],
    "there and back in the window": [(0, 0, NAN), (50, 90, NAN), (100, 0, 0)],
    "not known now": [(0, 0, NAN), (100, None, NAN), (200, 40, 200)],
}


@pytest.mark.parametrize("name", TURNS)
def test_angular_speed(name: str, context: RuleContext, make_tracks: MakeTracks) -> None:
    rule = compile_rule("r", RuleSpec(when="angular_speed(first) < 9999 deg/s", when_unknown="release"), context)
    for time_ms, angle, expected in TURNS[name]:
        decision = rule.evaluate(make_tracks({1: headed(angle)}), 0, time_ms * MS)
        assert decision.values[0] == pytest.approx(expected, abs=1e-2, nan_ok=True), time_ms


def test_motion_follows_the_track_and_not_the_role(context: RuleContext, make_tracks: MakeTracks) -> None:
    rule = compile_rule("r", RuleSpec(when="speed(male.head) > 1 px/s", when_unknown="release"), context)

    def speed(time_ms: int, identities: Mapping[int, str], **options: object) -> float:
        animals = {3: {"head": (0.1 * time_ms, 0.0)}, 4: {"head": (500.0, 0.0)}}
        return rule.evaluate(make_tracks(animals, identities=identities, **options), 0, time_ms * MS).values[0]

    assert math.isnan(speed(0, {3: "male"}))
    assert speed(100, {3: "male"}) == pytest.approx(100)
    assert math.isnan(speed(200, {4: "male"}))  # another track: that it is elsewhere is no motion
    assert speed(300, {4: "male"}) == 0.0
    assert math.isnan(speed(400, {3: "male"}))
    assert math.isnan(speed(450, {}))
    assert speed(500, {3: "male"}) == pytest.approx(100)
    # A swap that is corrected puts the track to where the other one was.
    assert math.isnan(speed(600, {3: "male"}, corrected={3: 4, 4: 3}))
    assert speed(700, {3: "male"}) == pytest.approx(100)


def test_doubt_about_identity_is_remembered_as_unknown(context: RuleContext, make_tracks: MakeTracks) -> None:
    spec = RuleSpec(
        when="once(visible(male.head), 0.1 s) and held(visible(male), 10 ms) and speed(male.head) < 99 px/s",
        when_unknown="release",
        require_identity=0.9,
    )
    rule = compile_rule("r", spec, context)
    got = []
    for time_ms, confidence in ((0, 1.0), (100, 1.0), (110, 0.5), (210, 0.5), (220, 1.0), (230, 1.0), (320, 1.0)):
        tracks = make_tracks({3: {"head": (0, 0)}}, identities={3: "male"}, confidence={3: confidence})
        decision = rule.evaluate(tracks, 0, time_ms * MS)
        got.append((decision.state, decision.values[0]))
    states = [state for state, _ in got]
    speeds = [value for _, value in got]
    assert states == [UNKNOWN, ON, UNKNOWN, UNKNOWN, UNKNOWN, ON, ON]
    assert speeds == pytest.approx([NAN, 0, NAN, NAN, 0, 0, 0], nan_ok=True)


def test_each_pair_remembers_for_itself(context: RuleContext, make_tracks: MakeTracks) -> None:
    near = "distance(a.head, b.head) < 10 px"
    spec = RuleSpec(when=f"held({near}, 0.1 s)", any_pair=("a", "b"), when_unknown="release")
    rule = compile_rule("r", spec, context)

    def decide(time_ms: int, heads: Mapping[int, float]) -> tuple[State, tuple[int, ...]]:
        decision = rule.evaluate(make_tracks({k: {"head": (x, 0)} for k, x in heads.items()}), 0, time_ms * MS)
        return decision.state, decision.track_ids

    assert decide(0, {2: 0, 4: 5}) == (UNKNOWN, (2, 4))
    assert decide(50, {1: 100, 2: 0, 4: 5}) == (UNKNOWN, (2, 4))
    assert decide(80, {1: 100, 2: 0, 3: 105, 4: 5, 5: 300}) == (UNKNOWN, (1, 3))
    assert decide(100, {1: 100, 2: 0, 3: 105, 4: 5, 5: 300}) == (ON, (2, 4))
    assert decide(120, {1: 100, 3: 105, 4: 5}) == (UNKNOWN, (1, 3))  # the latched pair has ended
    assert decide(180, {1: 100, 3: 105, 4: 5}) == (ON, (1, 3))
    assert decide(190, {4: 5}) == (UNKNOWN, ())
    assert decide(280, {1: 100, 3: 105}) == (UNKNOWN, (1, 3))  # both had been away: it begins anew
    assert decide(380, {1: 100, 3: 105}) == (ON, (1, 3))


@pytest.mark.parametrize(
    "expression",
    [
        "mean(distance(a, b), 0.1 s) < 0 px",
        "fraction(distance(a, b) > 5 px, 0.1 s) > 2",
        "speed(a, 20 ms) + speed(b, 20 ms) < 0 px/s",
        "held(distance(a, b) > 5 px, 50 ms)",
    ],
)
def test_a_place_that_is_used_again_remembers_nothing(
    expression: str, context: RuleContext, make_tracks: MakeTracks
) -> None:
    spec = RuleSpec(when=expression, any_pair=("a", "b"), when_unknown="hold")
    others_before, others_after, alone = (compile_rule("r", spec, context) for _ in range(3))

    def pair(first: int, index: int) -> Tracks:
        return make_tracks({first: {"thorax": (0.0, 0.0)}, first + 1: {"thorax": (3.0 * (index % 7), 0.0)}})

    for index in range(80):
        others_before.evaluate(pair(1, index), index, index * 7 * MS)
        others_after.evaluate(pair(1, index), index, index * 3 * MS)  # several frames a segment
    for index in range(80, 160):
        decision = alone.evaluate(pair(3, index), index, index * 7 * MS)
        assert repr(others_before.evaluate(pair(3, index), index, index * 7 * MS)) == repr(decision)
        assert repr(others_after.evaluate(pair(3, index), index, index * 7 * MS)) == repr(decision)


def test_places_are_used_again(context: RuleContext, make_tracks: MakeTracks) -> None:
    spec = RuleSpec(when="speed(a.head) > speed(b.head)", any_pair=("a", "b"), when_unknown="release")
    rule = compile_rule("r", spec, context)
    for index in range(500):  # every frame three new tracks
        tracks = make_tracks({3 * index + k: {"head": (k, 0)} for k in (1, 2, 3)})
        assert rule.evaluate(tracks, index, index * 200 * MS).state is UNKNOWN


Frame = tuple[int, float]  # ns, value or NaN
FRAMES = st.lists(
    st.tuples(st.sampled_from([0, 1, 3, 10, 16, 17, 40, 250]), st.sampled_from([0.1, 0.9, NAN])),
    min_size=1,
    max_size=60,
)


def at_times(steps: Sequence[tuple[int, float]]) -> list[Frame]:
    times = np.cumsum([step for step, _ in steps]).tolist()
    return [(time_ms * MS, value) for time_ms, (_, value) in zip(times, steps, strict=True)]


def run(when: str, frames: Sequence[Frame], context: RuleContext, make_tracks: MakeTracks) -> list[tuple[State, float]]:
    rule = compile_rule("r", RuleSpec(when=when, when_unknown="release"), context)
    got = []
    for time_ns, value in frames:
        tracks = make_tracks({} if math.isnan(value) else {1: {"head": (1, 1)}}, scores={1: value})
        decision = rule.evaluate(tracks, 0, time_ns)
        got.append((decision.state, decision.values[0]))
    return got


def all_of(frames: Sequence[Frame], window_ns: int, expected: Callable[[float], bool]) -> State:
    """Kleene's `and` over every moment of the window, of values that last until the next frame."""
    now_ns = frames[-1][0]
    in_window = [
        value
        for (_, value), (stop_ns, _) in zip(frames, [*frames[1:], (2**62, 0.0)], strict=True)
        if stop_ns > now_ns - window_ns
    ]
    # Of frames with one time only the last one lasts, but each of them was one frame's value at that time.
    if any(not math.isnan(value) and not expected(value) for value in in_window):
        return OFF
    unknown = any(math.isnan(value) for value in in_window) or frames[0][0] > now_ns - window_ns
    return UNKNOWN if unknown else ON


@settings(max_examples=150, deadline=None)
@given(steps=FRAMES, window_ms=st.sampled_from([10, 33, 100, 300]))
def test_held_and_once_are_those_of_the_whole_past(
    steps: list[tuple[int, float]], window_ms: int, context: RuleContext, make_tracks: MakeTracks
) -> None:
    frames = at_times(steps)
    held = run(f"held({CONDITION}, {window_ms} ms)", frames, context, make_tracks)
    once = run(f"once({CONDITION}, {window_ms} ms)", frames, context, make_tracks)
    opposite = {ON: OFF, OFF: ON, UNKNOWN: UNKNOWN}
    for index in range(len(frames)):
        past = frames[: index + 1]
        assert held[index][0] is all_of(past, window_ms * MS, lambda value: value > 0.5)
        assert once[index][0] is opposite[all_of(past, window_ms * MS, lambda value: value <= 0.5)]


def mean_of(frames: Sequence[Frame], window_ns: int) -> float:
    start_ns = frames[-1][0] - window_ns
    area = known_ns = 0.0
    for (first_ns, one), (stop_ns, other) in itertools.pairwise(frames):
        span_ns = stop_ns - max(first_ns, start_ns)
        if span_ns > 0 and not math.isnan(one + other):
            area += span_ns * (one + other) / 2
            known_ns += span_ns
    return area / known_ns if 2 * known_ns >= window_ns else NAN


@settings(max_examples=150, deadline=None)
@given(steps=FRAMES, window_ms=st.sampled_from([10, 33, 100, 300]))
def test_mean_is_that_of_the_whole_past(
    steps: list[tuple[int, float]], window_ms: int, context: RuleContext, make_tracks: MakeTracks
) -> None:
    frames = [frame for k, frame in enumerate(at_times(steps)) if k == 0 or steps[k][0] * 48 >= window_ms]
    got = run(f"mean(score(first.head), {window_ms} ms) < 9", frames, context, make_tracks)
    for index, (_, value) in enumerate(got):
        expected = mean_of(frames[: index + 1], window_ms * MS)
        assert value == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_a_window_of_any_number_of_frames_is_exact_but_for_its_beginning(
    context: RuleContext, make_tracks: MakeTracks
) -> None:
    rng = np.random.default_rng(5)
    times_ns = np.cumsum(rng.integers(1, 2 * MS, 3000))  # about 1000 frames in a window of 1 s
    x = 50.0 + 40.0 * np.sin(times_ns / 1e9 * 7.0)
    when = "mean(distance(first.head, first.thorax), 1 s) < 99 px and speed(first.head, 1 s) < 999 px/s"
    rule = compile_rule("r", RuleSpec(when=when, when_unknown="release"), context)
    frames = [(int(t), float(np.float32(v))) for t, v in zip(times_ns, x, strict=True)]
    for index, (time_ns, value) in enumerate(frames):
        tracks = make_tracks({1: {"head": (value, 0), "thorax": (0, 0)}})
        mean, speed = rule.evaluate(tracks, 0, time_ns).values
        if index % 100 == 99 and time_ns > 1.1e9:
            assert mean == pytest.approx(mean_of(frames[: index + 1], 10**9), abs=80 / 48)
            ages = [time_ns - t for t, _ in frames[: index + 1]]
            base = max(k for k, age in enumerate(ages) if age >= 1e9)
            assert speed == pytest.approx(abs(value - frames[base][1]), abs=40 * 7 / 48 * 1.5)
