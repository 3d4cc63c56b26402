import itertools
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from triggers import wire

NUMBERS = {"B": st.integers(0, 0xFF), "H": st.integers(0, 0xFFFF), "I": st.integers(0, wire.U32)}
CLASSES = (
    wire.Hello,
    wire.Limits,
    wire.Heartbeat,
    wire.PulseTrain,
    wire.Stop,
    wire.AllOff,
    wire.Program,
    wire.Boot,
    wire.Identity,
    wire.Ack,
    wire.Refused,
    wire.Done,
)
NAMES = st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=wire.NAME_BYTES)


def _messages_of(cls: type[wire.Message]) -> st.SearchStrategy[wire.Message]:
    numbers = cls.PAYLOAD.format.removeprefix("<").removesuffix(f"{wire.NAME_BYTES}s")
    names = [NAMES] if cls is wire.Identity else []
    return st.builds(cls, NUMBERS["I"], *(NUMBERS[code] for code in numbers), *names)


FIRES = st.builds(wire.Fire, st.integers(0, 0xFFF), st.integers(0, wire.N_SLOTS - 1), NUMBERS["H"])
MESSAGES = st.one_of(*(_messages_of(cls) for cls in CLASSES), FIRES)
PULSE = wire.PulseTrain(7, 2, 0xFFFF, 200_000, 50_000, 10_000, 123_456)
SAMPLES = (
    wire.Hello(1, 0),
    wire.Limits(2, 5_000_000, 500, 100),
    wire.Heartbeat(0, 0xFFFF_FFFF),
    PULSE,
    wire.Stop(4, 3),
    wire.AllOff(5),
    wire.Program(6, 7, 2, 0xFFFF, 200_000, 50_000, 10_000),
    wire.Fire(7, 3, 12_345),
    wire.Fire(0xFFF, 7, 0xFFFF),
    wire.Fire(0, 0, 0),
    wire.Boot(0),
    wire.Identity(1, 1, 0, 8, 10_000_000, 1000, 10_000, 250, "simulated"),
    wire.Ack(7, wire.PulseTrain.TYPE, 0b100, 1_000_000),
    wire.Refused(7, wire.PulseTrain.TYPE, wire.RefusalReason.BUSY, 1),
    wire.Done(7, wire.EndReason.FINISHED, 0),
)


def _parse(data: bytes) -> list[wire.Message | wire.OtherVersion]:
    return wire.Parser().feed(data)


