"""A device that comes back is taken up again, if it is the same one, and nothing ever waits for it."""

import threading
from dataclasses import replace

import pytest

from triggers import reopening, serial_port
from triggers.errors import TriggerFailedError, TriggerNotOpenError
from triggers.pulse import Pulse
from triggers.recording import RecordingOptions, RecordingTrigger
from triggers.reopening import ReopeningTrigger
from triggers.serial import SerialOptions, SerialTrigger
from triggers.serial_port import unit_of
from triggers.testing import check_trigger

PULSE = Pulse(0, 1_000)
FAR_NS = 2**62


class Laser(RecordingTrigger):
    """One opening of a device: what it says of itself, what goes wrong at its opening, and how it ends."""

    def __init__(self, name="laser", error=None, gate=None):
        super().__init__(RecordingOptions())
        self.name, self.error, self.gate = name, error, gate
        self.opening = threading.Event()
        self.why = ""
        self.n_offs = 0

    def open(self):
        self.opening.set()
        if self.gate is not None:
            assert self.gate.wait(20)
        if self.error is not None:
            raise self.error
        return replace(super().open(), device={"name": self.name}, address="/dev/laser")

    def all_off(self):
        self.n_offs += 1
        super().all_off()

    @property
    def failure(self):
        return self.why

    @property
    def is_open(self):
        return self._is_open


@pytest.fixture
def lasers():
    """Those that are made, in order; a test says which there are."""
    return [Laser()]


@pytest.fixture
def trigger(lasers):
    made = iter(lasers)
    trigger = ReopeningTrigger(lambda: next(made), again_s=0.0)
    trigger.open()
    yield trigger
    trigger.close()


def _lose(trigger, laser):
    laser.why = "laser: cable out"
    assert trigger.poll() == ()
    with pytest.raises(TriggerFailedError, match=r"^laser: cable out; looked for, and not back: "):
        trigger.fire(PULSE, 1, FAR_NS)
    with pytest.raises(TriggerFailedError, match=r"^laser: cable out; looked for, and not back: "):
        trigger.stop(0)


def _events(trigger, until):
    events = []
    until.true(lambda: events.extend(trigger.poll()) or events)
    return [event.kind for event in events]


def test_contract(peer):
    check_trigger(ReopeningTrigger(lambda: SerialTrigger(SerialOptions(port=peer.port, ack_timeout_ms=5_000))))


def test_the_same_device_is_taken_up_again(lasers, trigger, until):
    lasers += [Laser(error=TriggerNotOpenError("no such port")), Laser(error=OSError("gone again")), Laser(), Laser()]
    _lose(trigger, lasers[0])
    assert _events(trigger, until) == ["reopened"]
    assert (trigger.failure, trigger.poll()) == ("", ())
    assert trigger.fire(PULSE, 2, FAR_NS).delivered
    assert [laser.is_open for laser in lasers] == [False, False, False, True, False]
    assert lasers[0].stopped == [None, None], "switched off when it was lost, and when it was closed"
    _lose(trigger, lasers[3])
    assert _events(trigger, until) == ["reopened"], "a second time, too"


OTHERS = {"another name": ("lamp", "A50285BI"), "another serial number": ("laser", "A50285BJ")}


@pytest.mark.parametrize(("name", "unit"), OTHERS.values(), ids=OTHERS)
def test_another_device_is_not(monkeypatch, lasers, until, name, unit):
    units = iter(["A50285BI", unit])
    monkeypatch.setattr(reopening, "unit_of", lambda path: next(units))
    other = Laser(name)
    lasers += [other, Laser(gate=threading.Event())]
    made = iter([*lasers, Laser()])
    trigger = ReopeningTrigger(lambda: next(made), again_s=0.0)
    trigger.open()
    _lose(trigger, lasers[0])
    until.true(lasers[2].opening.is_set)
    assert trigger.poll() == ()
    assert not other.is_open, "it is left to whoever wants it"
    assert "not back: expected the same device, " in trigger.failure
    lasers[2].error = TriggerNotOpenError("gone")
    lasers[2].gate.set()
    trigger.close()


def test_nothing_waits_for_a_device_that_takes_its_time(lasers, trigger, until):
    gate = threading.Event()
    lasers.append(Laser(gate=gate))
    _lose(trigger, lasers[0])
    until.true(lasers[1].opening.is_set)
    assert trigger.poll() == ()
    trigger.all_off()
    assert lasers[0].n_offs == 2, "when it was lost and when it was closed; it is nobody's now"
    with pytest.raises(TriggerNotOpenError, match="already open"):
        trigger.open()
    assert trigger.failure.startswith("laser: cable out")
    gate.set()
    assert _events(trigger, until) == ["reopened"]


def test_what_was_found_when_it_is_closed_is_closed(lasers, trigger, until):
    lasers += [Laser(), Laser()]
    _lose(trigger, lasers[0])
    until.true(lambda: lasers[1].is_open)
    trigger.close()
    assert not lasers[1].is_open


def test_what_is_being_opened_when_it_is_closed_is_closed_by_its_thread(monkeypatch, lasers, trigger, until):
    monkeypatch.setattr(reopening, "_CLOSE_WAIT_S", 0.0)
    gate = threading.Event()
    lasers += [Laser(gate=gate), Laser()]
    _lose(trigger, lasers[0])
    until.true(lasers[1].opening.is_set)
    search = trigger._search
    trigger.close()
    gate.set()
    search.join(20)
    assert (search.is_alive(), lasers[1].is_open, lasers[1].stopped) == (False, False, [None])


def test_a_trigger_that_is_closed_is_not_looked_for(lasers, trigger):
    lasers[0].why = "laser: cable out"
    trigger.close()
    assert trigger.poll() == ()
    assert trigger.failure == "laser: cable out"


def test_a_trigger_that_was_never_open_is_not_looked_for():
    laser = Laser(error=TriggerNotOpenError("no such port"))
    trigger = ReopeningTrigger(lambda: laser)
    with pytest.raises(TriggerNotOpenError, match="no such port"):
        trigger.open()
    laser.why = "broken"
    assert trigger.poll() == ()
    assert trigger.failure == "broken"
    trigger.close()


def test_a_port_that_is_plugged_in_again(peer, make_peer, tmp_path, until):
    port = tmp_path / "laser"
    port.symlink_to(peer.port)
    options = SerialOptions(port=str(port), ack_timeout_ms=5_000)
    with ReopeningTrigger(lambda: SerialTrigger(options), again_s=0.01) as trigger:
        trigger.fire(PULSE, 1, FAR_NS)
        assert until.event(trigger, "ack").command_id == 1
        peer.close()
        assert until.event(trigger, "fault").detail.startswith(f"serial {port}: the port is gone")
        until.true(lambda: "no such port" in trigger.failure)
        port.unlink()
        port.symlink_to(make_peer().port)
        assert until.event(trigger, "reopened").host_ns > 0
        trigger.fire(PULSE, 2, FAR_NS)
        assert until.event(trigger, "ack").command_id == 2


def test_the_serial_number_of_a_port(monkeypatch, tmp_path):
    class Port:
        def __init__(self, device, serial_number):
            self.device, self.serial_number = device, serial_number

    ports = [Port(str(tmp_path / "ttyACM0"), "A50285BI"), Port(str(tmp_path / "ttyS0"), None)]
    monkeypatch.setattr(serial_port.list_ports, "comports", lambda: ports)
    (tmp_path / "by-id").symlink_to(tmp_path / "ttyACM0")
    assert [unit_of(str(tmp_path / name)) for name in ("by-id", "ttyS0", "ttyACM1")] == ["A50285BI", "", ""]
