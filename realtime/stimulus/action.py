"""What was done about a frame: intents, receipts, and what the devices reported."""

from typing import Literal

import msgspec

from realtime.stimulus.arming import Order
from realtime.stimulus.controls import Arm
from triggers.base import TriggerEvent

Outcome = Literal[
    "sent", "sham", "late", "limited", "outranked", "disarmed", "failed", "undelivered", "stopped", "cancelled"
]

# Stands for a command id where `Trigger.stop` was called: a stop has none.
STOP_ID = 0


class Intent(msgspec.Struct, frozen=True):
    """A stimulus that was asked for, and what came of it.

    Attributes:
        stimulus: Name of the stimulus.
        rule: The rule whose edge asked for it; the empty string where no rule did.
        frame_id: The frame that asked for it; with a delay it is not the frame with which it goes out.
        decided_ns: Host monotonic clock, ns, by which deadline and limits were judged.
        channel, duration_us, intensity, train_hz, width_us: As in `Pulse`.
        outcome: `sent`; `sham` (it would have been sent, but is a control); or not sent: `late` (the pose, or the
            frame with which it was due, was older than the deadline), `limited` (the interlock refused), `outranked` (a
            stimulus of higher priority was running), `disarmed`, `failed` (a trigger failed; everything is off and
            disarmed), `undelivered` (at least one trigger had nobody to hand the command to), `cancelled` (the rule
            fell before the delay was over); or `stopped` (switched off on release; a sham's, without a command).
        detail: Why, with the numbers; empty where there is nothing to say.
        commands: (trigger, command id) in the order in which they were tried; the id is 0 for a stop. After `failed`
            the last one is the trigger that failed, and those after it were not tried. Empty for a sham.
        arm: Decided when the stimulus was asked for, before anything was checked.
        ordinal: How many of this stimulus had been asked for before; with the seed it gives the arm. A stimulus that is
            repeated while its rule is on keeps it, and a stop has that of what it stops.
        track_ids: The animals that the rule named in the frame that asked for it; empty without a rule.
        identity_confidence: How sure it was in that frame who they are, 0–1, one for each of `track_ids`.
        extended: (trigger, command id of the pulse) where the command let a pulse that runs last longer, instead of
            starting another one.
    """

    stimulus: str
    rule: str
    frame_id: int
    decided_ns: int
    channel: int
    duration_us: int
    intensity: float
    train_hz: float | None
    width_us: int | None
    outcome: Outcome
    detail: str
    commands: tuple[tuple[str, int], ...] = ()
    arm: Arm = "real"
    ordinal: int = 0
    track_ids: tuple[int, ...] = ()
    identity_confidence: tuple[float, ...] = ()
    extended: tuple[tuple[str, int], ...] = ()


class Receipt(msgspec.Struct, frozen=True):
    """A command as its trigger reported it; the fields are those of `FireReceipt`."""

    trigger: str
    command_id: int
    sent_ns: int
    acked_ns: int | None
    delivered: bool


class Action(msgspec.Struct, frozen=True):
    """What was done about one frame.

    Attributes:
        intents: One for each stimulus that was asked for, stopped or cancelled, in the order in which it was done.
        receipts: One for each command that was sent.
        events: (trigger, event) that were polled since the frame before.
        orders: Orders that were obeyed or refused since the frame before.
    """

    intents: tuple[Intent, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    events: tuple[tuple[str, TriggerEvent], ...] = ()
    orders: tuple[Order, ...] = ()
