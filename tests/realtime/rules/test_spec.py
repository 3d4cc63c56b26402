"""What a rig file may say of rules and roles."""

import tomllib
from typing import Any

import pytest
from pydantic import ValidationError

from realtime.rules import RoleSpec, RuleContext, RuleError, RuleSpec


def test_a_rule_from_toml() -> None:
    table = tomllib.loads(
        """
        any_pair = ["a", "b"]
        when = "distance(a.head, b.thorax) < 3 mm"
        for_s = 1
        refractory_s = 0.5
        when_unknown = "release"
        """
    )
    assert RuleSpec.model_validate(table) == RuleSpec(
        any_pair=("a", "b"),
        when="distance(a.head, b.thorax) < 3 mm",
        for_s=1.0,
        refractory_s=0.5,
        when_unknown="release",
    )


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no policy for the unknown": ({"when_unknown": None}, "Input should be 'hold' or 'release'"),
    "unknown key": ({"for_ms": 100}, "Extra inputs are not permitted"),
    "one name": ({"any_pair": ["a"]}, "Field required"),
    "three names": ({"any_pair": ["a", "b", "c"]}, "at most 2 items"),
    "the same name twice": ({"any_pair": ["a", "a"]}, "any_pair: expected two different names, got 'a' twice"),
    "names that are not text": ({"any_pair": [1, 2]}, "Input should be a valid string"),
    "negative dwell": ({"for_s": -1.0}, "greater than or equal to 0"),
    "endless dwell": ({"for_s": float("inf")}, "finite number"),
    "dwell over a day": ({"for_s": 1e9}, "less than or equal to 86400"),
    "dwell as text": ({"for_s": "1"}, "Input should be a valid number"),
    "refractory that is not a number": ({"refractory_s": float("nan")}, "finite number"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_rules(name: str) -> None:
    change, text = WRONG[name]
    with pytest.raises(ValidationError, match=text):
        RuleSpec.model_validate({"when": "visible(a)", "when_unknown": "hold", **change})


def test_when_unknown_has_no_default() -> None:
    with pytest.raises(ValidationError, match=r"when_unknown\n  Field required"):
        RuleSpec.model_validate({"when": "visible(a)"})


@pytest.mark.parametrize("table", [{}, {"identity": "male", "track": 1}])
def test_a_role_is_one_thing(table: dict[str, object]) -> None:
    text = 'expected either identity or track, as in { identity = "male" } or { track = 1 }'
    with pytest.raises(ValidationError) as caught:
        RoleSpec.model_validate(table)
    assert text in str(caught.value)


@pytest.mark.parametrize("track", [0, -1, 2**31, "1", 1.0])
def test_a_track_is_a_positive_number(track: object) -> None:
    with pytest.raises(ValidationError):
        RoleSpec.model_validate({"track": track})


def test_everything_that_is_wrong_with_a_context_is_reported() -> None:
    with pytest.raises(RuleError) as caught:
        RuleContext(
            node_names=("head", "thorax"),
            class_names=("male", "female"),
            roles={"him": RoleSpec(identity="mal"), "her": RoleSpec(track=2)},
            front="haed",
            back="thorax",
            centre="x",
            px_per_mm=0.0,
        )
    assert str(caught.value) == (
        "$.animal.front: expected a node (head, thorax), got 'haed'; did you mean 'head'?\n"
        "$.animal.centre: expected a node (head, thorax), got 'x'\n"
        "$.roles.him.identity: expected an identity of the model (male, female), got 'mal'; did you mean 'male'?\n"
        "$.calibration.px_per_mm: expected a positive number, got 0.0"
    )


def test_a_model_without_identities() -> None:
    with pytest.raises(RuleError) as caught:
        RuleContext(("head",), roles={"him": RoleSpec(identity="male")})
    assert str(caught.value) == "$.roles.him.identity: expected an identity of the model (it has none), got 'male'"
