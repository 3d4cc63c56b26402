"""Which pulses a device has stored, and in which slot: those used last stay."""

from triggers.pulse import Pulse


class Slots:
    """A host's knowledge of a device's slots. A pulse counts as stored once the device has said so.

    Args:
        n_slots: How many the device has.
    """

    def __init__(self, n_slots: int) -> None:
        self._held: list[Pulse | None] = [None] * n_slots  # By slot.
        self._last_use = [0] * n_slots  # By slot, the number of its last use; 0 if it may hold anything.
        self._asked: dict[int, tuple[int, Pulse]] = {}  # Frame's id → slot, pulse.
        self._n_uses = 0

    def find(self, pulse: Pulse) -> int | None:
        """Return the slot that holds a pulse, or None. Looked for, not hashed: a stimulus waits for it."""
        try:
            return self._held.index(pulse)
        except ValueError:
            return None

    def use(self, slot: int) -> None:
        """Note that a slot is used now."""
        self._n_uses += 1
        self._last_use[slot] = self._n_uses

    def ask(self, pulse: Pulse, frame_id: int) -> int | None:
        """Choose the slot in which a frame is to store a pulse; what it held is forgotten at once.

        Returns:
            The slot, or None if the pulse is stored, on its way, or every slot waits for an answer.
        """
        waiting = {slot for slot, _ in self._asked.values()}
        slots = [slot for slot in range(len(self._held)) if slot not in waiting]
        if not slots or pulse in self._held or any(pulse == asked for _, asked in self._asked.values()):
            return None
        slot = min(slots, key=self._last_use.__getitem__)
        self._held[slot], self._last_use[slot] = None, 0
        self._asked[frame_id] = slot, pulse
        return slot

    def stored(self, frame_id: int) -> None:
        """The device has stored what this frame asked it to."""
        if frame_id in self._asked:
            slot, pulse = self._asked.pop(frame_id)
            self._held[slot] = pulse
            self.use(slot)

    def not_stored(self, frame_id: int) -> None:
        """The device has refused this frame or was not heard to answer it: the slot may hold anything."""
        self._asked.pop(frame_id, None)

    def forget(self) -> None:
        """The device may hold nothing any more; an answer that is still to come counts for nothing."""
        self._held = [None] * len(self._held)
        self._last_use = [0] * len(self._held)
        self._asked.clear()
