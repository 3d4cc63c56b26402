"""Rules that ask for one another: order, three values, one pair, and the same bits live and on a recording."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from realtime.decision import State
from realtime.rules import (
    DecisionTable,
    Rule,
    RuleContext,
    RuleError,
    RuleSpec,
    TrackTable,
    compile_rule,
    compile_rules,
)
from realtime.tracks import Tracks

NEAR = "distance(a.head, b.thorax) < 3 mm"
MALE_SEEN = {"when": "score(male.head) > 0.5"}


def specs(**rules: Mapping[str, object]) -> dict[str, RuleSpec]:
    return {name: RuleSpec.model_validate({"when_unknown": "release"} | rule) for name, rule in rules.items()}


def states(rules: tuple[Rule, ...], tracks: Tracks, frame_id: int = 0) -> dict[str, State]:
    return {rule.name: rule.evaluate(tracks, frame_id, frame_id * 10_000_000).state for rule in rules}


def complaint(given_specs: Mapping[str, RuleSpec], context: RuleContext) -> str:
    with pytest.raises(RuleError) as caught:
        compile_rules(given_specs, context)
    return str(caught.value)


THREE_VALUES = {
    "true": ({1: {"head": (0.0, 0.0)}}, {1: 0.9}, (State.ON, State.OFF, State.ON)),
    "false": ({1: {"head": (0.0, 0.0)}}, {1: 0.1}, (State.OFF, State.ON, State.ON)),
    "unknown": ({}, {}, (State.UNKNOWN, State.UNKNOWN, State.UNKNOWN)),
}


@pytest.mark.parametrize("name", THREE_VALUES)
def test_a_state_is_true_false_or_unknown(name: str, context: RuleContext, make_tracks: Callable[..., Tracks]) -> None:
    animals, scores, (seen, negated, either) = THREE_VALUES[name]
    rules = compile_rules(
        specs(negated={"when": "not state(seen)"}, either={"when": "state(seen) or state(negated)"}, seen=MALE_SEEN),
        context,
    )
    tracks = make_tracks(animals, scores=scores, identities={1: "male"})
    assert states(rules, tracks) == {"seen": seen, "negated": negated, "either": either}


def test_rules_come_after_those_that_they_ask_for_and_else_as_written(context: RuleContext) -> None:
    rules = compile_rules(
        specs(
            last={"when": "state(middle) and state('the first')"},
            alone=MALE_SEEN,
            middle={"when": "state('the first')"},
            **{"the first": MALE_SEEN},
        ),
        context,
    )
    assert [rule.name for rule in rules] == ["the first", "middle", "last", "alone"]
    assert [rule.name for rule in rules[2].needs] == ["the first", "middle"]


def test_the_state_is_that_of_this_frame_with_for_s_and_hysteresis(
    context: RuleContext, make_tracks: Callable[..., Tracks]
) -> None:
    rules = compile_rules(specs(seen=MALE_SEEN | {"for_s": 0.015}, follows={"when": "state(seen)"}), context)
    tracks = make_tracks({1: {"head": (0.0, 0.0)}}, identities={1: "male"})
    told = [states(rules, tracks, frame_id)["follows"] for frame_id in range(3)]
    assert told == [State.OFF, State.OFF, State.ON]


def test_one_pair_of_another_rule(context: RuleContext, make_tracks: Callable[..., Tracks]) -> None:
    # The head of 1 is at the thorax of 2 and no other one is anywhere near another's.
    tracks = make_tracks(
        {
            1: {"head": (0.0, 0.0), "thorax": (0.0, 100.0)},
            2: {"head": (200.0, 0.0), "thorax": (1.0, 0.0)},
            5: {"head": (400.0, 0.0), "thorax": (400.0, 100.0)},
        }
    )
    near = {"when": NEAR, "any_pair": ["a", "b"]}
    asked = {
        "any": ("state(near)", State.ON),
        "forth": ("state(near, first, second)", State.ON),
        "back": ("state(near, second, first)", State.OFF),
        "itself": ("state(near, first, first)", State.UNKNOWN),
        "absent": ("state(near, first, male)", State.UNKNOWN),
    }
    rules = compile_rules(specs(near=near, **{name: {"when": when} for name, (when, _) in asked.items()}), context)
    told = states(rules, tracks)
    assert {name: told[name] for name in asked} == {name: state for name, (_, state) in asked.items()}


def test_a_pair_asks_for_itself_and_for_its_mirror(context: RuleContext, make_tracks: Callable[..., Tracks]) -> None:
    tracks = make_tracks(
        {
            track_id: {"head": (x, 0.0), "thorax": (x, y)}
            for track_id, x, y in ((3, 900.0, 0.0), (4, 0.0, 1.0), (7, 5.0, 90.0), (9, 300.0, 0.0))
        }
    )
    rules = compile_rules(
        specs(
            near={"when": NEAR, "any_pair": ["a", "b"]},
            same={"when": "state(near, x, y)", "any_pair": ["x", "y"]},
            mirror={"when": "state(near, y, x)", "any_pair": ["x", "y"]},
        ),
        context,
    )
    decisions = {rule.name: rule.evaluate(tracks, 0, 0) for rule in rules}
    assert {name: decision.state for name, decision in decisions.items()} == dict.fromkeys(decisions, State.ON)
    assert decisions["near"].track_ids == (7, 4)  # the head of 7 is at the thorax of 4
    assert decisions["same"].track_ids == (7, 4)
    assert decisions["mirror"].track_ids == (4, 7)


def test_a_rule_is_not_evaluated_before_those_that_it_asks_for(
    context: RuleContext, make_tracks: Callable[..., Tracks]
) -> None:
    seen, follows = compile_rules(specs(seen=MALE_SEEN, follows={"when": "state(seen)"}), context)
    tracks = make_tracks({1: {"head": (0.0, 0.0)}}, identities={1: "male"})
    seen.evaluate(tracks, 4, 40)
    follows.evaluate(tracks, 4, 40)
    with pytest.raises(RuntimeError) as caught:
        follows.evaluate(tracks, 5, 50)
    assert str(caught.value) == (
        "rule follows: expected rule seen, which it names, to be evaluated before it on frame 5; "
        "evaluate rules in the order of compile_rules"
    )


WRONG = {
    "a name that is no rule": (
        specs(near=MALE_SEEN, follows={"when": "state(naer)"}),
        "$.rules.follows.when: column 7: expected another rule (near), got 'naer'; did you mean 'near'?\n"
        "    state(naer)\n"
        "          ^^^^",
    ),
    "the rule itself": (
        specs(follows={"when": "state(follows)"}),
        "$.rules.follows.when: column 7: expected another rule, got 'follows' itself; a rule cannot ask for itself\n"
        "    state(follows)\n"
        "          ^^^^^^^",
    ),
    "nothing else there": (
        specs(follows={"when": "state(near)"}),
        "$.rules.follows.when: column 7: expected another rule (the rig has none), got 'near'\n"
        "    state(near)\n"
        "          ^^^^",
    ),
    "a number": (
        specs(follows={"when": "state(3)"}),
        "$.rules.follows.when: column 7: expected a rule for 'state', got '3'\n    state(3)\n          ^",
    ),
    "half a pair": (
        specs(near=MALE_SEEN, follows={"when": "state(near, first)"}),
        "$.rules.follows.when: column 1: expected state(a rule[, a role without a node, a role without a node]), got 2 "
        "arguments\n"
        "    state(near, first)\n"
        "    ^^^^^^^^^^^^^^^^^^",
    ),
    "a pair of a rule without": (
        specs(near=MALE_SEEN, follows={"when": "state(near, first, second)"}),
        "$.rules.follows.when: column 1: expected a rule with any_pair to ask for one pair, got 'near'; write "
        "'state(near)'\n"
        "    state(near, first, second)\n"
        "    ^^^^^^^^^^^^^^^^^^^^^^^^^^",
    ),
    "a circle": (
        specs(
            start={"when": "state(one)"},
            one={"when": "visible(first) and state(two)"},
            two={"when": "state(three)"},
            three={"when": "visible(first)", "until": "state(one)"},
        ),
        "$.rules.three.until: column 7: expected rules that do not ask for one another in a circle, got "
        "one -> two -> three -> one; take one of these state(...) out\n"
        "    state(one)\n"
        "          ^^^",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_with_its_column(name: str, context: RuleContext) -> None:
    given_specs, text = WRONG[name]
    assert complaint(given_specs, context) == text


def test_everything_that_is_wrong_is_said_at_once(context: RuleContext) -> None:
    with pytest.raises(RuleError) as caught:
        compile_rules(specs(one={"when": "state(x)"}, two={"when": "visible(nobody)"}), context)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["$.rules.one.when", "$.rules.two.when"]


RIG = {
    "follows": {"when": "state(near, b, a) and distance(a, b) < 5 mm", "any_pair": ["a", "b"]},
    "near": {"when": NEAR, "until": "distance(a, b) > 4 mm", "any_pair": ["a", "b"]},
    "once": {"when": "once(state(near), 50 ms) and not state(follows)"},
    "fixed": {"when": "state(follows, first, second) or state(near, male, female)", "until": "rising(state(once))"},
}


def random_frames(rng: np.random.Generator, n_frames: int) -> list[Tracks]:
    frames = []
    for _ in range(n_frames):
        n_tracks = int(rng.integers(0, 5))
        ids = np.sort(rng.choice(np.arange(1, 6), n_tracks, replace=False)).astype(np.int32)
        xy = rng.integers(0, 60, (n_tracks, 3, 2)).astype(np.float32)
        xy[rng.random((n_tracks, 3)) < 0.1] = np.nan
        ones, none = np.ones((n_tracks, 3), np.float32), np.zeros(n_tracks, np.int32)
        classes = rng.permutation(5)[:n_tracks].astype(np.int32) - 1
        frames.append(Tracks(ids, xy, ones, ones[:, 0].copy(), none.astype(np.int64), classes.clip(-1, 1), none, none))
    return frames


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    policy=st.sampled_from(["hold", "release"]),
    for_s=st.sampled_from([0.0, 0.02]),
    refractory_s=st.sampled_from([0.0, 0.05]),
)
def test_live_and_recording_agree(
    seed: int, policy: str, for_s: float, refractory_s: float, context: RuleContext
) -> None:
    options = {"when_unknown": policy, "for_s": for_s, "refractory_s": refractory_s}
    rules = compile_rules(specs(**{name: rule | options for name, rule in RIG.items()}), context)
    rng = np.random.default_rng(seed)
    frames = random_frames(rng, 120)
    times = np.cumsum(rng.integers(0, 20_000_000, 120)).tolist()
    table = TrackTable.stack(range(120), times, frames)
    live = [[rule.evaluate(tracks, index, times[index]) for rule in rules] for index, tracks in enumerate(frames)]
    for column, rule in enumerate(rules):
        whole: DecisionTable = rule.evaluate_recording(table)
        for index in range(120):
            one, other = live[index][column], whole.decision(index)
            assert np.array(one.values).tobytes() == np.array(other.values).tobytes()
            assert structs.replace(one, values=()) == structs.replace(other, values=())


def test_the_random_recordings_reach_every_state_that_is_asked_for(context: RuleContext) -> None:
    rules = compile_rules(specs(**RIG), context)
    seen: dict[str, set[int]] = {rule.name: set() for rule in rules}
    for seed in range(10):
        frames = random_frames(np.random.default_rng(seed), 120)
        table = TrackTable.stack(range(120), [index * 10_000_000 for index in range(120)], frames)
        for rule in rules:
            seen[rule.name].update(rule.evaluate_recording(table).states.tolist())
    assert all(found == set(State) for found in seen.values()), seen


def test_one_rule_of_a_rig_brings_those_that_it_asks_for(context: RuleContext) -> None:
    known = specs(**RIG)
    rule = compile_rule("once", known["once"], replace(context, rules=known))
    assert [needed.name for needed in rule.needs] == ["near", "follows"]
    frames = random_frames(np.random.default_rng(1), 120)
    table = TrackTable.stack(range(120), [index * 10_000_000 for index in range(120)], frames)
    of_all = next(rule for rule in compile_rules(known, context) if rule.name == "once")
    assert rule.evaluate_recording(table).states.tolist() == of_all.evaluate_recording(table).states.tolist()
