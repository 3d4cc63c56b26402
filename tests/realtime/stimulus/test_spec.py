"""What a rig may say of a stimulus, and what it is told when it may not."""

from typing import Any

import pytest
from pydantic import ValidationError

from realtime.stimulus import BlockSpec, StimulusSpec, YokeSpec

RULE = {"rule": "near", "triggers": ["laser"], "channel": 0, "duration_ms": 200.0}
TIMED = {"triggers": ["laser"], "channel": 0, "duration_ms": 200.0}
SOURCES = "rule, schedule_s, random_interval_s and yoked"


def test_what_a_toml_file_can_say_is_understood() -> None:
    spec = StimulusSpec.model_validate(RULE | {"seed": 1, "blocks": {"size": 10, "real": 5}, "delay_ms": 20})
    assert (spec.blocks, spec.delay_ms) == (BlockSpec(size=10, real=5), 20.0)
    assert StimulusSpec.model_validate(TIMED | {"schedule_s": [0, 1.5, 60]}).schedule_s == (0.0, 1.5, 60.0)
    assert StimulusSpec.model_validate(TIMED | {"random_interval_s": [5, 9.5], "seed": 3}).random_interval_s == (5, 9.5)
    assert StimulusSpec.model_validate(TIMED | {"yoked": {"session": "a"}}).yoked == YokeSpec(session="a")


def test_a_spec_that_went_through_json_is_the_same() -> None:
    events = (("start", 5, 1), ("stop", 9, 1))
    spec = StimulusSpec.model_validate(TIMED | {"yoked": {"session": "a", "events": events}})
    assert StimulusSpec.model_validate(spec.model_dump(mode="json", exclude_none=True)) == spec


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (TIMED, f"expected exactly one of {SOURCES}, which says when the stimulus goes out, got none"),
        (
            RULE | {"schedule_s": [1], "yoked": {"session": "a"}},
            f"expected exactly one of {SOURCES}, which says when the stimulus goes out, got rule, schedule_s and yoked",
        ),
        (
            TIMED | {"schedule_s": [1], "while_on": True},
            "expected while_on beside a rule only, got it beside schedule_s",
        ),
        (
            TIMED | {"schedule_s": [1], "delay_ms": 5, "stop_on_release": True},
            "expected delay_ms and stop_on_release beside a rule only, got it beside schedule_s",
        ),
        (TIMED | {"schedule_s": [-1, 2]}, "expected schedule_s from 0 on and ascending, got [-1.0, 2.0]"),
        (TIMED | {"schedule_s": [1, 2, 2]}, "expected schedule_s from 0 on and ascending, got [1.0, 2.0, 2.0]"),
        (TIMED | {"schedule_s": []}, "at least 1 item"),
        (TIMED | {"schedule_s": ["1"]}, "valid number"),
        (
            TIMED | {"random_interval_s": [9, 5], "seed": 1},
            "expected random_interval_s = [shortest, longest], from 0.1 s on, got [9.0, 5.0]",
        ),
        (
            TIMED | {"random_interval_s": [0.05, 5], "seed": 1},
            "expected random_interval_s = [shortest, longest], from 0.1 s on, got [0.05, 5.0]",
        ),
        (
            TIMED | {"random_interval_s": [5, 9]},
            "expected a seed, from which random_interval_s is drawn, got none; write seed = 1, say",
        ),
        (
            RULE | {"probability": 0.0},
            "expected a seed, from which probability is drawn, got none; write seed = 1, say",
        ),
        (RULE | {"seed": 1}, "expected no seed, since nothing is drawn, got 1"),
        (RULE | {"seed": 1, "sham": True}, "expected no seed, since nothing is drawn, got 1"),
        (
            RULE | {"seed": 1, "probability": 0.5, "blocks": {"size": 2, "real": 1}},
            "expected at most one of probability, blocks and sham, got probability and blocks",
        ),
        (
            RULE | {"seed": 1, "probability": 0.0, "sham": True},
            "expected at most one of probability, blocks and sham, got probability and sham",
        ),
        (RULE | {"seed": 1, "probability": 1.1}, "less than or equal to 1"),
        (RULE | {"seed": 1, "probability": float("nan")}, "finite number"),
        (
            RULE | {"seed": 1, "blocks": {"size": 2, "real": 3}},
            "expected at most size = 2 real stimuli in a block, got real = 3",
        ),
        (RULE | {"seed": 1, "blocks": {"size": 101, "real": 3}}, "less than or equal to 100"),
        (RULE | {"seed": 1.5, "probability": 0.5}, "valid integer"),
        (RULE | {"delay_ms": -1}, "greater than or equal to 0"),
        (RULE | {"duration_ms": 1e308}, "less than or equal to 3600000"),
        (RULE | {"train_hz": 20.0, "width_ms": 1e308}, "less than or equal to 3600000"),
        (RULE | {"train_hz": 1e-308, "width_ms": 10.0}, "expected train_hz from 0.000277778 to 10000 Hz, got 1e-308"),
        (TIMED | {"schedule_s": [1.0, 1e308]}, "less than or equal to 31536000"),
        (TIMED | {"random_interval_s": [1.0, 1e308], "seed": 1}, "less than or equal to 31536000"),
        (TIMED | {"yoked": {"session": "a", "events": [["begin", 1, 2]]}}, "'start' or 'stop'"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        StimulusSpec.model_validate(given)
    assert message in str(caught.value)
