"""How a rule turns on and off over time: every row of the table in `realtime.rules.kernel`, as timelines."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from realtime.decision import Decision, Edge, State
from realtime.rules import Rule, RuleContext, RuleSpec, compile_rule
from realtime.rules.kernel import machine_code
from realtime.tracks import ARRAYS, Tracks

MakeTracks = Callable[..., Tracks]

ON, OFF, UNKNOWN = State.ON, State.OFF, State.UNKNOWN
RISING, FALLING, NONE = Edge.RISING, Edge.FALLING, Edge.NONE
MS = 1_000_000

# A step is (time in ms, `when` and `until` as T, F or U, expected state, expected edge).
Step = tuple[int, str, State, Edge]
WHEN, UNTIL = "score(first.head) > 0.5", "score(second.head) > 0.5"
HYSTERESIS = {"until": UNTIL}

TIMELINES: dict[str, tuple[dict[str, object], list[Step]]] = {
    "follows when": (
        {"when_unknown": "release"},
        [
            (0, "F", OFF, NONE),
            (10, "T", ON, RISING),
            (20, "T", ON, NONE),
            (30, "F", OFF, FALLING),
            (40, "F", OFF, NONE),
            (50, "T", ON, RISING),
        ],
    ),
    "true in the first frame": ({"when_unknown": "hold"}, [(0, "T", ON, RISING)]),
    "unknown from the first frame, hold": (
        {"when_unknown": "hold"},
        [(0, "U", UNKNOWN, NONE), (10, "U", UNKNOWN, NONE), (20, "T", ON, RISING)],
    ),
    "off and unknown are not an edge": (
        {"when_unknown": "release"},
        [(0, "F", OFF, NONE), (10, "U", UNKNOWN, NONE), (20, "F", OFF, NONE)],
    ),
    "unknown while on, release": (
        {"when_unknown": "release"},
        [(0, "T", ON, RISING), (10, "U", UNKNOWN, FALLING), (20, "U", UNKNOWN, NONE), (30, "T", ON, RISING)],
    ),
    "unknown while on, hold": (
        {"when_unknown": "hold"},
        [(0, "T", ON, RISING), (10, "U", ON, NONE), (20, "T", ON, NONE), (30, "U", ON, NONE), (40, "F", OFF, FALLING)],
    ),
    "dwell is reached at exactly for_s": (
        {"when_unknown": "release", "for_s": 0.1},
        [(0, "T", OFF, NONE), (50, "T", OFF, NONE), (99, "T", OFF, NONE), (100, "T", ON, RISING)],
    ),
    "dwell starts again after false": (
        {"when_unknown": "release", "for_s": 0.1},
        [
            (0, "T", OFF, NONE),
            (90, "T", OFF, NONE),
            (95, "F", OFF, NONE),
            (100, "T", OFF, NONE),
            (190, "T", OFF, NONE),
            (200, "T", ON, RISING),
        ],
    ),
    "dwell starts again after off": (
        {"when_unknown": "release", "for_s": 0.1},
        [
            (0, "T", OFF, NONE),
            (100, "T", ON, RISING),
            (110, "F", OFF, FALLING),
            (120, "T", OFF, NONE),
            (210, "T", OFF, NONE),
            (220, "T", ON, RISING),
        ],
    ),
    "dwell does not depend on the frames in between: drops": (
        {"when_unknown": "release", "for_s": 0.1},
        [(0, "T", OFF, NONE), (250, "T", ON, RISING)],
    ),
    "dwell does not depend on the frames in between: jitter": (
        {"when_unknown": "release", "for_s": 0.1},
        [(t, "T", OFF, NONE) for t in (0, 1, 2, 3, 40, 41, 42, 97)] + [(103, "T", ON, RISING)],
    ),
    "dwell starts again after unknown, release": (
        {"when_unknown": "release", "for_s": 0.1},
        [
            (0, "T", OFF, NONE),
            (90, "T", OFF, NONE),
            (95, "U", UNKNOWN, NONE),
            (100, "T", OFF, NONE),
            (190, "T", OFF, NONE),
            (200, "T", ON, RISING),
        ],
    ),
    "dwell pauses while unknown, hold: 50 ms before, 50 ms after, nothing in between": (
        {"when_unknown": "hold", "for_s": 0.1},
        [
            (0, "T", OFF, NONE),
            (50, "T", OFF, NONE),
            (100, "U", UNKNOWN, NONE),
            (400, "U", UNKNOWN, NONE),
            (450, "T", OFF, NONE),
            (499, "T", OFF, NONE),
            (500, "T", ON, RISING),
        ],
    ),
    "dwell is lost to false after unknown, hold": (
        {"when_unknown": "hold", "for_s": 0.1},
        [
            (0, "T", OFF, NONE),
            (90, "T", OFF, NONE),
            (95, "U", UNKNOWN, NONE),
            (97, "F", OFF, NONE),
            (110, "T", OFF, NONE),
            (209, "T", OFF, NONE),
            (210, "T", ON, RISING),
        ],
    ),
    "refractory blocks a second rising until exactly refractory_s": (
        {"when_unknown": "release", "refractory_s": 0.1},
        [
            (0, "T", ON, RISING),
            (10, "F", OFF, FALLING),
            (20, "T", OFF, NONE),
            (99, "T", OFF, NONE),
            (100, "T", ON, RISING),
        ],
    ),
    "refractory runs from the rising, not from the falling": (
        {"when_unknown": "release", "refractory_s": 0.1},
        [(0, "T", ON, RISING), (150, "T", ON, NONE), (160, "F", OFF, FALLING), (161, "T", ON, RISING)],
    ),
    "refractory does not hide the unknown": (
        {"when_unknown": "release", "refractory_s": 0.1},
        [(0, "T", ON, RISING), (10, "U", UNKNOWN, FALLING), (20, "T", OFF, NONE), (30, "U", UNKNOWN, NONE)],
    ),
    "dwell goes on during the refractory time": (
        {"when_unknown": "release", "for_s": 0.05, "refractory_s": 0.2},
        [
            (0, "T", OFF, NONE),
            (50, "T", ON, RISING),
            (60, "F", OFF, FALLING),
            (70, "T", OFF, NONE),
            (249, "T", OFF, NONE),
            (250, "T", ON, RISING),
        ],
    ),
    "hysteresis: between the thresholds nothing changes": (
        HYSTERESIS | {"when_unknown": "release"},
        [
            (0, "FF", OFF, NONE),
            (10, "TF", ON, RISING),
            (20, "FF", ON, NONE),
            (30, "TF", ON, NONE),
            (40, "FT", OFF, FALLING),
            (50, "FF", OFF, NONE),
        ],
    ),
    "hysteresis: while on, only until decides": (
        HYSTERESIS | {"when_unknown": "release"},
        [(0, "TF", ON, RISING), (10, "UF", ON, NONE), (20, "UT", OFF, FALLING)],
    ),
    "hysteresis: until unknown while on, release": (
        HYSTERESIS | {"when_unknown": "release"},
        [(0, "TF", ON, RISING), (10, "TU", UNKNOWN, FALLING), (20, "TU", UNKNOWN, NONE), (30, "TF", ON, RISING)],
    ),
    "hysteresis: until unknown while on, hold": (
        HYSTERESIS | {"when_unknown": "hold"},
        [
            (0, "TF", ON, RISING),
            (10, "FU", ON, NONE),
            (20, "UU", ON, NONE),
            (30, "FF", ON, NONE),
            (40, "UT", OFF, FALLING),
        ],
    ),
    "hysteresis: does not turn on while until is true": (
        HYSTERESIS | {"when_unknown": "release"},
        [
            (0, "TT", OFF, NONE),
            (10, "TT", OFF, NONE),
            (20, "TF", ON, RISING),
            (30, "TT", OFF, FALLING),
            (40, "TT", OFF, NONE),
        ],
    ),
    "hysteresis: does not turn on while until is unknown": (
        HYSTERESIS | {"when_unknown": "hold"},
        [(0, "TU", UNKNOWN, NONE), (10, "FU", OFF, NONE), (20, "UT", OFF, NONE), (30, "UF", UNKNOWN, NONE)],
    ),
    "hysteresis with dwell and refractory": (
        HYSTERESIS | {"when_unknown": "release", "for_s": 0.02, "refractory_s": 0.1},
        [
            (0, "TF", OFF, NONE),
            (20, "TF", ON, RISING),
            (30, "FT", OFF, FALLING),
            (40, "TF", OFF, NONE),
            (110, "TF", OFF, NONE),
            (120, "TF", ON, RISING),
        ],
    ),
}


def inputs(make_tracks: MakeTracks, letters: str) -> Tracks:
    """The first letter is `when`, the second `until`: T and F are a score above and below, U is a missing animal."""
    animals = {track_id: {"head": (1.0, 1.0)} for track_id, letter in enumerate(letters, 1) if letter != "U"}
    scores = {track_id: 0.9 if letter == "T" else 0.1 for track_id, letter in enumerate(letters, 1)}
    return make_tracks(animals, scores=scores)


@pytest.mark.parametrize("name", TIMELINES)
@pytest.mark.parametrize("start_ms", [0, 86_400_000 * 365], ids=["clock at zero", "clock after a year"])
def test_timeline(name: str, start_ms: int, context: RuleContext, make_tracks: MakeTracks) -> None:
    options, steps = TIMELINES[name]
    rule = compile_rule("r", RuleSpec.model_validate({"when": WHEN, **options}), context)
    for _ in range(2):  # the second time after a reset
        got = []
        for time_ms, letters, _, _ in steps:
            decision = rule.evaluate(inputs(make_tracks, letters), 0, (start_ms + time_ms) * MS)
            got.append((time_ms, letters, decision.state, decision.edge))
        assert got == steps
        rule.reset()


def test_a_decision_explains_itself(context: RuleContext, make_tracks: MakeTracks) -> None:
    spec = RuleSpec(
        when="distance(male.head, female) < 3 mm and facing(male, female) < 30 deg",
        until="distance(male.head, female) > 4 mm",
        when_unknown="release",
    )
    rule = compile_rule("near", spec, context)
    assert rule.roles == ("male", "female")
    assert [(c.key, c.text, c.unit) for c in rule.comparisons] == [
        ("when", "distance(male.head, female) < 3 mm", "mm"),
        ("when", "facing(male, female) < 30 deg", "deg"),
        ("until", "distance(male.head, female) > 4 mm", "mm"),
    ]
    her = {"thorax": (25.0, 0.0)}
    him = {"head": (0.0, 0.0), "thorax": (-10.0, 0.0), "abdomen": (-20.0, 0.0)}
    tracks = make_tracks({3: her, 9: him}, identities={3: "female", 9: "male"})
    assert rule.evaluate(tracks, 17, 5 * MS) == Decision(
        "near", 17, 5 * MS, ON, RISING, (9, 3), (2.5, 0.0, 2.5), ("mm", "deg", "mm")
    )
    lost = rule.evaluate(make_tracks({3: her}, identities={3: "female"}), 18, 15 * MS)
    assert (lost.state, lost.edge, lost.track_ids) == (UNKNOWN, FALLING, ())
    assert np.isnan(lost.values).all()


# Animals on a line: the head of each track at x px, NaN where None. The pair (a, b) is on when b is less than 10 px to
# the right of a, where `from_px(a)` is the distance from a point that never moves, the thorax at x = 0.
POSITION = "distance({0}.head, {0}.thorax)"
RIGHT_OF = f"{POSITION.format('b')} - {POSITION.format('a')}"
PAIR_WHEN = f"{RIGHT_OF} > 0 px and {RIGHT_OF} < 10 px"


def line(make_tracks: MakeTracks, heads: Mapping[int, float | None]) -> Tracks:
    return make_tracks({i: {"thorax": (0, 0)} | ({} if x is None else {"head": (x, 0)}) for i, x in heads.items()})


PairStep = tuple[int, dict[int, float | None], State, Edge, tuple[int, ...]]
PAIRS: dict[str, tuple[dict[str, object], list[PairStep]]] = {
    "nobody and one alone are unknown": (
        {"when_unknown": "release"},
        [(0, {}, UNKNOWN, NONE, ()), (10, {1: 0}, UNKNOWN, NONE, ()), (20, {1: 0, 2: 50}, OFF, NONE, (1, 2))],
    ),
    "either order": (
        {"when_unknown": "release"},
        [
            (0, {1: 0, 2: 5}, ON, RISING, (1, 2)),
            (10, {1: 0, 2: 50}, OFF, FALLING, (1, 2)),
            (20, {1: 5, 2: 0}, ON, RISING, (2, 1)),
            (30, {1: 50, 2: 0}, OFF, FALLING, (2, 1)),
            (40, {1: 50, 2: 0}, OFF, NONE, (1, 2)),
        ],
    ),
    "the lowest pair that is on": (
        {"when_unknown": "release"},
        [(0, {3: 100, 5: 0, 8: 5, 9: 103}, ON, RISING, (3, 9)), (10, {3: 150, 5: 0, 8: 5, 9: 100}, ON, NONE, (5, 8))],
    ),
    "on goes before unknown": (
        {"when_unknown": "release"},
        [(0, {1: None, 2: 0, 3: 5}, ON, RISING, (2, 3)), (10, {1: None, 2: 0, 3: 50}, UNKNOWN, FALLING, (2, 3))],
    ),
    "unknown goes before off": (
        {"when_unknown": "release"},
        [(0, {1: 0, 2: 50, 3: None}, UNKNOWN, NONE, (1, 3))],
    ),
    "one that is not seen keeps the latch of its own pair only, hold": (
        {"when_unknown": "hold"},
        [
            (0, {1: 0, 2: 5, 3: 100}, ON, RISING, (1, 2)),
            (10, {1: 0, 2: None, 3: 100}, ON, NONE, (1, 2)),
            (20, {1: 0, 2: 50, 3: 100}, OFF, FALLING, (1, 2)),
        ],
    ),
    "a pair of which a track has ended is dropped even with hold": (
        {"when_unknown": "hold"},
        [
            (0, {1: 0, 2: 5, 3: 100}, ON, RISING, (1, 2)),
            (10, {1: 0, 3: 100}, OFF, FALLING, (1, 3)),
            (20, {1: 0}, UNKNOWN, NONE, ()),
        ],
    ),
    "the last two leave": (
        {"when_unknown": "hold"},
        [(0, {1: 0, 2: 5}, ON, RISING, (1, 2)), (10, {}, UNKNOWN, FALLING, ()), (20, {1: 0, 2: 5}, ON, RISING, (1, 2))],
    ),
    "each pair has its own dwell": (
        {"when_unknown": "release", "for_s": 0.1},
        [
            (0, {1: 0, 2: 5, 3: 100}, OFF, NONE, (1, 2)),
            (60, {1: 0, 2: 50, 3: 55}, OFF, NONE, (1, 2)),
            (100, {1: 0, 2: 50, 3: 55}, OFF, NONE, (1, 2)),
            (160, {1: 0, 2: 50, 3: 55}, ON, RISING, (2, 3)),
        ],
    ),
    "a dwell survives other tracks coming and going": (
        {"when_unknown": "release", "for_s": 0.1},
        [
            (0, {4: 0, 6: 5}, OFF, NONE, (4, 6)),
            (30, {1: 100, 4: 0, 6: 5}, OFF, NONE, (1, 4)),
            (60, {1: 100, 4: 0, 5: 200, 6: 5, 7: 300}, OFF, NONE, (1, 4)),
            (90, {4: 0, 5: 200, 6: 5}, OFF, NONE, (4, 5)),
            (100, {4: 0, 6: 5}, ON, RISING, (4, 6)),
        ],
    ),
    "a track that comes back under a new id starts anew": (
        {"when_unknown": "hold", "for_s": 0.1},
        [
            (0, {1: 0, 2: 5}, OFF, NONE, (1, 2)),
            (90, {1: 0, 2: 5}, OFF, NONE, (1, 2)),
            (100, {1: 0, 3: 5}, OFF, NONE, (1, 3)),
        ],
    ),
    "one pair after another is one stretch of on": (
        {"when_unknown": "release", "refractory_s": 1},
        [
            (0, {1: 0, 2: 5, 3: 100}, ON, RISING, (1, 2)),
            (10, {1: 0, 2: 5, 3: 9}, ON, NONE, (1, 2)),
            (20, {1: 0, 2: 50, 3: 55}, ON, NONE, (2, 3)),
            (30, {1: 0, 2: 50, 3: 100}, OFF, FALLING, (2, 3)),
        ],
    ),
    "the refractory time is the rule's, not the pair's": (
        {"when_unknown": "release", "refractory_s": 0.1},
        [
            (0, {1: 0, 2: 5, 3: 100}, ON, RISING, (1, 2)),
            (10, {1: 0, 2: 50, 3: 100}, OFF, FALLING, (1, 2)),
            (20, {1: 0, 2: 50, 3: 55}, OFF, NONE, (1, 2)),
            (100, {1: 0, 2: 50, 3: 55}, ON, RISING, (2, 3)),
        ],
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_any_pair(name: str, context: RuleContext, make_tracks: MakeTracks) -> None:
    options, steps = PAIRS[name]
    spec = RuleSpec.model_validate({"when": PAIR_WHEN, "any_pair": ["a", "b"], **options})
    rule = compile_rule("r", spec, context)
    got = []
    for time_ms, heads, *_ in steps:
        decision = rule.evaluate(line(make_tracks, heads), 0, time_ms * MS)
        got.append((time_ms, heads, decision.state, decision.edge, decision.track_ids))
    assert got == steps


def test_any_pair_beside_a_role(context: RuleContext, make_tracks: MakeTracks) -> None:
    spec = RuleSpec(when=f"{PAIR_WHEN} and visible(male.head)", any_pair=("a", "b"), when_unknown="release")
    rule = compile_rule("r", spec, context)
    assert rule.roles == ("a", "b", "male")
    animals = {i: {"thorax": (0, 0), "head": (x, 0)} for i, x in ((1, 0), (2, 5), (3, 100))}
    assert rule.evaluate(make_tracks(animals, identities={3: "male"}), 0, 0).track_ids == (1, 2, 3)
    assert rule.evaluate(make_tracks(animals), 1, 1).track_ids == ()


def test_the_values_are_those_of_the_pair_that_is_reported(context: RuleContext, make_tracks: MakeTracks) -> None:
    spec = RuleSpec(when=PAIR_WHEN, any_pair=("a", "b"), when_unknown="release")
    rule = compile_rule("r", spec, context)
    assert rule.evaluate(line(make_tracks, {1: 0, 2: 50, 3: 57}), 0, 0).values == (7.0, 7.0)
    assert rule.evaluate(line(make_tracks, {1: 0, 2: 50, 3: 60}), 1, 1).values == (10.0, 10.0)  # why it fell
    assert rule.evaluate(line(make_tracks, {1: 0, 2: 50, 3: 60}), 2, 2).values == (50.0, 50.0)


def near(context: RuleContext) -> Rule:
    return compile_rule("r", RuleSpec(when=WHEN, when_unknown="release"), context)


def test_warm_up_compiles_and_changes_no_state(context: RuleContext, make_tracks: MakeTracks) -> None:
    rule = near(context)
    rule.evaluate(inputs(make_tracks, "T"), 0, 0)
    rule.warm_up()
    assert len(machine_code().signatures) == 1  # type: ignore[attr-defined]
    assert rule.evaluate(inputs(make_tracks, "T"), 1, 1).edge is NONE


def test_read_only_tracks_are_taken_without_compiling_again(context: RuleContext, make_tracks: MakeTracks) -> None:
    tracks = inputs(make_tracks, "T")
    for name in ARRAYS:
        getattr(tracks, name).setflags(write=False)
    assert near(context).evaluate(tracks, 0, 0).state is ON
    assert len(machine_code().signatures) == 1  # type: ignore[attr-defined]


def test_tracks_of_another_type_are_refused_at_once(context: RuleContext, make_tracks: MakeTracks) -> None:
    good = inputs(make_tracks, "T")
    bad = Tracks(
        good.track_ids,
        good.xy.astype(np.float64),  # type: ignore[arg-type]
        good.node_scores,
        good.identity_confidence,
        good.last_seen_ns,
        good.class_ids,
        good.suspect_ids,
        good.corrected_ids,
    )
    with pytest.raises(TypeError, match="No matching definition"):
        near(context).evaluate(bad, 0, 0)
