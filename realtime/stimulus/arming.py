"""Arming: whether stimuli go out at all, and the orders that change it.

Nothing goes out until the rig or a person arms. Whatever goes wrong disarms; arming again is a person's act.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

ARM_WITHIN_NS = 200_000_000
"""An order to arm that no frame followed for so long is void: who gave it has been told that nothing answered."""


class SafetyOptions(BaseModel):
    """Who may arm, and what disarms beside a device that fails.

    Attributes:
        armed_at_start: Stimuli go out from the first frame on. Otherwise from when a person says so: `poseloop arm`, or
            the key of `poseloop run`.
        bad_frames: Disarm after so many frames in a row in which the model gave something that no healthy network
            gives (a score that counts, at a place that is not a number).
        stall_ms: While armed, a loop that shows no sign of life for so long is killed and every output switched off.
        address: Take orders there as well, e.g. `tcp://127.0.0.1:5581`; from other computers only with keys. `poseloop
            arm` and `poseloop disarm` need none.
        secret_key_file: Our own CURVE key pair.
        peer_key_file: The public CURVE key of whoever may give orders.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    armed_at_start: bool = False
    bad_frames: int = Field(default=5, ge=1, le=100_000)
    stall_ms: float = Field(default=1000.0, ge=100, le=60_000)
    address: str | None = None
    secret_key_file: Annotated[Path | None, Field(strict=False)] = None
    peer_key_file: Annotated[Path | None, Field(strict=False)] = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order to arm or to disarm, and what came of it.

    Attributes:
        kind: `arm` or `disarm`.
        by: Who gave it, or what; for a person.
        host_ns: Host monotonic clock, ns, when it was given.
        is_fault: Something is wrong; False for what a person wished.
        refused: Why it was not obeyed; the empty string if it was, or as long as nobody has tried.
        number: By which who gave it knows the answer.
    """

    kind: Literal["arm", "disarm"]
    by: str
    host_ns: int
    is_fault: bool = False
    refused: str = ""
    number: int = 0


class Orders(Protocol):
    """Where orders come from, and where their answers go."""

    def take(self, disarmed: str) -> Sequence[Order]:
        """Return the orders that came since the last call, and return at once.

        Args:
            disarmed: Why nothing goes out now, the empty string while armed; for whoever asks.
        """
        ...

    def answer(self, order: Order, disarmed: str) -> None:
        """Take note of an order that was obeyed or refused, and of how things are now."""
        ...

    def close(self, *, off: bool) -> None:
        """Take note that no more orders are taken; called once before the outputs are closed and once after (`off`)."""
        ...


class NoOrders:
    """Nobody orders anything."""

    def take(self, disarmed: str) -> Sequence[Order]:  # noqa: ARG002
        """Return nothing."""
        return ()

    def answer(self, order: Order, disarmed: str) -> None:
        """Do nothing."""

    def close(self, *, off: bool) -> None:
        """Do nothing."""


class ReplayedOrders(NoOrders):
    """The orders of a recorded session, one `take` a frame."""

    def __init__(self, by_frame: Iterable[Sequence[Order]]) -> None:
        self._by_frame = iter(by_frame)

    def take(self, disarmed: str) -> Sequence[Order]:  # noqa: ARG002
        """Return the orders that were recorded with the next frame."""
        return next(self._by_frame, ())
