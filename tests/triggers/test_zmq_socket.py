import gc

import pytest
import zmq

from triggers.zmq_socket import Endpoint, PeerSocket, is_loopback


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tcp://127.0.0.1:5571", True),
        ("tcp://127.8.9.1:5571", True),
        ("tcp://localhost:5571", True),
        ("tcp://[::1]:5571", True),
        ("ipc:///run/stimulus", True),
        ("inproc://stimulus", True),
        ("tcp://*:5571", False),
        ("tcp://0.0.0.0:5571", False),
        ("tcp://[::]:5571", False),
        ("tcp://192.168.1.20:5571", False),
        ("tcp://eth0:5571", False),
        ("tcp://localhost.example.org:5571", False),
        ("tcp://lo:5571", False),
        ("udp://127.0.0.1:5571", True),
        ("tcp://", False),
        ("", False),
    ],
)
def test_is_loopback(address, expected):
    assert is_loopback(address) == expected


def test_a_socket_that_nobody_closed_is_closed_with_its_owner(free_address):
    peer = PeerSocket(zmq.PUSH, Endpoint(free_address, bind=False, secret_key_file=None, peer_key_file=None))
    socket = peer.socket
    del peer
    gc.collect()
    assert socket.closed
