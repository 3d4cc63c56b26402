"""`require_identity`: a rule is unknown while it is not sure whom it is about."""

from collections.abc import Callable

import numpy as np
import pytest

from realtime.decision import Edge, State
from realtime.rules import RuleContext, RuleSpec, TrackTable, compile_rule
from realtime.tracks import Tracks

MakeTracks = Callable[..., Tracks]

ON, OFF, UNKNOWN = State.ON, State.OFF, State.UNKNOWN
RISING, FALLING, NONE = Edge.RISING, Edge.FALLING, Edge.NONE
MS = 1_000_000
NEAR = "distance(male.head, female.head) < 10 px"

# A step is (confidence of the male, of the female, track that the male is suspected of, expected state and edge);
# the male is track 3, the female 5, and a bystander without a role is track 9.
Step = tuple[float, float, int, State, Edge]
TIMELINES: dict[str, tuple[str, list[Step]]] = {
    "enough is enough": ("release", [(0.9, 0.9, 0, ON, RISING), (1.0, 0.95, 0, ON, NONE)]),
    "the least confidence is met as the tracker stores it, in 32 bits": (
        "release",
        [(float(np.float32(0.9)), 1.0, 0, ON, RISING)],
    ),
    "a little too low": ("release", [(0.8999, 1.0, 0, UNKNOWN, NONE), (1.0, 0.8999, 0, UNKNOWN, NONE)]),
    "not a number": ("release", [(float("nan"), 1.0, 0, UNKNOWN, NONE)]),
    "suspected of being another": ("release", [(1.0, 1.0, 9, UNKNOWN, NONE), (1.0, 1.0, 0, ON, RISING)]),
    "suspected of being anyone": ("release", [(1.0, 1.0, 3, UNKNOWN, NONE)]),
    "doubt while on, release": (
        "release",
        [(1.0, 1.0, 0, ON, RISING), (0.5, 1.0, 0, UNKNOWN, FALLING), (1.0, 1.0, 0, ON, RISING)],
    ),
    "suspicion while on, release": ("release", [(1.0, 1.0, 0, ON, RISING), (1.0, 1.0, 5, UNKNOWN, FALLING)]),
    "doubt while on, hold": (
        "hold",
        [(1.0, 1.0, 0, ON, RISING), (0.5, 1.0, 0, ON, NONE), (1.0, 1.0, 9, ON, NONE), (1.0, 1.0, 0, ON, NONE)],
    ),
    "doubt while off, hold": ("hold", [(0.5, 1.0, 0, UNKNOWN, NONE), (1.0, 1.0, 0, ON, RISING)]),
}


def pair(make_tracks: MakeTracks, male: float, female: float, suspect: int, *, bystander: float = 0.0) -> Tracks:
    return make_tracks(
        {3: {"head": (0, 0)}, 5: {"head": (3, 4)}, 9: {"head": (500, 0)}},
        identities={3: "male", 5: "female"},
        confidence={3: male, 5: female, 9: bystander},
        suspects={3: suspect, 9: 3},
    )


@pytest.mark.parametrize("name", TIMELINES)
def test_timeline(name: str, context: RuleContext, make_tracks: MakeTracks) -> None:
    policy, steps = TIMELINES[name]
    spec = RuleSpec.model_validate({"when": NEAR, "when_unknown": policy, "require_identity": 0.9})
    rule = compile_rule("r", spec, context)
    got = []
    for index, step in enumerate(steps):
        decision = rule.evaluate(pair(make_tracks, *step[:3]), index, index * 10 * MS)
        assert decision.values == (5.0,)  # what was measured is shown in doubt as well
        assert decision.track_ids == (3, 5)
        got.append((*step[:3], decision.state, decision.edge))
    assert [step[3:] for step in got] == [step[3:] for step in steps]


def test_without_the_key_doubt_changes_nothing(context: RuleContext, make_tracks: MakeTracks) -> None:
    rule = compile_rule("r", RuleSpec(when=NEAR, when_unknown="release"), context)
    assert rule.evaluate(pair(make_tracks, 0.0, 0.0, 5), 0, 0).state is ON


def test_an_absent_animal_is_in_doubt_even_where_the_condition_is_not(
    context: RuleContext, make_tracks: MakeTracks
) -> None:
    rule = compile_rule("r", RuleSpec(when="not visible(male)", when_unknown="hold", require_identity=0.5), context)
    assert rule.evaluate(make_tracks({1: {"head": (0, 0)}}), 0, 0).state is UNKNOWN


def test_an_animal_that_only_until_names_counts(context: RuleContext, make_tracks: MakeTracks) -> None:
    spec = RuleSpec(when="visible(male)", until="score(female.head) > 2", when_unknown="release", require_identity=0.9)
    rule = compile_rule("r", spec, context)
    assert rule.evaluate(pair(make_tracks, 1.0, 0.5, 0), 0, 0).state is UNKNOWN
    assert rule.evaluate(pair(make_tracks, 1.0, 1.0, 0), 1, 1).state is ON


# 20 ms of the dwell have passed when the doubt begins.
DWELLS = {"release": [OFF, OFF, UNKNOWN, OFF, OFF, ON], "hold": [OFF, OFF, UNKNOWN, OFF, ON, ON]}


@pytest.mark.parametrize("policy", DWELLS)
def test_doubt_ends_the_dwell_or_interrupts_it(policy: str, context: RuleContext, make_tracks: MakeTracks) -> None:
    spec = RuleSpec.model_validate({"when": NEAR, "when_unknown": policy, "require_identity": 0.9, "for_s": 0.05})
    rule = compile_rule("r", spec, context)
    got = [
        rule.evaluate(pair(make_tracks, sure, 1.0, 0), 0, time_ms * MS).state
        for time_ms, sure in ((0, 1.0), (20, 1.0), (30, 0.5), (60, 1.0), (90, 1.0), (120, 1.0))
    ]
    assert got == DWELLS[policy]


def test_each_pair_is_asked_for_itself(context: RuleContext, make_tracks: MakeTracks) -> None:
    spec = RuleSpec(
        when="distance(a.head, b.head) < 10 px", any_pair=("a", "b"), when_unknown="release", require_identity=0.9
    )
    rule = compile_rule("r", spec, context)
    animals = {1: {"head": (0, 0)}, 2: {"head": (5, 0)}, 3: {"head": (100, 0)}, 4: {"head": (105, 0)}}

    def decide(confidence: dict[int, float], suspects: dict[int, int], index: int) -> tuple[State, tuple[int, ...]]:
        decision = rule.evaluate(make_tracks(animals, confidence=confidence, suspects=suspects), index, index * MS)
        return decision.state, decision.track_ids

    assert decide({}, {}, 0) == (ON, (1, 2))
    assert decide({2: 0.5}, {}, 1) == (ON, (3, 4))
    assert decide({}, {2: 1}, 2) == (ON, (3, 4))
    assert decide({2: 0.5, 4: 0.5}, {}, 3) == (UNKNOWN, (3, 4))  # the pair that was latched tells why it fell


def test_a_recording_asks_as_well(context: RuleContext, make_tracks: MakeTracks) -> None:
    spec = RuleSpec(when=NEAR, when_unknown="release", require_identity=0.9)
    frames = [pair(make_tracks, sure, 1.0, suspect) for sure, suspect in ((1.0, 0), (0.5, 0), (1.0, 9))]
    table = compile_rule("r", spec, context).evaluate_recording(TrackTable.stack([0, 1, 2], [0, 1, 2], frames))
    assert table.states.tolist() == [ON, UNKNOWN, UNKNOWN]
