"""ZeroMQ sockets as driver `zmq`, its receivers and orders need them: bounded, loopback by default, CURVE beyond it."""

import ipaddress
import weakref
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from triggers.errors import TriggerNotOpenError

HIGH_WATER_MARK = 32  # Room for a burst; a receiver that stands still is noticed soon and what it missed expires.
BUFFER_BYTES = 4096
MAX_MESSAGE_BYTES = 8192  # Longer than any message of ours; whoever sends a longer one is cut off.
CLOSE_WAIT_MS = 30


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to connect.

    Attributes:
        address: As ZeroMQ writes it, e.g. `tcp://127.0.0.1:5571`.
        bind: True to own the address, False to connect to it.
        secret_key_file: Our own CURVE key pair, a `.key_secret` file as `zmq.auth.create_certificates` makes it.
        peer_key_file: The public key of the one peer that we talk to.
    """

    address: str
    bind: bool
    secret_key_file: Path | None
    peer_key_file: Path | None


class PeerSocket:
    """An open socket for one peer.

    Args:
        kind: `zmq.PUSH`, `zmq.PUB`, `zmq.PULL`, `zmq.SUB` or `zmq.REP`.
        endpoint: Where and how to connect.

    Attributes:
        socket: The socket.

    Raises:
        TriggerNotOpenError: The address is not valid, in use, or not of this computer and there are no keys.
    """

    def __init__(self, kind: int, endpoint: Endpoint) -> None:
        has_keys = _check(endpoint)
        self._cleanup = ExitStack()
        weakref.finalize(self, self._cleanup.close)  # Unclosed, it could hang a program that ends.
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._cleanup.callback(self._context.term)
        self.socket = self._context.socket(kind)
        self._cleanup.callback(self.socket.close)
        try:
            self._set_up(endpoint, has_keys)
        except zmq.ZMQError as error:
            self.close()
            verb = "bind to it" if endpoint.bind else "connect to it"
            raise TriggerNotOpenError(f"zmq {endpoint.address}: cannot {verb}: {error}") from error
        except BaseException:
            self.close()
            raise

    def _set_up(self, endpoint: Endpoint, has_keys: bool) -> None:
        socket = self.socket
        socket.setsockopt(zmq.LINGER, CLOSE_WAIT_MS)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # Nothing is queued for a peer that is not there.
        socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        socket.setsockopt(zmq.SNDBUF, BUFFER_BYTES)
        socket.setsockopt(zmq.RCVBUF, BUFFER_BYTES)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        socket.setsockopt(zmq.IPV6, 1)
        if has_keys:
            self._use_keys(endpoint)
        (socket.bind if endpoint.bind else socket.connect)(endpoint.address)

    def _use_keys(self, endpoint: Endpoint) -> None:
        """Encrypt, and talk to the holder of the peer's key only. The end that binds is CURVE's server."""
        assert endpoint.secret_key_file is not None and endpoint.peer_key_file is not None  # noqa: S101, PT018
        public, secret = _load(endpoint.secret_key_file, secret=True)
        peer, _ = _load(endpoint.peer_key_file, secret=False)
        self.socket.curve_publickey, self.socket.curve_secretkey = public, secret
        if not endpoint.bind:
            self.socket.curve_serverkey = peer
            return
        self.socket.curve_server = True
        gatekeeper = ThreadAuthenticator(self._context)
        gatekeeper.start()
        self._cleanup.callback(gatekeeper.stop)
        gatekeeper.configure_curve_callback(domain="*", credentials_provider=_OnlyPeer(peer))

    def close(self) -> None:
        """Release everything; what is still queued (the last "all off") has a moment to leave."""
        self._cleanup.close()


class _OnlyPeer:
    """Lets in the holder of one key, Z85 as in its file."""

    def __init__(self, public_key: bytes) -> None:
        self._key = public_key

    def callback(self, domain: str, key: bytes) -> bool:
        """Return whether the holder of `key` may connect."""
        del domain
        return key == self._key


def _check(endpoint: Endpoint) -> bool:
    """Refuse a half-given pair of keys, and another computer without keys; return whether there are keys."""
    n_keys = sum(file is not None for file in (endpoint.secret_key_file, endpoint.peer_key_file))
    if n_keys == 1:
        raise TriggerNotOpenError(
            f"zmq {endpoint.address}: expected secret_key_file and peer_key_file together or neither, got only one"
        )
    if n_keys == 0 and not is_loopback(endpoint.address):
        raise TriggerNotOpenError(
            f"zmq {endpoint.address}: expected an address of this computer (tcp://127.0.0.1:PORT or ipc://PATH), or "
            "secret_key_file and peer_key_file; without keys anybody on the network could drive the stimulus"
        )
    return n_keys == 2


def is_loopback(address: str) -> bool:
    """Return whether only processes of this computer can reach an address."""
    parts = urlsplit(address)
    if parts.scheme in {"ipc", "inproc"}:
        return True
    with suppress(ValueError):
        return parts.hostname in {"localhost", "::1"} or ipaddress.ip_address(parts.hostname or "").is_loopback
    return False


def _load(path: Path, *, secret: bool) -> tuple[bytes, bytes | None]:
    """Return the public and the secret key of a certificate file."""
    try:
        public, private = zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise TriggerNotOpenError(f"zmq {path}: cannot be read as a CURVE key: {error}") from error
    if secret and private is None:
        raise TriggerNotOpenError(f"zmq {path}: expected a secret key (a .key_secret file), got a public one")
    return public, private
