"""The compiled firmware on simavr, in simulated time: what it does, not how fast this computer is."""

import random
import statistics

import pytest

from triggers import wire
from triggers.wire import EndReason, RefusalReason

TOLERANCE_US = 20.0
CLOSE_US = 16.0  # What the firmware keeps, so that the tolerance is not met by luck.
N_CHANNELS = 4
BYTE_US = 1e7 / 115_200
HANG, HANG_WITHOUT_INTERRUPTS = 0x7F, 0x7E


def train(chip, number, channel=0, duration_us=5_000, period_us=0, width_us=0, **changes):
    fields = {"intensity": 0xFFFF, "expires_ms": chip.host_ms() + 1_000}
    return wire.PulseTrain(
        number, channel=channel, duration_us=duration_us, period_us=period_us, width_us=width_us, **fields | changes
    )


def program(slot, channel=0, duration_us=5_000, period_us=0, width_us=0, intensity=0xFFFF):
    return wire.Program(800 + slot, slot, channel, intensity, duration_us, period_us, width_us)


def stored(slot, train):
    """Return what stores a train."""
    return program(slot, train.channel, train.duration_us, train.period_us, train.width_us, train.intensity)


def shot(chip, number, slot, wait_ms=1_000):
    """Return a `Fire` that expires in `wait_ms`."""
    return wire.Fire(number & 0xFFF, slot, chip.host_ms() + wait_ms & 0xFFFF)


def of_type(messages, cls):
    return [message for message in messages if isinstance(message, cls)]


def keep_alive(chip, until_us, number=900_000):
    """Let the time pass with a heartbeat every 50 ms."""
    while chip.now_us < until_us - 1.0:  # It stops at a whole cycle.
        chip.send(wire.Heartbeat(number, chip.host_ms()))
        chip.until(min(chip.now_us + 50_000, until_us))


def edges_asked(command):
    """Return the edges of a train, us after its first."""
    period_us = command.period_us or command.duration_us
    width_us = command.width_us or command.duration_us
    for rise_us in range(0, command.duration_us, period_us):
        yield rise_us, True
        yield min(rise_us + width_us, command.duration_us), False


def check_edges(chip, commands, tolerance_us=TOLERANCE_US):
    """Compare every edge, and every width, with what was acknowledged; return how far each edge was off, us."""
    acks = {ack.id: ack for ack in of_type(chip.answers, wire.Ack) if ack.answered in {0x10, 0x14}}
    assert set(acks) == {command.id for command in commands}
    expected = sorted(
        (acks[command.id].device_us + at_us, command.channel, on)
        for command in commands
        for at_us, on in edges_asked(command)
    )
    errors_us = []
    zero_us = statistics.median(  # The device's clock starts a little after power-on.
        next(
            pin.us
            for pin in chip.pins
            if pin.on and pin.channel == command.channel and pin.us >= acks[command.id].device_us
        )
        - acks[command.id].device_us
        for command in commands
    )
    for channel in range(N_CHANNELS):
        asked = [(us, on) for us, of, on in expected if of == channel]
        seen = [(pin.us, pin.on) for pin in chip.pins if pin.channel == channel]
        assert [on for _, on in seen] == [on for _, on in asked]
        errors_us += [seen_us - asked_us for (seen_us, _), (asked_us, _) in zip(seen, asked, strict=True)]
        for (rise, fall), (rise_asked, fall_asked) in zip(
            zip(seen[::2], seen[1::2], strict=True), zip(asked[::2], asked[1::2], strict=True), strict=True
        ):
            assert abs((fall[0] - rise[0]) - (fall_asked[0] - rise_asked[0])) <= tolerance_us
    return [error_us - zero_us for error_us in errors_us]


def random_program(chip, chance, number):
    """One train or pulse for each of some channels, over within 100 ms."""
    commands = []
    for channel in chance.sample(range(N_CHANNELS), chance.randint(1, N_CHANNELS)):
        period_us = chance.choice([0, chance.randint(500, 2_000), chance.randint(2_000, 60_000)])
        width_us = chance.randint(50, period_us - 50) if period_us else 0
        duration_us = chance.randint(50, 40_000)
        commands.append(train(chip, number + channel, channel, duration_us, period_us, width_us))
    return commands


# --- start, greeting, answers ---


