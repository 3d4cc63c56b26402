import threading
import time

import pytest
import zmq

from triggers.errors import TriggerFailedError, TriggerNotOpenError
from triggers.open_ephys import OpenEphysOptions, OpenEphysTrigger
from triggers.pulse import Pulse
from triggers.testing import check_trigger

FAR_NS = 2**62
MS = 1_000_000


class Gui:
    """The Network Events plugin of an acquiring GUI: a REP socket that answers as its published source does."""

    def __init__(self, context, port=0, words=("line", "state")):
        self._socket = context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        if port:
            self._socket.bind(f"tcp://127.0.0.1:{port}")
        self.port = port or self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.words = words
        self.acquires = True
        self.answers = {}  # First word of a message → what to answer instead.
        self.received = []
        self.lines = {}
        self._turn = threading.Lock()
        self._reading = threading.Event()
        self._reading.set()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while not self._ending.is_set():
            if self._reading.wait(0.01) and self._socket.poll(10):
                with self._turn:
                    if self._reading.is_set():
                        text = self._socket.recv().decode()
                        self.received.append(text)
                        self._socket.send_string(self.answers.get(text.split()[0]) or self._answer(text))
        self._socket.close()

    def stop_reading(self):
        with self._turn:
            self._reading.clear()

    def go_on_reading(self):
        self._reading.set()

    def _answer(self, text):
        command, *words = text.split()
        if command == "IsAcquiring":
            return "1" if self.acquires else "0"
        if command != "TTL":
            return "NotHandled"
        given = dict(word.lower().split("=") for word in words)
        line, state = int(given.get(self.words[0], 1)), int(given.get(self.words[1], 0))
        if not 1 <= line <= 256:
            return "InvalidChannel"
        if self.acquires:
            self.lines[line] = state
        return f"TTLHandled: {self.words[0]}={line} {self.words[1]}={state}"

    def of_interest(self):
        """Return what came, without questions and without lowering what was low."""
        return [text for text in self.received if text != "IsAcquiring"]

    def close(self):
        self._ending.set()
        self._reading.set()
        self._thread.join()


@pytest.fixture
def gui(context):
    gui = Gui(context)
    yield gui
    gui.close()


@pytest.fixture
def free_port(free_address):
    return int(free_address.rsplit(":", 1)[1])


def _settle(trigger, until):
    """Wait until everything is answered; return the events."""
    events = []
    until.true(lambda: events.extend(trigger.poll()) or not trigger._unanswered)
    return events


@pytest.fixture
def opened(gui, clock, until):
    trigger = OpenEphysTrigger(OpenEphysOptions(port=gui.port), clock)
    trigger.open()
    assert _settle(trigger, until) == []
    gui.received.clear()
    yield trigger
    trigger.close()


def test_contract(gui):
    info = check_trigger(OpenEphysTrigger(OpenEphysOptions(port=gui.port, ack_timeout_ms=10_000)))
    assert (info.driver, info.address) == ("open_ephys", f"tcp://127.0.0.1:{gui.port}")
    assert (info.acknowledges, info.dead_man_ms) == (True, None)
    assert info.device == {"n_channels": 8, "acquiring": True, "acknowledgement": "the GUI took the event"}
    assert gui.of_interest().count("TTL Line=1 State=1") == 5
    assert gui.lines[1] == 0


def test_every_line_is_lowered_when_it_opens(gui, until):
    gui.lines = dict.fromkeys(range(1, 10), 1)
    with OpenEphysTrigger(OpenEphysOptions(port=gui.port)) as trigger:
        assert _settle(trigger, until) == []
    assert gui.lines == dict.fromkeys(range(1, 9), 0) | {9: 1}


