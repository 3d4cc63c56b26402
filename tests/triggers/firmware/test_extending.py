"""Extend on the compiled firmware: no edge, an end where it was asked for, and every cap over the whole of it."""

import random

import pytest

from triggers import wire
from triggers.wire import EndReason, RefusalReason

TOLERANCE_US = 20.0
CLOSE_US = 16.0  # What the firmware keeps with other channels busy, too.
N_CHANNELS = 4
BYTE_US = 1e7 / 115_200


def train(chip, number, channel=0, duration_us=30_000, period_us=0, width_us=0, wait_ms=1_000):
    return wire.PulseTrain(number, channel, 0xFFFF, duration_us, period_us, width_us, chip.host_ms() + wait_ms)


def more(chip, number, extends, channel=0, wait_ms=1_000):
    return wire.Extend(number, channel, extends, chip.host_ms() + wait_ms & wire.U32)


def of_type(messages, cls):
    return [message for message in messages if isinstance(message, cls)]


def reasons(messages):
    return [refused.reason for refused in of_type(messages, wire.Refused)]


def last_us(chip, channel=0):
    return next(pin.us for pin in reversed(chip.pins) if pin.channel == channel)


def extend(chip, times, pause_us=15_000, channel=0, root=1, number=2):
    """Extend `root` again and again; return the acknowledgements."""
    acks = []
    for step in range(times):
        answers = chip.ask(more(chip, number + step, root, channel), pause_us)
        assert of_type(answers, wire.Done) == []
        acks += [ack for ack in of_type(answers, wire.Ack) if ack.answered == wire.Extend.TYPE]
    return acks


@pytest.mark.parametrize("mcu", ["atmega328p", "atmega2560"])
@pytest.mark.parametrize("stored", [False, True])
def test_a_pulse_that_is_extended_has_no_edge_in_between_and_ends_in_time(chip, mcu, stored):
    device = chip(mcu)
    device.greet()
    if stored:
        device.ask(wire.Program(900, 3, 2, 0xFFFF, 30_000, 0, 0))
        device.ask(wire.Fire(1, 3, device.host_ms() + 1_000 & 0xFFFF), 8_000)
    else:
        device.ask(train(device, 1, 2), 8_000)
    acks = extend(device, 8, channel=2)
    (done,) = device.run(60_000)
    assert len(acks) == 8
    assert [pin.on for pin in device.pins] == [True, False]
    assert (done.id, done.reason, done.device_us) == (1, EndReason.FINISHED, acks[-1].device_us + 30_000)
    start = of_type(device.answers, wire.Ack)[1 if stored else 0]
    on_us = device.pins[1].us - device.pins[0].us
    assert abs(on_us - (acks[-1].device_us - start.device_us + 30_000)) <= TOLERANCE_US
    assert all(ack.outputs == 0b100 for ack in acks)


@pytest.mark.parametrize(
    "times",
    [
        pytest.param((30_000, 2_000, 700), id="fine"),
        pytest.param((30_000, 20_000, 15_000), id="the last pulse was to be cut short"),
        pytest.param((40_000, 22_000, 1_000), id="extended in its last gap"),
        pytest.param((30_000, 90_000, 60_000), id="one pulse, cut short, and then another"),
        pytest.param((30_000, 16_000, 14_000), id="its end nearly where a pulse would begin"),
    ],
)
def test_a_train_that_is_extended_goes_on_in_its_rhythm(chip, times):
    device = chip(CAP_MAX_DUTY_PERMILLE=1000)
    device.greet()
    duration_us, period_us, width_us = times
    (start,) = of_type(device.ask(train(device, 1, 0, *times), 5_000), wire.Ack)
    chance = random.Random(period_us)
    acks = []
    for number in range(2, 14):
        acks += extend(device, 1, chance.uniform(8_000, duration_us - 4_000), number=number)
    device.run(60_000)
    assert len(acks) == 12
    end_us = acks[-1].device_us + duration_us - start.device_us
    expected = []
    for rise_us in range(0, end_us, period_us):
        expected += [(rise_us, True), (min(rise_us + width_us, end_us), False)]
    zero_us = device.pins[0].us
    assert [pin.on for pin in device.pins] == [on for _, on in expected]
    assert max(abs(pin.us - zero_us - us) for pin, (us, _) in zip(device.pins, expected, strict=True)) <= TOLERANCE_US
    (done,) = of_type(device.answers, wire.Done)
    assert (done.reason, done.device_us - start.device_us) == (EndReason.FINISHED, end_us)