@pytest.mark.parametrize("mcu", ["atmega328p", "atmega2560"])
def test_it_starts_low_says_so_and_waits_for_a_greeting(chip, mcu):
    device = chip(mcu)
    assert device.until(20_000) == [wire.Boot(0)]
    (refused,) = device.ask(train(device, 7))
    assert (refused.id, refused.reason) == (7, RefusalReason.NO_HELLO)
    assert device.pins == []
    (identity,) = device.ask(wire.Hello(3, 0))
    assert identity == wire.Identity(3, 1, 2, N_CHANNELS, 10_000_000, 500, 10_000, 250, "poseloop")
    ack, done = device.ask(train(device, 8, channel=3))
    assert (ack.outputs, done.reason, done.device_us) == (0b1000, EndReason.FINISHED, ack.device_us + 5_000)
    assert [(pin.channel, pin.on) for pin in device.pins] == [(3, True), (3, False)]


def test_another_version_is_told_ours(chip):
    device = chip()
    device.greet()
    device.bytes(wire.frame(bytes((wire.PROTOCOL_VERSION + 1, wire.Hello.TYPE, 1, 2, 3, 4)) + b"of a later day"))
    (identity,) = device.run(12_000)
    assert (identity.id, identity.name) == (0, "poseloop")


def test_stop_and_all_off(chip):
    device = chip()
    device.greet()
    for channel in range(N_CHANNELS):
        device.ask(train(device, 10 + channel, channel, 200_000), 8_000)
    assert device.on() == {0, 1, 2, 3}
    done, ack = device.ask(wire.Stop(20, 2))
    assert (done.id, done.reason, ack.outputs) == (12, EndReason.STOPPED, 0b1011)
    assert device.on() == {0, 1, 3}
    *dones, ack = device.ask(wire.AllOff(21))
    assert [(done.id, done.reason) for done in dones] == [(number, EndReason.ALL_OFF) for number in (10, 11, 13)]
    assert ack.outputs == 0
    assert device.on() == set()
    (refused,) = device.ask(wire.Stop(22, N_CHANNELS))
    assert refused.reason == RefusalReason.BAD_CHANNEL


@pytest.mark.parametrize(
    ("intensity", "on", "connected", "compare"),
    [
        (0, set(), 0, None),
        (255, set(), 0, None),
        (0x8000, None, 1, 127),
        (0xFFFE, None, 1, 254),
        (0xFFFF, {0}, 0, None),
    ],
)
def test_intensity_is_the_duty_of_the_carrier_and_never_more_than_asked(chip, intensity, on, connected, compare):
    tccr2a, ocr2b, com2b1 = 0xB0, 0xB4, 0x20
    device = chip()
    device.greet()
    device.ask(train(device, 7, duration_us=50_000, intensity=intensity))
    if on is not None:
        assert device.on() == on
    assert bool(device.peek(tccr2a) & com2b1) == bool(connected)
    if compare is not None:
        assert device.peek(ocr2b) == compare
    (done,) = device.run(60_000)
    assert done.reason == EndReason.FINISHED
    assert not device.peek(tccr2a) & com2b1


# --- timing ---


@pytest.mark.parametrize("mcu", ["atmega328p", "atmega2560"])
def test_pulses_of_random_programs_have_the_width_count_and_order_asked(chip, full, mcu):
    device = chip(mcu)
    device.greet()
    chance = random.Random(1)
    commands = []
    for number in range(1_000 if full else 100):
        trains = random_program(device, chance, 10 * number)
        if number % 2:  # The same from slots.
            trains.sort(key=lambda each: each.id)
            device.send(*(stored(slot, each) for slot, each in enumerate(trains)))
            device.send(*(shot(device, each.id, slot) for slot, each in enumerate(trains)))
        else:
            device.send(*trains)
        device.run(60_000)
        commands += trains
    errors_us = check_edges(device, commands)
    print(f"{mcu}: {len(errors_us)} edges, off by {min(errors_us):.1f} to {max(errors_us):.1f} us")  # noqa: T201
    assert max(map(abs, errors_us)) <= TOLERANCE_US
    assert device.on() == set()


