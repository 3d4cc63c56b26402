"""Extend in the reference device: what is granted, what is refused, and that no sequence of it exceeds a cap."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers import wire
from triggers.device import Device, DeviceSpec
from triggers.wire import EndReason, RefusalReason

FREE = {"max_duty_permille": 1000, "dead_man_ms": 60_000}


class Bench:
    """A greeted device, its clock set by hand, its host's clock the same."""

    def __init__(self, **caps):
        self.edges = []
        self.device = Device(DeviceSpec(**FREE | caps), self.edges.append, lambda message, now_us: None)
        self.said = []
        self.send(0, wire.Hello(1, 0))

    def send(self, us, message):
        """Return the answer, and keep all else that it says by then."""
        *before, answer = wire.Parser().feed(self.device.advance(us) + self.device.receive(wire.encode(message), us))
        self.said += before
        return answer

    def end(self):
        while (us := self.device.next_due_us) is not None:
            self.said += wire.Parser().feed(self.device.advance(us))
        return [edge.device_us for edge in self.edges]


def start(number, duration_us, period_us=0, width_us=0, channel=0):
    return wire.PulseTrain(number, channel, 0xFFFF, duration_us, period_us, width_us, 2**31 - 1)


def more(number, extends, channel=0, expires_ms=2**31 - 1):
    return wire.Extend(number, channel, extends, expires_ms)


@pytest.mark.parametrize(
    ("times", "at_us", "edges_us"),
    [
        pytest.param((100, 0, 0), [60], [0, 160], id="pulse"),
        pytest.param((100, 0, 0), [60, 100, 199], [0, 299], id="pulse, again and again"),
        pytest.param((100, 0, 0), [0], [0, 100], id="at once"),
        pytest.param((100, 0, 0), [99], [0, 199], id="in the last moment"),
        pytest.param((100, 40, 10), [50], [0, 10, 40, 50, 80, 90, 120, 130], id="train, in a gap"),
        pytest.param((100, 40, 10), [45], [0, 10, 40, 50, 80, 90, 120, 130], id="train, in a pulse"),
        pytest.param((100, 40, 10), [95], [0, 10, 40, 50, 80, 90, 120, 130, 160, 170], id="train, in its last gap"),
        pytest.param(
            (100, 40, 30), [90], [0, 30, 40, 70, 80, 110, 120, 150, 160, 190], id="a pulse cut short is whole"
        ),
        pytest.param((50, 200, 80), [40], [0, 80], id="the first pulse was to be cut short"),
        pytest.param((50, 200, 80), [20], [0, 70], id="... and still is"),
        pytest.param((50, 200, 80), [40, 80], [0, 80], id="a gap to its end"),
        pytest.param((50, 200, 80), [40, 80, 125, 170], [0, 80, 200, 220], id="a gap, and another pulse"),
    ],
)
def test_the_edges_of_what_is_extended(times, at_us, edges_us):
    bench = Bench()
    bench.send(0, start(7, *times))
    for number, us in enumerate(at_us, start=8):
        assert bench.send(us, more(number, 7)) == wire.Ack(number, wire.Extend.TYPE, 1, us)
    assert bench.end() == edges_us
    assert bench.said == [wire.Done(7, EndReason.FINISHED, at_us[-1] + times[0])]


CASES = {  # What the device is like, what it does, when it is to extend; the reason why not, or None.
    "it runs": ({}, start(7, 100), 50, more(8, 7), None),
    "it ended": ({}, start(7, 100), 100, more(8, 7), RefusalReason.NOT_RUNNING),
    "another pulse": ({}, start(7, 100), 50, more(8, 6), RefusalReason.NOT_RUNNING),
    "another channel": ({}, start(7, 100), 50, more(8, 7, 1), RefusalReason.NOT_RUNNING),
    "no such channel": ({}, start(7, 100), 50, more(8, 7, 8), RefusalReason.BAD_CHANNEL),
    "expired": ({}, start(7, 9_000), 5_500, more(8, 7, expires_ms=4), RefusalReason.EXPIRED),
    "not newer": ({}, start(7, 100), 50, more(7, 7), RefusalReason.REPLAYED),
    "longest on-time, just": ({"max_on_us": 150}, start(7, 100), 50, more(8, 7), None),
    "longest on-time": ({"max_on_us": 150}, start(7, 100), 51, more(8, 7), RefusalReason.MAX_ON),
    "of a train each pulse": ({"max_on_us": 30}, start(7, 100, 40, 30), 90, more(8, 7), None),
    "of a pulse to be cut short": ({"max_on_us": 50}, start(7, 50, 200, 80), 1, more(8, 7), RefusalReason.MAX_ON),
    "duty, just": ({"max_duty_permille": 500, "duty_window_ms": 2}, start(7, 1_500), 500, more(8, 7), None),
    "duty": (
        {"max_duty_permille": 500, "duty_window_ms": 2}, start(7, 1_500), 501, more(8, 7), RefusalReason.MAX_DUTY),
    "duty of a train, enough": (
        {"max_duty_permille": 100, "duty_window_ms": 3}, start(7, 600, 400, 100), 300, more(8, 7), None),
    "duty of a train": (
        {"max_duty_permille": 100, "duty_window_ms": 2}, start(7, 600, 400, 100), 300, more(8, 7),
        RefusalReason.MAX_DUTY),
    "longer than can be told": ({}, start(7, 2**32 - 1, 2**32 - 1, 5), 1, more(8, 7), RefusalReason.BAD_VALUE),
}  # fmt: skip


