"""A serial port that is ours alone, tells what is wrong with it, and never blocks."""

import errno
import os
import select
import termios
from contextlib import suppress
from pathlib import Path

import serial
from serial.tools import list_ports

from triggers.errors import TriggerFailedError, TriggerNotOpenError, TriggerTimeoutError


class SerialPort:
    """An open port, locked against a second program.

    pyserial opens and configures it. Reading and writing go to the file descriptor: pyserial's own `write` either
    waits, or, with a time-out of zero, spins for ever on a full buffer.

    Args:
        path: Device file.
        baud_rate: Bits a second.
        driver: Whose it is; every message begins with that and the path.

    Raises:
        TriggerNotOpenError: No such port, no permission, in use.
    """

    def __init__(self, path: str, baud_rate: int, driver: str) -> None:
        self._where = f"{driver} {path}"
        try:
            self._tty = serial.Serial(path, baud_rate, timeout=0, write_timeout=0.05, exclusive=True)
        except (OSError, ValueError) as error:
            raise TriggerNotOpenError(f"{self._where}: {_why_not_open(path, error)}") from error
        self._fd: int = self._tty.fileno()
        with suppress(OSError, ValueError, NotImplementedError):  # Many ports have no such setting.
            self._tty.set_low_latency_mode(True)

    def write(self, data: bytes) -> None:
        """Hand over all of `data` at once.

        Raises:
            TriggerFailedError: The port is gone.
            TriggerTimeoutError: The buffer is full; a part of `data` may have been sent.
        """
        try:
            n_taken = os.write(self._fd, data)
        except BlockingIOError:
            n_taken = 0
        except OSError as error:
            raise self._gone(error) from error
        if n_taken < len(data):
            raise TriggerTimeoutError(
                f"{self._where}: the buffer is full, it took {n_taken} of {len(data)} bytes; "
                "the device no longer reads what is sent"
            )

    def read(self) -> bytes:
        """Return what has come in, which may be nothing.

        Raises:
            TriggerFailedError: The port is gone.
        """
        try:
            n_waiting = self._tty.in_waiting
            return os.read(self._fd, n_waiting) if n_waiting else b""
        except OSError as error:
            raise self._gone(error) from error

    def wait(self, timeout_s: float) -> None:
        """Return when something has come in, or after `timeout_s`."""
        select.select([self._fd], [], [], timeout_s)

    def drop_output(self) -> None:
        """Forget what was written and has not been sent."""
        with suppress(OSError, termios.error):
            termios.tcflush(self._fd, termios.TCOFLUSH)

    def close(self) -> None:
        """Release the port at once."""
        with suppress(OSError):
            if self._tty.out_waiting:  # Closing would wait for these bytes for up to 30 s.
                self.drop_output()
        with suppress(OSError, termios.error):
            self._tty.close()

    def _gone(self, error: OSError) -> TriggerFailedError:
        return TriggerFailedError(
            f"{self._where}: the port is gone ({error.strerror or error}); plug the device in and start again"
        )


def unit_of(path: str) -> str:
    """Return the USB serial number of the device on a port; the empty string if it has none or is not on USB."""
    real_path = os.path.realpath(path)
    for port in list_ports.comports():
        if os.path.realpath(port.device) == real_path:
            return str(port.serial_number or "")
    return ""


def _why_not_open(path: str, error: OSError | ValueError) -> str:
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ENOENT:
        ports = ", ".join(f"{port.device} ({port.description})" for port in list_ports.comports())
        return f"no such port; ports on this machine: {ports or 'none'}"
    if code == errno.EACCES:
        return "permission denied; add yourself to the group that owns the port (often dialout) and log in again"
    if code in {errno.EAGAIN, errno.EBUSY}:
        return f"in use by {_holders(path)}; end it first"
    return f"cannot be opened: {error}"


def _holders(path: str) -> str:
    """Name the processes that have a file open, as far as we may look."""
    target = os.path.realpath(path)
    holders = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(str(link.readlink()) == target for link in (process / "fd").iterdir()):
                command = (process / "cmdline").read_bytes().replace(b"\x00", b" ").decode(errors="replace").strip()
                holders.append(f"process {process.name} ({command[:80]})")
    return " and ".join(holders) or "another program"
