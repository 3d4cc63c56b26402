"""Commands that go out and come back: both drivers for real, what is counted, and what ends the benchmark."""

import json

import pytest

from benchmarks import circumstances, trigger_roundtrip
from benchmarks.model_latency import Setting
from benchmarks.reading import read_result
from benchmarks.trigger_roundtrip import RoundtripError, main, measure
from triggers.base import FireReceipt, TriggerEvent
from triggers.errors import TriggerNotOpenError

ROWS = {
    "serial": [
        "call → sent",
        "the driver's part",
        "call → acknowledged",
        "write alone, its reader waiting",
        "write alone, nobody waiting",
    ],
    "zmq": ["call → sent", "call → received"],
}


def no_pause(poll):
    """Between two commands nothing happens."""


class Fake:
    """A trigger that was sent 5 ns after the call, and answers `events` when polled."""

    def __init__(self, clock, events=(), delivered=True):
        self.clock, self.events, self.delivered, self.fired = clock, events, delivered, []

    def poll(self):
        return self.events

    def fire(self, pulse, command_id, expires_ns):
        self.fired.append((command_id, expires_ns))
        return FireReceipt(command_id, self.clock() + 5, delivered=self.delivered)


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(trigger_roundtrip, "monotonic_ns", lambda: 1000)
    return lambda: 1000


@pytest.mark.parametrize("driver", trigger_roundtrip.DRIVERS)
@pytest.mark.parametrize("caches", trigger_roundtrip.CACHES)
def test_every_command_is_timed_and_answered(driver, caches):
    found = measure(driver, caches, 5, 2)
    assert list(found["rows"]) == [f"{driver}, {caches}: {name}" for name in ROWS[driver]]
    assert found["n_unanswered"] == 0
    assert all(row["n"] == 5 and row["p50"] > 0 for row in found["rows"].values())


def test_the_drivers_part_is_what_is_left_of_a_command_without_its_write(monkeypatch):
    def times(trigger, answered, pause, n):
        trigger.write_ns = [100, 30_000, 50_000]
        return [1_000, 70_000, 80_000], [None, 1, 1]

    monkeypatch.setattr(trigger_roundtrip, "_times_ns", times)
    rows = measure("serial", "warm", 2, 1)["rows"]
    assert rows["serial, warm: the driver's part"]["p50"] == pytest.approx(0.035)


def test_the_write_of_each_command_is_timed():
    with trigger_roundtrip._serial(None) as (trigger, answered):
        sent, _ = trigger_roundtrip._times_ns(trigger, answered, no_pause, 3)
    assert all(0 < write_ns < sent_ns for write_ns, sent_ns in zip(trigger.write_ns, sent, strict=True))


def test_times_begin_with_the_call(clock):
    trigger = Fake(clock)
    assert trigger_roundtrip._times_ns(trigger, lambda command_id: 1000 + command_id, no_pause, 3) == (
        [5, 5, 5],
        [1, 2, 3],
    )
    assert trigger.fired == [(k, 1000 + 1_000_000_000) for k in (1, 2, 3)]


def test_with_warm_caches_a_trigger_is_polled_until_the_pause_is_over(monkeypatch):
    clock = iter(range(0, 10**9, 500_000))
    monkeypatch.setattr(trigger_roundtrip, "monotonic_ns", lambda: next(clock))
    polls = []
    trigger_roundtrip._polling(lambda: polls.append(1))
    assert len(polls) == 3


def test_what_nobody_took_is_not_waited_for(clock):
    def asked(command_id):
        raise AssertionError("nobody can answer")

    assert trigger_roundtrip._times_ns(Fake(clock, delivered=False), asked, no_pause, 1) == ([5], [None])


def test_only_the_commands_own_acknowledgement_counts(clock):
    events = (TriggerEvent("ack", 1, 1100), TriggerEvent("ack", 2, 1200))
    assert trigger_roundtrip._acknowledged_ns(Fake(clock, events), 2) == 1200


def test_a_command_without_an_answer_is_given_up(monkeypatch):
    clock = iter(range(0, 10_000_000_000, 400_000_000))
    monkeypatch.setattr(trigger_roundtrip, "monotonic_ns", lambda: next(clock))
    assert trigger_roundtrip._acknowledged_ns(Fake(clock), 1) is None


@pytest.mark.parametrize("kind", ["refused", "fault"])
def test_a_device_that_refuses_ends_the_benchmark(clock, kind):
    trigger = Fake(clock, (TriggerEvent(kind, 1, 0, detail="too long"),))
    with pytest.raises(RoundtripError, match=r"^serial: expected command 1 to be carried out, got too long$"):
        trigger_roundtrip._acknowledged_ns(trigger, 1)


def test_unanswered_commands_are_counted_and_no_times(monkeypatch):
    monkeypatch.setattr(trigger_roundtrip, "_received_ns", lambda receiver, command_id: None)
    found = measure("zmq", "warm", 2, 1)
    assert found["n_unanswered"] == 2
    assert [row["n"] for row in found["rows"].values()] == [2, 0]


def test_a_stimulator_that_does_not_start_is_said(monkeypatch):
    monkeypatch.setattr(trigger_roundtrip.sys, "executable", "/bin/true")
    with pytest.raises(RoundtripError, match="the simulated stimulator ended at its start"):
        measure("serial", "warm", 1, 0)


def test_the_command_writes_what_it_prints(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(circumstances, "REFERENCE", Setting("centroid", 64, 2, 1))
    out = tmp_path / "result.json"
    assert main(["-n", "2", "--warm-up", "1", "--drivers", "zmq", "--reference", "2", "--json", str(out)]) == 0
    result = json.loads(out.read_text(encoding="utf-8"))
    shown = capsys.readouterr().out
    assert shown == trigger_roundtrip.as_text(result) + "\n"
    assert "zmq, cold: call → sent: p99 " in shown
    read = read_result(out)
    assert list(read.rows) == [f"zmq, {caches}: {row}" for caches in ("cold", "warm") for row in ROWS["zmq"]]
    assert read.reference.setting == "centroid 64², 2 animals, batch 1"
    assert result["ratio"]["zmq, warm: call → sent"] == pytest.approx(
        read.rows["zmq, warm: call → sent"]["p50"] / read.reference.p50_ms
    )
    assert read.machine
    assert len(result["load_average"]) == 3


def test_a_port_that_is_not_there_is_said(tmp_path, capsys):
    assert main(["-n", "1", "--drivers", "serial", "--port", str(tmp_path / "none")]) == 2
    assert "trigger_roundtrip: serial " in (shown := capsys.readouterr().err)
    assert "no such port" in shown
    with pytest.raises(TriggerNotOpenError):
        measure("serial", "warm", 1, 0, str(tmp_path / "none"))


@pytest.mark.parametrize("wrong", [["-n", "0"], ["--warm-up", "-1"], ["--reference", "-1"], ["--drivers", "carrier"]])
def test_options_out_of_range(wrong, capsys):
    with pytest.raises(SystemExit) as end:
        main(wrong)
    assert end.value.code == 2
    assert "expected" in (shown := capsys.readouterr().err) or "invalid choice" in shown
