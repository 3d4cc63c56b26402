"""Keys of a running session: a arms, the space bar disarms."""

import getpass
import os
import select
import sys
import termios
import threading
import tty
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from realtime.cli.app import complain, tell
from realtime.supervision.ordering import NoSessionError, give_order, running_sessions
from realtime.supervision.protocol import Ask

_KEYS: dict[str, Literal["arm", "disarm"]] = {"a": "arm", " ": "disarm"}
_WAIT_S = 0.1


class Keys:
    """Listens to the keyboard while the context lasts, in a thread; nothing where there is no terminal.

    The terminal gives its keys one by one and does not show them; Ctrl-C still is a signal. It is as before afterwards.

    Args:
        folder: The session's folder, by which its supervisor is found.
        quiet: Do not listen at all.
    """

    def __init__(self, folder: Path, *, quiet: bool) -> None:
        self._folder = folder.absolute()
        self._listens = not quiet and sys.stdin.isatty()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        if self._listens:
            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
            self._thread = threading.Thread(target=self._listen, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._over.set()
            self._thread.join()
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def _listen(self) -> None:
        while not self._over.is_set():
            if not select.select([sys.stdin], [], [], _WAIT_S)[0]:
                continue
            typed = os.read(sys.stdin.fileno(), 64)  # not `read`, which would keep what was typed fast for itself
            if not typed:
                return
            for key in typed.decode(errors="replace"):
                if order := _KEYS.get(key):
                    say(self._folder, order, "key of poseloop run")


def say(folder: Path, order: Literal["arm", "disarm"], by: str) -> None:
    """Give an order to the session in `folder` and tell what came of it."""
    try:
        address = running_sessions().get(folder)
        if address is None:
            complain(f"{folder}: not running yet")
            return
        answer = give_order(address, Ask(order, f"{getpass.getuser()}, {by}"))
    except (NoSessionError, OSError) as error:
        complain(str(error))
        return
    tell("armed" if answer.armed else f"disarmed: {answer.text}", done=answer.done)