def test_edges_of_other_channels_are_in_time_meanwhile(chip):
    """Four trains at once, each extended at every phase: each goes on as if it had been asked for as a whole."""
    device = chip(CAP_MAX_DUTY_PERMILLE=1000)
    device.greet()
    shapes = [(997, 300), (1_501, 700), (640, 100), (0, 0)]
    for channel, shape in enumerate(shapes):
        device.ask(train(device, 1 + channel, channel, 60_000, *shape), 6_000)
    chance = random.Random(4)
    for number in range(10, 90):
        channel = chance.randrange(N_CHANNELS) if number % 2 else number // 2 % N_CHANNELS
        device.ask(more(device, number, 1 + channel, channel), chance.uniform(3_000, 5_000))
    device.run(150_000)
    assert reasons(device.answers) == []
    dones = {done.id: done.device_us for done in of_type(device.answers, wire.Done)}
    starts = {
        ack.id: ack.device_us for ack in of_type(device.answers, wire.Ack) if ack.answered == wire.PulseTrain.TYPE
    }
    for channel, (period_us, width_us) in enumerate(shapes):
        end_us = dones[1 + channel] - starts[1 + channel]
        asked = [0, end_us] if period_us == 0 else []
        for rise_us in range(0, end_us if period_us else 0, period_us or 1):
            asked += [rise_us, min(rise_us + width_us, end_us)]
        seen = [pin.us for pin in device.pins if pin.channel == channel]
        assert len(seen) == len(asked)
        assert max(abs(us - seen[0] - at_us) for us, at_us in zip(seen, asked, strict=True)) <= CLOSE_US


# --- refusals ---


def test_what_does_not_run_is_not_extended_and_the_pin_stays_low(chip):
    device = chip()
    device.greet()
    device.ask(train(device, 1, 0, 5_000), 30_000)
    assert reasons(device.ask(more(device, 2, 1))) == [RefusalReason.NOT_RUNNING]
    assert [pin.on for pin in device.pins] == [True, False]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        pytest.param({"extends": 9}, RefusalReason.NOT_RUNNING, id="another pulse"),
        pytest.param({"extends": 0x1_0001}, RefusalReason.NOT_RUNNING, id="one whose low bits are the same"),
        pytest.param({"channel": 1}, RefusalReason.NOT_RUNNING, id="another channel"),
        pytest.param({"channel": N_CHANNELS}, RefusalReason.BAD_CHANNEL, id="no such channel"),
        pytest.param({"wait_ms": -5}, RefusalReason.EXPIRED, id="too late"),
        pytest.param({"number": 1}, RefusalReason.REPLAYED, id="not newer"),
    ],
)
def test_an_extend_that_is_refused_changes_nothing(chip, asked, reason):
    device = chip()
    device.greet()
    (start,) = of_type(device.ask(train(device, 1), 8_000), wire.Ack)
    assert reasons(device.ask(more(device, **{"number": 2, "extends": 1} | asked), 8_000)) == [reason]
    (done,) = device.run(60_000)
    assert done.device_us == start.device_us + 30_000
    assert [pin.on for pin in device.pins] == [True, False]


def test_an_extend_that_the_line_repeats_extends_once(chip):
    device = chip()
    device.greet()
    device.ask(train(device, 1), 8_000)
    command = more(device, 2, 1)
    (ack,) = device.ask(command, 8_000)
    assert reasons(device.ask(command, 8_000)) == [RefusalReason.REPLAYED]
    (done,) = device.run(60_000)
    assert done.device_us == ack.device_us + 30_000


def test_without_a_greeting_nothing_is_extended(chip):
    device = chip()
    device.until(20_000)
    assert reasons(device.ask(more(device, 2, 1))) == [RefusalReason.NO_HELLO]
    assert device.pins == []


