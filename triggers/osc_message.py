"""Messages of Open Sound Control 1.0 as bytes (https://opensoundcontrol.stanford.edu/spec-1_0.html)."""

import struct

Argument = int | float | str | bytes

_NOT_IN_ADDRESS = frozenset(" #*,?[]{}")


def encode(address: str, *arguments: Argument) -> bytes:
    """Return one message.

    Args:
        address: Begins with `/`; printable ASCII without space and the signs of patterns (`#*,?[]{}`).
        arguments: int as int32 (`i`), float as float32 (`f`), str as ASCII string (`s`), bytes as blob (`b`).

    Raises:
        ValueError: The address is not valid, an int needs more than 32 bits, a string is not ASCII or holds a zero.
        TypeError: An argument is of another type.
    """
    check_address(address)
    tags, data = ",", b""
    for argument in arguments:
        tag, value = _encode_argument(argument)
        tags += tag
        data += value
    return _string(address) + _string(tags) + data


def check_address(address: str) -> None:
    """Raise ValueError unless a message may be sent to this address."""
    printable = address.isascii() and address.isprintable()
    if not (address.startswith("/") and printable and _NOT_IN_ADDRESS.isdisjoint(address)):
        raise ValueError(
            f"expected an OSC address such as /poseloop (ASCII, without space and #*,?[]{{}}), got {address!r}"
        )


def _encode_argument(argument: Argument) -> tuple[str, bytes]:
    """Return the type tag and the bytes of one argument."""
    match argument:
        case bool():
            raise TypeError("expected an int, float, str or bytes as OSC argument, got bool")
        case int():
            if not -(2**31) <= argument < 2**31:
                raise ValueError(f"expected an OSC int of 32 bits with sign, got {argument}")
            return "i", struct.pack(">i", argument)
        case float():
            return "f", _float32(argument)
        case str():
            return "s", _string(argument)
        case bytes():
            return "b", struct.pack(">I", len(argument)) + argument + bytes(-len(argument) % 4)
    raise TypeError(f"expected an int, float, str or bytes as OSC argument, got {type(argument).__name__}")


def _float32(value: float) -> bytes:
    """Return the nearest float32; what is too large for it is infinite there."""
    try:
        return struct.pack(">f", value)
    except OverflowError:
        return struct.pack(">f", float("inf") if value > 0 else float("-inf"))


def _string(text: str) -> bytes:
    """Return an OSC string: at least one zero behind it, its length a multiple of 4 bytes."""
    if not text.isascii() or "\0" in text:
        raise ValueError(f"expected an OSC string in ASCII without zeros, got {text!r}")
    return text.encode("ascii") + bytes(4 - len(text) % 4)
