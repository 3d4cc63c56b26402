"""Giving orders to running sessions: finds their supervisors, asks, and returns the answers."""

import os
import stat
from contextlib import suppress
from pathlib import Path

import msgspec
import zmq

from realtime.supervision.protocol import Answer, Ask

# Not XDG_RUNTIME_DIR: a session that was started over ssh must be found from the desktop, too.
_ROOT = Path("/tmp")  # noqa: S108 - owner and mode of what is in it are looked at
_SUFFIX = ".orders"
_WAIT_MS = 5_000  # the supervisor may have to kill a loop and open a device anew before it answers
_GONE_MS = 500


class NoSessionError(RuntimeError):
    """There is no such running session, or its supervisor does not answer."""


def own_folder() -> Path:
    """Return the folder in which the supervisors of this user have their sockets; nobody else can enter it.

    Raises:
        OSError: It cannot be made, or what is there is not this user's own.
    """
    folder = _ROOT / f"poseloop-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder}: expected a folder that only this user can enter, got another; remove it")
    return folder


def running_sessions() -> dict[Path, str]:
    """Return session folder → address of every session of this user that runs now; removes what dead ones left."""
    found: dict[Path, str] = {}
    for path in sorted(own_folder().glob(f"*{_SUFFIX}")):
        address = f"ipc://{path}"
        if not Path(f"/proc/{path.name.removesuffix(_SUFFIX)}").exists():
            path.unlink(missing_ok=True)
            continue
        with suppress(NoSessionError):
            found[Path(give_order(address, Ask("state")).session)] = address
    return found


def give_order(address: str, ask: Ask) -> Answer:
    """Ask the supervisor at an address.

    Raises:
        NoSessionError: It is not there, or does not answer.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with context.socket(zmq.REQ) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.SNDTIMEO, _GONE_MS)
            socket.setsockopt(zmq.IMMEDIATE, 1)
            socket.connect(address)
            socket.send(msgspec.json.encode(ask))
            if not socket.poll(_WAIT_MS):
                raise NoSessionError(f"{address}: expected an answer within {_WAIT_MS / 1e3:g} s, got none")
            return msgspec.json.decode(socket.recv(), type=Answer)
    except zmq.ZMQError as error:
        raise NoSessionError(f"{address}: no session listens there: {error}") from error
    finally:
        context.term()
