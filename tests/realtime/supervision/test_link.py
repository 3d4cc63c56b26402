"""The loop's end with a real supervisor process at the other."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from realtime.stimulus import Order, SafetyOptions
from realtime.supervision.link import SupervisorError, SupervisorLink
from realtime.supervision.ordering import give_order
from realtime.supervision.protocol import Answer, Ask

pytestmark = pytest.mark.alone


@pytest.fixture
def link(tmp_path: Path) -> Iterator[SupervisorLink]:
    link = SupervisorLink(SafetyOptions(), {}, tmp_path / "s1")
    link.open()
    yield link
    link.close(off=True)


def asked(link: SupervisorLink, ask: Ask) -> tuple[threading.Thread, list[Answer]]:
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(give_order(link.addresses[0], ask)))
    thread.start()
    return thread, answers


def test_an_order_comes_to_the_loop_and_its_answer_to_the_person(
    link: SupervisorLink, tmp_path: Path, wait_for: Callable[..., object]
) -> None:
    thread, answers = asked(link, Ask("arm", "anna"))
    orders: list[Order] = []
    wait_for(lambda: orders.extend(link.take("not armed yet")) or orders)
    [order] = orders
    assert (order.kind, order.by, order.is_fault) == ("arm", "anna", False)
    assert 0 <= time.monotonic_ns() - order.host_ns < 30e9
    link.answer(order, "")
    thread.join()
    assert answers == [Answer(True, True, "", str(tmp_path / "s1"))]


def test_a_supervisor_that_dies_disarms_once(link: SupervisorLink, wait_for: Callable[..., object]) -> None:
    link.take("")
    os.kill(link._process.pid, signal.SIGKILL)
    orders: list[Order] = []
    wait_for(lambda: orders.extend(link.take("")) or orders)
    assert [(order.kind, order.by, order.is_fault) for order in orders] == [
        ("disarm", "the supervisor process ended by itself", True)
    ]
    time_ns = time.monotonic_ns()
    wait_for(lambda: time.monotonic_ns() > time_ns + 10_000_000)
    assert link.take("the supervisor process ended by itself") == ()


def test_it_ends_after_a_goodbye_and_leaves_nothing(tmp_path: Path) -> None:
    link = SupervisorLink(SafetyOptions(), {}, tmp_path / "s1")
    link.open()
    socket = Path(link.addresses[0].removeprefix("ipc://"))
    assert socket.exists()
    link.close(off=False)
    link.close(off=True)
    assert link._process.returncode == 0
    assert not socket.exists()


def test_a_start_that_failed_before_it_was_ready_ends_it_too(tmp_path: Path) -> None:
    link = SupervisorLink(SafetyOptions(), {}, tmp_path / "s1")
    link.close(off=True)
    assert link._process.returncode == 0


def test_signals_of_the_terminal_do_not_end_it(link: SupervisorLink) -> None:
    assert os.getsid(link._process.pid) != os.getsid(0), "before it can ignore them it must not get them"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(link._process.pid, number)
    thread, answers = asked(link, Ask("state"))
    thread.join()
    assert [answer.done for answer in answers] == [True]


def test_an_address_that_anybody_could_reach_is_refused(tmp_path: Path) -> None:
    link = SupervisorLink(SafetyOptions(address="tcp://0.0.0.0:5581"), {}, tmp_path / "s1")
    with pytest.raises(
        SupervisorError,
        match=r"^supervisor: zmq tcp://0\.0\.0\.0:5581: expected an address of this computer "
        r"\(tcp://127\.0\.0\.1:PORT or ipc://PATH\), or secret_key_file and peer_key_file; without keys anybody on "
        r"the network could drive the stimulus$",
    ):
        link.open()
    link.close(off=True)
