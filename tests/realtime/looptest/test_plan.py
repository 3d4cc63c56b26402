"""What is fired and when."""

import re
from pathlib import Path

import numpy as np
import pytest

from realtime.looptest.plan import Output, choose_output, make_plan
from realtime.rig import parse_rig
from realtime.stimulus import Interlock, LimitSpec
from triggers.pulse import Pulse

MS = 1_000_000
FREE = {("lamp", 0): LimitSpec(max_on_s=10.0, max_duty=1.0, max_dose_s=1000.0)}


def plan(limits=FREE, **changes):
    settings = {"n_pulses": 50, "n_locating": 12, "duration_us": 31_000, "period_ns": 10.0 * MS, "longest_ns": 60 * MS}
    return make_plan(Output("lamp", 0, 0.5), limits, seed=4, **(settings | changes))


def test_pulses_begin_at_every_phase_of_the_frames_and_far_enough_apart():
    made = plan()
    offsets = np.array(made.offsets_ns)
    assert offsets.size == 62
    assert made.pulse == Pulse(0, 31_000, 0.5)
    phases = offsets[12:] % (10 * MS) / (10 * MS)
    assert sorted(np.floor(phases * 50).astype(int)) == list(range(50))
    steps = np.diff(offsets)
    assert steps.min() >= (60 + 31 + 100) * MS
    assert len(set((steps // (10 * MS)).tolist())) > 3
    assert offsets[0] >= 80 * MS


def test_a_seed_makes_the_same_plan_again():
    assert plan() == plan()
    assert plan().offsets_ns != make_plan(
        Output("lamp", 0, 0.5), FREE, n_pulses=50, n_locating=12, duration_us=31_000, period_ns=1e7,
        longest_ns=60 * MS, seed=5,
    ).offsets_ns  # fmt: skip


def test_the_plan_is_what_the_limits_allow():
    limits = {("lamp", 0): LimitSpec(max_duty=0.05, duty_window_s=2.0, max_per_minute=100)}
    made = plan(limits)
    interlock = Interlock(limits)
    for offset in made.offsets_ns:
        assert not interlock.allow("lamp", made.pulse, offset)
        interlock.commit("lamp", made.pulse, offset)
    assert made.duration_s > plan().duration_s


def test_it_is_told_in_words():
    assert re.fullmatch(
        r"62 pulses of 31 ms on lamp channel 0 at intensity 0\.5, at irregular times over 1\d s; 1\.92 s on in all",
        str(plan()),
    )


@pytest.mark.parametrize(
    ("limits", "changes", "message"),
    [
        (
            {("lamp", 0): LimitSpec(max_dose_s=0.1)},
            {},
            "looptest: the rig's limits allow 3 pulses of 31 ms on lamp channel 0 and not the next one: dose of "
            "0.124 s in this session exceeds 0.1 s; ask for fewer (--pulses) or shorter ones (--pulse-ms), or change "
            "limits.lamp.0",
        ),
        (
            {("lamp", 0): LimitSpec(max_on_s=0.02)},
            {},
            "looptest: the rig's limits allow 0 pulses of 31 ms on lamp channel 0 and not the next one: on for 0.031 s "
            "exceeds 0.02 s; ask for fewer (--pulses) or shorter ones (--pulse-ms), or change limits.lamp.0",
        ),
        (
            FREE,
            {"duration_us": 20_000},
            "--pulse-ms: expected at least three frame intervals, 30 ms, so that a frame is lit for its whole "
            "exposure, got 20 ms",
        ),
    ],
)
def test_what_cannot_be_done(limits, changes, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared whole
        plan(limits, **changes)
    assert str(caught.value) == message


RULE = {"any_pair": ["a", "b"], "when": "distance(a.head, b.head) < 9 px", "when_unknown": "release"}


def rig(**stimuli):
    """A rig with the triggers `laser` and `lamp`; a stimulus is (trigger, channel, intensity)."""
    data = {
        "camera": {"driver": "sim"},
        "model": {"kind": "exported", "path": "zoo:sim_pair"},
        "animal": {"front": "head", "back": "abdomen", "centre": "thorax"},
        "rules": {"near": RULE},
        "triggers": {"laser": {"driver": "recording"}, "lamp": {"driver": "recording"}},
        "stimuli": {
            name: {
                "rule": "near",
                "triggers": [trigger],
                "channel": channel,
                "duration_ms": 9.0,
                "intensity": intensity,
            }
            for name, (trigger, channel, intensity) in stimuli.items()
        },
    }
    return parse_rig(data, RIG)


RIG = Path("rig.toml")
ONE = {"a": ("laser", 3, 0.8)}
TWO = {"a": ("laser", 3, 0.8), "b": ("lamp", 0, 0.8), "c": ("lamp", 0, 0.2)}


@pytest.mark.parametrize(
    ("stimuli", "given", "expected"),
    [
        (ONE, (None, None, None), Output("laser", 3, 0.8)),
        (ONE, (None, None, 0.1), Output("laser", 3, 0.1)),
        (ONE, ("lamp", 5, 0.1), Output("lamp", 5, 0.1)),
        (TWO, ("laser", None, None), Output("laser", 3, 0.8)),
        (TWO, (None, 0, 0.3), Output("lamp", 0, 0.3)),
    ],
)
def test_the_output_is_what_the_stimuli_leave_no_doubt_of(stimuli, given, expected):
    assert choose_output(rig(**stimuli), *given) == expected


@pytest.mark.parametrize(
    ("stimuli", "given", "message"),
    [
        (ONE, ("lasre", None, None), "--trigger: expected one of laser, lamp, got 'lasre'"),
        (
            TWO,
            (None, None, None),
            "--trigger and --channel: expected the output to test, since the rig's stimuli use lamp channel 0, laser "
            "channel 3, got none",
        ),
        (
            ONE,
            ("lamp", None, None),
            "--trigger and --channel: expected the output to test, since the rig's stimuli use none that fits, "
            "got lamp",
        ),
        (
            ONE,
            ("lamp", 2, None),
            "--intensity: expected a number from 0 to 1, since no stimulus of the rig uses lamp channel 2, got none",
        ),
        (
            TWO,
            ("lamp", None, None),
            "--intensity: expected a number from 0 to 1, since the rig's stimuli use 0.2, 0.8 on lamp channel 0, "
            "got none",
        ),
    ],
)
def test_an_output_that_is_in_doubt(stimuli, given, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared whole
        choose_output(rig(**stimuli), *given)
    assert str(caught.value) == message
