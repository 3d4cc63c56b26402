"""The interlock against tables and against brute-force integration of what would be on the wire."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from realtime.stimulus.interlock import Interlock, LimitSpec
from triggers.pulse import Pulse

MS = 1_000_000
KEY = ("laser", 0)
FREE = LimitSpec(max_on_s=3600.0, max_duty=1.0, duty_window_s=1.0, max_dose_s=1e9)


def limits(**changes: float) -> LimitSpec:
    return FREE.model_copy(update=changes)


def pulse_ms(
    duration_ms: float, train_hz: float | None = None, width_ms: float | None = None, channel: int = 0
) -> Pulse:
    return Pulse(
        channel, round(duration_ms * 1000), 1.0, train_hz, None if width_ms is None else round(width_ms * 1000)
    )


def ask(interlock: Interlock, pulse: Pulse, at_ms: float) -> str:
    """Send the pulse if it is allowed; return why not."""
    now_ns = round(at_ms * MS)
    reason = interlock.allow("laser", pulse, now_ns)
    if not reason:
        interlock.commit("laser", pulse, now_ns)
    return reason


CASES = {
    "on-time at its limit": (limits(max_on_s=0.2), [(0, 200)], ""),
    "on-time above its limit": (limits(max_on_s=0.2), [(0, 200.5)], "on for 0.2005 s exceeds 0.2 s"),
    "a replaced pulse goes on": (limits(max_on_s=0.2), [(0, 150), (100, 150)], "on for 0.25 s exceeds 0.2 s"),
    "back to back is one stretch": (limits(max_on_s=0.2), [(0, 150), (150, 150)], "on for 0.3 s exceeds 0.2 s"),
    "a gap ends the stretch": (limits(max_on_s=0.2), [(0, 150), (151, 150)], ""),
    "a chain of replacements": (limits(max_on_s=0.2), [(0, 90), (80, 90), (160, 90)], "on for 0.25 s exceeds 0.2 s"),
    "dose at its limit": (limits(max_dose_s=0.3), [(0, 100), (1000, 100), (9000, 100)], ""),
    "dose above its limit": (
        limits(max_dose_s=0.3),
        [(0, 100), (1000, 100), (9000, 101)],
        "dose of 0.301 s in this session exceeds 0.3 s",
    ),
    "what was replaced is no dose": (limits(max_dose_s=0.3), [(0, 200), (100, 200)], ""),
    "as many as a minute may have": (limits(max_per_minute=3), [(0, 1), (10, 1), (20, 1)], ""),
    "one more than a minute may have": (
        limits(max_per_minute=3),
        [(0, 1), (10, 1), (20, 1), (59_999, 1)],
        "4 within a minute exceed 3",
    ),
    "a minute later": (limits(max_per_minute=3), [(0, 1), (10, 1), (20, 1), (60_000, 1)], ""),
    "the minute slides": (
        limits(max_per_minute=3),
        [(0, 1), (10, 1), (20, 1), (60_000, 1), (60_009, 1)],
        "4 within a minute exceed 3",
    ),
    "what is replaced counts too": (limits(max_per_minute=1), [(0, 90), (50, 90)], "2 within a minute exceed 1"),
    "duty at its limit": (limits(max_duty=0.5), [(0, 250), (500, 250)], ""),
    "duty above its limit": (limits(max_duty=0.5), [(0, 250), (500, 251)], "duty 0.501 over 1 s exceeds 0.5"),
    "the future of the pulse counts": (limits(max_duty=0.5), [(0, 300), (600, 300)], "duty 0.6 over 1 s exceeds 0.5"),
    "the window forgets": (limits(max_duty=0.5), [(0, 500), (1000, 500)], ""),
    "the window forgets no sooner": (limits(max_duty=0.5), [(0, 500), (999, 500)], "duty 0.501 over 1 s exceeds 0.5"),
    "what was replaced is no duty": (limits(max_duty=0.5), [(0, 400), (100, 400)], ""),
    "one pulse above the duty": (limits(max_duty=0.5), [(0, 600)], "duty 0.6 over 1 s exceeds 0.5"),
    "the pulse is longer than the window": (limits(max_duty=0.9), [(0, 2000)], "duty 1 over 1 s exceeds 0.9"),
}


@pytest.mark.parametrize("name", CASES)
def test_reason_of_the_last_pulse(name: str) -> None:
    limit, pulses, expected = CASES[name]
    interlock = Interlock({KEY: limit})
    reasons = [ask(interlock, pulse_ms(duration), at) for at, duration in pulses]
    assert reasons == [*[""] * (len(pulses) - 1), expected]


def test_a_train_counts_its_pulses_and_not_its_gaps() -> None:
    interlock = Interlock({KEY: limits(max_duty=0.2, max_dose_s=0.5, max_on_s=1.0)})
    train = pulse_ms(1000, train_hz=20, width_ms=10)
    assert ask(interlock, train, 0) == ""
    assert ask(interlock, train, 2000) == ""
    assert ask(interlock, train, 4000) == "dose of 0.6 s in this session exceeds 0.5 s"
    assert ask(interlock, pulse_ms(1001, train_hz=20, width_ms=1), 9000) == "on for 1.001 s exceeds 1 s"


def test_outputs_that_share_no_window_are_not_added() -> None:
    # Past and future together are on for 0.8 s, but no window of 1 s sees more than 0.5 s of it.
    interlock = Interlock({KEY: limits(max_duty=0.5)})
    assert ask(interlock, pulse_ms(400), 0) == ""
    assert ask(interlock, pulse_ms(400), 899) == "duty 0.501 over 1 s exceeds 0.5"
    assert ask(interlock, pulse_ms(400), 900) == ""


def test_two_trains_in_one_window_are_counted_to_the_pulse() -> None:
    train = pulse_ms(500, train_hz=10, width_ms=40)
    interlock = Interlock({KEY: limits(max_duty=0.4, duty_window_s=0.52)})
    assert ask(interlock, train, 0) == ""
    # The worst window of 520 ms holds five pulses and half of a sixth.
    assert ask(interlock, train, 500) == "duty 0.4231 over 0.52 s exceeds 0.4"


def test_a_stop_gives_back_what_did_not_happen() -> None:
    interlock = Interlock({KEY: limits(max_dose_s=0.3, max_duty=0.3)})
    assert ask(interlock, pulse_ms(300), 0) == ""
    assert interlock.running("laser", 0, 50 * MS)
    interlock.stopped("laser", 0, 100 * MS)
    assert not interlock.running("laser", 0, 100 * MS)
    assert ask(interlock, pulse_ms(201), 500) == "dose of 0.301 s in this session exceeds 0.3 s"
    assert ask(interlock, pulse_ms(200), 500) == ""


STOP_CASES = {  # Limits; what happened, each at ms; when the next pulse is asked for, and the longest that may start.
    "acknowledged: the cut counts from then": (
        limits(max_dose_s=0.3), [("fire", 0, 200), ("ask", 50), ("done", 60)], 100, 240),
    "not acknowledged: it counts to its own end": (
        limits(max_dose_s=0.3), [("fire", 0, 200), ("ask", 50)], 300, 100),
    "not acknowledged: its rest counts beside what replaces it": (
        limits(max_dose_s=0.3), [("fire", 0, 200), ("ask", 50)], 100, 100),
    "acknowledged after its own end": (
        limits(max_dose_s=0.3), [("fire", 0, 200), ("ask", 50), ("done", 250)], 300, 100),
    "acknowledged by a clock that is behind": (
        limits(max_dose_s=0.3), [("fire", 0, 200), ("ask", 50), ("done", 0)], 100, 250),
    "replaced, then acknowledged: all that came was until it was replaced": (
        limits(max_dose_s=0.3), [("fire", 0, 200), ("ask", 50), ("fire", 60, 50), ("done", 70)], 200, 190),
    "replaced and never acknowledged: both count": (
        limits(max_dose_s=0.3), [("fire", 0, 200), ("ask", 50), ("fire", 60, 50)], 300, 50),
    "replaced twice and never acknowledged": (
        limits(max_dose_s=0.4),
        [("fire", 0, 200), ("ask", 50), ("fire", 60, 50), ("ask", 70), ("fire", 80, 10)], 300, 140),
    "an acknowledgement does not cut what came after it was asked for": (
        limits(max_dose_s=0.5), [("fire", 0, 200), ("ask", 50), ("fire", 60, 200), ("done", 70)], 300, 240),
    "nobody asked": (limits(max_dose_s=0.3), [("fire", 0, 200), ("done", 50)], 300, 100),
    "duty, acknowledged": (
        limits(max_duty=0.4), [("fire", 0, 300), ("ask", 100), ("fire", 150, 50), ("done", 160)], 300, 200),
    "duty, not acknowledged": (
        limits(max_duty=0.4), [("fire", 0, 300), ("ask", 100), ("fire", 150, 50)], 300, 50),
    "duty, not acknowledged, and not replaced": (limits(max_duty=0.4), [("fire", 0, 300), ("ask", 100)], 200, 100),
    "duty, as long as the window reaches it": (
        limits(max_duty=0.4), [("fire", 0, 300), ("ask", 100), ("fire", 150, 50)], 1299, 250),
    "duty, when the window is past it": (
        limits(max_duty=0.4), [("fire", 0, 300), ("ask", 100), ("fire", 150, 50)], 1300, 400),
    "stretch, acknowledged": (
        limits(max_on_s=0.3), [("fire", 0, 300), ("ask", 100), ("fire", 150, 50), ("done", 160)], 250, 300),
    "stretch, not acknowledged": (
        limits(max_on_s=0.3), [("fire", 0, 300), ("ask", 100), ("fire", 150, 50)], 250, 50),
    "stretch, not acknowledged, and over": (
        limits(max_on_s=0.3), [("fire", 0, 300), ("ask", 100), ("fire", 150, 50)], 301, 300),
}  # fmt: skip


@pytest.mark.parametrize(("limit", "steps", "at", "longest"), STOP_CASES.values(), ids=STOP_CASES)
def test_a_stop_counts_once_it_is_acknowledged(
    limit: LimitSpec, steps: list[tuple[str, int] | tuple[str, int, int]], at: int, longest: int
) -> None:
    interlock = Interlock({KEY: limit})
    for step, step_at, *duration in steps:
        if step == "fire":
            assert ask(interlock, pulse_ms(*duration), step_at) == ""
        elif step == "ask":
            interlock.stop_asked("laser", 0, step_at * MS)
            assert not interlock.running("laser", 0, step_at * MS), "it no longer has the channel"
        else:
            interlock.stop_acknowledged("laser", 0, step_at * MS)
    assert ask(interlock, pulse_ms(longest + 1), at) != ""
    assert ask(interlock, pulse_ms(longest), at) == ""


def test_a_stop_is_forgotten_with_the_pulse_that_follows() -> None:
    interlock = Interlock({KEY: FREE})
    assert ask(interlock, pulse_ms(100), 0) == ""
    interlock.stop_asked("laser", 0, 50 * MS)
    assert ask(interlock, pulse_ms(100), 60) == ""
    assert interlock.running("laser", 0, 61 * MS)


def test_channels_and_triggers_are_counted_apart() -> None:
    interlock = Interlock({KEY: limits(max_dose_s=0.1), ("laser", 1): limits(max_dose_s=0.1)})
    interlock.commit("laser", pulse_ms(100), 0)
    assert interlock.allow("laser", pulse_ms(100), 10**9) != ""
    assert interlock.allow("laser", pulse_ms(100, channel=1), 10**9) == ""
    assert interlock.allow("other", pulse_ms(100), 10**9) == ""


def test_a_channel_without_limits_has_the_default_ones() -> None:
    interlock = Interlock({})
    assert interlock.allow("led", pulse_ms(1000), 0) == ""
    assert interlock.allow("led", pulse_ms(1001), 0) == "on for 1.001 s exceeds 1 s"
    for second in range(0, 600, 2):
        assert interlock.allow("led", pulse_ms(1000), second * 10**9) == ""
        interlock.commit("led", pulse_ms(1000), second * 10**9)
    assert interlock.allow("led", pulse_ms(1), 601 * 10**9) == "dose of 300.001 s in this session exceeds 300 s"


def test_asking_changes_nothing() -> None:
    interlock = Interlock({KEY: limits(max_dose_s=0.1)})
    assert [interlock.allow("laser", pulse_ms(100), at) for at in (0, 1, 2)] == ["", "", ""]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_per_minute": 0},
        {"max_per_minute": 2.5},
        {"max_on_s": 0.0},
        {"max_duty": 1.1},
        {"duty_window_s": 61.0},
        {"max_dose_s": float("inf")},
        {"max_power": 1.0},
    ],
)
def test_limits_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        LimitSpec.model_validate(wrong)


# Against brute force: the wire as an array of cells; everything lies on whole cells, so every peak does.
CELL_US = 50
WINDOW = 400
STEPS = st.lists(
    st.tuples(
        st.integers(0, 300),  # gap to the request before
        st.integers(1, 300),  # duration
        st.one_of(st.none(), st.sampled_from([(4, 1), (4, 3), (10, 2), (25, 20), (50, 10)])),  # period and width
        st.booleans(),  # stop the channel instead
    ),
    min_size=1,
    max_size=25,
)


def put_on_the_wire(wire: np.ndarray, duration: int, train: tuple[int, int] | None, now: int) -> np.ndarray:
    wire = wire.copy()
    wire[now:] = False
    period, width = train or (duration, duration)
    wire[now : now + duration] = np.arange(duration) % period < width
    return wire


def peak(wire: np.ndarray) -> int:
    total = np.concatenate([[0], np.cumsum(wire)])
    return int(np.max(total[WINDOW:] - total[:-WINDOW]))


@settings(max_examples=300, deadline=None)
@given(STEPS, st.integers(1, 100), st.integers(50, 2000), st.integers(100, 600))
def test_limits_are_never_exceeded_and_nothing_else_is_refused(
    steps: list[tuple[int, int, tuple[int, int] | None, bool]], duty_percent: int, max_dose: int, max_on: int
) -> None:
    seconds = CELL_US / 1e6
    duty = duty_percent / 100
    limit = LimitSpec(
        max_on_s=max_on * seconds,
        max_duty=duty,
        duty_window_s=WINDOW * seconds,
        max_dose_s=max_dose * seconds,
    )
    interlock = Interlock({KEY: limit})
    wire = np.zeros(26 * 300 + 2 * WINDOW, dtype=bool)
    now = WINDOW  # the first windows begin before the first pulse
    stretch, end = now, -1
    for gap, duration, train, stop in steps:
        now += gap
        now_ns = now * CELL_US * 1000
        if stop:
            interlock.stopped("laser", 0, now_ns)
            wire[now:] = False
            end = min(end, now)
            continue
        pulse = Pulse(0, duration * CELL_US)
        if train is not None:
            pulse = Pulse(0, duration * CELL_US, 1.0, 1e6 / (train[0] * CELL_US), train[1] * CELL_US)
        tried = put_on_the_wire(wire, duration, train, now)
        start = stretch if end >= now else now
        within = now + duration - start <= max_on and tried.sum() <= max_dose and peak(tried) <= duty * WINDOW + 1e-6
        reason = interlock.allow("laser", pulse, now_ns)
        assert (reason == "") == within, reason
        if within:
            interlock.commit("laser", pulse, now_ns)
            wire, stretch, end = tried, start, now + duration
