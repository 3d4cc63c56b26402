"""Damaged bytes into the compiled firmware: nothing goes on without a valid command, and it is soon back in step."""

import random

import pytest

from triggers import wire

N_STREAMS = 2_000
N_STREAMS_FULL = 100_000
BATCH = 50
N_CHANNELS = 4
BYTE_US = 1e7 / 115_200


def random_frame(chance, number, host_ms):
    make = chance.choice(
        [
            lambda: wire.Hello(number, host_ms),
            lambda: wire.Limits(number, chance.randint(1_000, 2**32 - 1), 500, chance.randint(50, 400)),
            lambda: wire.Heartbeat(number, host_ms),
            lambda: wire.PulseTrain(
                number, chance.randrange(4), 0xFFFF, chance.randint(50, 20_000), 0, 0, host_ms + 60_000
            ),
            lambda: wire.PulseTrain(number, chance.randrange(4), 0xFFFF, 20_000, 1_000, 300, host_ms + 60_000),
            lambda: wire.Program(
                number, chance.randrange(2), chance.randrange(4), 0xFFFF, chance.randint(50, 20_000), 0, 0
            ),
            lambda: wire.Fire(number & 0xFFF, chance.randrange(2), host_ms + 5_000 & 0xFFFF),
            lambda: wire.Fire(number & 0xFFF, chance.randrange(2), host_ms + 5_000 & 0xFFFF),
            lambda: wire.Extend(
                number, chance.randrange(4), number - chance.choice([1, 2, 10]) & wire.U32, host_ms + 60_000
            ),
            lambda: wire.Extend(
                number, chance.randrange(4), number - chance.choice([1, 1, 2]) & wire.U32, host_ms + 60_000
            ),
            lambda: wire.Stop(number, chance.randrange(5)),
            lambda: wire.AllOff(number),
            lambda: wire.Ack(number, 16, 1, 5),
        ]
    )
    return wire.encode(make())


def damage(chance, data, earlier):
    """Return the bytes after one of the ways in which a line, a driver or a host spoils them."""
    at = chance.randrange(len(data))
    ways = [
        chance.randbytes(chance.randint(1, 100)),
        data[:at],  # Cut off.
        data[:at] + bytes((data[at] ^ 1 << chance.randrange(8),)) + data[at + 1 :],  # One bit flipped.
        data[:at] + data[at + chance.randint(1, 5) :],  # Bytes lost.
        data[:at] + chance.randbytes(chance.randint(1, 5)) + data[at:],
        data[at:] + data[:at],
        data,
    ]
    if earlier:
        ways.append(chance.choice(earlier))  # Sent once more.
    return chance.choice(ways)


def random_stream(chance, number, host_ms, earlier, *, commands):
    data = b""
    for part in range(chance.randint(1, 3)):
        frame = random_frame(chance, 10 * number + part, host_ms)
        data += damage(chance, frame, earlier)
        earlier.append(frame)
    del earlier[:-20]
    if commands and chance.random() < 0.1:  # A pulse, what may be anything, and what extends the pulse.
        pulse = wire.PulseTrain(10 * number + 8, chance.randrange(4), 0xFFFF, 20_000, 0, 0, host_ms + 60_000)
        more = wire.Extend(10 * number + 9, pulse.channel, pulse.id, host_ms + 60_000)
        data = wire.encode(pulse) + data + wire.encode(more)
    if not commands:  # Every frame that would be a valid command to put out a pulse loses a bit.
        data = b"\x00".join(_spoilt(block) for block in data.split(b"\x00"))
    return data


def _spoilt(block):
    if any(
        isinstance(message, wire.PulseTrain | wire.Fire) for message in wire.Parser().feed(b"\x00" + block + b"\x00")
    ):
        return block[:-1] + bytes((block[-1] ^ 0x80 or 1,))
    return block


def expected_answers(messages):
    """Return the type and id of the answer to each frame, without the Done of what it ends."""
    for message in messages:
        match message:
            case wire.OtherVersion():
                yield wire.Identity, 0
            case wire.Hello() | wire.Limits():
                yield wire.Identity, message.id
            case wire.Boot() | wire.Identity() | wire.Ack() | wire.Refused() | wire.Done():
                pass  # An echo.
            case _:
                yield wire.Ack | wire.Refused, message.id


