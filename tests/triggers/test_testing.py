import time
from dataclasses import replace

import pytest

from triggers.base import FireReceipt, TriggerEvent
from triggers.recording import RecordingOptions, RecordingTrigger
from triggers.testing import check_trigger


class Slow(RecordingTrigger):
    def fire(self, pulse, command_id, expires_ns):
        time.sleep(0.06)
        return super().fire(pulse, command_id, expires_ns)


class Forgetful(RecordingTrigger):
    def fire(self, pulse, command_id, expires_ns):
        return FireReceipt(command_id, super().fire(pulse, command_id, expires_ns).sent_ns)


class Confused(RecordingTrigger):
    def fire(self, pulse, command_id, expires_ns):
        return super().fire(pulse, command_id + 1, expires_ns)


class Twice(RecordingTrigger):
    def fire(self, pulse, command_id, expires_ns):
        self._twice = (TriggerEvent("ack", command_id, 0), TriggerEvent("ack", command_id, 0))
        return FireReceipt(command_id, super().fire(pulse, command_id, expires_ns).sent_ns)

    def poll(self):
        events, self._twice = getattr(self, "_twice", ()), ()
        return events


class Faulty(RecordingTrigger):
    def poll(self):
        return (TriggerEvent("fault", None, 0, detail="on fire"),) if self._is_open else ()


class Silent(RecordingTrigger):
    def open(self):
        return replace(super().open(), acknowledges_stop=True)

    def stop(self, channel):
        super().stop(channel)
        return True


class Contradictory(Silent):
    def stop(self, channel):
        super().stop(channel)
        return False


class Unable(RecordingTrigger):
    def open(self):
        return replace(super().open(), extends=True)


class Modest(RecordingTrigger):
    def extend(self, channel, extended_id, command_id, expires_ns):
        del channel, extended_id, expires_ns
        return FireReceipt(command_id, 0)


class Endless(Unable):
    def extend(self, channel, extended_id, command_id, expires_ns):
        del channel, extended_id, expires_ns
        return FireReceipt(command_id, 0, acked_ns=0)


class Undead(RecordingTrigger):
    def _check_open(self):
        pass


@pytest.mark.parametrize(
    ("driver", "message"),
    [
        (Slow, "fire: expected to return within 0.05 s, took 0.06"),
        (Forgetful, "poll: expected for command 1 the events ['ack'], got []"),
        (Confused, "fire: expected a receipt for 1, got FireReceipt(command_id=2"),
        (Twice, "poll: expected for command 1 the events ['ack'], got [TriggerEvent(kind='ack'"),
        (Faulty, "poll: expected no fault, got ['on fire'"),
        (Silent, "poll: expected after `stop` the events [('stopped', 0)], got []"),
        (Contradictory, "stop: expected True, as `open` said, got False"),
        (Modest, "extend without `extends`: expected TriggerFailedError, got none"),
        (
            Endless,
            "extend: expected the answers ['ack', 'ack', 'ack', 'ack', 'ack', 'ack', 'over'], got ['ack', 'ack',",
        ),
        (Undead, "fire after close: expected TriggerFailedError, got none"),
    ],
)
def test_a_driver_that_breaks_the_contract_is_caught(driver, message):
    with pytest.raises(AssertionError) as caught:
        check_trigger(driver(RecordingOptions()), answer_wait_s=0.05)
    assert str(caught.value).startswith(message)
