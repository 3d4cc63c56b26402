"""What a rig may say of the look-ahead."""

import pytest
from pydantic import ValidationError

from realtime.lookahead import LookAhead, LookAheadOptions

MISTAKES = {
    "two horizons": (
        {"horizon_ms": 20.0, "device_latency_ms": 5.0},
        "expected either horizon_ms, which is the whole way from frame to stimulus, or camera_latency_ms and "
        "device_latency_ms, which are added to what is measured, got both; remove one",
    ),
    "a node twice": (
        {"groups": {"front": ["head", "thorax"], "rear": ["thorax"]}},
        "groups: expected each node in one group, got 'thorax' in 'front' and 'rear'",
    ),
    "a horizon of nothing": ({"horizon_ms": 0.0}, "Input should be greater than 0"),
    "a horizon of a second": ({"horizon_ms": 1000.0}, "Input should be less than or equal to 500"),
    "an empty group": ({"groups": {"front": []}}, "at least 1 item"),
    "no group": ({"groups": {}}, "at least 1 item"),
    "a misspelt key": ({"horizon": 20.0}, "Extra inputs are not permitted"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told(name: str) -> None:
    given, expected = MISTAKES[name]
    with pytest.raises(ValidationError) as caught:
        LookAheadOptions.model_validate(given)
    assert expected in str(caught.value)


def test_without_groups_all_nodes_are_one() -> None:
    assert LookAheadOptions().groups_of(("head", "tail")) == {"body": ("head", "tail")}


def test_the_options_come_back_from_a_session_s_description() -> None:
    options = LookAheadOptions.model_validate({"groups": {"front": ["head"]}, "camera_latency_ms": 4.0})
    assert LookAheadOptions.model_validate(options.model_dump(mode="json", exclude_none=True)) == options


def test_a_group_of_another_skeleton_is_an_error() -> None:
    options = LookAheadOptions.model_validate({"groups": {"front": ["hed"]}})
    with pytest.raises(ValueError, match=r"expected nodes of the skeleton \(head, tail\) in group 'front', got 'hed'"):
        LookAhead(options, ("head", "tail"), 2)
