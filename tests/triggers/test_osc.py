import socket

import pytest
from pythonosc.osc_message import OscMessage

from triggers.errors import TriggerFailedError, TriggerNotOpenError
from triggers.osc import OscOptions, OscTrigger
from triggers.pulse import Pulse
from triggers.testing import check_trigger

FAR_NS = 2**62
MS = 1_000_000


class Receiver:
    """A UDP port in the test's own process, read with the library of others."""

    def __init__(self, port=0):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", port))
        self.socket.settimeout(20.0)
        self.port = self.socket.getsockname()[1]

    def message(self):
        message = OscMessage(self.socket.recv(4096))
        return message.address, message.params


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.socket.close()


@pytest.fixture
def opened(receiver, clock):
    trigger = OscTrigger(OscOptions(port=receiver.port), clock)
    trigger.open()
    assert receiver.message() == ("/poseloop/all_off", [])
    yield trigger
    trigger.close()


@pytest.fixture
def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_contract(receiver):
    info = check_trigger(OscTrigger(OscOptions(port=receiver.port)))
    assert (info.driver, info.address, info.acknowledges, info.dead_man_ms) == (
        "osc",
        f"127.0.0.1:{receiver.port}",
        False,
        None,
    )
    addresses = [receiver.message()[0] for _ in range(17)]
    expected = ["all_off"] + ["pulse"] * 5 + ["stop"] * 5 + ["all_off"] * 6
    assert addresses == [f"/poseloop/{name}" for name in expected]


@pytest.mark.parametrize(
    ("pulse", "command_id", "arguments"),
    [
        pytest.param(Pulse(3, 200_500), 7, [7, 3, 200.5, 1.0, 0.0, 0.0], id="unbroken"),
        pytest.param(Pulse(2, 200_000, 0.5, 20.0, 10_000), 8, [8, 2, 200.0, 0.5, 20.0, 10.0], id="train"),
        pytest.param(Pulse(0, 3_600_000_000, 0), 9, [9, 0, 3_600_000.0, 0.0, 0.0, 0.0], id="an hour"),
        pytest.param(Pulse(0, 1_000), 2**31 - 1, [2**31 - 1, 0, 1.0, 1.0, 0.0, 0.0], id="the largest int"),
        pytest.param(Pulse(0, 1_000), 2**32 - 1, [-1, 0, 1.0, 1.0, 0.0, 0.0], id="the largest id, read with a sign"),
    ],
)
def test_a_pulse(receiver, opened, clock, pulse, command_id, arguments):
    receipt = opened.fire(pulse, command_id, FAR_NS)
    assert (receipt.command_id, receipt.sent_ns, receipt.acked_ns, receipt.delivered) == (
        command_id,
        clock.now_ns,
        None,
        True,
    )
    address, received = receiver.message()
    assert (address, received) == ("/poseloop/pulse", arguments)
    assert [type(value) for value in received] == [int, int, float, float, float, float]


def test_other_messages(receiver, opened, clock):
    opened.stop(3)
    opened.all_off()
    clock.now_ns += 499 * MS
    opened.poll()
    clock.now_ns += 1 * MS
    opened.poll()
    opened.poll()
    opened.close()
    assert [receiver.message() for _ in range(4)] == [
        ("/poseloop/stop", [3]),
        ("/poseloop/all_off", []),
        ("/poseloop/heartbeat", []),
        ("/poseloop/all_off", []),
    ]


def test_what_has_expired_is_not_sent(receiver, opened, clock):
    assert not opened.fire(Pulse(0, 1_000), 7, clock.now_ns - 1).delivered
    (event,) = opened.poll()
    assert (event.kind, event.command_id) == ("refused", 7)
    assert event.detail == f"osc 127.0.0.1:{receiver.port}: the command came too late"
    assert opened.fire(Pulse(0, 1_000), 8, clock.now_ns).delivered
    assert receiver.message()[1][0] == 8


@pytest.mark.parametrize(("prefix", "address"), [("/rig/3", "/rig/3/all_off"), ("/rig/", "/rig/all_off")])
def test_prefix(receiver, prefix, address):
    with OscTrigger(OscOptions(port=receiver.port, prefix=prefix)):
        assert receiver.message() == (address, [])


def test_a_prefix_that_is_none():
    with pytest.raises(ValueError, match="expected an OSC address such as /poseloop"):
        OscOptions(prefix="pose loop")


# --- receivers that are not there ---


def test_a_port_at_which_nobody_listens(free_port):
    trigger = OscTrigger(OscOptions(port=free_port))
    with pytest.raises(TriggerNotOpenError) as caught:
        trigger.open()
    assert str(caught.value) == f"osc 127.0.0.1:{free_port}: nobody listens there; start the receiver first"
    with pytest.raises(TriggerFailedError, match="not open; open it first"):
        trigger.fire(Pulse(0, 1_000), 1, FAR_NS)


def test_a_receiver_that_went_away_is_one_fault_until_it_is_back(receiver, opened, clock):
    receiver.socket.close()
    assert not opened.fire(Pulse(0, 1_000), 7, FAR_NS).delivered
    assert not opened.fire(Pulse(0, 1_000), 8, FAR_NS).delivered
    clock.now_ns += 500 * MS
    (event,) = opened.poll()
    assert (event.kind, event.command_id) == ("fault", None)
    where = f"osc 127.0.0.1:{receiver.port}"
    assert event.detail == f"{where}: nobody listens there; is the receiver still running?"
    assert opened.n_undelivered == 3
    back = Receiver(receiver.port)
    assert opened.fire(Pulse(0, 1_000), 9, FAR_NS).delivered
    assert back.message()[1][0] == 9
    back.socket.close()
    opened.stop(0)
    assert [event.kind for event in opened.poll()] == ["fault"]


def test_a_receiver_that_does_not_read_blocks_nothing(receiver, opened):
    for command_id in range(5_000):
        opened.fire(Pulse(0, 1_000), command_id, FAR_NS)
    assert opened.poll() == ()


# --- addresses ---


@pytest.mark.parametrize("host", ["192.168.1.20", "0.0.0.0", "255.255.255.255", "2001:db8::1"])
def test_another_computer_must_be_allowed(host):
    with pytest.raises(TriggerNotOpenError) as caught:
        OscTrigger(OscOptions(host=host)).open()
    assert str(caught.value) == (
        f"osc {host}:9000: expected an address of this computer such as 127.0.0.1, or allow_network = true; anybody on "
        "the way can read and forge OSC messages"
    )


def test_a_broadcast_is_not_possible():
    with pytest.raises(TriggerNotOpenError, match="cannot send there: Permission denied"):
        OscTrigger(OscOptions(host="255.255.255.255", allow_network=True)).open()


def test_another_computer_that_was_allowed(receiver):
    with OscTrigger(OscOptions(host="0.0.0.0", port=receiver.port, allow_network=True)):
        assert receiver.message() == ("/poseloop/all_off", [])


def test_a_host_that_is_none():
    with pytest.raises(TriggerNotOpenError, match="osc not a host:9000: no such host: "):
        OscTrigger(OscOptions(host="not a host")).open()


def test_a_closed_trigger_can_be_opened_again(receiver):
    trigger = OscTrigger(OscOptions(port=receiver.port))
    for _ in range(2):
        trigger.open()
        with pytest.raises(TriggerNotOpenError, match="already open here"):
            trigger.open()
        trigger.close()
