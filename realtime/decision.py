"""Decision: what one rule said of one frame."""

from enum import IntEnum

import msgspec


class State(IntEnum):
    """A rule's state. UNKNOWN when what it needs is missing: never quietly OFF."""

    OFF = 0
    ON = 1
    UNKNOWN = 2


class Edge(IntEnum):
    """A change of a rule's state; stimuli start on RISING."""

    NONE = 0
    RISING = 1
    FALLING = 2


class Decision(msgspec.Struct, frozen=True):
    """What one rule said of one frame.

    Attributes:
        rule: The rule's name.
        frame_id: The frame.
        timestamp_ns: The frame's `timestamp_ns`.
        state: ON, OFF or UNKNOWN.
        edge: Whether the state changed in this frame.
        track_ids: The animals that the rule's roles are bound to, in the order of the roles; with "any pair" the pair
            that decided. Empty where a role has no animal.
        values: The numbers compared, one for each comparison of the expression, in its order, in `units`; NaN = not
            known.
        units: The unit of each value: `mm`, `px`, `deg`, `rad`, `s`, `ms` or the empty string.
    """

    rule: str
    frame_id: int
    timestamp_ns: int
    state: State
    edge: Edge
    track_ids: tuple[int, ...]
    values: tuple[float, ...]
    units: tuple[str, ...]
