"""The same bytes at the same times into the compiled firmware and triggers/device.py: the same answers and edges."""

import random
import statistics
from collections import Counter
from dataclasses import replace

import pytest

from triggers import wire
from triggers.device import Device, DeviceSpec
from triggers.wire import EndReason, RefusalReason

TOLERANCE_US = 20.0
LOOSE_US = 100.0  # Where the answer to a frame does not tell when it was carried out.
N_CHANNELS = 4
LONGER_AGO_THAN_EVER = 2_000  # Ids; more than a script has, less than half of those that a Fire can tell apart.
BYTE_US = 1e7 / 115_200


def random_command(chance, number, host_ms, latest):
    """One frame; times stay clear of what only the firmware refuses and of the borders of a millisecond.

    `latest` is the channel and id of the latest PulseTrain.
    """
    channel = chance.choice([0, 1, 2, 3, 3, 4])
    period_us = chance.choice([chance.randint(500, 5_000), chance.randint(5_000, 100_000)])
    expires_ms = (host_ms + chance.choice([500, 500, 500, 500, -100])) & wire.U32
    intensity = chance.choice([0xFFFF, 0xFFFF, 0])
    duration_us = chance.randint(1_000, 400_000)
    width_us = chance.randint(100, period_us - 100)

    def pulse(duration_us, period_us, width_us):
        return wire.PulseTrain(number, channel, intensity, duration_us, period_us, width_us, expires_ms)

    def program(duration_us, period_us, width_us):
        return wire.Program(number, slot, channel, intensity, duration_us, period_us, width_us)

    def fire(identifier):
        return wire.Fire(identifier & 0xFFF, slot % wire.N_SLOTS, expires_ms & 0xFFFF)

    extended = chance.choice([latest, latest, latest, (channel, number - 1)])
    slot = chance.choice([0, 0, 0, 0, 7, 7, wire.N_SLOTS])
    stored_us = chance.choice([duration_us, chance.randint(1_000, 50_000), chance.randint(1_000, 50_000)])
    contradiction = chance.choice([(0, 0, 0), (duration_us, 0, 7_000), (duration_us, 900, 0)])
    commands = [
        (8, pulse(duration_us, period_us, width_us)),
        (6, pulse(duration_us, 0, 0)),
        (1, pulse(*contradiction)),
        (6, program(stored_us, period_us, width_us)),
        (6, program(stored_us, 0, 0)),
        (1, program(*contradiction)),
        (24, fire(number)),
        (4, fire(number - LONGER_AGO_THAN_EVER)),
        (30, wire.Extend(number, *extended, expires_ms)),
        (2, wire.Extend(number - LONGER_AGO_THAN_EVER & wire.U32, *extended, expires_ms)),
        (9, wire.Stop(number, channel)),
        (2, wire.AllOff(number)),
        (3, wire.Heartbeat(number, host_ms)),
        (0.5, wire.Limits(number, chance.choice([150_000, wire.U32]), chance.choice([300, 1_000]), 80)),
        (0.3, wire.Hello(number, host_ms)),
    ]
    weights, messages = zip(*commands, strict=True)
    return chance.choices(messages, weights)[0]


