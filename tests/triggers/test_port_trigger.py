"""What every driver on a serial port shares, with the smallest driver that there can be."""

import os
from contextlib import suppress

import pytest

from triggers.base import FireReceipt, TriggerInfo
from triggers.errors import TriggerFailedError, TriggerNotOpenError, TriggerTimeoutError
from triggers.port_trigger import PortTrigger
from triggers.pulse import Pulse

PULSE = Pulse(0, 1_000)


class Letters(PortTrigger):
    """Its device answers `F` (fire), `S` (stop) and `O` (all off) with the same letter in lower case."""

    NAME = "letters"
    GOODBYE = b"bye"

    def __init__(self, path, clock):
        super().__init__(path, 115_200, clock)
        self.greeting_fails_with = None
        self.n_attended = 0

    def _begin(self):
        super()._begin()
        self.said = b""

    def _greet(self, port):
        if self.greeting_fails_with is not None:
            raise self.greeting_fails_with
        port.write(b"H")
        return TriggerInfo(self.NAME, self._path, {}, acknowledges=True, dead_man_ms=None)

    def fire(self, pulse, command_id, expires_ns):
        self._usable_port().write(b"F")
        return FireReceipt(command_id, self._now_ns())

    def stop(self, channel):
        self._usable_port().write(b"S")

    def all_off(self):
        if self._port is not None:
            with suppress(TriggerFailedError, TriggerTimeoutError):
                self._port.write(b"O")

    def _take(self, data, now_ns):
        self.said += data
        if b"!" in data:
            self._fail(f"{self._where()}: broken")
            self._fail(f"{self._where()}: in two")

    def _attend(self, now_ns):
        self.n_attended += 1

    def _is_off_unanswered(self):
        return b"o" not in self.said


@pytest.fixture
def heard(peer):
    """All that the device has read; it answers each letter."""
    heard = bytearray()

    def answer(data):
        heard.extend(data)
        return data.lower()

    peer.answer = answer
    return heard


@pytest.fixture
def letters(peer, heard, clock):
    trigger = Letters(peer.port, clock)
    trigger.open()
    yield trigger
    trigger.close()


def test_closing_switches_off_waits_for_the_answer_and_says_goodbye(peer, heard, letters, until):
    letters.close()
    assert letters.said.endswith(b"o")
    until.true(lambda: heard == b"HObye")
    letters.close()
    for call in (lambda: letters.fire(PULSE, 1, 0), lambda: letters.stop(0)):
        with pytest.raises(TriggerFailedError) as caught:
            call()
        assert str(caught.value) == f"letters {peer.port}: not open; open it first"


def test_closing_does_not_wait_for_ever(peer, heard, letters, until):
    peer.answer = lambda data: heard.extend(data) or b""
    letters.close()
    until.true(lambda: heard == b"HObye")


def test_it_is_opened_once_and_can_be_opened_again(peer, letters, until):
    with pytest.raises(TriggerNotOpenError) as caught:
        letters.open()
    assert str(caught.value) == f"letters {peer.port}: already open here; close it first"
    until.true(lambda: letters.poll() == () and letters.said)
    letters.close()
    letters.open()
    assert letters.said == b""


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        pytest.param(TriggerFailedError("gone"), TriggerNotOpenError, id="the port fails"),
        pytest.param(TriggerTimeoutError("full"), TriggerNotOpenError, id="the port takes nothing"),
        pytest.param(KeyboardInterrupt("gone"), KeyboardInterrupt, id="anything else"),
    ],
)
def test_a_greeting_that_fails_releases_the_port(peer, clock, error, raised):
    trigger = Letters(peer.port, clock)
    trigger.greeting_fails_with = error
    with pytest.raises(raised, match=str(error)) as caught:
        trigger.open()
    trigger.greeting_fails_with = None
    trigger.open()
    trigger.close()
    assert caught.traceback  # It held the port, so that this was not closed for want of an owner.


def test_a_failure_is_one_fault_and_for_good(peer, letters, until):
    until.true(lambda: letters.poll() == () and letters.said == b"h")
    n_attended = letters.n_attended
    assert letters.failure == ""
    peer.send(b"!")
    letters._port.wait(20.0)
    (event,) = letters.poll()
    assert (event.kind, event.command_id, event.detail) == ("fault", None, f"letters {peer.port}: broken")
    assert letters.failure == event.detail
    peer.send(b"!")
    letters._port.wait(20.0)
    assert letters.poll() == ()
    assert (letters.n_attended, letters.said) == (n_attended, b"h!")
    for call in (lambda: letters.fire(PULSE, 1, 0), lambda: letters.stop(0)):
        with pytest.raises(TriggerFailedError, match="broken"):
            call()


def test_a_vanished_port_is_noticed_by_poll(peer, letters):
    peer.close()
    (event,) = letters.poll()
    gone = f"letters {peer.port}: the port is gone (Input/output error); plug the device in and start again"
    assert (event.kind, event.detail) == ("fault", gone)
    assert letters.poll() == ()
    letters.all_off()
    letters.close()


def test_no_such_port_names_the_driver(tmp_path, clock):
    path = os.fspath(tmp_path / "ttyACM9")
    with pytest.raises(TriggerNotOpenError) as caught:
        Letters(path, clock).open()
    assert str(caught.value).startswith(f"letters {path}: no such port; ports on this machine: ")