@settings(deadline=None)
@given(st.lists(MESSAGES, max_size=5), st.data())
def test_any_messages_survive_any_split(messages, data):
    stream = b"".join(wire.encode(message) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    parser = wire.Parser()
    received = []
    for start, end in itertools.pairwise([0, *cuts, len(stream)]):
        received += parser.feed(stream[start:end])
    assert received == messages
    assert parser.n_rejected == 0


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_every_frame_fits_the_receivers_buffer_and_holds_no_delimiter_inside(message):
    frame = wire.encode(message)
    assert frame[0] == frame[-1] == 0
    assert 0 not in frame[1:-1]
    assert len(frame) - 2 <= wire.MAX_BLOCK_BYTES
    assert _parse(frame) == [message]


def test_types_are_distinct_and_the_devices_have_the_top_bit_set():
    types = [cls.TYPE for cls in (*CLASSES, wire.Fire)]
    assert len(set(types)) == len(types)
    assert {cls for cls in CLASSES if cls.TYPE & 0x80} == {wire.Boot, wire.Identity, wire.Ack, wire.Refused, wire.Done}


def test_bytes_of_the_pulse_in_the_readme():
    pulse = wire.PulseTrain(7, 0, 0xFFFF, 200_000, 50_000, 10_000, 123_456)
    assert wire.encode(pulse).hex(" ") == (
        "00 04 01 10 07 01 01 01 06 ff ff 40 0d 03 03 50 c3 01 03 10 27 01 04 40 e2 01 03 72 78 00"
    )


def test_bytes_of_the_fire_in_the_readme():
    assert wire.encode(wire.Fire(0x7, 3, 123_456 & 0xFFFF)).hex(" ") == "00 07 b0 07 40 e2 21 20 00"


@settings(deadline=None)
@given(FIRES)
def test_a_fire_takes_nine_bytes_whatever_it_says(fire):
    assert len(wire.encode(fire)) == 9


@pytest.mark.parametrize(
    "fire", [wire.Fire(0x1000, 0, 0), wire.Fire(-1, 0, 0), wire.Fire(0, wire.N_SLOTS, 0), wire.Fire(0, -1, 0)], ids=str
)
def test_a_fire_that_does_not_fit_its_bits_is_not_sent_as_another(fire):
    with pytest.raises(ValueError, match="expected a slot below 8 and an id of 12 bits"):
        wire.encode(fire)


@pytest.mark.parametrize("fire", [message for message in SAMPLES if isinstance(message, wire.Fire)], ids=str)
def test_no_three_flipped_bits_make_another_fire(fire):
    frame = wire.encode(fire)
    for bits in itertools.combinations(range(8, 8 * len(frame) - 8), 3):
        damaged = bytearray(frame)
        for bit in bits:
            damaged[bit // 8] ^= 1 << bit % 8
        assert _parse(bytes(damaged)) in ([], [fire])


def test_crc_is_ccitt_false():
    # The check value of CRC-16/CCITT-FALSE (Williams, "A painless guide to CRC error detection algorithms").
    body = wire.frame(b"123456789")
    assert body[-3:-1] == struct.pack("<H", 0x29B1)


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_no_single_flipped_bit_is_accepted(message):
    frame = wire.encode(message)
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        assert all(received == message for received in _parse(bytes(damaged)))  # A delimiter may be spared.


@settings(max_examples=1000, derandomize=True, deadline=None)
@given(st.sampled_from(SAMPLES), st.sets(st.integers(0, 10_000), min_size=2, max_size=3))
def test_two_or_three_flipped_bits_are_not_accepted(message, bits):
    frame = bytearray(wire.encode(message))
    for bit in bits:
        frame[bit // 8 % len(frame)] ^= 1 << bit % 8
    assert all(received == message for received in _parse(bytes(frame)))


@settings(max_examples=500, derandomize=True, deadline=None)
@given(st.binary(max_size=400))
def test_noise_is_no_message_and_the_next_frame_is_read(noise):
    parser = wire.Parser()
    assert parser.feed(noise) == []
    assert parser.feed(wire.encode(PULSE)) == [PULSE]


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_a_torn_frame_never_swallows_the_one_that_follows(message):
    frame = wire.encode(message)
    stop = wire.Stop(9, 1)
    for n_sent in range(len(frame) - 1):
        assert _parse(frame[:n_sent] + wire.encode(stop)) == [stop]


@settings(derandomize=True, deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_lost_bytes_lose_that_frame_only(message, data):
    frame = wire.encode(message)
    start = data.draw(st.integers(1, len(frame) - 2))
    end = data.draw(st.integers(start + 1, len(frame) - 1))
    stop = wire.Stop(9, 1)
    assert _parse(frame[:start] + frame[end:] + wire.encode(stop)) == [stop]


def test_endless_noise_without_a_delimiter_is_not_hoarded():
    parser = wire.Parser()
    for _ in range(1000):
        assert parser.feed(b"\xff" * 100) == []
    assert len(parser._rest) <= wire.MAX_BLOCK_BYTES + 1
    assert parser.feed(wire.encode(PULSE)) == [PULSE]
    assert parser.n_rejected == 1


def test_another_version_is_told_apart_from_noise():
    body = struct.pack("<BBI", wire.PROTOCOL_VERSION + 1, 0x77, 5) + b"whatever"
    assert _parse(wire.frame(body)) == [wire.OtherVersion(wire.PROTOCOL_VERSION + 1)]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(struct.pack("<BBI", 1, 0x77, 5), id="unknown type"),
        pytest.param(struct.pack("<BBI", 1, wire.Stop.TYPE, 5), id="payload too short"),
        pytest.param(struct.pack("<BBIBB", 1, wire.Stop.TYPE, 5, 0, 0), id="payload too long"),
        pytest.param(b"\x01\x11", id="no header"),
        pytest.param(b"\x80\x01\x02", id="too short for a fire"),
        pytest.param(b"\x80\x01\x02\x03\x04", id="too long for a fire"),
        pytest.param(struct.pack("<BBI", 0x81, wire.Hello.TYPE, 5) + bytes(4), id="a version as high as a fire"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_an_intact_frame_that_makes_no_sense_is_rejected(body):
    parser = wire.Parser()
    assert parser.feed(wire.frame(body)) == []
    assert parser.n_rejected == 1


@pytest.mark.parametrize("name", ["seventeen letters", "µ", "a\x00b"])
def test_a_name_that_does_not_fit_is_refused(name):
    with pytest.raises(ValueError, match=r"identity|ascii"):
        wire.encode(wire.Identity(0, 1, 0, 1, 0, 0, 0, 0, name))


@pytest.mark.parametrize(
    ("later", "earlier", "step"), [(1, 0xFFF, 2), (0x800, 1, 0x7FF), (0x801, 1, -0x800), (7, 7, 0)]
)
def test_signed_difference_of_few_bits(later, earlier, step):
    assert wire.signed_difference(later, earlier, 12) == step


@settings(deadline=None)
@given(st.integers(0, wire.U32), st.integers(-(2**31) + 1, 2**31 - 1))
@example(wire.U32, 1)
def test_signed_difference_crosses_the_overflow(start, step):
    assert wire.signed_difference((start + step) & wire.U32, start) == step
