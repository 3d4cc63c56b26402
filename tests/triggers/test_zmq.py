import signal
import time

import msgspec
import pytest
import zmq
import zmq.auth

from triggers.errors import TriggerFailedError, TriggerNotOpenError
from triggers.pulse import Pulse
from triggers.testing import check_trigger
from triggers.zmq import ZmqOptions, ZmqTrigger
from triggers.zmq_message import AllOffMessage, HeartbeatMessage, PulseMessage, StopMessage, boot_id, decode

MS = 1_000_000
TRAIN = Pulse(2, 200_000, 0.5, 20.0, 10_000)


class Receiver:
    """A PULL or SUB socket in the test's own process."""

    def __init__(self, context: zmq.Context, kind: int) -> None:
        self.socket = context.socket(kind)
        self.socket.setsockopt(zmq.RCVHWM, 4)
        self.socket.setsockopt(zmq.RCVBUF, 4096)
        self.socket.setsockopt(zmq.LINGER, 0)

    def bind(self) -> str:
        return f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"

    def frames(self) -> list[bytes]:
        assert self.socket.poll(10_000), "nothing came"
        return self.socket.recv_multipart()

    def message(self):
        return decode(self.frames()[-1])

    def until(self, cls):
        while not isinstance(message := self.message(), cls):
            pass
        return message


@pytest.fixture
def receiver(context):
    return Receiver(context, zmq.PULL)


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_contract_with_a_receiver_in_another_process(start, encoding, free_address):
    listener = start("-m", "triggers.zmq_listen", free_address, "--json")
    options = ZmqOptions(address=free_address, encoding=encoding, connect_wait_s=20.0)
    info = check_trigger(ZmqTrigger(options))
    assert (info.driver, info.address, info.acknowledges, info.dead_man_ms) == ("zmq", free_address, False, None)
    messages = [msgspec.json.decode(listener.stdout.readline()) for _ in range(17)]
    assert [message["type"] for message in messages] == ["all_off"] + ["pulse"] * 5 + ["stop"] * 5 + ["all_off"] * 6
    assert [message["command_id"] for message in messages[1:6]] == [1, 2, 3, 4, 5]
    assert {message["source"] for message in messages} == {info.device["source"]}
    assert not any(message["expired"] for message in messages)


def test_contract_with_nobody_listening_to_pub(free_address):
    info = check_trigger(ZmqTrigger(ZmqOptions(address=free_address, pattern="pub")))
    assert not info.acknowledges


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_messages(receiver, encoding):
    clock = [1_000 * MS]
    before_ns = time.time_ns()
    with ZmqTrigger(ZmqOptions(address=receiver.bind(), encoding=encoding), lambda: clock[0]) as trigger:
        assert isinstance(receiver.message(), AllOffMessage)
        receipt = trigger.fire(TRAIN, command_id=7, expires_ns=1_250 * MS)
        trigger.stop(3)
        clock[0] += 50 * MS
        trigger.poll()
        pulse, stop, beat = (receiver.message() for _ in range(3))
    assert receipt.delivered
    assert receipt.acked_ns is None
    assert isinstance(pulse, PulseMessage)
    assert msgspec.structs.asdict(pulse) | {"sent_unix_ns": 0, "expires_unix_ns": 0} == {
        "version": 1,
        "source": pulse.source,
        "sequence": 1,
        "boot": boot_id(),
        "sent_monotonic_ns": 1_000 * MS,
        "sent_unix_ns": 0,
        "expires_monotonic_ns": 1_250 * MS,
        "expires_unix_ns": 0,
        "command_id": 7,
        "channel": 2,
        "duration_us": 200_000,
        "intensity": 0.5,
        "train_hz": 20.0,
        "width_us": 10_000,
    }
    assert before_ns <= pulse.sent_unix_ns <= time.time_ns()
    assert pulse.expires_unix_ns == pulse.sent_unix_ns + 250 * MS
    assert isinstance(stop, StopMessage)
    assert (stop.channel, stop.expires_monotonic_ns, stop.sequence) == (3, None, 2)
    assert isinstance(beat, HeartbeatMessage)


def test_every_session_has_its_own_source(receiver):
    trigger = ZmqTrigger(ZmqOptions(address=receiver.bind()))
    sources = set()
    for _ in range(2):
        sources.add(trigger.open().device["source"])
        trigger.close()
    assert len(sources) == 2


