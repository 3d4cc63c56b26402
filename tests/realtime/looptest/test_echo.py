"""The device's acknowledgements, timed on a clock that a test moves."""

import numpy as np
import pytest

from realtime.loop import StopRequest
from realtime.looptest.blinks import NoLightError
from realtime.looptest.echo import measure_echo
from realtime.looptest.firing import StoppedError
from triggers.base import FireReceipt, TriggerEvent

MS = 1_000_000


def echo(bench, delay_ms, *, stop=None, knows_itself=False):
    """Answer the n-th command after `delay_ms(n)`, NaN for never."""
    clock, lamp = bench.clock, bench.lamp
    due = []

    def fire(pulse, command_id, expires_ns):
        lamp.is_off = False
        if stop is not None and command_id == 5:
            stop.request("signal SIGINT")
        sent_ns, delay = clock.now_ns, delay_ms(command_id)
        if knows_itself:
            return FireReceipt(command_id, sent_ns, sent_ns + round(delay * MS))
        if not np.isnan(delay):
            due.append((sent_ns + round(delay * MS), command_id))
        return FireReceipt(command_id, sent_ns)

    def poll():
        if due and due[0][0] <= clock.now_ns:
            return (TriggerEvent("ack", due.pop(0)[1], clock.now_ns),)
        return ()

    def wait(seconds):
        clock.now_ns += round(seconds * 1e9)

    lamp.fire, lamp.poll = fire, poll
    return measure_echo(lamp, bench.plan, bench.limits, stop or StopRequest(), now_ns=clock, wait=wait)


@pytest.mark.parametrize("delay_ms", [0.25, 3.0, 40.0])
def test_the_time_to_the_acknowledgement(make_bench, delay_ms):
    bench = make_bench(locate=False, n_pulses=20)
    result = echo(bench, lambda n: delay_ms)
    assert result.echo_ms()["p50"] == pytest.approx(delay_ms, abs=0.11)
    assert result.blind_ns.max() <= 0.1 * MS
    assert result.warnings() == []
    assert bench.lamp.is_off
    assert result.as_dict()["command_to_echo_ms"] == result.echo_ms()


def test_a_driver_that_knows_the_time_itself(make_bench):
    result = echo(make_bench(locate=False, n_pulses=20), lambda n: 0.03 * n, knows_itself=True)
    assert result.echoes_ns == pytest.approx(0.03 * MS * np.arange(1, 21))
    assert not result.blind_ns.any()


def test_commands_without_an_answer(make_bench):
    result = echo(make_bench(locate=False, n_pulses=20), lambda n: np.nan if n % 4 == 0 else 2.0)
    assert result.echoes_ns.size == 15
    assert result.warnings() == ["5 of 20 commands were not answered"]


def test_nothing_answers(make_bench):
    bench = make_bench(locate=False, n_pulses=12)
    with pytest.raises(NoLightError) as caught:
        echo(bench, lambda n: np.nan)
    assert str(caught.value) == (
        "looptest: lamp answered none of 12 commands within 60 ms; does this device acknowledge?"
    )
    assert bench.lamp.is_off


def test_the_output_is_off_after_a_stop(make_bench):
    bench = make_bench(locate=False, n_pulses=12)
    with pytest.raises(StoppedError, match=r"^signal SIGINT$"):
        echo(bench, lambda n: 2.0, stop=StopRequest())
    assert bench.lamp.is_off
