"""Which pulses a device has stored, and in which slot: those used last stay."""

from triggers.pulse import Pulse


class Slots:
    """A host's knowledge of a device's slots. A pulse counts as stored once the device has said so.

    Args:
        n_slots: How many the device has.
    """

    def __init__(self, n_slots: int) -> None:
        self._free = list(range(n_slots))
        self._asked: dict[int, tuple[int, Pulse]] = {}  # Frame's id → slot, pulse.
        self._slot_of: dict[Pulse, int] = {}
        self._n_uses = 0
        self._last_use = [0] * n_slots  # By slot, the number of its last use.

    def find(self, pulse: Pulse) -> int | None:
        """Return the slot that holds a pulse, which counts as a use, or None. A stimulus waits for it."""
        slot = self._slot_of.get(pulse)
        if slot is not None:
            self._use(slot)
        return slot

    def ask(self, pulse: Pulse, frame_id: int) -> int | None:
        """Choose the slot in which a frame is to store a pulse; what it held is forgotten at once.

        Returns:
            The slot, or None if the pulse is stored, on its way, or every slot waits for an answer.
        """
        if pulse in self._slot_of or any(pulse == asked for _, asked in self._asked.values()):
            return None
        if self._free:
            slot = self._free.pop(0)
        elif self._slot_of:
            slot = self._slot_of.pop(min(self._slot_of, key=lambda stored: self._last_use[self._slot_of[stored]]))
        else:
            return None
        self._asked[frame_id] = slot, pulse
        return slot

    def stored(self, frame_id: int) -> None:
        """The device has stored what this frame asked it to."""
        if frame_id in self._asked:
            slot, pulse = self._asked.pop(frame_id)
            self._slot_of[pulse] = slot
            self._use(slot)

    def not_stored(self, frame_id: int) -> None:
        """The device has refused this frame or was not heard to answer it: the slot may hold anything."""
        if frame_id in self._asked:
            self._free.append(self._asked.pop(frame_id)[0])

    def forget(self) -> None:
        """The device may hold nothing any more; an answer that is still to come counts for nothing."""
        self._free += [*self._slot_of.values(), *(slot for slot, _ in self._asked.values())]
        self._free.sort()
        self._slot_of.clear()
        self._asked.clear()

    def _use(self, slot: int) -> None:
        self._n_uses += 1
        self._last_use[slot] = self._n_uses
