import itertools
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers.zmq_message import (
    MAX_MESSAGE_BYTES,
    AllOffMessage,
    HeartbeatMessage,
    PulseMessage,
    StopMessage,
    boot_id,
    decode,
)

COMMON = {
    "source": "5f2b",
    "sequence": 3,
    "boot": "b00t",
    "sent_monotonic_ns": 1_000,
    "sent_unix_ns": 2_000,
    "expires_monotonic_ns": None,
    "expires_unix_ns": None,
}
PULSE = PulseMessage(
    **COMMON, command_id=7, channel=2, duration_us=200_000, intensity=0.5, train_hz=20.0, width_us=10_000
)
MESSAGES = (PULSE, StopMessage(**COMMON, channel=1), AllOffMessage(**COMMON), HeartbeatMessage(**COMMON))
ENCODERS = {"json": msgspec.json.encode, "msgpack": msgspec.msgpack.encode}
FAR_NS = 3_600_000_000_000


@pytest.mark.parametrize(
    ("message", "encoding"),
    list(itertools.product(MESSAGES, ENCODERS)),
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_round_trip(message, encoding):
    assert decode(ENCODERS[encoding](message)) == message


def test_the_text_of_a_pulse_in_the_readme():
    assert msgspec.json.encode(PULSE).decode() == (
        '{"type":"pulse","version":1,"source":"5f2b","sequence":3,"boot":"b00t","sent_monotonic_ns":1000,'
        '"sent_unix_ns":2000,"expires_monotonic_ns":null,"expires_unix_ns":null,"command_id":7,"channel":2,'
        '"duration_us":200000,"intensity":0.5,"train_hz":20.0,"width_us":10000}'
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"type": "puls"}, "Invalid value 'puls' - at `$.type`", id="type"),
        pytest.param({"version": 2}, "Invalid enum value 2 - at `$.version`", id="version"),
        pytest.param({"channel": "2"}, "Expected `int`, got `str` - at `$.channel`", id="wrong type"),
        pytest.param({"chanel": 2}, "Object contains unknown field `chanel`", id="unknown field"),
    ],
)
@pytest.mark.parametrize("encoding", ENCODERS)
def test_what_is_wrong_is_said(changes, message, encoding):
    with pytest.raises(ValueError, match="zmq message: ") as caught:
        decode(ENCODERS[encoding](msgspec.to_builtins(PULSE) | changes))
    assert str(caught.value) == f"zmq message: {message}"


def test_a_missing_field_is_named():
    fields = msgspec.to_builtins(PULSE)
    del fields["duration_us"]
    with pytest.raises(ValueError, match="zmq message: Object missing required field `duration_us`"):
        decode(msgspec.json.encode(fields))


def test_a_huge_message_is_refused():
    with pytest.raises(ValueError, match=f"expected up to {MAX_MESSAGE_BYTES} bytes, got 4097"):
        decode(b"{" + b" " * MAX_MESSAGE_BYTES)


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_noise_is_refused(noise):
    with pytest.raises(ValueError, match="zmq message: "):
        decode(noise)


@pytest.mark.parametrize(
    ("boot", "monotonic_in_ns", "unix_in_ns", "expired"),
    [
        pytest.param(boot_id(), FAR_NS, FAR_NS, False, id="in time"),
        pytest.param(boot_id(), -1, -1, True, id="expired"),
        pytest.param(boot_id(), FAR_NS, -FAR_NS, False, id="same computer: the wall clock was set forward"),
        pytest.param(boot_id(), -1, FAR_NS, True, id="same computer: the wall clock was set back"),
        pytest.param("another", -FAR_NS, FAR_NS, False, id="another computer: in time"),
        pytest.param("another", FAR_NS, -1, True, id="another computer: expired"),
        pytest.param("", -FAR_NS, FAR_NS, False, id="unknown computer: the wall clock counts"),
    ],
)
def test_expiry(boot, monotonic_in_ns, unix_in_ns, expired):
    message = msgspec.structs.replace(
        PULSE,
        boot=boot,
        expires_monotonic_ns=time.monotonic_ns() + monotonic_in_ns,
        expires_unix_ns=time.time_ns() + unix_in_ns,
    )
    assert message.is_expired() == expired


@pytest.mark.parametrize("message", MESSAGES[1:], ids=lambda message: type(message).__name__)
def test_what_switches_off_never_expires(message):
    assert not message.is_expired()