def test_a_line_is_raised_and_lowered_when_the_pulse_is_over(gui, opened, until, clock):
    receipt = opened.fire(Pulse(2, 20_000), 7, FAR_NS)
    assert (receipt.command_id, receipt.sent_ns, receipt.acked_ns, receipt.delivered) == (7, clock.now_ns, None, True)
    clock.now_ns += 20 * MS - 1
    event = until.event(opened, "ack")
    assert (event.command_id, event.host_ns, event.device_us, event.detail) == (7, clock.now_ns, None, "")
    assert gui.lines[3] == 1
    clock.now_ns += 1
    assert _settle(opened, until) == []
    assert gui.received == ["TTL Line=3 State=1", "TTL Line=3 State=0"]


def test_a_train_is_one_event(gui, opened, until, clock):
    opened.fire(Pulse(0, 100_000, 1.0, 100.0, 1_000), 7, FAR_NS)
    clock.now_ns += 100 * MS
    _settle(opened, until)
    assert gui.received == ["TTL Line=1 State=1", "TTL Line=1 State=0"]


def test_the_words_of_older_plugins(context, until, clock):
    gui = Gui(context, words=("channel", "on"))
    with OpenEphysTrigger(OpenEphysOptions(port=gui.port, syntax="channel"), clock) as trigger:
        _settle(trigger, until)
        trigger.fire(Pulse(4, 1_000), 7, FAR_NS)
        until.event(trigger, "ack")
        assert gui.lines[5] == 1
    gui.close()
    assert gui.lines[5] == 0


@pytest.mark.parametrize(
    ("pulse", "text"),
    [
        (Pulse(2, 20_000), "poseloop pulse id=7 channel=2 duration_us=20000 intensity=1"),
        (
            Pulse(0, 20_000, 0.5, 100.0, 2_500),
            "poseloop pulse id=7 channel=0 duration_us=20000 intensity=0.5 train_hz=100 width_us=2500",
        ),
    ],
)
def test_messages(gui, until, pulse, text):
    with OpenEphysTrigger(OpenEphysOptions(port=gui.port, messages=True)) as trigger:
        trigger.fire(pulse, 7, FAR_NS)
        events = _settle(trigger, until)
    assert [(event.kind, event.command_id) for event in events] == [("ack", 7)]
    assert text in gui.received


@pytest.mark.parametrize("switch_off", [lambda t: t.stop(0), lambda t: t.all_off(), lambda t: t.close()])
def test_switching_off_lowers_the_line_and_frees_the_channel(gui, opened, until, switch_off):
    opened.fire(Pulse(0, 3_600_000_000), 7, FAR_NS)
    until.event(opened, "ack")
    switch_off(opened)
    until.true(lambda: gui.lines[1] == 0)
    if opened._socket is not None:
        assert opened.fire(Pulse(0, 1_000), 8, FAR_NS).delivered


def test_all_off_leaves_lines_alone_that_are_low(gui, opened, until):
    opened.all_off()
    opened.stop(8)
    assert _settle(opened, until) == []
    assert gui.received == []


@pytest.mark.parametrize(
    ("channel", "late_ns", "why"),
    [
        pytest.param(0, 1, "the command came too late", id="late"),
        pytest.param(8, 0, "expected a channel from 0 to 7, got 8", id="channel"),
        pytest.param(1, 0, "the channel is still busy with an earlier pulse", id="busy"),
    ],
)
def test_what_is_refused_is_not_sent(gui, opened, until, clock, channel, late_ns, why):
    opened.fire(Pulse(1, 1_000_000), 6, FAR_NS)
    until.event(opened, "ack")
    assert not opened.fire(Pulse(channel, 1_000), 7, clock.now_ns - late_ns).delivered
    (event,) = opened.poll()
    assert (event.kind, event.command_id) == ("refused", 7)
    assert event.detail == f"open_ephys tcp://127.0.0.1:{gui.port}: {why}"
    assert gui.received == ["TTL Line=2 State=1"]