def test_the_finest_trains_on_every_channel_at_once(chip):
    device = chip()
    device.greet()
    commands = [train(device, channel, channel, 60_000, 500, 50 + 130 * channel) for channel in range(N_CHANNELS)]
    device.send(*commands)
    device.run(100_000)
    errors_us = check_edges(device, commands)
    print(f"off by {min(errors_us):.1f} to {max(errors_us):.1f} us")  # noqa: T201
    assert max(map(abs, errors_us)) <= TOLERANCE_US


@pytest.mark.parametrize("mcu", ["atmega328p", "atmega2560"])
@pytest.mark.parametrize(
    "shapes",
    [
        pytest.param([(1_000, 300), (1_001, 300), (1_002, 300), (1_003, 300)], id="rises through rises"),
        pytest.param([(500, 240), (501, 241), (502, 242), (503, 243)], id="rises through falls, as fine as can be"),
        pytest.param([(500, 60), (500, 250), (501, 61), (501, 249)], id="two by two"),
        pytest.param([(1_000, 500), (3_001, 500), (997, 400), (1_999, 600)], id="now and then"),
    ],
)
def test_edges_that_pass_through_one_another_keep_their_widths(chip, mcu, shapes):
    """Every distance between the edges of two channels comes about, and of most triples, while frames are read."""
    device = chip(mcu)
    device.greet()
    commands = [train(device, channel, channel, 200_000, *shape) for channel, shape in enumerate(shapes)]
    device.send(*commands)
    for number in range(80):
        device.send(wire.Heartbeat(100 + number, device.host_ms()))
    device.run(300_000)
    errors_us = check_edges(device, commands, CLOSE_US)
    print(f"{mcu}: off by {min(errors_us):.1f} to {max(errors_us):.1f} us")  # noqa: T201
    assert max(map(abs, errors_us)) <= CLOSE_US


def test_edges_are_in_time_while_the_line_is_busy(chip):
    device = chip()
    device.greet()
    commands = [train(device, channel, channel, 150_000, 1_000 + channel, 300) for channel in range(N_CHANNELS)]
    device.send(*commands)
    chance = random.Random(2)
    for number in range(60):
        device.send(wire.Heartbeat(100 + number, device.host_ms()))
        device.bytes(chance.randbytes(40))
    device.run(300_000)
    errors_us = check_edges(device, commands)
    print(f"off by {min(errors_us):.1f} to {max(errors_us):.1f} us")  # noqa: T201
    assert max(map(abs, errors_us)) <= TOLERANCE_US


def test_a_train_longer_than_half_the_range_of_the_clock_goes_on(chip, full):
    device = chip(CAP_DEAD_MAN_MS="65000U")
    device.greet()
    hours_us = 4_000_000_000
    (ack,) = device.ask(train(device, 7, 0, hours_us, 3_000_000_000, 1_000))
    assert ack.answered == wire.PulseTrain.TYPE
    end_us = hours_us if full else 15_000_000
    while device.now_us < end_us - 40_000_000 or device.now_us < 15_000_000:
        device.send(wire.Heartbeat(8, device.host_ms()))
        device.run(5_000_000)
        assert of_type(device.answers, wire.Done) == []
    assert len(device.pins) == (4 if full else 2)


def latencies_us(device, command):
    """Send 200 commands of 1 ms, `command(number)`; return how long the last byte and the first took to the pin."""
    from_last_us, from_first_us = [], []
    chance = random.Random(3)
    for number in range(1, 201):
        device.send(wire.Heartbeat(number, device.host_ms()))
        at_us = device.run(4_000) and device.now_us + chance.uniform(1_000, 3_000)
        data = wire.encode(command(number))
        device.bytes(data, at_us)
        device.run(12_000)
        rise_us = device.pins[-2].us
        from_first_us.append(rise_us - at_us)
        from_last_us.append(rise_us - (at_us + len(data) * BYTE_US))
    assert sum(pin.on for pin in device.pins) == 200
    return from_last_us, from_first_us


def report_latency(what, from_last_us, from_first_us):
    median_us = statistics.median(from_last_us), statistics.median(from_first_us)
    print(  # noqa: T201
        f"{what}: from the last byte {median_us[0]:.0f} us, from the first {median_us[1]:.0f} (p50 of 200), "
        f"at most {max(from_last_us):.0f} and {max(from_first_us):.0f}"
    )


