import select
import signal
import subprocess
import time

import zmq

from triggers.pulse import Pulse
from triggers.zmq import ZmqOptions, ZmqTrigger


def _line(process: subprocess.Popen) -> str:
    return process.stdout.readline().decode().rstrip("\n")


def test_it_shows_commands_and_drops_expired_ones(start, free_address):
    listener = start("-m", "triggers.zmq_listen", free_address)
    with ZmqTrigger(ZmqOptions(address=free_address, connect_wait_s=20.0)) as trigger:
        trigger.fire(Pulse(2, 200_000, 0.5, 20.0, 10_000), 7, time.monotonic_ns() + 60_000_000_000)
        trigger.fire(Pulse(0, 1_000), 8, time.monotonic_ns() - 1)
        trigger.stop(3)
    assert [_line(listener) for _ in range(5)] == [
        "     0 all_off",
        "     1 pulse     command_id=7 channel=2 duration_us=200000 intensity=0.5 train_hz=20.0 width_us=10000",
        "     2 pulse     command_id=8 channel=0 duration_us=1000 intensity=1.0 train_hz=None width_us=None"
        "  dropped: it has expired",
        "     3 stop      channel=3",
        "     4 all_off",
    ]
    listener.send_signal(signal.SIGINT)
    assert listener.wait(10) == 0


def test_it_says_what_is_wrong_and_goes_on(start, free_address):
    listener = start("-m", "triggers.zmq_listen", free_address)
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.connect(free_address)
    socket.send(b"{}")
    socket.send(b"\xff" * 5000)
    assert _line(listener) == "? zmq message: Object missing required field `type`"
    assert _line(listener) == "? zmq message: expected up to 4096 bytes, got 5000"
    context.destroy(linger=0)


def test_a_second_receiver_cannot_take_the_address(start, free_address):
    first = start("-m", "triggers.zmq_listen", free_address)
    with ZmqTrigger(ZmqOptions(address=free_address, connect_wait_s=20.0)):
        assert _line(first) == "     0 all_off"
        second = start("-m", "triggers.zmq_listen", free_address, stderr=subprocess.PIPE)
        assert second.wait(20) == 2
        assert b"cannot bind to it: Address already in use" in second.stderr.read()


def test_it_subscribes_to_pub(start, free_address, until):
    options = ("--pattern", "pub", "--topic", "laser", "--heartbeats")
    with ZmqTrigger(ZmqOptions(address=free_address, pattern="pub", topic="laser", encoding="msgpack")) as trigger:
        listener = start("-m", "triggers.zmq_listen", free_address, *options)
        # What is sent before a subscriber has joined is lost.
        until.true(lambda: trigger.poll() == () and select.select([listener.stdout], [], [], 0.01)[0])
        assert "heartbeat" in _line(listener)