def test_a_line_that_the_plugin_does_not_have(gui, opened, until):
    gui.answers["TTL"] = "InvalidChannel"
    opened.fire(Pulse(0, 1_000), 7, FAR_NS)
    event = until.event(opened, "refused")
    assert event.command_id == 7
    assert event.detail == (
        f"open_ephys tcp://127.0.0.1:{gui.port}: expected TTLHandled for 'TTL Line=1 State=1', got 'InvalidChannel'"
    )
    opened.stop(0)
    assert "for 'TTL Line=1 State=0', got 'InvalidChannel'" in until.event(opened, "fault").detail


# --- a GUI that does not acquire, answer, or exist ---


def test_a_gui_that_does_not_acquire(gui):
    gui.acquires = False
    with pytest.raises(TriggerNotOpenError) as caught:
        OpenEphysTrigger(OpenEphysOptions(port=gui.port)).open()
    assert str(caught.value) == (
        f"open_ephys tcp://127.0.0.1:{gui.port}: the GUI does not acquire, so that events would be lost; start its "
        "acquisition first, or set require_acquisition = false"
    )
    with OpenEphysTrigger(OpenEphysOptions(port=gui.port, require_acquisition=False)) as trigger:
        assert trigger._is_acquiring is False


def test_a_plugin_that_does_not_know_the_question(gui):
    gui.answers["IsAcquiring"] = "NotHandled"
    assert OpenEphysTrigger(OpenEphysOptions(port=gui.port)).open().device["acquiring"] is None


def test_an_acquisition_that_ends_is_one_fault(gui, opened, until, clock):
    clock.now_ns += 1_000 * MS
    assert _settle(opened, until) == []
    gui.acquires = False
    clock.now_ns += 1_000 * MS
    event = until.event(opened, "fault")
    assert event.detail == (
        f"open_ephys tcp://127.0.0.1:{gui.port}: the GUI stopped its acquisition; events are lost from now on"
    )
    clock.now_ns += 1_000 * MS
    assert _settle(opened, until) == []
    assert gui.received == ["IsAcquiring"] * 3


def test_no_gui(free_port):
    trigger = OpenEphysTrigger(OpenEphysOptions(port=free_port, connect_wait_s=0.1))
    with pytest.raises(TriggerNotOpenError) as caught:
        trigger.open()
    assert str(caught.value) == (
        f"open_ephys tcp://127.0.0.1:{free_port}: expected the Network Events plugin there within 0.1 s, got no "
        "connection; is it in the GUI's signal chain, with this port?"
    )
    with pytest.raises(TriggerFailedError, match="not open; open it first"):
        trigger.fire(Pulse(0, 1_000), 1, FAR_NS)


def test_a_gui_that_does_not_answer(gui):
    gui.stop_reading()
    with pytest.raises(TriggerNotOpenError) as caught:
        OpenEphysTrigger(OpenEphysOptions(port=gui.port, connect_wait_s=0.2)).open()
    assert str(caught.value) == (
        f"open_ephys tcp://127.0.0.1:{gui.port}: expected an answer within 0.2 s, got none; is this port the Network "
        "Events plugin's?"
    )


def test_a_missing_answer_is_one_fault_and_a_late_one_is_reported(gui, opened, until, clock):
    gui.stop_reading()
    opened.fire(Pulse(0, 10_000_000), 7, FAR_NS)
    clock.now_ns += 1_000 * MS
    assert opened.poll() == ()
    clock.now_ns += 1
    (event,) = opened.poll()
    assert (event.kind, event.command_id) == ("fault", 7)
    assert event.detail == (
        f"open_ephys tcp://127.0.0.1:{gui.port}: 'TTL Line=1 State=1' was not answered within 1000 ms"
    )
    assert opened.poll() == ()
    gui.go_on_reading()
    event = until.event(opened, "ack")
    assert (event.command_id, event.detail) == (7, "after the time-out")


