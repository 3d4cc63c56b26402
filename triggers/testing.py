"""The contract of a trigger, as one function to run against any driver."""

import statistics
import time
from collections.abc import Callable

from triggers.base import FireReceipt, Trigger, TriggerEvent, TriggerInfo
from triggers.errors import TriggerFailedError
from triggers.pulse import Pulse

_N_CALLS = 5
_PULSE = Pulse(channel=0, duration_us=2_000)
_LONG_PULSE = Pulse(channel=0, duration_us=100_000)
_EXPIRY_NS = 10_000_000_000
_MAX_CLOSE_S = 1.0  # It may wait until the outputs are off, or for a process to end.


def check_trigger(trigger: Trigger, answer_wait_s: float = 5.0, max_block_s: float = 0.05) -> TriggerInfo:
    """Open a trigger, fire a few 2 ms pulses on channel 0, stop, close it, and return what it said of itself.

    Where it says that it can extend a pulse, one of 100 ms is extended, and one that is over is not.

    Args:
        trigger: Not yet open; ends closed. What is connected to it will go on and off.
        answer_wait_s: How long an acknowledgement may take, s.
        max_block_s: No call but `open` and `close` may typically (median of a few) block longer, s.

    Raises:
        AssertionError: The driver breaks the contract; the message says where.
        TriggerError: It cannot be opened.
    """
    info = trigger.open()
    _expect(bool(info.driver), "open: expected the driver's name, got none")
    try:
        events = _check_fire(trigger, info, answer_wait_s, max_block_s)
        events += _check_stop(trigger, info, answer_wait_s, max_block_s)
        events += _check_extend(trigger, info, answer_wait_s, max_block_s)
        _check_quick("all_off", max_block_s, [_duration_s(trigger.all_off) for _ in range(_N_CALLS)])
        for _ in range(100):
            events += trigger.poll()
            time.sleep(0.001)
        faults = [event.detail for event in events if event.kind == "fault"]
        _expect(not faults, f"poll: expected no fault, got {faults}")
    finally:
        close_s = _duration_s(trigger.close)
    _check_quick("close", _MAX_CLOSE_S, [close_s])
    _check_closed(trigger)
    return info


def _check_fire(trigger: Trigger, info: TriggerInfo, answer_wait_s: float, max_block_s: float) -> list[TriggerEvent]:
    """Fire one pulse after the other, each once the one before is acknowledged and over."""
    durations_s = []
    all_events = []
    for command_id in range(1, _N_CALLS + 1):
        expires_ns = time.monotonic_ns() + _EXPIRY_NS
        started_s = time.perf_counter()
        receipt = trigger.fire(_PULSE, command_id, expires_ns)
        durations_s.append(time.perf_counter() - started_s)
        _expect(receipt.command_id == command_id, f"fire: expected a receipt for {command_id}, got {receipt}")
        events = _wait_for_answer(trigger, receipt, answer_wait_s if info.acknowledges else 0.02)
        kinds = [event.kind for event in events if event.command_id == command_id]
        if receipt.acked_ns is not None:
            kinds.append("ack")
        expected = ["ack"] if info.acknowledges else []
        _expect(kinds == expected, f"poll: expected for command {command_id} the events {expected}, got {events}")
        all_events += events
        time.sleep(2 * _PULSE.duration_us / 1e6)
    _check_quick("fire", max_block_s, durations_s)
    return all_events


def _check_stop(trigger: Trigger, info: TriggerInfo, answer_wait_s: float, max_block_s: float) -> list[TriggerEvent]:
    """Stop channel 0 a few times at once; all of that together is acknowledged, if anything is."""
    durations_s = []
    for _ in range(_N_CALLS):
        started_s = time.perf_counter()
        is_acknowledged_later = trigger.stop(0)
        durations_s.append(time.perf_counter() - started_s)
        _expect(
            is_acknowledged_later == info.acknowledges_stop,
            f"stop: expected {info.acknowledges_stop}, as `open` said, got {is_acknowledged_later}",
        )
    _check_quick("stop", max_block_s, durations_s)
    events: list[TriggerEvent] = []
    deadline_s = time.monotonic() + answer_wait_s
    while info.acknowledges_stop and not events and time.monotonic() < deadline_s:
        events += trigger.poll()
        time.sleep(0.001)
    stopped = [(event.kind, event.channel) for event in events if event.kind == "stopped"]
    expected = [("stopped", 0)] if info.acknowledges_stop else []
    _expect(stopped == expected, f"poll: expected after `stop` the events {expected}, got {events}")
    return events


def _check_extend(trigger: Trigger, info: TriggerInfo, answer_wait_s: float, max_block_s: float) -> list[TriggerEvent]:
    """Extend one pulse a few times while it runs, and once when it is over; a trigger that cannot must say so."""
    expires_ns = time.monotonic_ns() + _EXPIRY_NS
    first = _N_CALLS + 1
    if not info.extends:
        _expect_failed("extend without `extends`", lambda: trigger.extend(0, first, first + 1, expires_ns))
        return []
    durations_s = []
    events: list[TriggerEvent] = []
    kinds: list[str] = []
    for command_id in range(first, first + _N_CALLS + 2):
        if command_id == first + _N_CALLS + 1:
            time.sleep(2 * _LONG_PULSE.duration_us / 1e6)
        started_s = time.perf_counter()
        if command_id == first:
            receipt = trigger.fire(_LONG_PULSE, first, expires_ns)
        else:
            receipt = trigger.extend(_LONG_PULSE.channel, first, command_id, expires_ns)
        durations_s.append(time.perf_counter() - started_s)
        answers = _wait_for_answer(trigger, receipt, answer_wait_s)
        kinds += ["ack"] * (receipt.acked_ns is not None)
        kinds += [event.kind for event in answers if event.command_id == command_id]
        events += answers
    expected = ["ack"] * (_N_CALLS + 1) + ["over"]
    _expect(kinds == expected, f"extend: expected the answers {expected}, got {kinds}: {events}")
    _check_quick("extend", max_block_s, durations_s)
    return events


def _wait_for_answer(trigger: Trigger, receipt: FireReceipt, wait_s: float) -> list[TriggerEvent]:
    events: list[TriggerEvent] = []
    deadline_s = time.monotonic() + wait_s
    while receipt.acked_ns is None and time.monotonic() < deadline_s:
        events += trigger.poll()
        if any(event.command_id == receipt.command_id for event in events):
            break
        time.sleep(0.001)
    return events


def _check_closed(trigger: Trigger) -> None:
    trigger.close()
    trigger.all_off()
    _expect(trigger.poll() == (), "poll after close: expected nothing")
    expires_ns = time.monotonic_ns() + _EXPIRY_NS
    calls: dict[str, Callable[[], object]] = {
        "fire": lambda: trigger.fire(_PULSE, 1, expires_ns),
        "extend": lambda: trigger.extend(0, 1, 2, expires_ns),
        "stop": lambda: trigger.stop(0),
    }
    for name, call in calls.items():
        _expect_failed(f"{name} after close", call)


def _expect_failed(what: str, call: Callable[[], object]) -> None:
    try:
        call()
    except TriggerFailedError:
        return
    raise AssertionError(f"{what}: expected TriggerFailedError, got none")


def _duration_s(call: Callable[[], None]) -> float:
    started_s = time.perf_counter()
    call()
    return time.perf_counter() - started_s


def _check_quick(what: str, limit_s: float, durations_s: list[float]) -> None:
    typical_s = statistics.median(durations_s)
    _expect(typical_s <= limit_s, f"{what}: expected to return within {limit_s:g} s, took {typical_s:.3f} s")


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
