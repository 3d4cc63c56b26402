"""Why a rule is not on: each cause alone, in the words that a person reads, and the numbers of every part."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from realtime.decision import State
from realtime.rules import RuleContext, RuleSpec, TrackTable, compile_rule
from realtime.rules.traced import compile_traced
from realtime.rules.why import Why, value_text, why
from realtime.tracks import Tracks

MakeTracks = Callable[..., Tracks]
PERIOD_NS = 10_000_000
NEAR = "distance(first.head, second.head) < 3 mm"


def asked(when: str, frames: Sequence[Tracks], context: RuleContext, **options: Any) -> list[Why]:
    spec = RuleSpec.model_validate({"when": when, "when_unknown": "release", **options})
    times = [index * PERIOD_NS for index in range(len(frames))]
    return why("r", spec, context, TrackTable.stack(range(len(frames)), times, frames), len(frames) - 1)


def apart(make_tracks: MakeTracks, distance_px: float, **options: Any) -> Tracks:
    return make_tracks({1: {"head": (0.0, 0.0)}, 2: {"head": (distance_px, 0.0)}}, **options)


FAR, CLOSE = 42.0, 20.0
CAUSES: dict[str, tuple[str, list[float], dict[str, Any], tuple[str, ...]]] = {
    "a number is off": (NEAR, [FAR], {}, (f"{NEAR} is false, off by 1.2 mm",)),
    "one of several": (
        f"{NEAR} and visible(first) and (visible(first.abdomen) or {NEAR})",
        [FAR],
        {},
        (
            f"{NEAR} is false, off by 1.2 mm",
            "visible(first.abdomen) is false",
            f"{NEAR} is false, off by 1.2 mm",
        ),
    ),
    "negated": (f"not ({NEAR})", [CLOSE], {}, (f"not ({NEAR}) is false",)),
    "until": (
        NEAR,
        [CLOSE],
        {"until": "visible(first)"},
        ("'until' is true, and while it is not false the rule does not turn on",),
    ),
    "not long enough": (
        NEAR,
        [FAR, CLOSE, CLOSE, CLOSE],
        {"for_s": 0.05},
        ("it has been true for 0.020 s, and has to be for 0.05 s (for_s)",),
    ),
    "too soon again": (
        NEAR,
        [FAR, CLOSE, FAR, CLOSE],
        {"refractory_s": 0.5},
        ("it turned on at 0.010 s, and does not again before 0.510 s (refractory_s)",),
    ),
    "on": (NEAR, [CLOSE], {}, ()),
    "a node is not seen": (
        "distance(first.abdomen, second.head) < 3 mm",
        [CLOSE],
        {},
        (
            "first (track 1): not seen: abdomen",
            "distance(first.abdomen, second.head) < 3 mm is unknown",
        ),
    ),
    "an identity that nobody has": (
        "distance(male.head, first.head) < 3 mm",
        [CLOSE],
        {},
        (
            "male: no animals have the identity 'male' in this frame",
            "distance(male.head, first.head) < 3 mm is unknown",
        ),
    ),
}


@pytest.mark.parametrize("name", CAUSES)
def test_the_reasons(name: str, context: RuleContext, make_tracks: MakeTracks) -> None:
    when, distances, options, reasons = CAUSES[name]
    (told,) = asked(when, [apart(make_tracks, distance) for distance in distances], context, **options)
    assert told.reasons == reasons
    assert told.is_on == (not reasons)


def test_doubt_about_who_is_who(context: RuleContext, make_tracks: MakeTracks) -> None:
    tracks = apart(make_tracks, CLOSE, confidence={1: 0.5}, suspects={2: 1})
    (told,) = asked(NEAR, [tracks], context, require_identity=0.9)
    assert told.state is State.UNKNOWN
    assert told.reasons == (
        "first (track 1): identity confidence 0.500, below 0.9 (require_identity)",
        "second (track 2): may be the animal of track 1 (require_identity)",
    )
    assert told.line == "r: UNKNOWN, first (track 1): identity confidence 0.500, below 0.9 (require_identity)"


def test_a_track_that_is_not_there_and_an_identity_of_two(context: RuleContext, make_tracks: MakeTracks) -> None:
    tracks = make_tracks({1: {"head": (0.0, 0.0)}, 3: {"head": (1.0, 0.0)}}, identities={1: "male", 3: "male"})
    (told,) = asked("distance(second.head, male.head) < 3 mm", [tracks], context)
    assert told.reasons[:2] == (
        "second: there is no track 2 in this frame",
        "male: 2 animals have the identity 'male' in this frame",
    )


def test_every_pair_is_told(context: RuleContext, make_tracks: MakeTracks) -> None:
    tracks = make_tracks(
        {1: {"head": (0.0, 0.0), "thorax": (0.0, 90.0)}, 2: {"head": (95.0, 0.0), "thorax": (10.0, 0.0)}}
    )
    forth, back = asked("distance(a.head, b.thorax) < 30 px", [tracks], context, any_pair=["a", "b"])
    assert (forth.animals, forth.is_on) == ({"a": 1, "b": 2}, True)
    assert (back.animals, back.is_on, back.state) == ({"a": 2, "b": 1}, False, State.ON)
    assert back.reasons == ("distance(a.head, b.thorax) < 30 px is false, off by 100.9 px",)


def test_no_pair(context: RuleContext, make_tracks: MakeTracks) -> None:
    (told,) = asked("distance(a.head, b.head) < 3 mm", [make_tracks({1: {}})], context, any_pair=["a", "b"])
    assert told.reasons[0] == "there is no pair: animals in this frame: 1"


def test_the_numbers_of_every_part(context: RuleContext, make_tracks: MakeTracks) -> None:
    (told,) = asked("2 * distance(first.head, second.head) < 3 mm + 1 cm", [apart(make_tracks, FAR)], context)
    assert [(part.text, value_text(part)) for part in told.parts] == [
        ("2 * distance(first.head, second.head) < 3 mm + 1 cm", "true"),
        ("2 * distance(first.head, second.head)", "8.4 mm"),
        ("2", "2"),
        ("distance(first.head, second.head)", "42 px"),
        ("3 mm + 1 cm", "13 mm"),
        ("3 mm", "3 mm"),
        ("1 cm", "10 mm"),
    ]
    assert told.parts[0].off_by == pytest.approx(4.6)
    assert told.parts[0].off_unit == "mm"


def test_the_past_counts(context: RuleContext, make_tracks: MakeTracks) -> None:
    frames = [apart(make_tracks, distance) for distance in (CLOSE, CLOSE, FAR)]
    (told,) = asked(f"once({NEAR}, 100 ms)", frames, context)
    assert told.is_on
    assert [part.value for part in told.parts[:2]] == [1.0, 0.0]


def test_telling_changes_no_decision(context: RuleContext) -> None:
    spec = RuleSpec(
        when="distance(a.head, b) < 3 mm and fraction(abs(heading(a) - heading(b)) < 60 deg, 0.1 s) > 0.2",
        until="mean(distance(a, b), 30 ms) > 4 mm",
        any_pair=("a", "b"),
        for_s=0.01,
        refractory_s=0.05,
        when_unknown="hold",
    )
    rng = np.random.default_rng(5)
    ids, nobody = np.array([2, 4, 5], np.int32), np.zeros(3, np.int32)
    ones = np.ones((3, 3), np.float32)
    frames = [
        Tracks(
            ids,
            np.where(rng.random((3, 3, 1)) < 0.1, np.nan, rng.uniform(0, 60, (3, 3, 2))).astype(np.float32),
            ones,
            ones[0],
            nobody.astype(np.int64),
            nobody,
            nobody,
            nobody,
        )
        for _ in range(300)
    ]
    table = TrackTable.stack(range(300), [index * PERIOD_NS for index in range(300)], frames)
    plain, told = compile_rule("r", spec, context), compile_traced("r", spec, context).rule
    one, other = plain.evaluate_recording(table), told.evaluate_recording(table)
    for name in ("states", "edges", "track_ids"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
    assert one.values.tobytes() == np.ascontiguousarray(other.values[:, : one.values.shape[1]]).tobytes()
    assert {State.ON, State.OFF} <= set(one.states.tolist())


def test_another_rules_state_is_told(context: RuleContext, make_tracks: MakeTracks) -> None:
    rules = {"near": RuleSpec(when=NEAR, when_unknown="release")}
    (told,) = asked("state(near)", [apart(make_tracks, FAR)], replace(context, rules=rules))
    assert told.reasons == ("state(near) is false",)
    assert math.isnan(told.parts[0].off_by)