def test_latency_from_the_last_byte_of_a_pulse_train_to_the_pin(chip):
    device = chip()
    device.greet()
    from_last_us, from_first_us = latencies_us(device, lambda number: train(device, number, number % N_CHANNELS, 1_000))
    report_latency("PulseTrain", from_last_us, from_first_us)
    assert max(from_last_us) < 1_000


@pytest.mark.parametrize("mcu", ["atmega328p", "atmega2560"])
def test_a_stored_pulse_is_on_its_pin_within_a_millisecond_of_the_first_byte(chip, mcu):
    device = chip(mcu)
    device.greet()
    for slot in range(wire.N_SLOTS):
        (ack,) = device.ask(program(slot, slot % N_CHANNELS, 1_000))
        assert (ack.answered, ack.outputs) == (wire.Program.TYPE, 0)
    assert device.pins == []
    from_last_us, from_first_us = latencies_us(device, lambda number: shot(device, number, number % wire.N_SLOTS))
    report_latency(f"Fire, {mcu}", from_last_us, from_first_us)
    assert statistics.median(from_first_us) < 1_000
    assert max(from_first_us) < 1_000


def test_no_pass_of_the_loop_is_longer_than_two_milliseconds(chip):
    device = chip(TEST_LOOP_TIME=1)
    device.greet()
    chance = random.Random(4)
    for number in range(40):
        device.send(*random_program(device, chance, 10 * number))
        device.send(
            wire.Limits(1, 2**32 - 1, 1000, 0xFFFF), wire.Stop(2, 1), wire.AllOff(3), wire.Hello(4, device.host_ms())
        )
        device.run(60_000)
    print(f"longest pass {device.longest_pass_us:.0f} us")  # noqa: T201
    assert 0 < device.longest_pass_us < 2_000


# --- safety ---


@pytest.mark.parametrize("dead_man_ms", [30, 100, 250])
def test_without_a_sign_of_life_the_pin_is_low_in_time(chip, dead_man_ms):
    device = chip()
    device.greet()
    device.ask(wire.Limits(2, 2**32 - 1, 1000, dead_man_ms))
    device.ask(train(device, 7, 0, 3_000_000))
    keep_alive(device, device.now_us + 20_000)
    device.send(train(device, 8, 1, 3_000_000, 2_000, 1_000), at_us=device.now_us)
    last_byte_us = device.now_us + 30 * BYTE_US
    device.bytes(b"\x00noise\x00\x11\x22\x00" * 50)
    messages = device.run(400_000)
    assert sorted((done.id, done.reason) for done in of_type(messages, wire.Done)) == [
        (7, EndReason.DEAD_MAN),
        (8, EndReason.DEAD_MAN),
    ]
    assert device.on() == set()
    last_fall_us = max(pin.us for pin in device.pins)
    assert 0 < last_fall_us - last_byte_us <= dead_man_ms * 1000 + 1_000
    assert device.ask(wire.Heartbeat(9, 0))[0].outputs == 0


@pytest.mark.parametrize("kind", [HANG, HANG_WITHOUT_INTERRUPTS])
@pytest.mark.parametrize("mcu", ["atmega328p", "atmega2560"])
def test_a_hung_firmware_is_reset_by_its_watchdog_and_the_pin_is_low(chip, mcu, kind):
    device = chip(mcu, TEST_HANG=1, CAP_DEAD_MAN_MS="60000U")
    device.greet()
    device.ask(program(0))
    device.ask(train(device, 7, 0, 5_000_000))
    assert device.on() == {0}
    device.bytes(wire.frame(bytes((wire.PROTOCOL_VERSION, kind, 0, 0, 0, 0))))
    hung_us = device.now_us + 11 * BYTE_US
    messages = device.run(400_000)
    assert messages == [wire.Boot(0)]
    assert device.on() == set()
    print(f"{mcu}: low {(device.pins[-1].us - hung_us) / 1000:.1f} ms after it hung")  # noqa: T201
    assert device.pins[-1].us - hung_us <= 140_000
    for command in (train(device, 8), program(0), shot(device, 9, 0)):
        (refused,) = device.ask(command)
        assert (refused.id, refused.reason) == (command.id, RefusalReason.NO_HELLO)
    device.ask(wire.Hello(1, device.host_ms()))
    (refused,) = device.ask(shot(device, 9, 0))
    assert refused.reason == RefusalReason.NO_SLOT


