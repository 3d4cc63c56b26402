import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers.harp_message import EVENT, READ, U8, U16, WRITE, Message, Parser, read, write

WHO = bytes.fromhex("01 0c 00 ff 12 10 27 00 00 12 7a c0 04")
WHO += bytes((sum(WHO) & 0xFF,))
WHO_MESSAGE = Message(READ, 0, False, 1216, 0x2710 * 1_000_000 + 0x7A12 * 32)


def _answer(kind, payload_type, payload, register=34):
    data = bytes((kind, 4 + len(payload), register, 255, payload_type)) + payload
    return data + bytes((sum(data) & 0xFF,))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(read(0, U16), "01 04 00 ff 02 06", id="who am I"),
        pytest.param(write(34, U16, 0x400), "02 06 22 ff 02 00 04 2f", id="set DO0"),
        pytest.param(write(10, U8, 0x60), "02 05 0a ff 01 60 71", id="one byte"),
    ],
)
def test_bytes(data, expected):
    assert data.hex(" ") == expected


STAMP = bytes.fromhex("01 00 00 00 03 00")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(WHO, WHO_MESSAGE, id="word"),
        pytest.param(_answer(2, 0x11, STAMP + b"\x07"), Message(WRITE, 34, False, 7, 1_000_096), id="byte"),
        pytest.param(_answer(10, 0x12, STAMP + b"\0\4"), Message(WRITE, 34, True, 0x400, 1_000_096), id="refused"),
        pytest.param(_answer(9, 0x12, STAMP), Message(READ, 34, True, None, 1_000_096), id="refused, without a value"),
        pytest.param(_answer(3, 0x92, STAMP + bytes(6)), Message(EVENT, 34, False, None, 1_000_096), id="three words"),
        pytest.param(
            _answer(1, 0x92, STAMP + b"\xff\xff"), Message(READ, 34, False, None, 1_000_096), id="with a sign"
        ),
        pytest.param(_answer(1, 0x02, b"\x05\x00"), Message(READ, 34, False, 5, None), id="without a time"),
        pytest.param(_answer(1, 0x12, b"\x05\x00"), Message(READ, 34, False, None, None), id="too short for its time"),
    ],
)
def test_messages(data, message):
    assert list(Parser().feed(data)) == [message]


def test_a_message_byte_by_byte():
    parser = Parser()
    assert [message for byte in WHO for message in parser.feed(bytes((byte,)))] == [WHO_MESSAGE]


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 200))
def test_after_any_noise_messages_are_found_again(noise, cut):
    parser = Parser()
    list(parser.feed(noise[:cut]))
    list(parser.feed(noise[cut:]))
    found = list(parser.feed(WHO * 6))  # What looks like a beginning may swallow up to 66 bytes.
    assert found[-1] == WHO_MESSAGE


@settings(deadline=None)
@given(st.integers(0, len(WHO) - 1), st.integers(1, 255))
def test_a_damaged_message_is_not_one(position, flip):
    damaged = bytearray(WHO)
    damaged[position] ^= flip
    found = list(Parser().feed(bytes(damaged) + WHO * 6))
    assert found
    assert set(found) == {WHO_MESSAGE}
