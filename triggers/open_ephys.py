"""Driver `open_ephys`: TTL events in an Open Ephys recording, through the GUI's Network Events plugin.

For marking what was sent elsewhere: the GUI places an event at its next block of samples, and answers before that. It
knows no durations, so the host raises a line at the start of a pulse or train and lowers it at its end.
"""

import ipaddress
import itertools
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, Literal

import zmq
from pydantic import BaseModel, ConfigDict, Field

from triggers.base import FireReceipt, Trigger, TriggerEvent, TriggerInfo
from triggers.errors import TriggerFailedError, TriggerNotOpenError
from triggers.pulse import MAX_CHANNEL, Pulse

_HIGH_WATER_MARK = 64
_MAX_UNANSWERED = 64
_CLOSE_WAIT_S = 0.03
_HANDLED = "TTLHandled"
_STATES = {"line": "TTL Line={} State={}", "channel": "TTL Channel={} on={}"}


class OpenEphysOptions(BaseModel):
    """Settings of driver `open_ephys`.

    Attributes:
        host: Address of the computer with the GUI.
        port: Of the plugin, as it shows it.
        allow_network: Must be true for another computer: anybody on the way can read and forge these messages.
        syntax: Words of the command: `line` ("Line", "State") or `channel` ("Channel", "on"), as older plugins have it.
        n_lines: How many lines are used; channel 0 is line 1.
        messages: True to send each pulse also as a text message that names its id, channel and times.
        require_acquisition: True to open only while the GUI acquires, and to report when it ends: an event that comes
            while it does not is answered like any other and recorded nowhere.
        ack_timeout_ms: An answer later than this is a fault, ms.
        alive_ms: The GUI is asked this often whether it acquires, ms.
        connect_wait_s: How long it may take until the plugin answers for the first time, s.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=5556, ge=1, le=65_535)
    allow_network: bool = False
    syntax: Literal["line", "channel"] = "line"
    n_lines: int = Field(default=8, ge=1, le=MAX_CHANNEL + 1)
    messages: bool = False
    require_acquisition: bool = True
    ack_timeout_ms: int = Field(default=1_000, ge=1, le=10_000)
    alive_ms: int = Field(default=1_000, ge=1, le=60_000)
    connect_wait_s: float = Field(default=2.0, gt=0.0, le=30.0)


@dataclass(slots=True)
class _Question:
    """One message that the GUI has not answered yet."""

    kind: Literal["raise", "lower", "text", "alive"]
    text: str
    command_id: int | None
    sent_ns: int
    is_overdue: bool = False


class OpenEphysTrigger(Trigger):
    """Raises and lowers TTL lines in an Open Ephys GUI.

    The plugin answers each message in order and is a REP socket, whose partner would have to wait. A DEALER does not:
    it sends what it has, with a number that the REP socket gives back with the answer.

    Args:
        options: Settings.
        now_ns: Host monotonic clock, ns.

    Attributes:
        n_undelivered: Messages that could not be sent because the GUI was not there.
    """

    Options: ClassVar[type[BaseModel]] = OpenEphysOptions

    def __init__(self, options: OpenEphysOptions, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._options = options
        self._now_ns = now_ns
        self._socket: zmq.Socket[bytes] | None = None
        self._begin()

    def _begin(self) -> None:
        self._numbers = itertools.count()
        self._unanswered: dict[bytes, _Question] = {}  # In the order in which they were sent.
        self._lower_ns: dict[int, int] = {}  # Channel that is raised → when to lower it.
        self._events: list[TriggerEvent] = []
        self._asked_ns = 0
        self._is_connected = True
        self._is_acquiring: bool | None = None
        self.n_undelivered = 0

    # --- opening ---

    def open(self) -> TriggerInfo:
        """Connect, find out whether the GUI acquires, lower every line. May take `connect_wait_s`."""
        options = self._options
        if self._socket is not None:
            raise TriggerNotOpenError(f"{self._where()}: already open here; close it first")
        self._begin()
        self._socket = self._connect()
        try:
            self._greet(self._socket)
        except BaseException:
            self._release()
            raise
        for channel in range(options.n_lines):
            self._lower(channel)
        device = {
            "n_channels": options.n_lines,
            "acquiring": self._is_acquiring,
            "acknowledgement": "the GUI took the event",
        }
        return TriggerInfo("open_ephys", self._address(), device, acknowledges=True, dead_man_ms=None)

    def _connect(self) -> zmq.Socket[bytes]:
        options = self._options
        if not (options.allow_network or _is_loopback(options.host)):
            raise TriggerNotOpenError(
                f"{self._where()}: expected an address of this computer such as 127.0.0.1, or allow_network = true; "
                "anybody on the way can read and forge what the GUI is told"
            )
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, round(_CLOSE_WAIT_S * 1000))
        socket.setsockopt(zmq.IMMEDIATE, 1)  # Nothing is queued for a GUI that is not there.
        socket.setsockopt(zmq.SNDHWM, _HIGH_WATER_MARK)
        socket.setsockopt(zmq.RCVHWM, 2 * _HIGH_WATER_MARK)
        socket.setsockopt(zmq.IPV6, 1)
        try:
            socket.connect(self._address())
        except zmq.ZMQError as error:
            socket.close()
            raise TriggerNotOpenError(f"{self._where()}: cannot connect to it: {error}") from error
        return socket

    def _greet(self, socket: zmq.Socket[bytes]) -> None:
        """Ask whether the GUI acquires, and wait for the answer."""
        wait_s = self._options.connect_wait_s
        deadline_s = time.monotonic() + wait_s
        connected = socket.poll(round(wait_s * 1000), zmq.POLLOUT)
        if not connected:
            raise TriggerNotOpenError(
                f"{self._where()}: expected the Network Events plugin there within {wait_s:g} s, got no connection; is "
                "it in the GUI's signal chain, with this port?"
            )
        self._ask_whether_alive(self._now_ns())
        while self._unanswered and (left_s := deadline_s - time.monotonic()) > 0:
            socket.poll(round(left_s * 1000) + 1, zmq.POLLIN)
            self._read(socket)
        if self._unanswered:
            raise TriggerNotOpenError(
                f"{self._where()}: expected an answer within {wait_s:g} s, got none; is this port the Network Events "
                "plugin's?"
            )
        if self._options.require_acquisition and self._is_acquiring is False:
            raise TriggerNotOpenError(
                f"{self._where()}: the GUI does not acquire, so that events would be lost; start its acquisition "
                "first, or set require_acquisition = false"
            )

    # --- commands ---

    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:
        """Raise the line of a channel, to be lowered by `poll` when the pulse or train is over."""
        self._check_open()
        now_ns = self._now_ns()
        self._lower_due(now_ns)
        why = self._why_refused(pulse, now_ns, expires_ns)
        if why is not None:
            self._report("refused", command_id, now_ns, f"{self._where()}: {why}")
            return FireReceipt(command_id, now_ns, delivered=False)
        delivered = self._send("raise", self._state(pulse.channel, 1), command_id)
        if delivered:
            self._lower_ns[pulse.channel] = now_ns + pulse.duration_us * 1000
            if self._options.messages:
                self._send("text", _text(pulse, command_id))
        return FireReceipt(command_id, self._now_ns(), delivered=delivered)

    def _why_refused(self, pulse: Pulse, now_ns: int, expires_ns: int) -> str | None:
        if now_ns > expires_ns:
            return "the command came too late"
        if pulse.channel >= self._options.n_lines:
            return f"expected a channel from 0 to {self._options.n_lines - 1}, got {pulse.channel}"
        if pulse.channel in self._lower_ns:
            return "the channel is still busy with an earlier pulse"
        if len(self._unanswered) >= _MAX_UNANSWERED:
            return f"the GUI has not answered the last {len(self._unanswered)} messages"
        return None

    def stop(self, channel: int) -> bool:
        """Lower the line of one channel now."""
        self._check_open()
        if channel < self._options.n_lines:
            self._lower(channel)
        return False

    def all_off(self) -> None:
        """Lower every line that is raised."""
        if self._socket is not None:
            for channel in tuple(self._lower_ns):
                self._lower(channel)

    def close(self) -> None:
        """Lower every line, wait a moment for the answers, release the socket."""
        if self._socket is None:
            return
        self.all_off()
        deadline_s = time.monotonic() + _CLOSE_WAIT_S
        while self._unanswered and time.monotonic() < deadline_s:
            self._socket.poll(5, zmq.POLLIN)
            self._read(self._socket)
        self._release()

    def _release(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _check_open(self) -> None:
        if self._socket is None:
            raise TriggerFailedError(f"{self._where()}: not open; open it first")

    def _lower_due(self, now_ns: int) -> None:
        for channel in [channel for channel, due_ns in self._lower_ns.items() if now_ns >= due_ns]:
            self._lower(channel)

    def _lower(self, channel: int) -> None:
        """Lower a line; if the GUI is not there it stays noted, to be lowered when it is back."""
        if self._send("lower", self._state(channel, 0)):
            self._lower_ns.pop(channel, None)

    def _state(self, channel: int, state: int) -> str:
        return _STATES[self._options.syntax].format(channel + 1, state)

    def _send(self, kind: Literal["raise", "lower", "text", "alive"], text: str, command_id: int | None = None) -> bool:
        """Send a message if the GUI is there; return whether."""
        assert self._socket is not None  # noqa: S101  # Its callers have looked.
        number = next(self._numbers).to_bytes(8, "big")
        try:
            self._socket.send_multipart((number, b"", text.encode()), zmq.DONTWAIT)
        except zmq.Again:
            self.n_undelivered += 1
            if self._is_connected:
                self._report("fault", None, self._now_ns(), f"{self._where()}: the GUI is not there any more")
            self._is_connected = False
            return False
        self._is_connected = True
        self._unanswered[number] = _Question(kind, text, command_id, self._now_ns())
        return True

    # --- what comes back ---

    def poll(self) -> tuple[TriggerEvent, ...]:
        """Read the answers, lower what is over, ask whether the GUI acquires if that is due, and return at once."""
        if self._socket is not None:
            self._read(self._socket)
            now_ns = self._now_ns()
            self._lower_due(now_ns)
            self._check_overdue(now_ns)
            alive_is_asked = any(question.kind == "alive" for question in self._unanswered.values())
            if not alive_is_asked and now_ns - self._asked_ns >= self._options.alive_ms * 1_000_000:
                self._ask_whether_alive(now_ns)
        events = tuple(self._events)
        self._events.clear()
        return events

    def _ask_whether_alive(self, now_ns: int) -> None:
        self._asked_ns = now_ns
        self._send("alive", "IsAcquiring")

    def _read(self, socket: zmq.Socket[bytes]) -> None:
        with suppress(zmq.Again):
            while True:
                frames = socket.recv_multipart(zmq.DONTWAIT)
                question = self._unanswered.pop(frames[0], None) if len(frames) == 3 and not frames[1] else None
                if question is not None:
                    self._on_answer(question, frames[2].decode(errors="replace"), self._now_ns())

    def _on_answer(self, question: _Question, answer: str, now_ns: int) -> None:
        wrong = f"{self._where()}: expected {_HANDLED} for {question.text!r}, got {answer[:80]!r}"
        match question.kind:
            case "alive":
                self._on_acquiring({"1": True, "0": False}.get(answer), now_ns)
            case "raise" if answer.startswith(_HANDLED):
                detail = "after the time-out" if question.is_overdue else ""
                self._report("ack", question.command_id, now_ns, detail)
            case "raise":
                self._report("refused", question.command_id, now_ns, wrong)
            case "lower" if not answer.startswith(_HANDLED):
                self._report("fault", None, now_ns, wrong)
            case _:
                pass

    def _on_acquiring(self, is_acquiring: bool | None, now_ns: int) -> None:
        """Take note of whether the GUI acquires; None if it does not understand the question."""
        if self._options.require_acquisition and self._is_acquiring and is_acquiring is False:
            detail = f"{self._where()}: the GUI stopped its acquisition; events are lost from now on"
            self._report("fault", None, now_ns, detail)
        self._is_acquiring = is_acquiring

    def _check_overdue(self, now_ns: int) -> None:
        for question in self._unanswered.values():
            if now_ns - question.sent_ns <= self._options.ack_timeout_ms * 1_000_000:
                return
            if not question.is_overdue:
                question.is_overdue = True
                late = f"{question.text!r} was not answered within {self._options.ack_timeout_ms} ms"
                self._report("fault", question.command_id, now_ns, f"{self._where()}: {late}")

    def _report(
        self, kind: Literal["ack", "refused", "fault"], command_id: int | None, now_ns: int, detail: str
    ) -> None:
        self._events.append(TriggerEvent(kind, command_id, now_ns, detail=detail))

    def _address(self) -> str:
        host = self._options.host
        return f"tcp://[{host}]:{self._options.port}" if ":" in host else f"tcp://{host}:{self._options.port}"

    def _where(self) -> str:
        return f"open_ephys {self._address()}"


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _text(pulse: Pulse, command_id: int) -> str:
    train = "" if pulse.train_hz is None else f" train_hz={pulse.train_hz:g} width_us={pulse.width_us}"
    return (
        f"poseloop pulse id={command_id} channel={pulse.channel} duration_us={pulse.duration_us} "
        f"intensity={pulse.intensity:g}{train}"
    )