def test_a_fire_behind_an_extend_must_be_newer_than_that(chip):
    device = chip()
    device.greet()
    device.ask(wire.Program(900, 0, 1, 0xFFFF, 5_000, 0, 0))
    device.ask(train(device, 1), 8_000)
    device.ask(more(device, 3_000, 1), 8_000)
    assert reasons(device.ask(wire.Fire(3_000 & 0xFFF, 0, device.host_ms() + 1_000 & 0xFFFF))) == [
        RefusalReason.REPLAYED
    ]
    (ack, *_) = device.ask(wire.Fire(3_001 & 0xFFF, 0, device.host_ms() + 1_000 & 0xFFFF))
    assert ack.id == 3_001


def test_an_end_that_lies_further_ahead_than_can_be_told_is_refused(chip):
    device = chip()
    device.greet()
    device.ask(train(device, 1, 0, wire.U32, wire.U32, 1_000), 8_000)
    assert reasons(device.ask(more(device, 2, 1))) == [RefusalReason.BAD_VALUE]
    assert device.on() == set()


# --- caps ---


@pytest.mark.parametrize("lowered", [False, True], ids=["compiled in", "lowered by the host"])
def test_the_longest_on_time_counts_from_the_first_edge(chip, lowered):
    device = chip(CAP_MAX_ON_US="10000000UL" if lowered else "100000UL")
    device.greet()
    if lowered:
        device.ask(wire.Limits(900, 100_000, 1000, 0xFFFF))
    device.ask(train(device, 1), 8_000)
    answers = []
    for number in range(2, 12):
        answers += device.ask(more(device, number, 1), 15_000)
    refused = of_type(answers, wire.Refused)
    assert refused[0].reason == RefusalReason.MAX_ON
    (done,) = of_type(answers, wire.Done)
    granted = [ack for ack in of_type(answers, wire.Ack) if ack.answered == wire.Extend.TYPE]
    assert len(granted) == 5
    assert done.device_us == granted[-1].device_us + 30_000
    assert reasons(answers)[-1] == RefusalReason.NOT_RUNNING
    assert [pin.on for pin in device.pins] == [True, False]
    on_us = device.pins[1].us - device.pins[0].us
    assert 100_000 - 15_000 - TOLERANCE_US <= on_us <= 100_000 + TOLERANCE_US


def test_a_limit_that_is_lowered_meanwhile_holds_for_what_is_to_come(chip):
    device = chip()
    device.greet()
    device.ask(train(device, 1, 0, 60_000), 8_000)
    device.ask(train(device, 2, 1, 60_000, 10_000, 8_000), 8_000)
    device.ask(wire.Limits(900, 7_000, 1000, 0xFFFF), 8_000)
    answers = device.ask(more(device, 3, 1), 6_000) + device.ask(more(device, 4, 2, 1), 6_000)
    assert reasons(answers) == [RefusalReason.MAX_ON, RefusalReason.MAX_ON]


@pytest.mark.parametrize("times", [(30_000, 0, 0), (30_000, 5_000, 4_000)], ids=["pulse", "train"])
def test_the_duty_budget_counts_over_all_of_it(chip, times):
    device = chip(CAP_MAX_DUTY_PERMILLE=200, CAP_DUTY_WINDOW_MS="500U")
    device.greet()
    device.ask(train(device, 1, 0, *times), 8_000)
    answers = []
    for number in range(2, 20):
        answers += device.ask(more(device, number, 1), 15_000)
    assert reasons(answers)[0] == RefusalReason.MAX_DUTY
    (done,) = of_type(answers, wire.Done)
    assert done.reason == EndReason.FINISHED
    on_us = sum(fall.us - rise.us for rise, fall in zip(device.pins[::2], device.pins[1::2], strict=True))
    allowed_us = 0.2 * (device.pins[-1].us - device.pins[0].us + 500_000)
    assert allowed_us - 30_000 <= on_us <= allowed_us + 100


