"""What the supervisor answers and when it steps in, by the messages that came and the time."""

import socket
from collections.abc import Iterator

import msgspec
import pytest

from realtime.supervision.protocol import Answer, Ask, Beat, Closing, FromLoop, Goodbye, Obeyed, OrderMessage
from realtime.supervision.supervisor import CLOSING_NS, CONFIRM_NS, Supervisor

MS = 1_000_000
STALL_NS = 1_000 * MS
ARMED = ""


class Desk:
    """A supervisor, the loop's end of its socket, and the time."""

    def __init__(self) -> None:
        self.loop, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.loop.setblocking(False)
        self.ours = ours
        self.supervisor = Supervisor(ours, STALL_NS, "/data/s1")
        self.now_ns = 0

    def say(self, *messages: FromLoop) -> tuple[Answer | None, str]:
        for message in messages:
            self.loop.send(msgspec.json.encode(message))
        return self.supervisor.hear(self.now_ns)

    def after(self, ms: float) -> str:
        """Let time pass; return why it would step in."""
        self.now_ns += round(ms * MS)
        return self.supervisor.hear(self.now_ns)[1]

    def ask(self, order: str) -> Answer | None:
        return self.supervisor.ask(Ask(order, "anna"), self.now_ns)  # type: ignore[arg-type]

    def told(self) -> OrderMessage:
        return msgspec.json.decode(self.loop.recv(4096), type=OrderMessage)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.loop.close()
    desk.ours.close()


def test_a_loop_that_beats_is_left_alone(desk: Desk) -> None:
    for _ in range(100):
        assert desk.say(Beat(ARMED)) == (None, "")
        assert desk.after(999) == ""


def test_an_armed_loop_that_stands_still_is_ended(desk: Desk) -> None:
    desk.say(Beat(ARMED))
    assert desk.after(1000) == ""
    assert desk.after(1) == "the loop stood still"


def test_a_disarmed_loop_may_stand_still(desk: Desk) -> None:
    desk.say(Beat(ARMED), Beat("not armed yet"))
    assert desk.after(60_000) == ""


def test_nothing_is_owed_before_the_loop_begins(desk: Desk) -> None:
    assert desk.after(60_000) == ""
    assert desk.ask("state") == Answer(True, False, "the loop has not begun", "/data/s1")


def test_what_was_said_counts_before_the_time_is_judged(desk: Desk) -> None:
    # The supervisor itself may have been kept from running, while the loop was beating all the time.
    desk.say(Beat(ARMED))
    desk.now_ns += 5_000 * MS
    assert desk.say(Beat(ARMED)) == (None, "")


def test_a_loop_that_dies_is_noticed_at_once(desk: Desk) -> None:
    desk.say(Beat("not armed yet"))
    desk.loop.close()
    assert desk.after(0) == "the loop's process died"


def test_a_loop_that_says_goodbye_may_go(desk: Desk) -> None:
    assert desk.say(Beat(ARMED), Closing(), Goodbye()) == (None, "")
    desk.loop.close()
    assert (desk.supervisor.ended, desk.after(60_000)) == (True, "")


def test_a_goodbye_counts_even_if_the_loop_did_not_read_all_before_it_went(desk: Desk) -> None:
    desk.ask("arm")  # never read
    desk.loop.send(msgspec.json.encode(Goodbye()))
    desk.loop.close()
    assert (desk.after(0), desk.supervisor.ended) == ("", True)


def test_closing_the_outputs_may_take_longer_than_a_stall_but_not_for_ever(desk: Desk) -> None:
    desk.say(Beat(ARMED), Closing())
    assert desk.after(CLOSING_NS / MS) == ""
    assert desk.after(1) == "the loop stood still"


def test_a_loop_that_dies_while_it_closes_is_noticed(desk: Desk) -> None:
    desk.say(Beat(ARMED), Closing())
    desk.loop.close()
    assert desk.after(0) == "the loop's process died"


def test_an_order_is_passed_on_and_its_answer_comes_from_the_loop(desk: Desk) -> None:
    desk.say(Beat("not armed yet"))
    assert desk.ask("arm") is None
    assert desk.supervisor.busy
    order = desk.told()
    assert (order.kind, order.by) == ("arm", "anna")
    answer, why = desk.say(Obeyed(order.number, "", ARMED))
    assert (answer, why) == (Answer(True, True, "", "/data/s1"), "")
    assert not desk.supervisor.busy
    assert desk.ask("state") == Answer(True, True, "", "/data/s1")


def test_a_refusal_says_why(desk: Desk) -> None:
    desk.say(Beat("laser: cable out"))
    desk.ask("arm")
    answer, _ = desk.say(Obeyed(desk.told().number, "laser: cable out; end the session", "laser: cable out"))
    assert answer == Answer(False, False, "laser: cable out; end the session", "/data/s1")


def test_the_answer_to_another_order_is_not_taken_for_this_ones(desk: Desk) -> None:
    desk.ask("arm")
    desk.now_ns += CONFIRM_NS + 1
    assert desk.supervisor.give_up(desk.now_ns) is not None
    first = desk.told().number
    desk.ask("disarm")
    assert desk.say(Obeyed(first, "too late", "not armed yet"))[0] is None
    assert desk.supervisor.busy


def test_an_order_to_disarm_that_is_not_answered_ends_the_loop(desk: Desk) -> None:
    desk.say(Beat(ARMED))
    desk.ask("disarm")
    assert desk.after(250) == ""
    assert desk.after(1) == "the loop did not answer the order to disarm (anna)"
    answer = desk.supervisor.stepped_in("the loop did not answer")
    assert answer == Answer(True, False, "the loop did not answer; it was ended and its outputs off", "/data/s1")


def test_an_order_to_arm_that_is_not_answered_is_given_up(desk: Desk) -> None:
    desk.say(Beat("not armed yet"))
    desk.ask("arm")
    assert desk.after(250) == ""
    assert desk.supervisor.give_up(desk.now_ns) is None
    assert desk.after(1) == ""
    answer = desk.supervisor.give_up(desk.now_ns)
    assert answer == Answer(False, False, "the loop did not answer; is its camera running?", "/data/s1")


@pytest.mark.parametrize(("order", "done"), [("arm", False), ("disarm", True)])
def test_an_order_that_the_end_of_the_session_overtook_is_answered(desk: Desk, order: str, done: bool) -> None:
    desk.ask(order)
    desk.say(Closing(), Goodbye())
    answer = desk.supervisor.give_up(desk.now_ns)
    assert answer == Answer(done, False, "the session has ended", "/data/s1")