def test_heartbeats_are_sent_when_due(receiver):
    clock = [1_000 * MS]
    with ZmqTrigger(ZmqOptions(address=receiver.bind(), heartbeat_ms=30), lambda: clock[0]) as trigger:
        for step_ms in (0, 29, 1, 0, 29):
            clock[0] += step_ms * MS
            trigger.poll()
        trigger.stop(0)
        kinds = [type(receiver.message()) for _ in range(4)]
    assert kinds == [AllOffMessage, HeartbeatMessage, HeartbeatMessage, StopMessage]


def test_pub_puts_the_topic_before_each_message(context, free_address):
    subscriber = Receiver(context, zmq.SUB)
    subscriber.socket.setsockopt(zmq.SUBSCRIBE, b"laser")
    with ZmqTrigger(ZmqOptions(address=free_address, pattern="pub", topic="laser")) as trigger:
        subscriber.socket.connect(free_address)
        while not subscriber.socket.poll(10):  # What is sent before a subscriber has joined is lost.
            trigger.stop(1)
        topic, message = subscriber.frames()
    assert topic == b"laser"
    assert decode(message).channel == 1


def test_a_topic_without_pub_is_refused():
    with pytest.raises(ValueError, match='topic: expected none with pattern "push", got "laser"'):
        ZmqOptions(topic="laser")


# --- receivers that are not there ---


def test_push_needs_a_receiver_to_open(free_address):
    trigger = ZmqTrigger(ZmqOptions(address=free_address, connect_wait_s=0.1))
    with pytest.raises(TriggerNotOpenError) as caught:
        trigger.open()
    assert str(caught.value) == (
        f'zmq {free_address}: expected a receiver within 0.1 s, got none; start it first, or use pattern "pub" if it '
        "may be missing"
    )
    with pytest.raises(TriggerFailedError, match="not open; open it first"):
        trigger.fire(TRAIN, 1, 2**62)


def test_a_receiver_that_went_away_is_one_fault_and_nothing_is_queued(start, free_address, until):
    listener = start("-m", "triggers.zmq_listen", free_address, "--json")
    trigger = ZmqTrigger(ZmqOptions(address=free_address, heartbeat_ms=1, connect_wait_s=20.0))
    trigger.open()
    listener.send_signal(signal.SIGKILL)
    listener.wait()
    event = until.event(trigger, "fault")
    assert event.detail == f"zmq {free_address}: nobody takes the messages; is the receiver still running?"
    n_before = trigger.n_undelivered
    receipt = trigger.fire(TRAIN, 5, 2**62)
    assert not receipt.delivered
    assert trigger.n_undelivered == n_before + 1
    assert trigger.poll() == ()
    trigger.close()


def test_a_receiver_that_stands_still_blocks_nothing(receiver):
    trigger = ZmqTrigger(ZmqOptions(address=receiver.bind()))
    trigger.open()
    durations_s = []
    receipts = []
    for command_id in range(5_000):
        started_s = time.perf_counter()
        receipts.append(trigger.fire(TRAIN, command_id, 2**62))
        durations_s.append(time.perf_counter() - started_s)
    n_taken = sum(receipt.delivered for receipt in receipts)
    assert 0 < n_taken < 500
    assert trigger.n_undelivered == 5_000 - n_taken
    assert sorted(durations_s)[-10] < 0.05  # A few may meet a busy computer.
    assert [event.kind for event in trigger.poll()].count("fault") >= 1
    started_s = time.perf_counter()
    trigger.close()
    assert time.perf_counter() - started_s < 1.0


def test_what_a_receiver_missed_has_expired_when_it_goes_on(receiver):
    address = receiver.bind()
    with ZmqTrigger(ZmqOptions(address=address)) as trigger:
        trigger.fire(TRAIN, 1, time.monotonic_ns() + 60_000 * MS)
        trigger.fire(TRAIN, 2, time.monotonic_ns() - 1)
        trigger.stop(0)
        messages = [receiver.message() for _ in range(4)]
    assert [message.is_expired() for message in messages] == [False, False, True, False]


def test_closing_still_delivers_the_last_all_off(receiver):
    trigger = ZmqTrigger(ZmqOptions(address=receiver.bind()))
    trigger.open()
    assert isinstance(receiver.message(), AllOffMessage)
    trigger.close()
    assert isinstance(receiver.message(), AllOffMessage)


