"""One program a device: a lock that the kernel takes back when its holder dies, however it dies."""

import fcntl
import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import BaseModel

from triggers.errors import TriggerNotOpenError

# The same for every user: a folder for each of them (`XDG_RUNTIME_DIR`) would let root drive what a user drives.
FOLDER = Path("/tmp/poseloop-locks")  # noqa: S108  # Sticky, and no file in it is ever trusted.
_MAX_COMMAND = 120


def device_of(options: BaseModel) -> str | None:
    """Return what names the device behind a trigger's settings, the same for every way to write it; None for none.

    A device file is named by its real path, so that a name in `/dev/serial/by-id` and the port that it stands for are
    one device; a peer in the network by its address. A trigger with neither (a simulation, a dry run) has a device of
    its own and nothing to lock.

    Args:
        options: Of the driver, its keys by their usual names: `port`, or `host` and `port`, or `address`.
    """
    port, host, address = (getattr(options, name, None) for name in ("port", "host", "address"))
    if isinstance(port, str):
        return os.path.realpath(port)
    if isinstance(host, str):
        return f"{_this_computer(host)}:{port}"
    if isinstance(address, str):
        return address.replace("//localhost:", "//127.0.0.1:")
    return None


def _this_computer(host: str) -> str:
    return "127.0.0.1" if host in {"localhost", "::1"} else host


class DeviceLock:
    """The right to drive a device, from its construction to `close` or to the end of the process.

    The kernel's `flock` on a file in a folder that all users share. The file stays when the lock is gone; it says who
    had it last and locks nothing by itself.

    Args:
        device: What names the device, from `device_of`.
        folder: Where the files lie.

    Raises:
        TriggerNotOpenError: Another program, or another trigger of this one, has the device; the message names it.
    """

    def __init__(self, device: str, folder: Path = FOLDER) -> None:
        self._device = device
        _make_folder(folder)
        self.path = folder / f"{hashlib.sha256(device.encode()).hexdigest()[:24]}.lock"
        self._fd: int | None = _open(self.path)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._fd, 4096, 0).decode(errors="replace").strip() or "another program"
            self.close()
            raise TriggerNotOpenError(
                f"{device}: expected a device that nobody drives, got one that is driven by {holder}; end that "
                "program first, or name another device"
            ) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"process {os.getpid()} ({_command()})\n".encode(), 0)

    def close(self) -> None:
        """Give the device back. May be called twice."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
        # The umask took away what others need; only its owner may give it.
        with suppress(PermissionError):
            folder.chmod(0o1777)
        is_folder = stat.S_ISDIR(folder.lstat().st_mode)
    except OSError as error:
        raise TriggerNotOpenError(f"{folder}: cannot make the folder of locks: {error.strerror}") from error
    if not is_folder:
        raise TriggerNotOpenError(f"{folder}: expected a folder of locks, got a link; remove it")


def _open(path: Path) -> int:
    """Return a descriptor that no child inherits, since a child that lives on would keep the lock."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        # Without O_CREAT first: in a sticky folder the kernel refuses it on another user's file, even to root.
        with suppress(FileNotFoundError):
            return os.open(path, flags)
        fd = os.open(path, flags | os.O_CREAT, 0o666)
    except OSError as error:
        raise TriggerNotOpenError(f"{path}: cannot open the lock of a device: {error.strerror}") from error
    with suppress(PermissionError):  # somebody else made it in between, and does the same
        os.fchmod(fd, 0o666)
    return fd


def _command() -> str:
    words = Path("/proc/self/cmdline").read_bytes().split(b"\x00")
    return b" ".join(words).decode(errors="replace").strip()[:_MAX_COMMAND]
