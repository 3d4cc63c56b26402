import json
import sys
import uuid

import pytest

from triggers.errors import TriggerFailedError, TriggerNotInstalledError, TriggerNotOpenError
from triggers.lsl import LslOptions, LslTrigger
from triggers.pulse import Pulse
from triggers.testing import check_trigger

FAR_NS = 2**62
MS = 1_000_000

try:
    import pylsl
except (ImportError, OSError, RuntimeError) as error:
    pylsl = None
    WHY = f"pylsl cannot be loaded: {error}"
else:
    WHY = ""
needs_pylsl = pytest.mark.skipif(pylsl is None, reason=WHY)


class Subscriber:
    """The layer's own inlet."""

    def __init__(self, source_id):
        streams = pylsl.resolve_byprop("source_id", source_id, timeout=20.0)
        assert len(streams) == 1, "the stream was not found"
        self.inlet = pylsl.StreamInlet(streams[0], recover=False)
        self.inlet.open_stream(20.0)

    def sample(self):
        values, stamp_s = self.inlet.pull_sample(timeout=20.0)
        assert values is not None, "nothing came"
        return json.loads(values[0]), stamp_s

    def marker(self):
        return self.sample()[0]


@pytest.fixture
def options():
    return LslOptions(name=f"poseloop-{uuid.uuid4().hex}", allow_network=True)


@pytest.fixture
def opened(options):
    trigger = LslTrigger(options)
    trigger.info = trigger.open()
    yield trigger
    trigger.close()


@pytest.fixture
def subscriber(opened, until):
    subscriber = Subscriber(opened.info.device["source_id"])
    until.true(lambda: opened.poll() == () and opened._had_subscriber)
    return subscriber


@needs_pylsl
def test_contract(options):
    info = check_trigger(LslTrigger(options))
    assert (info.driver, info.address, info.acknowledges, info.dead_man_ms) == ("lsl", options.name, False, None)
    assert info.device["liblsl"] == pylsl.library_version()


@needs_pylsl
@pytest.mark.parametrize(
    ("pulse", "fields"),
    [
        pytest.param(
            Pulse(3, 200_000),
            {"channel": 3, "duration_us": 200_000, "intensity": 1.0, "train_hz": None, "width_us": None},
            id="unbroken",
        ),
        pytest.param(
            Pulse(0, 200_000, 0.5, 20.0, 10_000),
            {"channel": 0, "duration_us": 200_000, "intensity": 0.5, "train_hz": 20.0, "width_us": 10_000},
            id="train",
        ),
    ],
)
def test_a_pulse(opened, subscriber, pulse, fields):
    before_s = pylsl.local_clock()
    receipt = opened.fire(pulse, 7, FAR_NS)
    after_s = pylsl.local_clock()
    assert (receipt.command_id, receipt.acked_ns, receipt.delivered) == (7, None, True)
    marker, stamp_s = subscriber.sample()
    assert marker == {"type": "pulse", "command_id": 7, **fields}
    assert before_s <= stamp_s <= after_s


@needs_pylsl
def test_other_markers(opened, subscriber):
    opened.stop(3)
    opened.all_off()
    assert [subscriber.marker() for _ in range(2)] == [{"type": "stop", "channel": 3}, {"type": "all_off"}]


@needs_pylsl
def test_what_has_expired_is_not_sent(opened, subscriber, options):
    opened._now_ns = lambda: 1_000 * MS
    assert not opened.fire(Pulse(0, 1_000), 7, 1_000 * MS - 1).delivered
    (event,) = opened.poll()
    assert (event.kind, event.command_id, event.detail) == (
        "refused",
        7,
        f"lsl {options.name}: the command came too late",
    )
    assert opened.fire(Pulse(0, 1_000), 8, 1_000 * MS).delivered
    assert subscriber.marker()["command_id"] == 8


@needs_pylsl
def test_without_a_subscriber_nothing_is_delivered(opened):
    assert opened.n_undelivered == 1  # The first `all_off`.
    assert not opened.fire(Pulse(0, 1_000), 7, FAR_NS).delivered
    assert opened.n_undelivered == 2
    assert opened.poll() == ()


@needs_pylsl
def test_a_subscriber_that_went_away_is_one_fault(opened, subscriber, until, options):
    subscriber.inlet.close_stream()
    event = until.event(opened, "fault")
    assert event.detail == f"lsl {options.name}: nobody subscribes to the stream any more; is it still recorded?"
    assert not opened.fire(Pulse(0, 1_000), 7, FAR_NS).delivered
    assert opened.poll() == ()


@needs_pylsl
def test_a_subscriber_that_must_be_there(options):
    trigger = LslTrigger(options.model_copy(update={"subscriber_wait_s": 0.1}))
    with pytest.raises(TriggerNotOpenError) as caught:
        trigger.open()
    assert str(caught.value) == (
        f"lsl {options.name}: expected a subscriber within 0.1 s, got none; start the recording there, or set "
        "subscriber_wait_s = 0"
    )
    with pytest.raises(TriggerFailedError, match="not open; open it first"):
        trigger.fire(Pulse(0, 1_000), 1, FAR_NS)


@needs_pylsl
def test_a_closed_trigger_can_be_opened_again_as_another_stream(options):
    trigger = LslTrigger(options)
    sources = set()
    for _ in range(2):
        sources.add(trigger.open().device["source_id"])
        with pytest.raises(TriggerNotOpenError, match="already open here"):
            trigger.open()
        trigger.close()
    assert len(sources) == 2


def test_the_network_must_be_allowed():
    with pytest.raises(TriggerNotOpenError) as caught:
        LslTrigger(LslOptions()).open()
    assert str(caught.value) == (
        "lsl poseloop: expected allow_network = true; the Lab Streaming Layer sends its streams to everybody on the "
        "network who asks, and cannot be kept on this computer"
    )


def test_a_package_that_is_missing(monkeypatch, options):
    monkeypatch.setitem(sys.modules, "pylsl", None)
    with pytest.raises(TriggerNotInstalledError, match=r"driver lsl needs the package pylsl .*poseloop\[lsl\]"):
        LslTrigger(options).open()