# --- addresses and keys ---


@pytest.mark.parametrize("address", ["tcp://*:5571", "tcp://0.0.0.0:5571", "tcp://192.168.1.20:5571"])
@pytest.mark.parametrize("pattern", ["push", "pub"])
def test_another_computer_without_keys_is_refused(address, pattern):
    with pytest.raises(TriggerNotOpenError) as caught:
        ZmqTrigger(ZmqOptions(address=address, pattern=pattern)).open()
    assert str(caught.value) == (
        f"zmq {address}: expected an address of this computer (tcp://127.0.0.1:PORT or ipc://PATH), or secret_key_file "
        "and peer_key_file; without keys anybody on the network could drive the stimulus"
    )


def test_an_address_in_use(receiver):
    address = receiver.bind()
    with pytest.raises(TriggerNotOpenError, match=f"zmq {address}: cannot bind to it: Address already in use"):
        ZmqTrigger(ZmqOptions(address=address, pattern="pub")).open()


@pytest.mark.parametrize("address", ["ipc:///nowhere/at/all", "tcp://127.0.0.1", "tcp://127.0.0.1:eleven"])
def test_an_address_that_is_none(address):
    with pytest.raises(TriggerNotOpenError, match=f"zmq {address}: cannot bind to it: "):
        ZmqTrigger(ZmqOptions(address=address, pattern="pub")).open()


@pytest.fixture
def keys(tmp_path):
    """Return name → (public file, secret file)."""
    return {name: tuple(map(str, zmq.auth.create_certificates(tmp_path, name))) for name in ("rig", "rx", "thief")}


@pytest.mark.parametrize(
    ("ours", "peer_we_expect", "accepted"),
    [
        pytest.param("rig", "rx", True, id="right keys"),
        pytest.param("thief", "rx", False, id="a key that the receiver does not know"),
        pytest.param("rig", "thief", False, id="a receiver that is not the one we know"),
    ],
)
def test_keys(start, keys, free_address, ours, peer_we_expect, accepted):
    receiver = ["--secret-key-file", keys["rx"][1], "--peer-key-file", keys["rig"][0]]
    listener = start("-m", "triggers.zmq_listen", free_address, "--json", "--heartbeats", *receiver)
    options = ZmqOptions(
        address=free_address,
        connect_wait_s=20.0 if accepted else 1.0,
        secret_key_file=keys[ours][1],
        peer_key_file=keys[peer_we_expect][0],
    )
    trigger = ZmqTrigger(options)
    if accepted:
        with trigger:
            assert msgspec.json.decode(listener.stdout.readline())["type"] == "all_off"
    else:
        with pytest.raises(TriggerNotOpenError, match="expected a receiver"):
            trigger.open()


def test_a_receiver_with_keys_does_not_take_plain_messages(start, keys, free_address):
    start(
        "-m", "triggers.zmq_listen", free_address, "--secret-key-file", keys["rx"][1], "--peer-key-file", keys["rig"][0]
    )
    with pytest.raises(TriggerNotOpenError, match="expected a receiver"):
        ZmqTrigger(ZmqOptions(address=free_address, connect_wait_s=1.0)).open()


def test_half_a_pair_of_keys(keys):
    with pytest.raises(TriggerNotOpenError) as caught:
        ZmqTrigger(ZmqOptions(secret_key_file=keys["rig"][1])).open()
    assert str(caught.value) == (
        "zmq tcp://127.0.0.1:5571: expected secret_key_file and peer_key_file together or neither, got only one"
    )


def test_a_public_key_where_the_secret_one_belongs(keys):
    options = ZmqOptions(secret_key_file=keys["rig"][0], peer_key_file=keys["rx"][0])
    with pytest.raises(TriggerNotOpenError, match=r"expected a secret key \(a .key_secret file\), got a public one"):
        ZmqTrigger(options).open()


def test_a_key_file_that_is_not_there(keys, tmp_path):
    options = ZmqOptions(secret_key_file=tmp_path / "none", peer_key_file=keys["rx"][0])
    with pytest.raises(TriggerNotOpenError, match="cannot be read as a CURVE key"):
        ZmqTrigger(options).open()
