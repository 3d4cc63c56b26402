"""OrderSockets: where people's programs ask the supervisor."""

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import zmq

from realtime.supervision.ordering import own_folder
from realtime.supervision.protocol import Answer, Ask, Spec
from triggers.zmq_socket import Endpoint, PeerSocket


class OrderSockets:
    """One socket in the user's own folder, which nobody else can enter, and one at the rig's address, if it names one.

    One question is answered before the next one is read.

    Args:
        spec: What the supervisor was started with.

    Raises:
        TriggerNotOpenError: The address is in use, not valid, or of another computer and there are no keys.
        OSError: The user's own folder cannot be made, or somebody else's is in its place.
    """

    def __init__(self, spec: Spec) -> None:
        self._session = spec.session
        self._path = own_folder() / f"{os.getpid()}.orders"
        self._decode = msgspec.json.Decoder(Ask).decode
        self._asked: zmq.Socket[bytes] | None = None
        endpoints = [Endpoint(f"ipc://{self._path}", True, None, None)]
        if spec.address is not None:
            endpoints.append(Endpoint(spec.address, True, spec.secret_key_file, spec.peer_key_file))
        self.addresses = tuple([endpoint.address for endpoint in endpoints])
        self._peers: list[PeerSocket] = []
        with contextlib.ExitStack() as opening:
            for endpoint in endpoints:
                peer = PeerSocket(zmq.REP, endpoint)
                opening.callback(peer.close)
                self._peers.append(peer)
            opening.pop_all()

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors that become readable when somebody may have asked."""
        return tuple([int(peer.socket.getsockopt(zmq.FD)) for peer in self._peers])

    def next(self) -> Ask | None:
        """Return the next question, or None; what is no question is answered here."""
        for peer in self._peers:
            with contextlib.suppress(zmq.Again):
                data = peer.socket.recv(zmq.NOBLOCK)
                self._asked = peer.socket
                try:
                    return self._decode(data)
                except msgspec.MsgspecError as error:
                    self.answer(Answer(False, False, f"expected an order, got {error}", self._session))
        return None

    def answer(self, answer: Answer | None) -> None:
        """Answer the question that `next` returned; None for not yet."""
        if answer is not None and self._asked is not None:
            with contextlib.suppress(zmq.ZMQError):  # who asked has gone
                self._asked.send(msgspec.json.encode(answer), zmq.NOBLOCK)
            self._asked = None

    def close(self) -> None:
        """Give the addresses back."""
        for peer in self._peers:
            peer.close()
        Path(self._path).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