def test_the_shipped_build_has_no_command_that_hangs(chip):
    device = chip()
    device.greet()
    for kind in (HANG, HANG_WITHOUT_INTERRUPTS):
        device.bytes(wire.frame(bytes((wire.PROTOCOL_VERSION, kind, 0, 0, 0, 0))))
        device.run(300_000)
    assert of_type(device.ask(wire.AllOff(5)), wire.Ack)
    assert of_type(device.answers, wire.Boot) == [wire.Boot(0)]


def test_limits_only_lower_and_hello_restores_no_more_than_is_compiled_in(chip):
    device = chip()
    compiled = device.greet()
    (lowered,) = device.ask(wire.Limits(2, 40_000, 300, 90))
    assert (lowered.max_on_us, lowered.max_duty_permille, lowered.dead_man_ms) == (40_000, 300, 90)
    (same,) = device.ask(wire.Limits(2, 2**32 - 1, 0xFFFF, 0xFFFF))
    assert same == lowered
    (refused,) = device.ask(train(device, 7, 0, 40_001))
    assert refused.reason == RefusalReason.MAX_ON
    (again,) = device.ask(wire.Hello(1, device.host_ms()))
    assert again == compiled
    (refused,) = device.ask(train(device, 8, 0, compiled.max_on_us + 1))
    assert refused.reason == RefusalReason.MAX_ON


def test_caps_hold_against_any_sequence_of_commands(chip):
    """Whatever is asked, in any order: no pulse above the cap, no more on-time in any window than its budget."""
    device = chip(
        CAP_MAX_ON_US="20000UL", CAP_MAX_DUTY_PERMILLE=200, CAP_DUTY_WINDOW_MS="100U", CAP_MIN_OFF_US="3000UL"
    )
    device.greet()
    chance = random.Random(5)
    for number in range(250):
        command = chance.choice(
            [
                wire.Hello(number, device.host_ms()),
                wire.Limits(number, 2**32 - 1, 0xFFFF, 0xFFFF),
                *(train(device, number, 0, chance.randint(50, 60_000)) for _ in range(4)),
                *(train(device, number, 0, 50_000, period, chance.randint(50, period)) for period in (5_000, 20_000)),
                *(program(slot, 0, chance.randint(50, 30_000)) for slot in (0, 1)),
                program(0, 0, 50_000, 5_000, chance.randint(50, 5_000)),
                *(shot(device, number, chance.randrange(2)) for _ in range(5)),
            ]
        )
        device.send(command)
        device.run(chance.choice([4_000, 10_000, 50_000]))
    assert sum(ack.answered == wire.Fire.TYPE for ack in of_type(device.answers, wire.Ack)) > 10
    assert sum(pin.on for pin in device.pins) > 30
    device.assert_caps_kept(max_on_us=20_000, min_off_us=3_000, duty=0.2, window_us=100_000)


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        pytest.param((49, 0, 0), RefusalReason.BAD_VALUE, id="shorter than it can time"),
        pytest.param((5_000, 499, 100), RefusalReason.BAD_VALUE, id="faster than it can time"),
        pytest.param((5_000, 1_000, 49), RefusalReason.BAD_VALUE, id="narrower than it can time"),
        pytest.param((5_000, 1_000, 951), RefusalReason.MAX_DUTY, id="off for too short"),
        pytest.param((5_000, 1_000, 1_000), RefusalReason.BAD_VALUE, id="contradiction"),
        pytest.param((0, 0, 0), RefusalReason.BAD_VALUE, id="nothing"),
    ],
)
def test_what_is_too_fine_for_the_board_is_refused(chip, times, reason):
    device = chip()
    device.greet()
    (refused,) = device.ask(train(device, 7, 0, *times))
    assert refused.reason == reason
    assert device.pins == []


# --- stored pulses ---


def forget_by_silence(device):
    device.run(300_000)


