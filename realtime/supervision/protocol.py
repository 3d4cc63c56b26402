"""What loop, supervisor and people say to each other: JSON messages, checked field by field.

Loop and supervisor share a socket pair, one message a packet. People ask over ZeroMQ (REQ); each question is answered.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

MAX_MESSAGE_BYTES = 8192

Word = Annotated[str, msgspec.Meta(max_length=200)]


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


# --- from the loop to the supervisor ---


class Beat(_Message, frozen=True, tag="beat"):
    """A sign of life.

    Attributes:
        disarmed: Why nothing is sent now; the empty string while armed.
    """

    disarmed: str


class Obeyed(_Message, frozen=True, tag="obeyed"):
    """The answer to an order.

    Attributes:
        number: The order's.
        refused: Why it was not obeyed; the empty string if it was.
        disarmed: As in `Beat`.
    """

    number: int
    refused: str
    disarmed: str


class Closing(_Message, frozen=True, tag="closing"):
    """The outputs are being closed; no more beats."""


class Goodbye(_Message, frozen=True, tag="goodbye"):
    """The outputs are closed; there is nothing left to watch."""


FromLoop = Beat | Obeyed | Closing | Goodbye


# --- from the supervisor to the loop ---


class Ready(_Message, frozen=True, tag="ready"):
    """The supervisor watches, and takes orders at these addresses."""

    addresses: tuple[str, ...]


class NotReady(_Message, frozen=True, tag="not_ready"):
    """It cannot; it has ended."""

    reason: str


class OrderMessage(_Message, frozen=True, tag="order"):
    """A person's order.

    Attributes:
        kind: `arm` or `disarm`.
        by: Who gave it.
        host_ns: Host monotonic clock, ns, when it came.
        number: The answer names it.
    """

    kind: Literal["arm", "disarm"]
    by: str
    host_ns: int
    number: int


FromSupervisor = Ready | NotReady | OrderMessage


# --- between a person's program and the supervisor ---


class Ask(_Message, frozen=True):
    """A question or an order.

    Attributes:
        order: `arm`, `disarm`, or `state` to change nothing.
        by: Who asks, for the record.
    """

    order: Literal["arm", "disarm", "state"]
    by: Word = "somebody"


class Answer(_Message, frozen=True):
    """What came of it.

    Attributes:
        done: The order was obeyed; True for `state`.
        armed: Stimuli go out now.
        text: Why it is disarmed, why the order was refused, or what else a person should know.
        session: The session's folder.
    """

    done: bool
    armed: bool
    text: str
    session: str


# --- what the supervisor is started with ---


class TriggerSpec(_Message, frozen=True):
    """A trigger, to be opened anew when the loop can no longer be relied on: a driver and its settings."""

    driver: str
    options: dict[str, Any]


class Spec(_Message, frozen=True):
    """What to watch.

    Attributes:
        session: The session's folder.
        stall_ms: While armed, so long without a beat is a stall.
        triggers: By name.
        address: Where to take orders beside the socket in the user's own folder, or None.
        secret_key_file: As in `SafetyOptions`.
        peer_key_file: As in `SafetyOptions`.
        socket_fd: Our end of the socket pair.
        status_fd: Pipe to the command line, or None.
    """

    session: str
    stall_ms: float
    triggers: dict[str, TriggerSpec]
    address: str | None
    secret_key_file: Path | None
    peer_key_file: Path | None
    socket_fd: int
    status_fd: int | None
