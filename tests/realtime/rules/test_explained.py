"""What a rule is said to be made of."""

from dataclasses import replace

import pytest

from realtime.rules import RuleContext, RuleSpec
from realtime.rules.explained import explain, unknown_table
from realtime.rules.functions import FUNCTIONS


def spec(when: str, **options: object) -> RuleSpec:
    return RuleSpec.model_validate({"when": when, "when_unknown": "release", **options})


def test_every_part_with_its_kind_and_unit(context: RuleContext) -> None:
    told = explain("r", spec("not (facing(male, female) < 1 rad) and 2 * distance(male.head, first) < 3 mm"), context)
    assert told.lines == (
        "  when:",
        "    all of  [condition]",
        "      not (facing(male, female) < 1 rad)  [condition]",
        "        (facing(male, female) < 1 rad)  [condition]",
        "          facing(male, female)  [an angle in rad]",
        "      2 * distance(male.head, first) < 3 mm  [condition]",
        "        2 * distance(male.head, first)  [a length in mm]",
        "          distance(male.head, first)  [a length in px]",
    )
    assert told.roles == {
        "male": "the animal with identity 'male'",
        "female": "the animal with identity 'female'",
        "first": "track 1",
    }


NODES = {
    "a named node": ("score(first.head) > 0.5", ("head",)),
    "the centre": ("distance(first, second.head) < 3 px", ("head", "thorax")),
    "a heading": ("angular_speed(first) > 3 deg/s", ("head", "abdomen")),
    "a heading from the centre": ("facing(first, second.head) < 3 deg", ("head", "thorax", "abdomen")),
    "a zone's centre": ("count_in_zone(food) > 1", ("thorax",)),
    "none": ("visible(first)", ()),
}


@pytest.mark.parametrize("name", NODES)
def test_the_nodes_that_it_needs(name: str, context: RuleContext) -> None:
    when, nodes = NODES[name]
    assert explain("r", spec(when), context).nodes == nodes


def test_what_it_remembers_and_asks_for(context: RuleContext) -> None:
    rules = {"near": spec("contact(a, b, 3 px)", any_pair=["a", "b"])}
    told = explain(
        "r",
        spec("held(state(near), 50 ms) or speed(first) > 1 px/s", for_s=0.5, require_identity=0.9, when_unknown="hold"),
        replace(context, rules=rules),
    )
    assert told.rules == ("near",)
    assert told.windows == ("50 ms", "0.1 s")
    assert told.timing == (
        "turns on when it has been true for 0.5 s without a break",
        "is off as soon as 'when' is false",
        "stays on when it is unknown; never turns on by what is unknown",
        "is unknown where the tracker is less sure than 0.9 who an animal is",
    )
    assert set(told.unknown_when) == {"held", "state", "speed"}
    assert told.n_operations > 0


def test_the_table_says_of_every_function_when_it_is_unknown() -> None:
    assert set(unknown_table()) == set(FUNCTIONS)
    assert unknown_table()["visible"] == "never: an absent animal is not visible"