def script(chance, n, host_offset_ms):
    """Frames, some of them damaged, each with the time of its first byte, us."""
    at_us = 20_000.0
    lines = [(at_us, wire.encode(wire.Hello(1, (20 + host_offset_ms) & wire.U32)))]
    latest = (0, 0)
    for number in range(2, n):
        at_us += chance.choice([12_000, 25_000, 60_000, 150_000]) + chance.uniform(0, 900)
        command = random_command(chance, number, (int(at_us // 1000) + host_offset_ms) & wire.U32, latest)
        if isinstance(command, wire.PulseTrain):
            latest = command.channel, number
        data = wire.encode(command)
        if chance.random() < 0.1:
            damaged = bytearray(data)
            damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            data = bytes(damaged)
        lines.append((at_us, data))
    return lines


def arrival_us(at_us, data, zero_us):
    """When the last bit of a frame is on the line, in the device's time."""
    return at_us + len(data) * BYTE_US - zero_us


def reference(spec, lines, chip, zero_us):
    """Run the reference, each frame at the time at which the firmware says it carried it out.

    Returns what it says, its edges, and when it was greeted: `Identity` does not tell when, so that is reckoned
    with the time that the heartbeats took.
    """
    acted_us = {(a.answered, a.id & 0xFFF): a.device_us for a in chip.answers if isinstance(a, wire.Ack | wire.Refused)}
    reading_us = statistics.median(
        acted_us[message.TYPE, message.id] - arrival_us(at_us, data, zero_us)
        for at_us, data in lines
        for message in wire.Parser().feed(data)
        if isinstance(message, wire.Heartbeat) and (message.TYPE, message.id) in acted_us
    )
    edges = []
    device = Device(spec, edges.append, lambda message, now_us: None)
    answers = wire.Parser()
    told = answers.feed(device.boot())
    own = wire.Parser()
    greeted_us = set()
    for at_us, data in lines:
        now_us = round(arrival_us(at_us, data, zero_us) + reading_us)
        for message in own.feed(data):
            now_us = acted_us.get((message.TYPE, message.id & 0xFFF), now_us)
            if isinstance(message, wire.Hello):
                greeted_us.add(now_us)
        told += answers.feed(device.advance(now_us))
        told += answers.feed(device.receive(data, now_us))
    told += answers.feed(device.advance(round(chip.now_us - zero_us)))
    return told, edges, greeted_us


def by_kind(messages):
    dones = {message.id: message for message in messages if isinstance(message, wire.Done)}
    return [message for message in messages if not isinstance(message, wire.Done)], dones


def without_ends(answers, ends_us):
    """Return the answers, an Ack without the outputs that end within the tolerance of it: either is right."""
    for answer in answers:
        if isinstance(answer, wire.Ack):
            ending = {channel for channel, us in ends_us if abs(us - answer.device_us) <= TOLERANCE_US}
            yield replace(answer, outputs=answer.outputs & ~sum(1 << channel for channel in ending))
        else:
            yield answer


def without_last_moment(edges, deaths_us):
    """Return the edges, (us, on), without a pulse that begins as the dead-man switch ends it: either is right."""
    return [
        edge
        for rise, fall in zip(edges[::2], edges[1::2], strict=True)
        for edge in (rise, fall)
        if all(abs(rise[0] - death_us) > TOLERANCE_US for death_us in deaths_us)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_firmware_and_reference_say_and_do_the_same(chip, full, seed):
    device = chip(
        CAP_MAX_ON_US="300000UL", CAP_MAX_DUTY_PERMILLE=400, CAP_DUTY_WINDOW_MS="1000U", CAP_DEAD_MAN_MS="200U"
    )
    chance = random.Random(seed)
    lines = script(chance, LONGER_AGO_THAN_EVER if full else 600, [0, 2**31, 12_345_678, -25][seed])
    for at_us, data in lines:
        device.bytes(data, at_us)
        device.until(at_us + 8_000)
    device.run(500_000)
    spec = DeviceSpec("poseloop", (1, 2), N_CHANNELS, 300_000, 400, 1_000, 200)
    pulses = {wire.PulseTrain.TYPE, wire.Fire.TYPE}
    starts_us = [a.device_us for a in device.answers if isinstance(a, wire.Ack) and a.answered in pulses]
    rises_us = [pin.us for pin in device.pins if pin.on]
    first_us = [min(us for us in rises_us if us >= start) - start for start in starts_us[:-5]]
    zero_us = statistics.median(
        wait_us for wait_us in first_us if wait_us < 1_000
    )  # Those with intensity 0 don't rise.
    told, edges, loose_us = reference(spec, lines, device, zero_us)
    seen, seen_dones = by_kind(device.answers)
    expected, expected_dones = by_kind(told)
    channels = {edge.command_id: edge.channel for edge in edges}
    ends_us = [(channels[done.id], done.device_us) for done in expected_dones.values()]
    assert list(without_ends(seen, ends_us)) == list(without_ends(expected, ends_us))
    fires = [a for a in seen if isinstance(a, wire.Ack | wire.Refused) and a.answered == wire.Fire.TYPE]
    reasons = Counter(a.reason if isinstance(a, wire.Refused) else None for a in fires)
    assert reasons[None] >= 5
    assert set(reasons) >= {RefusalReason.NO_SLOT, RefusalReason.REPLAYED, RefusalReason.EXPIRED, RefusalReason.BUSY}
    extends = [a for a in seen if isinstance(a, wire.Ack | wire.Refused) and a.answered == wire.Extend.TYPE]
    reasons = Counter(a.reason if isinstance(a, wire.Refused) else None for a in extends)
    assert reasons[None] >= 5
    assert set(reasons) >= {RefusalReason.NOT_RUNNING, RefusalReason.REPLAYED, RefusalReason.EXPIRED}
    assert seen_dones.keys() == expected_dones.keys()
    # The same estimate is in a dead-man time that began with a frame whose answer does not tell when.
    deaths_us = {done.device_us for done in expected_dones.values() if done.reason == EndReason.DEAD_MAN}
    loose_us |= deaths_us
    for number, done in seen_dones.items():
        other = expected_dones[number]
        assert done.reason == other.reason
        assert abs(done.device_us - other.device_us) <= (LOOSE_US if other.device_us in loose_us else TOLERANCE_US)
    assert {done.reason for done in seen_dones.values()} == set(EndReason)
    for channel in range(N_CHANNELS):  # With intensity 0 nothing comes out, and the reference says so by it.
        dark = {edge.command_id for edge in edges if edge.on and edge.intensity == 0}
        asked = [(e.device_us, e.on) for e in edges if e.channel == channel and e.command_id not in dark]
        seen_pins = [(pin.us - zero_us, pin.on) for pin in device.pins if pin.channel == channel]
        asked, seen_pins = (without_last_moment(each, deaths_us) for each in (asked, seen_pins))
        assert [on for _, on in seen_pins] == [on for _, on in asked]
        for (seen_us, _), (asked_us, _) in zip(seen_pins, asked, strict=True):
            assert abs(seen_us - asked_us) <= (LOOSE_US if asked_us in loose_us else TOLERANCE_US)
