"""Orders from a person's program to a supervisor's sockets: real ZeroMQ, and everything that can come in."""

import json
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from realtime.supervision import ordering
from realtime.supervision.order_sockets import OrderSockets
from realtime.supervision.ordering import NoSessionError, give_order, own_folder, running_sessions
from realtime.supervision.protocol import Answer, Ask, Spec
from triggers.errors import TriggerNotOpenError

pytestmark = pytest.mark.alone


def spec(address: str | None = None) -> Spec:
    return Spec("/data/s1", 1000.0, {}, address, None, None, -1, None)


@contextmanager
def answering(sockets: OrderSockets, answer: Answer) -> Iterator[list[Ask]]:
    """Answer every question in a thread, as the supervisor's process would."""
    asked: list[Ask] = []
    over = threading.Event()

    def serve() -> None:
        while not over.wait(0.002):
            ask = sockets.next()
            if ask is not None:
                asked.append(ask)
                sockets.answer(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        over.set()
        thread.join()


def raw(address: str, data: bytes) -> dict[str, Any]:
    with zmq.Context() as context, context.socket(zmq.REQ) as client:
        client.setsockopt(zmq.LINGER, 0)
        client.connect(address)
        client.send(data)
        assert client.poll(5000)
        answer: dict[str, Any] = json.loads(client.recv())
        return answer


@pytest.mark.parametrize("which", [0, 1], ids=["own folder", "the rig's address"])
def test_an_order_arrives_and_its_answer_comes_back(which: int, free_address: str) -> None:
    done = Answer(True, True, "", "/data/s1")
    with OrderSockets(spec(free_address)) as sockets, answering(sockets, done) as asked:
        assert give_order(sockets.addresses[which], Ask("arm", "anna")) == done
        assert asked == [Ask("arm", "anna")]


NO_ORDERS = {
    "no JSON": b"arm",
    "no object": b"[]",
    "another order": b'{"order": "fire"}',
    "no order": b"{}",
    "a key too many": b'{"order": "arm", "force": true}',
    "a name without end": json.dumps({"order": "disarm", "by": "x" * 201}).encode(),
    "a pickle": pickle.dumps({"order": "arm"}),
}


@pytest.mark.parametrize("data", NO_ORDERS.values(), ids=NO_ORDERS)
def test_what_is_no_order_is_told_so_and_reaches_nobody(data: bytes) -> None:
    with OrderSockets(spec()) as sockets, answering(sockets, Answer(True, True, "", "")) as asked:
        answer = raw(sockets.addresses[0], data)
        assert (answer["done"], asked) == (False, [])
        assert answer["text"].startswith("expected an order, got ")
        assert give_order(sockets.addresses[0], Ask("state")).done, "and the next one is taken"


def test_a_message_without_end_is_cut_off() -> None:
    with OrderSockets(spec()) as sockets, answering(sockets, Answer(True, True, "", "")) as asked:
        with zmq.Context() as context, context.socket(zmq.REQ) as client:
            client.setsockopt(zmq.LINGER, 0)
            client.connect(sockets.addresses[0])
            client.send(b'{"order": "disarm", "by": "' + b"x" * 100_000 + b'"}')
            assert client.poll(100) == 0
        assert give_order(sockets.addresses[0], Ask("state")).done
        assert asked == [Ask("state")]


def test_another_computer_needs_keys() -> None:
    with pytest.raises(TriggerNotOpenError, match=r"zmq tcp://0\.0\.0\.0:5581: expected an address of this computer"):
        OrderSockets(spec("tcp://0.0.0.0:5581"))


def test_running_sessions_are_found_and_what_dead_ones_left_is_removed() -> None:
    dead = own_folder() / f"{2**22 + 1}.orders"  # above the highest process id
    dead.touch()
    with OrderSockets(spec()) as sockets, answering(sockets, Answer(True, False, "", "/data/s1")):
        assert running_sessions()[Path("/data/s1")] == sockets.addresses[0]
    assert not dead.exists()
    assert Path("/data/s1") not in running_sessions()


def test_nobody_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "_GONE_MS", 20)
    with pytest.raises(NoSessionError, match=r"ipc:///tmp/nobody\.orders: no session listens there"):
        give_order("ipc:///tmp/nobody.orders", Ask("disarm"))


def open_to_others(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o750)


NOT_OURS: dict[str, Callable[[Path], object]] = {
    "open to others": open_to_others,
    "a link": lambda folder: folder.symlink_to(folder.parent),
    "a file": lambda folder: folder.touch(),
}


@pytest.mark.parametrize("make", NOT_OURS.values(), ids=NOT_OURS)
def test_a_folder_that_others_could_enter_is_refused(
    make: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ordering, "_ROOT", tmp_path)
    make(tmp_path / f"poseloop-{os.getuid()}")
    with pytest.raises(PermissionError, match="expected a folder that only this user can enter, got another"):
        own_folder()


def test_a_folder_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ordering, "_ROOT", tmp_path)
    monkeypatch.setattr(ordering.os, "getuid", lambda: 4711)
    with pytest.raises(PermissionError, match="expected a folder that only this user can enter, got another"):
        own_folder()
