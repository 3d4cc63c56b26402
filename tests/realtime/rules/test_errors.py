"""What a user reads who wrote a rule that cannot be understood."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from realtime.rules import RoleSpec, RuleContext, RuleError, RuleSpec, ZoneSpec, compile_rule
from realtime.rules.language import MAX_DEPTH


def message(when: str, context: RuleContext, until: str | None = None, any_pair: tuple[str, str] | None = None) -> str:
    spec = RuleSpec(when=when, until=until, any_pair=any_pair, when_unknown="release")
    with pytest.raises(RuleError) as caught:
        compile_rule("near", spec, context)
    return str(caught.value)


FUNCTIONS = (
    "distance, nearest, contact, facing, heading, orientation, in_zone, count_in_zone, visible, score, confidence, "
    "identity_confidence, swap_suspected, state, predicted, abs, min, max, speed, approach_speed, angular_speed, held, "
    "once, rising, fraction, mean"
)
UNITS = "px, mm, cm, deg, rad, s, ms, px/s, mm/s, cm/s, deg/s, rad/s"
ROLES = "male, female, first, second"
CASES = {
    "unknown node": (
        "distance(male.head, female.thorx) < 3 mm",
        "column 28: expected a node (head, thorax, abdomen), got 'thorx'; did you mean 'thorax'?",
        "                           ^^^^^",
    ),
    "unknown role": (
        "distance(mael, female) < 3 mm",
        f"column 10: expected a role ({ROLES}), got 'mael'; did you mean 'male'?",
        "         ^^^^",
    ),
    "unknown function": (
        "distanc(male, female) < 3 mm",
        f"column 1: expected a function ({FUNCTIONS}), got 'distanc'; did you mean 'distance'?",
        "^^^^^^^",
    ),
    "function without parentheses": (
        "distance < 3 mm",
        f"column 1: expected a role ({ROLES}), got 'distance'; 'distance' is a function: write 'distance(...)'",
        "^^^^^^^^",
    ),
    "unknown unit": (
        "distance(male, female) < 3 m",
        f"column 28: expected a unit ({UNITS}), got 'm'",
        "                           ^",
    ),
    "unit in full": (
        "facing(male, female) < 3 degrees",
        f"column 26: expected a unit ({UNITS}), got 'degrees'; did you mean 'deg'?",
        "                         ^^^^^^^",
    ),
    "wrong unit": (
        "facing(male, female) < 3 mm",
        "column 24: expected an angle (deg, rad), got a length",
        "                       ^^^^",
    ),
    "wrong unit on the left": (
        "3 s > facing(male, female)",
        "column 1: expected an angle (deg, rad), got a duration",
        "^^^",
    ),
    "missing unit": (
        "distance(male, female) < 3",
        "column 26: expected a length (px, mm, cm), got a number without a unit; write '3 px' or another unit",
        "                         ^",
    ),
    "unknown unit per time": (
        "speed(male) < 3 mm/min",
        f"column 17: expected a unit ({UNITS}), got 'mm/min'; did you mean 'mm/s'?",
        "                ^^^^^^",
    ),
    "a length for a speed": (
        "speed(male) < 3 mm",
        "column 15: expected a speed (px/s, mm/s, cm/s), got a length",
        "              ^^^^",
    ),
    "a speed for an angular speed": (
        "angular_speed(male) < 3 mm/s",
        "column 23: expected an angle per time (deg/s, rad/s), got a speed",
        "                      ^^^^^^",
    ),
    "a speed without a unit": (
        "approach_speed(male, female) > 3",
        "column 32: expected a speed (px/s, mm/s, cm/s), got a number without a unit; write '3 px/s' or another unit",
        "                               ^",
    ),
    "a length over a number is no speed": (
        "speed(male) < distance(male, female) / 2",
        "column 15: expected a speed (px/s, mm/s, cm/s), got a length",
        "              ^^^^^^^^^^^^^^^^^^^^^^^^^^",
    ),
    "a direction compared": (
        "heading(male) < 30 deg",
        "column 1: expected a difference of directions, got a direction; 170 deg is next to -170 deg, so compare how "
        "far it is from another, as in 'abs(heading(male) - 90 deg) < 30 deg'",
        "^^^^^^^^^^^^^",
    ),
    "a direction as a condition": (
        "heading(male)",
        "column 1: expected a condition, got a direction; 170 deg is next to -170 deg, so compare how far it is from "
        "another, as in 'abs(heading(male) - 90 deg) < 30 deg'",
        "^^^^^^^^^^^^^",
    ),
    "the size of a direction": (
        "abs(heading(male)) < 30 deg",
        "column 5: expected a difference of directions, got a direction; 170 deg is next to -170 deg, so compare how "
        "far it is from another, as in 'abs(heading(male) - 90 deg) < 30 deg'",
        "    ^^^^^^^^^^^^^",
    ),
    "the mean of what wraps": (
        "mean(heading(male) - heading(female), 1 s) < 30 deg",
        "column 6: expected a number that does not jump at 180 deg for 'mean', got a difference of directions; write "
        "'abs(heading(male) - heading(female))'",
        "     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^",
    ),
    "a contact without a unit": (
        "contact(male, female, 3)",
        "column 23: expected a length (px, mm, cm), got a number without a unit; write '3 px' or another unit",
        "                      ^",
    ),
    "a contact at an angle": (
        "contact(male, female, 3 deg)",
        "column 23: expected a length (px, mm, cm), got an angle",
        "                      ^^^^^",
    ),
    "a node in contact": (
        "contact(male.head, female, 3 px)",
        "column 14: expected a role without a node for 'contact', got 'head'",
        "             ^^^^",
    ),
    "unknown zone": (
        "in_zone(male, fod)",
        "column 15: expected a zone (food, nest), got 'fod'; did you mean 'food'?",
        "              ^^^",
    ),
    "a number as a zone": (
        "in_zone(male, 3 px)",
        "column 15: expected a zone for 'in_zone', got '3 px'",
        "              ^^^^",
    ),
    "a zone with a node": (
        "count_in_zone(food.head) > 1",
        "column 15: expected a zone for 'count_in_zone', got 'food.head'",
        "              ^^^^^^^^^",
    ),
    "a window without a unit": (
        "held(visible(male), 0.2)",
        "column 21: expected a duration (s, ms), got a number without a unit; write '0.2 s' or another unit",
        "                    ^^^",
    ),
    "a window in mm": (
        "once(visible(male), 5 mm)",
        "column 21: expected a duration (s, ms), got a length",
        "                    ^^^^",
    ),
    "a window that is measured": (
        "speed(male, distance(male, female)) > 3 px/s",
        "column 13: expected a constant duration for 'speed', such as 0.2 s, got 'distance(male, female)'",
        "            ^^^^^^^^^^^^^^^^^^^^^^",
    ),
    "a window of nothing": (
        "fraction(visible(male), 0 s) > 0.5",
        "column 25: expected a duration from 1 ms to 86400 s, got 0 s",
        "                        ^^^",
    ),
    "a window over a day": (
        "mean(score(male.head), 86401 s) > 0.5",
        "column 24: expected a duration from 1 ms to 86400 s, got 86401 s",
        "                       ^^^^^^^",
    ),
    "a window left out": (
        "held(visible(male))",
        "column 1: expected held(a condition, a duration), got 1 argument",
        "^^^^^^^^^^^^^^^^^^^",
    ),
    "too many arguments with a default": (
        "speed(male, 1 s, 2 s) > 3 px/s",
        "column 1: expected speed(a role or a role.node[, a duration]), got 3 arguments",
        "^^^^^^^^^^^^^^^^^^^^^",
    ),
    "a number held": (
        "held(score(male.head), 1 s)",
        "column 6: expected a condition, got a number without a unit; compare it, as in 'score(male.head) < 0.5'",
        "     ^^^^^^^^^^^^^^^^",
    ),
    "the mean of a condition": (
        "mean(visible(male), 1 s) > 0.5",
        "column 6: expected a number, got the condition 'visible(male)'",
        "     ^^^^^^^^^^^^^",
    ),
    "unit on a plain number": (
        "score(male.head) > 0.5 mm",
        "column 20: expected a number without a unit, got a length",
        "                   ^^^^^^",
    ),
    "lengths and angles added": (
        "distance(male, female) + facing(male, female) < 3 mm",
        "column 26: expected a length (px, mm, cm), got an angle",
        "                         ^^^^^^^^^^^^^^^^^^^^",
    ),
    "an area compared with a length": (
        "distance(male, female) * 2 mm < 3 mm",
        "column 33: expected a quantity in px^2, got a length",
        "                                ^^^^",
    ),
    "min of different dimensions": (
        "min(distance(male, female), facing(male, female)) < 3 mm",
        "column 29: expected a length (px, mm, cm), got an angle",
        "                            ^^^^^^^^^^^^^^^^^^^^",
    ),
    "call not closed": (
        "distance(male, female < 3 mm",
        "column 9: expected a ')' for this '(', got the end of the expression",
        "        ^",
    ),
    "call closed too late": (
        "distance(male, female < 3 mm)",
        "column 16: expected a role or a role.node as argument of 'distance', got 'female < 3 mm'",
        "               ^^^^^^^^^^^^^",
    ),
    "parenthesis never closed": (
        "(facing(male, female) < 3 deg",
        "column 1: expected a ')' for this '(', got the end of the expression",
        "^",
    ),
    "parenthesis never opened": (
        "facing(male, female) < 3 deg)",
        "column 29: expected an operator or the end, got ')'",
        "                            ^",
    ),
    "equality": (
        "facing(male, female) == 3 deg",
        "column 22: expected an operator or the end, got '=='; measured numbers are never exactly equal: "
        "write <, <=, > or >=",
        "                     ^^",
    ),
    "inequality": (
        "facing(male, female) != 3 deg",
        "column 22: expected an operator or the end, got '!='; measured numbers are never exactly equal: write < or >",
        "                     ^^",
    ),
    "assignment": (
        "facing(male, female) = 3 deg",
        "column 22: expected an operator or the end, got '='; to compare, write <, <=, > or >=",
        "                     ^",
    ),
    "another language's and": (
        "visible(male) && visible(female)",
        "column 15: expected an operator or the end, got '&&'; write 'and'",
        "              ^^",
    ),
    "another language's not": (
        "!visible(male)",
        "column 1: expected a number, a role, a function or '(', got '!'; write 'not'",
        "^",
    ),
    "chained comparison": (
        "1 mm < distance(male, female) < 3 mm",
        "column 31: expected 'and', 'or' or the end, got a second '<'; comparisons do not chain: "
        "write 'x > low and x < high'",
        "                              ^",
    ),
    "comparison compared": (
        "(1 mm < distance(male, female)) < 3 mm",
        "column 1: expected a number, got the condition '(1 mm < distance(male, female))'",
        "^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^",
    ),
    "not a condition": (
        "facing(male, female)",
        "column 1: expected a condition, got an angle; compare it, as in 'facing(male, female) < 3 deg'",
        "^^^^^^^^^^^^^^^^^^^^",
    ),
    "and of a number": (
        "visible(male) and score(male.head)",
        "column 19: expected a condition, got a number without a unit; compare it, as in 'score(male.head) < 0.5'",
        "                  ^^^^^^^^^^^^^^^^",
    ),
    "not of a number": (
        "not 3",
        "column 5: expected a condition, got a number without a unit",
        "    ^",
    ),
    "minus of a condition": (
        "-visible(male) < 3",
        "column 2: expected a number, got the condition 'visible(male)'",
        " ^^^^^^^^^^^^^",
    ),
    "condition as a number": (
        "visible(male) < 1",
        "column 1: expected a number, got the condition 'visible(male)'",
        "^^^^^^^^^^^^^",
    ),
    "point as a number": (
        "male.head < 3 px",
        "column 1: expected a number or a condition, got the point 'male.head'; points go into functions, as in "
        "'visible(male.head)'",
        "^^^^^^^^^",
    ),
    "number as a point": (
        "distance(male, 3 px) < 3 px",
        "column 16: expected a role or a role.node as argument of 'distance', got '3 px'",
        "               ^^^^",
    ),
    "node of an animal's function": (
        "identity_confidence(male.head) > 0.5",
        "column 26: expected a role without a node for 'identity_confidence', got 'head'",
        "                         ^^^^",
    ),
    "no node for a node's function": (
        "score(male) > 0.5",
        "column 7: expected a node for 'score', got the role alone; write for example 'male.head'",
        "      ^^^^",
    ),
    "too few arguments": (
        "distance(male) < 3 mm",
        "column 1: expected distance(a role or a role.node, a role or a role.node), got 1 argument",
        "^^^^^^^^^^^^^^",
    ),
    "too many arguments": (
        "visible(male, female)",
        "column 1: expected visible(a role or role.node), got 2 arguments",
        "^^^^^^^^^^^^^^^^^^^^^",
    ),
    "no arguments": (
        "min() < 3",
        "column 1: expected min(a number, a number, ...), got 0 arguments",
        "^^^^^",
    ),
    "two constants": (
        "3 mm < 4 mm",
        "column 1: expected something measured, as in 'distance(a, b) < 3 mm', got two constants",
        "^^^^^^^^^^^",
    ),
    "nothing": ("", "column 1: expected a condition, got the end of the expression", "^"),
    "operand missing": (
        "facing(male, female) <",
        "column 23: expected a number, a role, a function or '(', got the end of the expression",
        "                      ^",
    ),
    "node missing": (
        "distance(male., female) < 3 mm",
        "column 15: expected a node after the dot, got ','",
        "              ^",
    ),
    "operator missing": (
        "visible(male) visible(female)",
        "column 15: expected an operator or the end, got 'visible'",
        "              ^^^^^^^",
    ),
    "comma missing": (
        "distance(male female) < 3 mm",
        "column 15: expected an operator, ',' or ')', got 'female'",
        "              ^^^^^^",
    ),
    "strange character": (
        "facing(male, female) < 30°",
        "column 26: expected a name, a number or an operator, got '°'",
        "                         ^",
    ),
    "quote not closed": (
        "visible(male.'head)",
        "column 14: expected a name, a number or an operator, got \"'\"; a quoted name ends with another '",
        "             ^",
    ),
    "number too large": (
        "score(male.head) < 1e999",
        "column 20: expected a number below 1.8e308, got 1e999",
        "                   ^^^^^",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_text_and_caret(name: str, context: RuleContext) -> None:
    when, text, caret = CASES[name]
    expected = f"$.rules.near.when: {text}\n    {when}\n"
    assert message(when, context) == f"{expected}    {caret}"


def test_millimetres_need_a_calibration() -> None:
    context = RuleContext(("head",), roles={"first": RoleSpec(track=1)}, centre="head")
    assert message("distance(first, first.head) < 3 mm", context) == (
        "$.rules.near.when: column 33: expected $.calibration.px_per_mm for 'mm', got none; "
        "calibrate the rig or write the length in px\n"
        "    distance(first, first.head) < 3 mm\n"
        "                                    ^^"
    )


def test_a_speed_in_millimetres_needs_a_calibration() -> None:
    context = RuleContext(("head",), roles={"first": RoleSpec(track=1)})
    assert message("speed(first.head) < 3 mm/s", context) == (
        "$.rules.near.when: column 23: expected $.calibration.px_per_mm for 'mm/s', got none; "
        "calibrate the rig or write the length in px\n"
        "    speed(first.head) < 3 mm/s\n"
        "                          ^^^^"
    )


def test_a_direction_needs_no_centre_and_a_count_does() -> None:
    zones = {"food": ZoneSpec(circle=(0, 0, 1), unit="px")}
    context = RuleContext(("head", "tail"), roles={"first": RoleSpec(track=1)}, front="head", back="tail", zones=zones)
    compile_rule("near", RuleSpec(when="abs(heading(first) - 3 deg) < 4 deg", when_unknown="hold"), context)
    assert message("count_in_zone(food) > 0", context) == (
        "$.rules.near.when: column 15: expected $.animal.centre for 'count_in_zone', got none; "
        "name the node in the rig file\n"
        "    count_in_zone(food) > 0\n"
        "                  ^^^^"
    )
    bare = RuleContext(("head",), roles={"first": RoleSpec(track=1)})
    for function in ("angular_speed(first) > 3 deg/s", "orientation(first, first) > 3 deg"):
        assert "expected $.animal.front and $.animal.back for" in message(function, bare)


def test_a_rig_without_zones(context: RuleContext) -> None:
    bare = RuleContext(("head",), roles={"first": RoleSpec(track=1)})
    assert message("in_zone(first.head, food)", bare).splitlines()[0] == (
        "$.rules.near.when: column 21: expected a zone (the rig has none), got 'food'"
    )


def test_a_rule_without_animals_has_no_identity_to_ask_for(context: RuleContext) -> None:
    spec = RuleSpec(when="count_in_zone(food) > 1", when_unknown="release", require_identity=0.9)
    with pytest.raises(RuleError) as caught:
        compile_rule("near", spec, context)
    assert str(caught.value) == (
        "$.rules.near.require_identity: expected an animal in when or until whose identity could be asked for, got "
        "none; name one or leave the key out"
    )


def test_a_heading_and_a_centre_need_their_nodes() -> None:
    context = RuleContext(("head",), roles={"first": RoleSpec(track=1)})
    assert message("facing(first, first.head) < 3 deg", context) == (
        "$.rules.near.when: column 8: expected $.animal.front and $.animal.back and $.animal.centre for 'facing' of "
        "'first', got none; name the node in the rig file\n"
        "    facing(first, first.head) < 3 deg\n"
        "           ^^^^^"
    )
    assert message("distance(first, first.head) < 3 px", context) == (
        "$.rules.near.when: column 10: expected $.animal.centre for 'distance' of 'first', got none; "
        "name the node in the rig file\n"
        "    distance(first, first.head) < 3 px\n"
        "             ^^^^^"
    )


def test_a_rig_without_roles() -> None:
    context = RuleContext(("head",))
    assert message("visible(male)", context).splitlines()[0] == (
        "$.rules.near.when: column 9: expected a role (the rig has none), got 'male'"
    )


def test_a_line_of_several_is_quoted_alone_and_tabs_keep_the_caret_in_place(context: RuleContext) -> None:
    assert message("visible(male)\n\tand visibel(female)\n", context) == (
        f"$.rules.near.when: line 2, column 6: expected a function ({FUNCTIONS}), got 'visibel'; "
        "did you mean 'visible'?\n"
        "    \tand visibel(female)\n"
        "    \t    ^^^^^^^"
    )


def test_when_and_until_are_reported_together(context: RuleContext) -> None:
    assert message("visible(mal)", context, until="facing(male, female)") == (
        f"$.rules.near.when: column 9: expected a role ({ROLES}), got 'mal'; did you mean 'male'?\n"
        "    visible(mal)\n"
        "            ^^^\n"
        "$.rules.near.until: column 1: expected a condition, got an angle; "
        "compare it, as in 'facing(male, female) < 3 deg'\n"
        "    facing(male, female)\n"
        "    ^^^^^^^^^^^^^^^^^^^^"
    )


def test_any_pair_names(context: RuleContext) -> None:
    assert message("visible(male) and visible(b)", context, any_pair=("male", "b")) == (
        "$.rules.near.any_pair: expected names that are not roles, got 'male'; choose others, as in ['a', 'b']"
    )
    assert message("visible(a)", context, any_pair=("a", "b")) == (
        "$.rules.near.any_pair: expected both names in when or until, 'b' is in neither"
    )


@pytest.mark.parametrize(
    "when",
    [
        "(" * (MAX_DEPTH + 1) + "visible(male)" + ")" * (MAX_DEPTH + 1),
        "not " * (MAX_DEPTH + 1) + "visible(male)",
        "-" * 100_000 + "3 < 4",
        " and ".join(["visible(male)"] * 10_000),
        "min(" * 10_000,
    ],
    ids=["parentheses", "nots", "minuses", "ands", "calls"],
)
def test_too_deep(when: str, context: RuleContext) -> None:
    assert f"expected at most {MAX_DEPTH} operations inside one another, got more; split the rule" in message(
        when, context
    )


WORDS = (
    *("male", "b", "female", "head", "thorax", "distance", "facing", "visible", "min", "abs", "score", "and", "or"),
    *("heading", "food", "in_zone", "count_in_zone", "contact", "speed", "held", "mean", "fraction", "s", "mm/s"),
    *(
        "not",
        "mm",
        "deg",
        "3",
        "0.5",
        "1e3",
        ".",
        ",",
        "(",
        ")",
        "<",
        "<=",
        ">",
        "+",
        "-",
        "*",
        "/",
        "'",
        "==",
        " ",
        "\n",
    ),
)


@settings(max_examples=400, deadline=None)
@given(text=st.one_of(st.text(max_size=40), st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)))
@example(text="\x00")
@example(text="''")
@example(text="٣ < 3")
@example(text="3²")
def test_no_text_raises_anything_else(text: str, context: RuleContext) -> None:
    problem = ""
    try:
        compile_rule("near", RuleSpec(when=text, when_unknown="hold"), context)
    except RuleError as error:
        problem = str(error)
    assert not problem or problem.startswith("$.rules.near.when: ")