def test_a_gui_that_stands_still_blocks_nothing_and_is_sent_no_more_than_a_few(gui, opened, until):
    gui.stop_reading()
    durations_s, receipts = [], []
    for command_id in range(500):
        started_s = time.perf_counter()
        receipts.append(opened.fire(Pulse(0, 1_000), command_id, FAR_NS))
        opened.stop(0)
        durations_s.append(time.perf_counter() - started_s)
    assert 0 < sum(receipt.delivered for receipt in receipts) <= 64
    assert sorted(durations_s)[-10] < 0.05  # A few may meet a busy computer.
    details = {event.detail.split(": ", 1)[1] for event in opened.poll() if event.kind == "refused"}
    assert any(detail.startswith("the GUI has not answered the last ") for detail in details)
    started_s = time.perf_counter()
    opened.close()
    assert time.perf_counter() - started_s < 1.0


def test_a_gui_that_went_away_is_one_fault_and_lowers_its_lines_when_it_is_back(context, free_port, until, clock):
    gui = Gui(context, free_port)
    trigger = OpenEphysTrigger(OpenEphysOptions(port=free_port, ack_timeout_ms=10_000), clock)
    trigger.open()
    assert _settle(trigger, until) == []
    trigger.fire(Pulse(0, 1_000_000), 7, FAR_NS)
    until.event(trigger, "ack")
    gui.close()
    until.true(lambda: not trigger._socket.poll(0, zmq.POLLOUT))
    assert not trigger.fire(Pulse(1, 1_000), 8, FAR_NS).delivered
    trigger.stop(0)
    (event,) = trigger.poll()
    assert event.kind == "fault"
    assert event.detail == f"open_ephys tcp://127.0.0.1:{free_port}: the GUI is not there any more"
    assert trigger.n_undelivered == 2
    back = Gui(context, free_port)
    clock.now_ns += 1_000 * MS
    until.true(lambda: trigger.poll() or back.received)
    assert "TTL Line=1 State=0" in back.received
    trigger.close()
    back.close()


def test_answers_that_nobody_asked_for_are_dropped(context, free_port, until):
    router = context.socket(zmq.ROUTER)
    router.bind(f"tcp://127.0.0.1:{free_port}")
    trigger = OpenEphysTrigger(OpenEphysOptions(port=free_port, connect_wait_s=10.0, ack_timeout_ms=10_000))
    opening = threading.Thread(target=trigger.open)
    opening.start()
    who, number, _, _ = router.recv_multipart()
    for frames in ([b"1"], [b"", b"1"], [b"other", b"", b"0"], [number, b"x", b"0"], [number, b"", b"1"]):
        router.send_multipart([who, *frames])
    opening.join()
    assert trigger._is_acquiring is True
    trigger.close()
    router.close(linger=0)


# --- addresses ---


@pytest.mark.parametrize("host", ["192.168.1.20", "0.0.0.0", "rig.example.org", "2001:db8::1"])
def test_another_computer_must_be_allowed(host):
    with pytest.raises(TriggerNotOpenError) as caught:
        OpenEphysTrigger(OpenEphysOptions(host=host)).open()
    shown = f"[{host}]" if ":" in host else host
    assert str(caught.value) == (
        f"open_ephys tcp://{shown}:5556: expected an address of this computer such as 127.0.0.1, or allow_network = "
        "true; anybody on the way can read and forge what the GUI is told"
    )


def test_a_host_that_is_none():
    with pytest.raises(TriggerNotOpenError, match="open_ephys tcp://not a host:5556: "):
        OpenEphysTrigger(OpenEphysOptions(host="not a host", allow_network=True, connect_wait_s=0.1)).open()


def test_a_closed_trigger_can_be_opened_again(gui):
    trigger = OpenEphysTrigger(OpenEphysOptions(port=gui.port))
    for _ in range(2):
        trigger.open()
        with pytest.raises(TriggerNotOpenError, match="already open here"):
            trigger.open()
        trigger.close()
