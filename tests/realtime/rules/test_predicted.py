"""`predicted(...)`: where it can stand, what it gives, when it is unknown, and what is told where it is wrong."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from realtime.decision import State
from realtime.rules import RuleContext, RuleError, RuleSpec, TrackTable, compile_rule
from realtime.rules.explained import explain
from realtime.rules.why import why
from realtime.tracks import Tracks

MakeTracks = Callable[..., Tracks]

MALE = {"head": (20.0, 10.0), "thorax": (10.0, 10.0), "abdomen": (0.0, 10.0)}
FEMALE = {"head": (60.0, 10.0), "thorax": (50.0, 10.0), "abdomen": (40.0, 10.0)}
IDENTITIES = {1: "male", 2: "female"}
# The male will be 10 px to the right and 30 px below, the female 20 px to the left. 10 px are a millimetre.
VALUES = {
    "distance(male.head, female.thorax)": 30.0,
    "distance(predicted(male.head), female.thorax)": math.hypot(20, 30),
    "distance(male.head, predicted(female.thorax))": 10.0,
    "distance(predicted(male.head), predicted(female.thorax))": 30.0,
    "distance(predicted(male), predicted(female))": math.hypot(10, 30),
    "distance(male, predicted(male))": math.hypot(10, 30),
    "nearest(male, female)": 20.0,
    "nearest(predicted(male), female)": math.hypot(10, 30),
    "nearest(male, predicted(female))": 0.0,
    "nearest(predicted(male), predicted(female))": 30.0,
    "facing(male, predicted(female.head))": 0.0,
    "facing(predicted(male), female)": math.degrees(math.atan2(30, 30)),
    "abs(heading(predicted(male)) - heading(male))": 0.0,
    "orientation(predicted(male), female)": 0.0,
    "mean(distance(predicted(male), female), 1 s) / 1 px": math.hypot(30, 30),
}


@pytest.fixture
def pair(make_tracks: MakeTracks) -> Tracks:
    return make_tracks({1: MALE, 2: FEMALE}, identities=IDENTITIES, predicted={1: (10.0, 30.0), 2: (-20.0, 0.0)})


def spec(when: str, **more: object) -> RuleSpec:
    return RuleSpec.model_validate({"when": when, "when_unknown": "release", **more})


@pytest.mark.parametrize("expression", [text for text in VALUES if "mean" not in text])
def test_what_it_gives(expression: str, context: RuleContext, pair: Tracks) -> None:
    unit = " deg" if any(word in expression for word in ("facing", "heading", "orientation")) else " px"
    decision = compile_rule("r", spec(f"{expression} < 0.5{unit}"), context).evaluate(pair, 0, 0)
    assert decision.values[0] == pytest.approx(VALUES[expression], abs=1e-5)


def test_what_is_remembered_of_it(context: RuleContext, pair: Tracks) -> None:
    rule = compile_rule("r", spec("mean(distance(predicted(male), female), 1 s) < 1 px"), context)
    rule.evaluate(pair, 0, 0)
    assert rule.evaluate(pair, 1, 1_000_000_000).values[0] == pytest.approx(math.hypot(30, 30))


@pytest.mark.parametrize(
    ("when", "is_on"),
    [
        ("in_zone(predicted(male), food)", True),  # the circle of 5 px round (30, 40)
        ("in_zone(predicted(male.head), food)", False),
        ("contact(predicted(male), predicted(female), 3.1 mm)", True),
        ("contact(male, female, 1 mm)", False),
        ("contact(male, predicted(female), 1 mm)", True),
    ],
)
def test_what_is_true_of_it(when: str, is_on: bool, context: RuleContext, make_tracks: MakeTracks) -> None:
    shifts = {1: (20.0, 30.0) if "zone" in when else (10.0, 30.0), 2: (-20.0, 0.0)}
    tracks = make_tracks({1: MALE, 2: FEMALE}, identities=IDENTITIES, predicted=shifts)
    state = compile_rule("r", spec(when), context).evaluate(tracks, 0, 0).state
    assert state is (State.ON if is_on else State.OFF)


@pytest.mark.parametrize(
    "when",
    [
        "distance(predicted(male.head), female) > 1 px",
        "facing(predicted(male), female) > -1 deg",
        "in_zone(predicted(male.head), food)",
        "nearest(predicted(male), female) > 1 px",
    ],
)
def test_what_is_not_seen_is_unknown(when: str, context: RuleContext, make_tracks: MakeTracks) -> None:
    unseen = {} if "nearest" in when else {"thorax": MALE["thorax"]}
    tracks = make_tracks({1: unseen, 2: FEMALE}, identities=IDENTITIES, predicted={})
    assert compile_rule("r", spec(when), context).evaluate(tracks, 0, 0).state is State.UNKNOWN
    absent = make_tracks({2: FEMALE}, identities=IDENTITIES, predicted={})
    assert compile_rule("r", spec(when), context).evaluate(absent, 0, 0).state is State.UNKNOWN


NEEDED = "distance, nearest, contact, facing, heading, orientation, in_zone"
MISTAKES = {
    "no point at all": (
        "distance(predicted(), female) < 3 mm",
        "column 10: expected predicted(a role or role.node), got 0 arguments",
        "         ^^^^^^^^^^^",
    ),
    "two points": (
        "distance(predicted(male, female), female) < 3 mm",
        "column 10: expected predicted(a role or role.node), got 2 arguments",
        "         ^^^^^^^^^^^^^^^^^^^^^^^",
    ),
    "a number": (
        "distance(predicted(speed(male)), female) < 3 mm",
        "column 20: expected a role or role.node as argument of 'predicted', got 'speed(male)'",
        "                   ^^^^^^^^^^^",
    ),
    "predicted twice": (
        "distance(predicted(predicted(male)), female) < 3 mm",
        "column 20: expected a role or role.node as argument of 'predicted', got 'predicted(male)'",
        "                   ^^^^^^^^^^^^^^^",
    ),
    "by itself": (
        "predicted(male) < 3 mm",
        "column 1: expected a number or a condition, got the point 'predicted(male)'; points go into functions, as in "
        "'distance(predicted(male), ...)'",
        "^^^^^^^^^^^^^^^",
    ),
    "where only what is seen can stand": (
        "speed(predicted(male)) > 3 mm/s",
        "column 7: expected what is seen for 'speed', got 'predicted(male)'; write 'male' (predicted points go into "
        f"{NEEDED})",
        "      ^^^^^^^^^^^^^^^",
    ),
    "of a state": (
        "visible(predicted(male.head))",
        "column 9: expected what is seen for 'visible', got 'predicted(male.head)'; write 'male.head' (predicted "
        f"points go into {NEEDED})",
        "        ^^^^^^^^^^^^^^^^^^^^",
    ),
    "a misspelt role": (
        "distance(predicted(mael), female) < 3 mm",
        "column 20: expected a role (male, female, first, second), got 'mael'; did you mean 'male'?",
        "                   ^^^^",
    ),
    "a misspelt node": (
        "distance(predicted(male.haed), female) < 3 mm",
        "column 25: expected a node (head, thorax, abdomen), got 'haed'; did you mean 'head'?",
        "                        ^^^^",
    ),
    "a node where an animal has to be": (
        "nearest(predicted(male.head), female) < 3 mm",
        "column 24: expected a role without a node for 'nearest', got 'head'",
        "                       ^^^^",
    ),
    "of another unit": (
        "distance(predicted(male), female) < 3 deg",
        "column 37: expected a length (px, mm, cm), got an angle",
        "                                    ^^^^^",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told(name: str, context: RuleContext) -> None:
    when, told, carets = MISTAKES[name]
    with pytest.raises(RuleError) as caught:
        compile_rule("r", spec(when), context)
    assert str(caught.value) == f"$.rules.r.when: {told}\n    {when}\n    {carets}"


def test_a_rig_without_look_ahead_is_told(context: RuleContext) -> None:
    when = "distance(male, predicted(female.head)) < 3 mm"
    with pytest.raises(RuleError) as caught:
        compile_rule("r", spec(when), replace(context, predicted_nodes=None))
    assert str(caught.value) == (
        "$.rules.r.when: column 16: expected $.lookahead for 'predicted', got none; add the section [lookahead] to the "
        f"rig, or write 'female.head', where it is seen\n    {when}\n    {' ' * 15}{'^' * 22}"
    )


@pytest.mark.parametrize(
    ("when", "node"),
    [
        ("distance(predicted(male.head), female) < 3 mm", "head"),
        ("distance(predicted(male), female) < 3 mm", None),
        ("facing(predicted(male), female) < 3 deg", "head"),
        ("heading(predicted(male)) - heading(male) < 3 deg", "head"),
        ("nearest(predicted(male), female) < 3 mm", None),
    ],
)
def test_a_node_in_no_group_is_told(when: str, node: str | None, context: RuleContext) -> None:
    only = replace(context, predicted_nodes=("thorax", "abdomen"))
    if node is None:
        compile_rule("r", spec(when), only)
        return
    with pytest.raises(RuleError) as caught:
        compile_rule("r", spec(when), only)
    assert (
        f"expected a node that is predicted (thorax, abdomen), got '{node}'; add it to a group in $.lookahead.groups"
        in str(caught.value)
    )


def test_tracks_without_a_prediction_are_refused(context: RuleContext, make_tracks: MakeTracks) -> None:
    rule = compile_rule("r", spec("distance(predicted(male), female) < 3 mm"), context)
    tracks = make_tracks({1: MALE, 2: FEMALE}, identities=IDENTITIES)
    message = "rule r: expected tracks with a prediction for 'predicted', got none"
    with pytest.raises(RuntimeError, match=message):
        rule.evaluate(tracks, 0, 0)
    with pytest.raises(RuntimeError, match=message):
        rule.evaluate_recording(TrackTable.stack([0], [0], [tracks]))


def test_a_rule_that_does_not_ask_for_it_does_not_depend_on_it(context: RuleContext, pair: Tracks) -> None:
    rule = compile_rule("r", spec("distance(male, female) < 3 mm"), context)
    assert rule.evaluate(pair, 0, 0).values == rule.evaluate(replace(pair, prediction=None), 1, 1).values


def test_it_is_explained(context: RuleContext) -> None:
    told = explain("r", spec("distance(predicted(male.head), predicted(female)) < 3 mm"), context)
    assert told.nodes == ("head", "thorax")
    assert told.unknown_when["predicted"] == "it is not seen"
    assert told.lines == (
        "  when:",
        "    distance(predicted(male.head), predicted(female)) < 3 mm  [condition]",
        "      distance(predicted(male.head), predicted(female))  [a length in mm]",
        "        predicted(male.head)  [a node of a role, predicted]",
        "        predicted(female)  [a role, predicted]",
    )


def test_why_it_is_not_on(context: RuleContext, pair: Tracks, make_tracks: MakeTracks) -> None:
    rule = spec("distance(predicted(male.head), female) < 3 mm")
    [told] = why("r", rule, context, TrackTable.stack([0], [0], [pair]), 0)
    off_by = math.hypot(20, 30) / 10 - 3
    assert told.reasons == (f"distance(predicted(male.head), female) < 3 mm is false, off by {off_by:.4g} mm",)
    unseen = make_tracks({1: {}, 2: FEMALE}, identities=IDENTITIES, predicted={})
    [told] = why("r", rule, context, TrackTable.stack([0], [0], [unseen]), 0)
    assert told.reasons[0] == "male (track 1): not seen: head"


def test_a_table_is_cut_with_its_predictions(pair: Tracks) -> None:
    table = TrackTable.stack([0, 1], [0, 1], [pair, replace(pair, xy=pair.xy + 1)])
    head = table.head(1)
    assert head.predicted_xy is not None
    assert pair.prediction is not None
    assert np.array_equal(head.predicted_xy, pair.prediction.xy)
    assert TrackTable.stack([0, 1], [0, 1], [pair, replace(pair, prediction=None)]).predicted_xy is None