def test_caps_hold_against_any_sequence_of_pulses_and_extends(chip):
    device = chip(
        CAP_MAX_ON_US="60000UL", CAP_MAX_DUTY_PERMILLE=300, CAP_DUTY_WINDOW_MS="200U", CAP_MIN_OFF_US="3000UL"
    )
    device.greet()
    chance = random.Random(6)
    root = 0
    for number in range(1, 700):
        before = len(device.answers)
        if chance.random() < 0.2:
            shape = chance.choice([(0, 0), (8_000, chance.randint(200, 5_000)), (25_000, chance.randint(200, 22_000))])
            command = train(device, number, 0, chance.randint(8_000, 40_000), *shape)
        elif chance.random() < 0.03:
            command = wire.Stop(number, 0)
        else:
            command = more(device, number, root)
        device.send(command)
        device.run(chance.choice([4_000, 6_000, 12_000]))
        if any(isinstance(a, wire.Ack) and a.answered == wire.PulseTrain.TYPE for a in device.answers[before:]):
            root = number
    device.run(200_000)
    granted = [ack for ack in of_type(device.answers, wire.Ack) if ack.answered == wire.Extend.TYPE]
    assert len(granted) > 50
    assert set(reasons(device.answers)) >= {RefusalReason.MAX_ON, RefusalReason.MAX_DUTY, RefusalReason.NOT_RUNNING}
    assert [pin.on for pin in device.pins] == [True, False] * (len(device.pins) // 2), "low at the end"
    device.assert_caps_kept(max_on_us=60_000, min_off_us=3_000, duty=0.3, window_us=200_000)


# --- the dead-man switch, and stops ---


def test_silence_ends_what_was_extended(chip):
    device = chip()
    device.greet()
    device.ask(train(device, 1, 0, 2_000_000), 8_000)
    device.run(150_000)
    (ack,) = device.ask(more(device, 2, 1), 8_000)
    (done,) = device.run(400_000)
    assert done.reason == EndReason.DEAD_MAN
    assert 250_000 <= done.device_us - ack.device_us <= 251_000
    assert device.on() == set()
    assert reasons(device.ask(more(device, 3, 1))) == [RefusalReason.NOT_RUNNING]
    assert len(device.pins) == 2


@pytest.mark.parametrize("off", [wire.Stop(900, 0), wire.AllOff(900), wire.Hello(900, 0)], ids=["stop", "off", "hello"])
def test_what_was_switched_off_is_not_extended(chip, off):
    device = chip()
    device.greet()
    device.ask(train(device, 1, 0, 300_000), 8_000)
    device.ask(more(device, 2, 1), 8_000)
    device.send(off, more(device, 3, 1))
    assert reasons(device.run(30_000)) == [RefusalReason.NOT_RUNNING]
    assert [pin.on for pin in device.pins] == [True, False]


def test_the_end_and_an_extend_meet(chip):
    """At every distance of a few microseconds either the pin falls and stays low, or it goes on without an edge."""
    device = chip()
    device.greet()
    outcomes = []
    for number in range(1, 201, 2):
        device.ask(wire.Heartbeat(900, device.host_ms()))
        begun = len(device.pins)
        (start,) = of_type(device.ask(train(device, number, 0, 12_000), 5_000), wire.Ack)
        rise_us = device.pins[begun].us
        frame = wire.encode(more(device, number + 1, number))
        device.bytes(frame, rise_us + 12_000 - 550.0 + 3 * number - len(frame) * BYTE_US)
        answers = device.run(60_000)
        (done,) = of_type(answers, wire.Done)
        acks = [ack for ack in of_type(answers, wire.Ack) if ack.answered == wire.Extend.TYPE]
        on_us = (acks[0] if acks else start).device_us + 12_000 - start.device_us
        rise, fall = device.pins[begun:]
        assert (rise.on, fall.on) == (True, False)
        assert abs(fall.us - rise.us - on_us) <= TOLERANCE_US
        assert abs(done.device_us - start.device_us - on_us) <= TOLERANCE_US
        outcomes.append(bool(acks))
    assert outcomes == sorted(outcomes, reverse=True)
    assert set(outcomes) == {False, True}
