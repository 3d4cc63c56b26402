"""A receiver for driver `zmq`: prints every message and says which ones it drops because they have expired.

`python -m triggers.zmq_listen tcp://127.0.0.1:5571` shows what a receiver of your own gets, and is one to start from.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import zmq

from triggers.errors import TriggerNotOpenError
from triggers.zmq_message import AllOffMessage, HeartbeatMessage, Message, decode
from triggers.zmq_socket import Endpoint, PeerSocket

_POLL_MS = 50
_KINDS = {"push": zmq.PULL, "pub": zmq.SUB}
_COMMON = frozenset(AllOffMessage.__struct_fields__)


def received(socket: zmq.Socket[bytes]) -> Iterator[Message | ValueError]:
    """Yield every message that comes in, expired ones too, or what is wrong with it; for ever.

    Args:
        socket: A PULL or SUB socket.
    """
    while True:
        if not socket.poll(_POLL_MS):
            continue
        data = socket.recv_multipart()[-1]  # A topic may stand before it.
        try:
            yield decode(data)
        except ValueError as error:
            yield error


def _as_json(message: Message | ValueError) -> str:
    if isinstance(message, ValueError):
        return msgspec.json.encode({"error": str(message)}).decode()
    fields = msgspec.to_builtins(message) | {"expired": message.is_expired()}
    return msgspec.json.encode(fields).decode()


def _as_text(message: Message | ValueError) -> str:
    if isinstance(message, ValueError):
        return f"? {message}"
    fields = msgspec.to_builtins(message)
    shown = " ".join(f"{name}={value}" for name, value in fields.items() if name not in _COMMON and name != "type")
    dropped = "  dropped: it has expired" if message.is_expired() else ""
    return f"{message.sequence:6d} {fields['type']:9} {shown}{dropped}".rstrip()


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m triggers.zmq_listen", description="Prints what driver zmq sends.")
    parser.add_argument("address", help="as in the rig file, e.g. tcp://127.0.0.1:5571")
    parser.add_argument("--pattern", choices=sorted(_KINDS), default="push", help="as in the rig file")
    parser.add_argument("--topic", default="", help="as in the rig file, with --pattern pub")
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument("--bind", action="store_true", default=None, help="own the address (default with push)")
    ends.add_argument("--connect", dest="bind", action="store_false", help="connect to it (default with pub)")
    parser.add_argument("--secret-key-file", type=Path, help="our CURVE key pair, for another computer")
    parser.add_argument("--peer-key-file", type=Path, help="the sender's public CURVE key")
    parser.add_argument("--heartbeats", action="store_true", help="show heartbeats too")
    parser.add_argument("--json", action="store_true", help="whole messages as JSON lines")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Print messages until Ctrl-C; return the exit status."""
    given = _parse(arguments)
    bind = given.pattern == "push" if given.bind is None else given.bind
    try:
        peer = PeerSocket(
            _KINDS[given.pattern], Endpoint(given.address, bind, given.secret_key_file, given.peer_key_file)
        )
    except TriggerNotOpenError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if given.pattern == "pub":
        peer.socket.setsockopt(zmq.SUBSCRIBE, given.topic.encode())
    show = _as_json if given.json else _as_text
    with suppress(KeyboardInterrupt, BrokenPipeError):
        for message in received(peer.socket):
            if given.heartbeats or not isinstance(message, HeartbeatMessage):
                sys.stdout.write(show(message) + "\n")
                sys.stdout.flush()
    peer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