@pytest.mark.parametrize(("caps", "first", "us", "extend", "reason"), CASES.values(), ids=CASES)
def test_when_it_is_extended(caps, first, us, extend, reason):
    bench = Bench(**caps)
    assert isinstance(bench.send(0, first), wire.Ack)
    answer = bench.send(us, extend)
    if reason is None:
        assert isinstance(answer, wire.Ack)
    else:
        assert answer == wire.Refused(extend.id, wire.Extend.TYPE, reason, us)


def test_what_is_refused_changes_nothing():
    bench = Bench(max_on_us=150)
    bench.send(0, start(7, 100))
    for number in range(8, 12):
        bench.send(90, more(number, 7))
    assert bench.end() == [0, 100]


def test_before_a_greeting_nothing_is_extended():
    device = Device(DeviceSpec(), lambda edge: None, lambda message, now_us: None)
    (refused,) = wire.Parser().feed(device.receive(wire.encode(more(8, 7)), 0))
    assert refused.reason == RefusalReason.NO_HELLO


def test_a_lowered_limit_holds_for_what_is_to_come():
    bench = Bench()
    bench.send(0, start(7, 1_000))
    bench.send(10, wire.Limits(2, 1_200, 1000, 0xFFFF))
    assert isinstance(bench.send(100, more(8, 7)), wire.Ack)
    assert bench.send(201, more(9, 7)).reason == RefusalReason.MAX_ON


def test_an_extend_is_a_sign_of_life_and_silence_ends_what_was_extended():
    bench = Bench(dead_man_ms=100)
    bench.send(0, start(7, 90_000))
    bench.send(80_000, more(8, 7))
    bench.send(160_000, more(9, 7))
    assert bench.end() == [0, 250_000]
    bench = Bench(dead_man_ms=100)
    bench.send(0, start(7, 9_000_000))
    bench.send(80_000, more(8, 7))
    assert bench.end() == [0, 180_000]
    assert bench.said == [wire.Done(7, EndReason.DEAD_MAN, 180_000)]


def test_a_fire_must_be_newer_than_an_extend_too():
    bench = Bench()
    bench.send(0, wire.Program(2, 0, 1, 0xFFFF, 100, 0, 0))
    bench.send(0, start(7, 1_000))
    bench.send(10, more(20, 7))
    assert bench.send(20, wire.Fire(20, 0, 1_000)).reason == RefusalReason.REPLAYED
    assert bench.send(20, wire.Fire(21, 0, 1_000)).id == 21


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["extend", "extend", "extend", "start", "stop"]),
        st.integers(1, 400),
        st.integers(1, 500),
        st.sampled_from([(0, 0), (100, 30), (90, 60), (300, 250), (40, 1)]),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=500)
@given(STEPS, st.sampled_from([1000, 700, 300]), st.sampled_from([500, 900]))
def test_no_sequence_gets_more_than_the_caps(steps, permille, max_on_us):
    bench = Bench(max_duty_permille=permille, duty_window_ms=1, max_on_us=max_on_us)
    us = root = 0
    expected_us = None
    for number, (kind, wait_us, duration_us, shape) in enumerate(steps, start=7):
        us += wait_us
        if kind == "start":
            if isinstance(bench.send(us, start(number, duration_us, *shape)), wire.Ack):
                root, asked_us, expected_us = number, duration_us, us + duration_us
        elif kind == "stop":
            bench.send(us, wire.Stop(number, 0))
            expected_us = None
        elif isinstance(bench.send(us, more(number, root)), wire.Ack):
            expected_us = us + asked_us
    edges_us = bench.end()
    if expected_us is not None:
        assert bench.said[-1] == wire.Done(root, EndReason.FINISHED, expected_us)
    rises_us, falls_us = edges_us[::2], edges_us[1::2]
    assert [edge.on for edge in bench.edges] == [True, False] * len(rises_us)
    assert all(earlier <= later for earlier, later in pairwise(edges_us))
    on_us = [fall - rise for rise, fall in zip(rises_us, falls_us, strict=True)]
    assert max(on_us, default=0) <= max_on_us
    for first, begin_us in enumerate(rises_us):
        for last in range(first, len(rises_us)):
            assert 1000 * sum(on_us[first : last + 1]) <= permille * (falls_us[last] - begin_us + 1_000)
