"""Switching off by a way of its own: real sockets, a real port, and triggers that cannot be reached."""

import pytest
import zmq

from realtime.supervision import switching_off
from realtime.supervision.protocol import TriggerSpec
from realtime.supervision.switching_off import Outcome, switch_off
from triggers.lock import DeviceLock
from triggers.zmq_message import AllOffMessage, decode


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switching_off, "_REPEAT_S", 0.1)
    monkeypatch.setattr(switching_off, "_LOCK_WAIT_S", 0.05)


def test_a_receiver_is_told_even_if_another_trigger_cannot_be_reached(free_address: str) -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as receiver:
        receiver.bind(free_address)
        outcomes = switch_off(
            {
                "gone": TriggerSpec("serial", {"port": "/nowhere/ttyACM0"}),
                "unknown": TriggerSpec("no_such_driver", {}),
                "wrong": TriggerSpec("serial", {"port": 3}),
                "bus": TriggerSpec("zmq", {"address": free_address}),
            }
        )
        assert isinstance(decode(receiver.recv()), AllOffMessage)
    assert [outcome.text.partition(":")[0] for outcome in outcomes] == ["not reached"] * 3 + ["off"]


def test_a_receiver_that_connects_again_only_later_is_told_too(
    monkeypatch: pytest.MonkeyPatch, free_address: str
) -> None:
    monkeypatch.setattr(switching_off, "_REPEAT_S", 2.0)
    with zmq.Context() as context, context.socket(zmq.SUB) as receiver:
        receiver.subscribe(b"")
        receiver.connect(free_address)  # nobody is there yet; ZeroMQ tries again every 0.1 s
        assert switch_off({"bus": TriggerSpec("zmq", {"address": free_address, "pattern": "pub"})}) == [
            Outcome("bus", "off")
        ]
        assert receiver.poll(0), "it was told before the socket was closed"
        assert isinstance(decode(receiver.recv()), AllOffMessage)


def test_a_simulation_is_not_begun_anew() -> None:
    assert switch_off({"laser": TriggerSpec("simulated", {})}) == [Outcome("laser", "gone with the loop")]


def test_a_device_that_another_program_took_is_left_to_it(free_address: str) -> None:
    with DeviceLock(free_address):
        [outcome] = switch_off({"bus": TriggerSpec("zmq", {"address": free_address})})
    assert outcome.text.startswith(
        f"not reached: {free_address}: expected a device that nobody drives, got one that is"
    )
