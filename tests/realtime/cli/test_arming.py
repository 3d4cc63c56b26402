"""`poseloop arm` and `poseloop disarm`, and the keys of `poseloop run`, against a real supervisor."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from realtime.cli import arming, keys
from realtime.cli.commands import app
from realtime.stimulus import SafetyOptions
from realtime.supervision.link import SupervisorLink

pytestmark = pytest.mark.alone


class Loop:
    """A loop that obeys every order, in a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.link = SupervisorLink(SafetyOptions(), {}, folder)
        self.link.open()
        self.orders: list[tuple[str, str]] = []
        self.disarmed = "not armed yet"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._turn)
        self._thread.start()

    def _turn(self) -> None:
        while not self._over.wait(0.002):
            for order in self.link.take(self.disarmed):
                self.orders.append((order.kind, order.by))
                self.disarmed = "" if order.kind == "arm" else order.by
                self.link.answer(order, self.disarmed)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self.link.close(off=True)


@pytest.fixture(autouse=True)
def anna(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Anna runs what this test runs, and nothing else."""
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    here = lambda: {  # noqa: E731
        folder: address for folder, address in RUNNING().items() if folder.is_relative_to(tmp_path)
    }
    monkeypatch.setattr(arming, "running_sessions", here)


RUNNING = arming.running_sessions


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Loop]]:
    loops: list[Loop] = []

    def begin(name: str) -> Loop:
        loops.append(Loop(tmp_path / name))
        return loops[-1]

    yield begin
    for loop in loops:
        loop.close()


def poseloop(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_arm_and_disarm_the_session_that_runs(start: Callable[[str], Loop]) -> None:
    loop = start("s1")
    assert poseloop("arm") == (0, f"{loop.folder}: armed\n", "")
    assert poseloop("disarm") == (0, f"{loop.folder}: disarmed: anna, poseloop disarm\n", "")
    assert loop.orders == [("arm", "anna, poseloop arm"), ("disarm", "anna, poseloop disarm")]


def test_disarm_without_a_name_is_for_all_and_arm_is_not(start: Callable[[str], Loop]) -> None:
    one, two = start("s1"), start("s2")
    code, _, err = poseloop("arm")
    assert (code, one.orders, two.orders) == (2, [], [])
    assert err.startswith("expected one running session, got several; name the one to arm:\n")
    assert poseloop("arm", two.folder)[0] == 0
    code, out, _ = poseloop("disarm", "--json")
    found: list[dict[str, Any]] = json.loads(out)
    assert code == 0
    assert {(answer["session"], answer["done"], answer["armed"]) for answer in found} == {
        (str(one.folder), True, False),
        (str(two.folder), True, False),
    }


def test_an_address_instead_of_a_folder(start: Callable[[str], Loop]) -> None:
    loop = start("s1")
    assert poseloop("arm", "--address", loop.link.addresses[0]) == (0, f"{loop.folder}: armed\n", "")
    assert poseloop("disarm", loop.folder, "--address", "tcp://127.0.0.1:1")[2] == (
        "expected a session folder or --address, got both\n"
    )


def test_no_session_and_another_one(start: Callable[[str], Loop], tmp_path: Path) -> None:
    assert poseloop("disarm") == (2, "", "no session of yours is running on this computer\n")
    loop = start("s1")
    other = tmp_path / "s2"
    assert poseloop("arm", other) == (
        2,
        "",
        f"{other}: expected a running session, got one that is not; running: {loop.folder}\n",
    )


def test_keys_arm_and_disarm(
    start: Callable[[str], Loop], monkeypatch: pytest.MonkeyPatch, wait_for: Callable[..., object]
) -> None:
    loop = start("s1")
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "wb", buffering=0) as keyboard, os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        with keys.Keys(loop.folder, quiet=False):
            keyboard.write(b"x?a")
            wait_for(lambda: loop.orders == [("arm", "anna, key of poseloop run")])
            keyboard.write(b" ")
            wait_for(lambda: loop.orders[1:] == [("disarm", "anna, key of poseloop run")])


def test_without_a_terminal_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "keys").open("w+") as file:
        file.write("a")
        file.seek(0)
        monkeypatch.setattr(sys, "stdin", file)
        n_before = threading.active_count()
        with keys.Keys(tmp_path, quiet=False):
            assert threading.active_count() == n_before
        assert file.read() == "a"


def test_a_stop_imports_little() -> None:
    code = (
        "import sys; sys.argv = ['poseloop', 'disarm', '--help']\nfrom realtime.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([name for name in ('numpy', 'numba', 'av', 'realtime.rig') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
