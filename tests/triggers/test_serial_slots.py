from triggers.pulse import Pulse
from triggers.serial_slots import Slots

A, B, C = (Pulse(channel, 1_000) for channel in range(3))


def _with(n_slots: int, *pulses: Pulse) -> Slots:
    slots = Slots(n_slots)
    for frame_id, pulse in enumerate(pulses, start=100):
        assert slots.ask(pulse, frame_id) is not None
        slots.stored(frame_id)
    return slots


def test_a_pulse_is_stored_once_the_device_says_so():
    slots = Slots(2)
    assert slots.ask(A, 7) == 0
    assert slots.find(A) is None
    slots.stored(8)  # The answer to something else.
    assert slots.find(A) is None
    slots.stored(7)
    assert slots.find(Pulse(0, 1_000)) == 0
    assert slots.find(Pulse(0, 1_001)) is None


def test_nothing_is_asked_twice():
    slots = Slots(2)
    assert slots.ask(A, 7) == 0
    assert slots.ask(A, 8) is None
    slots.stored(7)
    assert slots.ask(A, 9) is None


def test_the_slot_used_longest_ago_is_used_again():
    slots = _with(2, A, B)
    slots.use(0)
    assert slots.ask(C, 7) == 1
    assert slots.find(B) is None  # From then on: the device may have overwritten it.
    slots.stored(7)
    assert slots.ask(B, 8) == 0  # To be stored is a use too: C came after the last use of A.
    slots.stored(8)
    assert (slots.find(A), slots.find(B), slots.find(C)) == (None, 0, 1)


def test_a_slot_whose_answer_is_missing_is_free_and_holds_nothing():
    slots = _with(1, A)
    assert slots.ask(B, 7) == 0
    assert slots.ask(C, 8) is None  # Every slot waits for an answer.
    slots.not_stored(7)
    assert (slots.find(A), slots.find(B)) == (None, None)
    assert slots.ask(C, 9) == 0
    slots.stored(7)  # Late.
    assert (slots.find(B), slots.find(C)) == (None, None)


def test_what_a_device_forgot_is_not_found_and_every_slot_is_free():
    slots = _with(3, A, B)
    assert slots.ask(C, 7) == 2
    slots.use(0)
    slots.forget()
    slots.stored(7)
    assert [slots.find(pulse) for pulse in (A, B, C)] == [None] * 3
    assert [slots.ask(pulse, 8 + pulse.channel) for pulse in (A, B, C)] == [0, 1, 2]


def test_a_device_without_slots_is_asked_nothing():
    assert Slots(0).ask(A, 7) is None