def is_answer(answer, cls, number):
    """Return whether an answer is the one expected; that to a Fire has more bits of its id."""
    fired = isinstance(answer, wire.Ack | wire.Refused) and answer.answered == wire.Fire.TYPE
    return isinstance(answer, cls) and (answer.id & 0xFFF if fired else answer.id) == number


@pytest.mark.parametrize("commands", [False, True], ids=["no valid command", "valid and damaged commands"])
def test_fuzzed_streams(chip, full, commands):
    device = chip()
    device.greet()
    chance = random.Random(7)
    earlier = []
    n_streams = (N_STREAMS_FULL if full else N_STREAMS) // 2
    n_frames = n_rises = n_fired = n_extended = 0
    stored = {}
    for batch in range(n_streams // BATCH):
        host = wire.Parser()
        understood = []
        at_us = device.now_us
        n_before, n_pins = len(device.answers), len(device.pins)
        for number in range(batch * BATCH, (batch + 1) * BATCH):
            data = random_stream(chance, number, int(at_us // 1000), earlier, commands=commands)
            split = chance.randrange(len(data) + 1)
            probe = wire.encode(wire.Heartbeat(2**31 + number, int(at_us // 1000)))
            understood += host.feed(data + probe)
            device.bytes(data[:split], at_us)
            at_us += split * BYTE_US + chance.choice([0.0, 0.0, 3_000.0])
            device.bytes(data[split:] + probe, at_us)
            at_us += (len(data) - split + len(probe)) * BYTE_US + 12_000
        device.until(at_us + 300_000)
        answers = [answer for answer in device.answers[n_before:] if not isinstance(answer, wire.Done)]
        expected = list(expected_answers(understood))
        assert len(answers) == len(expected)
        assert all(is_answer(a, *answer) for a, answer in zip(answers, expected, strict=True))
        probes = {answer.id for answer in answers if isinstance(answer, wire.Ack) and answer.id >= 2**31}
        assert probes >= {2**31 + number for number in range(batch * BATCH, (batch + 1) * BATCH)}
        answered = [
            m for m in understood if not isinstance(m, wire.Boot | wire.Identity | wire.Ack | wire.Refused | wire.Done)
        ]
        more_fired, more_extended = check_rises(device.pins[n_pins:], list(zip(answered, answers, strict=True)), stored)
        n_fired, n_extended = n_fired + more_fired, n_extended + more_extended
        n_frames += len(understood)
        n_rises += sum(pin.on for pin in device.pins[n_pins:])
        assert device.on() == set()
        del device.answers[:], device.answer_us[:], device.pins[:]
    assert (n_rises > 0) == (n_fired > 0) == (n_extended > 0) == commands
    print(  # noqa: T201
        f"{n_streams} streams, {n_frames} intact frames, {n_rises} rising edges, {n_fired} pulses from a slot, "
        f"{n_extended} extended"
    )


def check_rises(pins, answered, stored):
    """Every rising edge belongs to an acknowledged pulse of the stream.

    Returns how many of these came from a slot, and how often one was extended.
    """
    spans = []  # Channel, id, duration, begin, end.
    n_fired = n_extended = 0
    for message, answer in answered:
        if not isinstance(answer, wire.Ack):
            continue
        if isinstance(message, wire.Program):
            stored[message.slot] = message
        elif isinstance(message, wire.PulseTrain | wire.Fire):
            pulse = stored[message.slot] if isinstance(message, wire.Fire) else message
            n_fired += isinstance(message, wire.Fire)
            end_us = answer.device_us + pulse.duration_us
            spans.append((pulse.channel, answer.id, pulse.duration_us, answer.device_us, end_us))
        elif isinstance(message, wire.Extend):
            n_extended += 1
            channel, number, duration_us, begin_us, end_us = next(
                span for span in reversed(spans) if span[:2] == (message.channel, message.extends)
            )
            assert answer.device_us <= end_us, "it ran still"
            spans.append((channel, number, duration_us, begin_us, answer.device_us + duration_us))
    for pin in pins:
        if pin.on:
            device_us = int(pin.us) & wire.U32
            assert any(
                channel == pin.channel and -500 <= device_us - start <= stop - start + 500
                for channel, _, _, start, stop in spans
            )
    return n_fired, n_extended
