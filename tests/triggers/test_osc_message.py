import struct

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from triggers.osc_message import encode

INT32 = st.integers(-(2**31), 2**31 - 1)
TEXT = st.text(st.characters(min_codepoint=1, max_codepoint=127))
ARGUMENTS = st.lists(st.one_of(INT32, st.floats(width=32, allow_nan=False), TEXT, st.binary(max_size=50)), max_size=8)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(
            encode("/oscillator/4/frequency", 440.0),
            b"/oscillator/4/frequency\0,f\0\0\x43\xdc\0\0",
            id="of the standard",
        ),
        pytest.param(
            encode("/foo", 1000, -1, "hello", 1.234, 5.678),
            b"/foo\0\0\0\0,iisff\0\0\0\0\x03\xe8\xff\xff\xff\xffhello\0\0\0\x3f\x9d\xf3\xb6\x40\xb5\xb2\x2d",
            id="of the standard, five",
        ),
        pytest.param(encode("/a"), b"/a\0\0,\0\0\0", id="no arguments"),
        pytest.param(
            encode("/abc", "abcd"), b"/abc\0\0\0\0,s\0\0abcd\0\0\0\0", id="a whole word has four zeros behind it"
        ),
        pytest.param(encode("/b", b"12345"), b"/b\0\0,b\0\0\0\0\0\x0512345\0\0\0", id="blob"),
        pytest.param(encode("/b", b"1234"), b"/b\0\0,b\0\0\0\0\0\x041234", id="blob of a whole word"),
        pytest.param(encode("/f", 1e300, -1e300), b"/f\0\0,ff\0\x7f\x80\0\0\xff\x80\0\0", id="beyond float32"),
    ],
)
def test_bytes(message, expected):
    assert message == expected


@settings(deadline=None)
@given(ARGUMENTS)
def test_a_library_of_others_reads_the_same(arguments):
    data = encode("/poseloop/x", *arguments)
    assert len(data) % 4 == 0
    message = OscMessage(data)
    assert message.address == "/poseloop/x"
    assert message.params == arguments
    assert [type(value) for value in message.params] == [type(value) for value in arguments]


@settings(deadline=None)
@given(ARGUMENTS)
def test_a_library_of_others_writes_the_same(arguments):
    assume(b"" not in arguments)  # It refuses empty blobs; the standard does not.
    builder = OscMessageBuilder("/poseloop/x")
    for argument in arguments:
        builder.add_arg(argument, {int: "i", float: "f", str: "s", bytes: "b"}[type(argument)])
    assert encode("/poseloop/x", *arguments) == builder.build().dgram


@pytest.mark.parametrize("address", ["", "poseloop", "/pose loop", "/a*", "/ü", "/a\n", "/{a}"])
def test_an_address_that_is_none(address):
    with pytest.raises(ValueError, match="expected an OSC address such as /poseloop") as caught:
        encode(address)
    assert str(caught.value).endswith(f"got {address!r}")


@pytest.mark.parametrize(
    ("argument", "error", "text"),
    [
        (2**31, ValueError, "expected an OSC int of 32 bits with sign, got 2147483648"),
        (-(2**31) - 1, ValueError, "expected an OSC int of 32 bits with sign, got -2147483649"),
        ("ü", ValueError, "expected an OSC string in ASCII without zeros, got 'ü'"),
        ("a\0b", ValueError, "expected an OSC string in ASCII without zeros, got 'a\\x00b'"),
        (True, TypeError, "expected an int, float, str or bytes as OSC argument, got bool"),
        (None, TypeError, "expected an int, float, str or bytes as OSC argument, got NoneType"),
    ],
)
def test_an_argument_that_cannot_be_sent(argument, error, text):
    with pytest.raises(error) as caught:
        encode("/a", argument)
    assert str(caught.value) == text


def test_a_float_is_the_nearest_float32():
    assert encode("/f", 0.1)[-4:] == struct.pack(">f", 0.1)
