import pytest

from triggers.errors import TriggerFailedError, TriggerNotOpenError
from triggers.pulse import Pulse
from triggers.recording import Fired, RecordingOptions, RecordingTrigger
from triggers.testing import check_trigger


def test_contract():
    info = check_trigger(RecordingTrigger(RecordingOptions()))
    assert (info.driver, info.acknowledges) == ("recording", True)


def test_it_remembers_and_acknowledges_at_once():
    trigger = RecordingTrigger(RecordingOptions(), now_ns=lambda: 42)
    with trigger:
        receipt = trigger.fire(Pulse(1, 1_000), 7, 99)
        trigger.stop(1)
    assert (receipt.command_id, receipt.sent_ns, receipt.acked_ns, receipt.delivered) == (7, 42, 42, True)
    assert trigger.fired == [Fired(Pulse(1, 1_000), 7, 99, 42)]
    assert trigger.stopped == [1, None]


def test_opening_forgets():
    trigger = RecordingTrigger(RecordingOptions())
    with trigger:
        trigger.fire(Pulse(1, 1_000), 7, 99)
        with pytest.raises(TriggerNotOpenError, match="already open"):
            trigger.open()
    with trigger:
        assert trigger.fired == []
    with pytest.raises(TriggerFailedError, match="recording trigger: not open; open it first"):
        trigger.fire(Pulse(1, 1_000), 7, 99)