@pytest.mark.parametrize(
    "forget",
    [
        pytest.param(lambda device: device.ask(wire.Hello(1, device.host_ms())), id="hello"),
        pytest.param(lambda device: device.ask(wire.Limits(2, 2**32 - 1, 1000, 0xFFFF)), id="limits"),
        pytest.param(forget_by_silence, id="silence longer than the dead-man time"),
    ],
)
def test_what_is_stored_is_forgotten(chip, forget):
    device = chip()
    device.greet()
    device.ask(program(5))
    ack, done = device.ask(shot(device, 1, 5))
    assert (ack.id, ack.answered, ack.outputs) == (1, wire.Fire.TYPE, 1)
    assert (done.id, done.reason, done.device_us) == (1, EndReason.FINISHED, ack.device_us + 5_000)
    forget(device)
    (refused,) = device.ask(shot(device, 2, 5))
    assert (refused.id, refused.answered, refused.reason) == (2, wire.Fire.TYPE, RefusalReason.NO_SLOT)
    device.ask(program(5))
    assert isinstance(device.ask(shot(device, 3, 5))[0], wire.Ack)
    assert len(device.pins) == 4


def test_a_fire_is_refused_for_every_reason_that_a_pulse_train_is(chip):
    device = chip(CAP_MAX_DUTY_PERMILLE=200, CAP_DUTY_WINDOW_MS="100U")
    device.greet()
    device.ask(program(0, 0, 20_000))
    refusals = []
    device.ask(shot(device, 10, 0), 5_000)
    refusals += device.ask(shot(device, 11, 0), 3_000)  # It still runs.
    keep_alive(device, device.now_us + 20_000)
    refusals += device.ask(shot(device, 12, 0), 5_000)  # 16 of the 20 ms of credit are used.
    keep_alive(device, device.now_us + 200_000)
    refusals += device.ask(shot(device, 13, 0, wait_ms=-5), 5_000)
    refusals += device.ask(shot(device, 13, 0), 5_000)  # Not later either.
    refusals += device.ask(shot(device, 9, 0), 5_000)
    refusals += device.ask(shot(device, 14, 1), 5_000)
    assert [(a.id, a.reason) for a in of_type(refusals, wire.Refused)] == [
        (11, RefusalReason.BUSY),
        (12, RefusalReason.MAX_DUTY),
        (13, RefusalReason.EXPIRED),
        (13, RefusalReason.REPLAYED),
        (9, RefusalReason.REPLAYED),
        (14, RefusalReason.NO_SLOT),
    ]
    assert sum(pin.on for pin in device.pins) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"slot": wire.N_SLOTS}, RefusalReason.NO_SLOT, id="no such slot"),
        pytest.param({"channel": N_CHANNELS}, RefusalReason.BAD_CHANNEL, id="no such channel"),
        pytest.param({"duration_us": 0}, RefusalReason.BAD_VALUE, id="nothing"),
        pytest.param({"period_us": 499, "width_us": 100}, RefusalReason.BAD_VALUE, id="faster than it can time"),
        pytest.param({"period_us": 1_000, "width_us": 951}, RefusalReason.MAX_DUTY, id="off for too short"),
        pytest.param({"duration_us": 60_001}, RefusalReason.MAX_ON, id="longer than the cap"),
        pytest.param({"duration_us": 30_000}, RefusalReason.MAX_DUTY, id="more than the budget ever holds"),
    ],
)
def test_what_can_never_be_put_out_is_not_stored(chip, changes, reason):
    device = chip(CAP_MAX_ON_US="60000UL", CAP_MAX_DUTY_PERMILLE=200, CAP_DUTY_WINDOW_MS="100U")
    device.greet()
    (refused,) = device.ask(program(**{"slot": 0} | changes))
    assert (refused.answered, refused.reason) == (wire.Program.TYPE, reason)
    (refused,) = device.ask(shot(device, 1, 0))
    assert refused.reason == RefusalReason.NO_SLOT
    assert device.pins == []


def test_a_fire_brings_the_lowest_bits_of_its_id_and_is_answered_with_all(chip):
    device = chip()
    device.greet()
    device.ask(train(device, 0x1234_5FF0))
    device.ask(program(0))
    ack, done = device.ask(shot(device, 0x1234_6001, 0))
    assert (ack.id, done.id) == (0x1234_6001, 0x1234_6001)


def test_a_fire_keeps_the_output_alive_as_any_frame_does(chip):
    device = chip()
    device.greet()
    device.ask(program(1, 1))
    device.ask(train(device, 1, 0, 400_000), 12_000)
    device.run(150_000)
    device.ask(shot(device, 2, 1))
    device.run(200_000)
    assert 0 in device.on()
