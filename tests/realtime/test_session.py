"""The session round the loop: whatever ends it, outputs go off first and everything is closed."""

import gc
import os
import signal

import pytest

from realtime.session import run, stop_on_signals


def in_order(events):
    """Return the events with runs of the same one made one: closing a trigger switches off again."""
    return [event for place, event in enumerate(events) if place == 0 or events[place - 1] != event]


EXPECTED = ["all off", "trigger closed", "camera closed", "model closed"]


def test_a_camera_that_ends_ends_the_session_in_order(make_bench):
    bench = make_bench(n_frames=3)
    end = run(bench.parts, bench.stop)
    assert (end.n_frames, end.reason, end.error) == (3, "camera ended", None)
    assert in_order(bench.events) == EXPECTED


def test_a_failure_switches_off_first_and_is_reported(make_bench):
    bench = make_bench(fails_at=2)
    end = run(bench.parts, bench.stop)
    assert (end.n_frames, end.reason, str(end.error)) == (2, "failed", "camera unplugged")
    assert in_order(bench.events) == EXPECTED


class FailsToClose:
    def close(self):
        raise OSError("stuck")


class Closes:
    def __init__(self, events):
        self.events = events

    def close(self):
        self.events.append("recorder closed")


def test_one_part_that_fails_to_close_does_not_keep_the_others_open(make_bench):
    bench = make_bench(n_frames=1)
    end = run(bench.parts, bench.stop, (FailsToClose(), Closes(bench.events)))
    assert str(end.error) == "stuck"
    assert in_order(bench.events) == [*EXPECTED, "recorder closed"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_session_and_outputs_go_off(make_bench, number):
    bench = make_bench(n_frames=10**9)
    bench.sink.append = lambda processed: os.kill(os.getpid(), number) if processed.index == 2 else None
    with stop_on_signals(bench.stop):
        end = run(bench.parts, bench.stop)
    assert end.reason == f"signal {signal.Signals(number).name}"
    assert end.n_frames in {3, 4}
    assert in_order(bench.events) == EXPECTED


def test_the_handlers_of_signals_are_put_back(make_bench):
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals(make_bench().stop):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_garbage_is_not_collected_during_a_session_and_is_afterwards(make_bench):
    bench = make_bench(n_frames=1)
    seen = []
    bench.sink.append = lambda processed: seen.append(gc.isenabled())
    run(bench.parts, bench.stop)
    assert seen == [False]
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
