"""What tests of several folders need: to wait for something real, an address of one's own, a process's children."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Read when NumPy is imported. More threads make products of small matrices slower, and two workers share the cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# As wide as the terminal that the tests were started from: what is printed must not depend on it.
for _name in ("COLUMNS", "LINES"):
    os.environ.pop(_name, None)


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., Any]:
    """Wait until a condition comes true, never for a time to pass, and return its value."""

    def wait(condition: Callable[[], Any], seconds: float = 90.0) -> Any:
        deadline_s = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline_s, "the condition did not come true in time"
            time.sleep(0.005)
        return value

    return wait


@pytest.fixture
def free_address() -> str:
    """An address of this computer at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="session")
def child_of() -> Callable[[int, str], int]:
    """The process id of the child of a process that runs a module: `child_of(pid, "realtime.live")`."""

    def find(pid: int, module: str) -> int:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return next(int(child) for child in children if module in Path(f"/proc/{child}/cmdline").read_text())

    return find
