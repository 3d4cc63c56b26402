import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers import wire
from triggers.device import Device, DeviceSpec
from triggers.wire import EndReason, RefusalReason

FOREVER_MS = 1_000_000


class Bench:
    """A device on a bench: frames in, messages out, edges remembered, and a clock that is set by hand."""

    def __init__(self, spec: DeviceSpec | None = None, *, greet: bool = True, start_us: int = 0) -> None:
        self.edges = []
        self.commands = []
        self.spec = spec or DeviceSpec(dead_man_ms=60_000)
        self.device = Device(self.spec, self.edges.append, lambda message, now_us: self.commands.append(message))
        self.now_us = start_us
        if greet:
            self.send(wire.Hello(1, start_us // 1000))

    def send(self, *messages: wire.HostMessage) -> list[wire.DeviceMessage]:
        return self.send_bytes(b"".join(map(wire.encode, messages)))

    def send_bytes(self, data: bytes) -> list[wire.DeviceMessage]:
        return wire.Parser().feed(self.device.receive(data, self.now_us))

    def until(self, now_us: int) -> list[wire.DeviceMessage]:
        """Let the time pass in one step, as on a processor that was busy."""
        self.now_us = now_us
        return wire.Parser().feed(self.device.advance(now_us))

    def pulse(self, duration_us: int, period_us: int = 0, width_us: int = 0, **changes) -> wire.DeviceMessage:
        fields = {"id": 7, "channel": 0, "intensity": 0xFFFF, "expires_ms": self.now_us // 1000 + FOREVER_MS}
        train = wire.PulseTrain(**fields | changes, duration_us=duration_us, period_us=period_us, width_us=width_us)
        (answer,) = (message for message in self.send(train) if not isinstance(message, wire.Done))
        return answer

    def levels(self) -> list[tuple[int, int, bool]]:
        return [(edge.device_us, edge.channel, edge.on) for edge in self.edges]


def test_it_boots_with_every_output_low_and_waits_for_a_greeting():
    bench = Bench(greet=False)
    assert wire.Parser().feed(bench.device.boot()) == [wire.Boot(0)]
    assert bench.pulse(1000).reason == RefusalReason.NO_HELLO
    assert bench.device.outputs == 0
    assert bench.edges == []


def test_it_says_what_it_is():
    bench = Bench(DeviceSpec("stim", (2, 3), 4, 1_000_000, 500, 5_000, 100), greet=False)
    assert bench.send(wire.Hello(11, 0)) == [wire.Identity(11, 2, 3, 4, 1_000_000, 500, 5_000, 100, "stim")]


def test_a_pulse_is_as_long_as_asked_to_the_microsecond():
    bench = Bench()
    bench.now_us = 500
    assert bench.pulse(5_000, intensity=40_000) == wire.Ack(7, wire.PulseTrain.TYPE, 0b1, 500)
    assert bench.device.next_due_us == 5_500
    assert bench.until(5_499) == []
    assert bench.until(5_500) == [wire.Done(7, EndReason.FINISHED, 5_500)]
    assert bench.levels() == [(500, 0, True), (5_500, 0, False)]
    assert [edge.intensity for edge in bench.edges] == [40_000, 0]
    assert bench.device.next_due_us is None


@pytest.mark.parametrize(
    ("duration_us", "period_us", "width_us", "edges_us"),
    [
        pytest.param(100, 40, 10, [0, 10, 40, 50, 80, 90], id="rest of a period"),
        pytest.param(80, 40, 10, [0, 10, 40, 50], id="whole periods"),
        pytest.param(45, 40, 10, [0, 10, 40, 45], id="last pulse cut by the end"),
        pytest.param(50, 40, 10, [0, 10, 40, 50], id="last pulse just fits"),
        pytest.param(5, 40, 10, [0, 5], id="shorter than one pulse"),
        pytest.param(40, 40, 39, [0, 39], id="one period"),
        pytest.param(4, 2, 1, [0, 1, 2, 3], id="fastest"),
    ],
)
@pytest.mark.parametrize("step_us", [1, 1_000], ids=["in small steps", "in one step"])
def test_edges_of_a_train(duration_us, period_us, width_us, edges_us, step_us):
    bench = Bench()
    assert isinstance(bench.pulse(duration_us, period_us, width_us), wire.Ack)
    messages = []
    while bench.device.next_due_us is not None:
        messages += bench.until(bench.now_us + step_us)
    assert [edge.device_us for edge in bench.edges] == edges_us
    assert [edge.on for edge in bench.edges] == [True, False] * (len(edges_us) // 2)
    assert messages == [wire.Done(7, EndReason.FINISHED, duration_us)]


def test_channels_run_side_by_side_and_their_edges_come_in_order():
    bench = Bench()
    bench.pulse(100, 50, 20, channel=0, id=1)
    bench.now_us = 10
    assert bench.pulse(30, channel=1, id=2).outputs == 0b11
    bench.until(1_000)
    assert bench.levels() == [
        (0, 0, True),
        (10, 1, True),
        (20, 0, False),
        (40, 1, False),
        (50, 0, True),
        (70, 0, False),
    ]


def test_stop_ends_one_channel_and_all_off_every_one():
    bench = Bench()
    for channel in range(3):
        bench.pulse(1_000, channel=channel, id=10 + channel)
    bench.now_us = 100
    assert bench.send(wire.Stop(1, 1)) == [
        wire.Done(11, EndReason.STOPPED, 100),
        wire.Ack(1, wire.Stop.TYPE, 0b101, 100),
    ]
    assert bench.send(wire.Stop(2, 1)) == [wire.Ack(2, wire.Stop.TYPE, 0b101, 100)]
    bench.now_us = 200
    assert bench.send(wire.AllOff(3)) == [
        wire.Done(10, EndReason.ALL_OFF, 200),
        wire.Done(12, EndReason.ALL_OFF, 200),
        wire.Ack(3, wire.AllOff.TYPE, 0, 200),
    ]
    assert bench.device.outputs == 0


@pytest.mark.parametrize("silence_us", [100_000, 100_001, 5_000_000])
def test_without_a_sign_of_life_everything_goes_off(silence_us):
    bench = Bench(DeviceSpec(dead_man_ms=100))
    bench.pulse(10_000_000)
    bench.pulse(10_000_000, 50_000, 10_000, channel=1, id=8)
    assert bench.until(99_999) == []
    assert bench.until(silence_us) == [
        wire.Done(7, EndReason.DEAD_MAN, 100_000),
        wire.Done(8, EndReason.DEAD_MAN, 100_000),
    ]
    assert bench.device.outputs == 0
    assert bench.edges[-1].device_us == 100_000


@pytest.mark.parametrize(
    "sign",
    [wire.Heartbeat(5, 0), wire.Stop(5, 3), wire.PulseTrain(5, 0, 0, 0, 0, 0, 0)],
    ids=["heartbeat", "stop", "refused pulse"],
)
def test_any_valid_frame_is_a_sign_of_life(sign):
    bench = Bench(DeviceSpec(dead_man_ms=100))
    bench.pulse(10_000_000)
    bench.now_us = 99_000
    bench.send(sign)
    assert bench.until(198_999) == []
    assert bench.until(199_000) == [wire.Done(7, EndReason.DEAD_MAN, 199_000)]


def test_noise_is_no_sign_of_life():
    bench = Bench(DeviceSpec(dead_man_ms=100))
    bench.pulse(10_000_000)
    bench.now_us = 99_000
    bench.send_bytes(b"\x00noise\x00\x00\x01\x02\x00")
    assert bench.until(100_000) == [wire.Done(7, EndReason.DEAD_MAN, 100_000)]


@pytest.mark.parametrize(
    ("changes", "times", "reason"),
    [
        pytest.param({"channel": 8}, (1_000, 0, 0), RefusalReason.BAD_CHANNEL, id="no such channel"),
        pytest.param({}, (0, 0, 0), RefusalReason.BAD_VALUE, id="no duration"),
        pytest.param({}, (1_000, 100, 100), RefusalReason.BAD_VALUE, id="width is the period"),
        pytest.param({}, (1_000, 100, 0), RefusalReason.BAD_VALUE, id="no width"),
        pytest.param({}, (1_000, 0, 10), RefusalReason.BAD_VALUE, id="width without period"),
        pytest.param({"expires_ms": 999}, (1_000, 0, 0), RefusalReason.EXPIRED, id="expired"),
        pytest.param({}, (2_000_001, 0, 0), RefusalReason.MAX_ON, id="too long"),
        pytest.param({}, (9_000_000, 4_000_000, 2_000_001), RefusalReason.MAX_ON, id="too wide"),
        pytest.param({"channel": 1}, (1_000, 0, 0), RefusalReason.BUSY, id="busy"),
    ],
)
def test_refusals(changes, times, reason):
    bench = Bench(DeviceSpec(max_on_us=2_000_000, dead_man_ms=60_000))
    bench.now_us = 1_000_000
    bench.send(wire.Heartbeat(1, 1000))
    bench.pulse(1_500_000, channel=1, id=5)
    bench.edges.clear()
    assert bench.pulse(*times, **changes) == wire.Refused(7, wire.PulseTrain.TYPE, reason, 1_000_000)
    assert bench.edges == []


def test_stop_of_a_channel_that_is_not_there_is_refused():
    assert Bench().send(wire.Stop(9, 8)) == [wire.Refused(9, wire.Stop.TYPE, RefusalReason.BAD_CHANNEL, 0)]


def test_a_pulse_may_follow_once_the_last_has_ended():
    bench = Bench()
    bench.pulse(1_000)
    bench.now_us = 999
    assert bench.pulse(1_000).reason == RefusalReason.BUSY
    bench.now_us = 1_000
    done, ack = bench.send(wire.PulseTrain(8, 0, 1, 1_000, 0, 0, FOREVER_MS))
    assert (done, ack.id) == (wire.Done(7, EndReason.FINISHED, 1_000), 8)


@pytest.mark.parametrize("start_ms", [0, 2**32 - 50, 2**31 - 50, 12_345_678], ids=["0", "wrap", "sign", "other"])
@pytest.mark.parametrize("host_ahead_ms", [0, 2**31, -1_000, 987_654_321])
def test_a_command_that_waited_in_a_buffer_is_known_to_be_old(start_ms, host_ahead_ms):
    bench = Bench(greet=False, start_us=start_ms * 1000)

    def host_ms() -> int:
        return (bench.now_us // 1000 + host_ahead_ms) & wire.U32

    bench.send(wire.Hello(1, host_ms()))
    for _ in range(50):
        bench.now_us += 20_000
        bench.send(wire.Heartbeat(2, host_ms()))
    in_time = (host_ms() + 30) & wire.U32
    bench.now_us += 30_000
    assert isinstance(bench.pulse(100, expires_ms=in_time), wire.Ack)
    bench.now_us += 32_000  # One more than the leak of the estimate.
    assert bench.pulse(100, expires_ms=in_time).reason == RefusalReason.EXPIRED


def test_what_a_stalled_device_finds_in_its_buffer_is_too_old():
    bench = Bench()
    backlog = [wire.Heartbeat(i, 20 * i) for i in range(1, 150)]
    train = wire.PulseTrain(7, 0, 1, 1_000, 0, 0, expires_ms=2_500)
    backlog.insert(100, train)  # Sent at 2.0 s with half a second to live.
    bench.now_us = 3_000_000
    answers = bench.send(*backlog)
    assert [answer for answer in answers if answer.id == 7 and answer.answered == train.TYPE] == [
        wire.Refused(7, train.TYPE, RefusalReason.EXPIRED, 3_000_000)
    ]


@pytest.mark.parametrize("drift", [0.995, 1.0, 1.005], ids=["slow", "exact", "fast"])
def test_a_resonator_half_a_percent_off_does_not_make_commands_old(drift):
    bench = Bench()
    for host_ms in range(20, 200_000, 20):
        bench.now_us = round(host_ms * 1000 * drift)
        bench.send(wire.Heartbeat(2, host_ms))
    assert isinstance(bench.pulse(100, expires_ms=host_ms + 5), wire.Ack)
    bench.now_us += 40_000
    assert bench.pulse(100, expires_ms=host_ms + 5).reason == RefusalReason.EXPIRED


def test_limits_are_lowered_and_never_raised_and_last_one_session():
    bench = Bench(DeviceSpec(max_on_us=1_000_000, max_duty_permille=500, dead_man_ms=100))

    def limits(message: wire.HostMessage) -> tuple[int, int, int]:
        (identity,) = bench.send(message)
        return identity.max_on_us, identity.max_duty_permille, identity.dead_man_ms

    assert limits(wire.Limits(2, 200_000, 1000, 0xFFFF)) == (200_000, 500, 100)
    assert limits(wire.Limits(3, 300_000, 100, 50)) == (200_000, 100, 50)
    assert bench.pulse(200_001).reason == RefusalReason.MAX_ON
    assert limits(wire.Hello(4, 0)) == (1_000_000, 500, 100)


def test_a_greeting_switches_everything_off():
    bench = Bench()
    bench.pulse(1_000)
    assert bench.send(wire.Hello(2, 0))[0] == wire.Done(7, EndReason.ALL_OFF, 0)
    assert bench.device.outputs == 0


DUTY = DeviceSpec(max_duty_permille=250, duty_window_ms=4_000, max_on_us=10_000_000, dead_man_ms=60_000)


@pytest.mark.parametrize(
    ("times", "accepted"),
    [
        pytest.param((1_333_333, 0, 0), True, id="all of the credit, refilled on the way"),
        pytest.param((1_333_334, 0, 0), False, id="one microsecond too long"),
        pytest.param((3_600_000_000, 100_000, 25_000), True, id="an hour at the duty"),
        pytest.param((3_600_000_000, 100_000, 25_100), False, id="an hour slightly above it"),
        pytest.param((3_900_000, 100_000, 50_000), True, id="above it for a while"),
        pytest.param((4_000_000, 100_000, 50_000), False, id="for too long"),
    ],
)
def test_duty_is_known_before_a_train_starts(times, accepted):
    assert isinstance(Bench(DUTY).pulse(*times), wire.Ack) == accepted


def test_credit_that_was_used_comes_back_with_time():
    bench = Bench(DUTY)
    bench.pulse(1_333_333)
    bench.until(1_333_333)
    assert bench.pulse(1_000).reason == RefusalReason.MAX_DUTY
    bench.now_us += 4_000
    assert isinstance(bench.pulse(1_000), wire.Ack)


def test_a_greeting_gives_no_credit():
    bench = Bench(DUTY)
    bench.pulse(1_333_333)
    bench.until(1_333_333)
    bench.send(wire.Hello(2, 0))
    assert bench.pulse(1_000).reason == RefusalReason.MAX_DUTY


COMMANDS = st.tuples(
    st.integers(0, 3_000_000),  # wait
    st.integers(1, 3_000_000),  # duration
    st.one_of(
        st.just((0, 0)), st.integers(20_000, 1_000_000).flatmap(lambda p: st.tuples(st.just(p), st.integers(1, p - 1)))
    ),
    st.booleans(),  # stop the channel first
)


def expect_duty_kept(bench):
    """Of the time from any rising edge to any falling one, and one window more, at most a quarter is on."""
    times = [edge.device_us for edge in bench.edges]
    intervals = list(zip(times[::2], times[1::2], strict=True))
    for first in range(len(intervals)):
        on_us = 0
        for start_us, end_us in intervals[first:]:
            on_us += end_us - start_us
            assert on_us * 1000 <= 250 * (end_us - intervals[first][0] + 4_000_000)


@settings(max_examples=100, deadline=None)
@given(st.lists(COMMANDS, max_size=12))
def test_no_commands_get_more_on_time_than_the_duty(commands):
    bench = Bench(DUTY)
    for wait_us, duration_us, (period_us, width_us), stop in commands:
        bench.now_us += wait_us
        if stop:
            bench.send(wire.Stop(2, 0))
        bench.send(wire.PulseTrain(7, 0, 1, duration_us, period_us, width_us, FOREVER_MS))
    bench.until(bench.now_us + 10_000_000)
    expect_duty_kept(bench)


@settings(max_examples=100, deadline=None)
@given(st.lists(COMMANDS, max_size=8), st.integers(20_000, 500_000))
def test_every_accepted_command_is_acknowledged_once_and_ends_once(commands, step_us):
    bench = Bench(DeviceSpec(dead_man_ms=200))
    messages = []
    for number, (wait_us, duration_us, (period_us, width_us), stop) in enumerate(commands):
        end_us = bench.now_us + wait_us
        while bench.now_us < end_us:
            messages += bench.until(min(end_us, bench.now_us + step_us))
        if stop:
            messages += bench.send(wire.Stop(2, 0))
        messages += bench.send(wire.PulseTrain(number, 0, 1, duration_us, period_us, width_us, FOREVER_MS))
    messages += bench.until(bench.now_us + 300_000)
    assert bench.device.outputs == 0
    acked = [message.id for message in messages if isinstance(message, wire.Ack) and message.answered == 0x10]
    assert acked == [message.id for message in messages if isinstance(message, wire.Done)]
    assert all(before.device_us <= after.device_us for before, after in itertools.pairwise(bench.edges))
    assert [edge.on for edge in bench.edges] == [True, False] * (len(bench.edges) // 2)


def test_an_echo_of_its_own_frames_is_ignored():
    bench = Bench()
    assert bench.send(wire.Boot(0), wire.Ack(1, 2, 3, 4), wire.Done(1, 2, 3), wire.Refused(1, 2, 3, 4)) == []


def test_a_host_of_another_version_is_told_the_version():
    bench = Bench(greet=False)
    (answer,) = bench.send_bytes(wire.frame(b"\x02\x01\x05\x00\x00\x00"))
    assert isinstance(answer, wire.Identity)


def test_commands_are_reported_as_they_arrive():
    bench = Bench()
    bench.pulse(1_000)
    assert [type(command) for command in bench.commands] == [wire.Hello, wire.PulseTrain]


# --- stored pulses ---


class Armory(Bench):
    """A bench whose device has one pulse stored, 1 ms on channel 2 from slot 3."""

    def __init__(self, spec: DeviceSpec | None = None, start_us: int = 0) -> None:
        super().__init__(spec, start_us=start_us)
        self.store()

    def store(self, duration_us: int = 1_000, period_us: int = 0, width_us: int = 0, **changes) -> wire.DeviceMessage:
        fields = {"id": 2, "slot": 3, "channel": 2, "intensity": 40_000} | changes
        (answer,) = self.send(
            wire.Program(**fields, duration_us=duration_us, period_us=period_us, width_us=width_us),
        )
        return answer

    def fire(self, identifier: int, slot: int = 3, wait_ms: int = 1_000) -> wire.DeviceMessage:
        fire = wire.Fire(identifier & 0xFFF, slot, self.now_us // 1000 + wait_ms & 0xFFFF)
        return self.send(fire)[-1]


def test_storing_puts_out_nothing_and_firing_does():
    bench = Armory()
    assert bench.store(5_000, 2_000, 500) == wire.Ack(2, wire.Program.TYPE, 0, 0)
    assert bench.edges == []
    bench.now_us = 700
    assert bench.fire(1) == wire.Ack(1, wire.Fire.TYPE, 0b100, 700)
    assert bench.until(5_700) == [wire.Done(1, EndReason.FINISHED, 5_700)]
    assert [us for us, _, _ in bench.levels()] == [700, 1_200, 2_700, 3_200, 4_700, 5_200]
    assert {(edge.channel, edge.command_id) for edge in bench.edges} == {(2, 1)}
    assert bench.edges[0].intensity == 40_000


def test_a_fire_is_reported_as_the_pulse_that_it_stands_for():
    bench = Armory()
    bench.fire(1)
    bench.fire(2, slot=4)
    assert bench.commands[-2:] == [wire.PulseTrain(1, 2, 40_000, 1_000, 0, 0, 1_000), wire.Fire(2, 4, 1_000)]


def test_a_program_replaces_what_the_slot_held_and_not_what_runs():
    bench = Armory()
    bench.fire(1)
    bench.now_us = 500
    bench.store(200, channel=0)
    assert bench.until(1_000) == [wire.Done(1, EndReason.FINISHED, 1_000)]
    assert bench.fire(2).outputs == 0b1


@pytest.mark.parametrize(
    ("times", "changes", "reason"),
    [
        pytest.param((1_000, 0, 0), {"slot": wire.N_SLOTS}, RefusalReason.NO_SLOT, id="no such slot"),
        pytest.param((1_000, 0, 0), {"channel": 8}, RefusalReason.BAD_CHANNEL, id="no such channel"),
        pytest.param((0, 0, 0), {}, RefusalReason.BAD_VALUE, id="no duration"),
        pytest.param((1_000, 100, 100), {}, RefusalReason.BAD_VALUE, id="width is the period"),
        pytest.param((2_000_001, 0, 0), {}, RefusalReason.MAX_ON, id="too long"),
        pytest.param((1_400_000, 0, 0), {}, RefusalReason.MAX_DUTY, id="more than the budget ever holds"),
    ],
)
def test_what_can_never_be_put_out_is_not_stored_and_the_slot_keeps_what_it_held(times, changes, reason):
    bench = Armory(DeviceSpec(max_on_us=2_000_000, max_duty_permille=250, duty_window_ms=4_000, dead_man_ms=60_000))
    assert bench.store(*times, **changes) == wire.Refused(2, wire.Program.TYPE, reason, 0)
    assert bench.fire(1).outputs == 0b100


def test_the_budget_is_looked_at_when_it_is_fired_not_when_it_is_stored():
    bench = Armory(DUTY)
    bench.pulse(1_333_333, channel=2)
    bench.until(1_333_333)
    assert isinstance(bench.store(1_300_000), wire.Ack)
    assert bench.fire(8).reason == RefusalReason.MAX_DUTY


@pytest.mark.parametrize(
    "forget",
    [
        pytest.param(lambda bench: bench.send(wire.Hello(5, bench.now_us // 1000)), id="hello"),
        pytest.param(lambda bench: bench.send(wire.Limits(5, wire.U32, 1000, 0xFFFF)), id="limits"),
        pytest.param(lambda bench: bench.until(60_000_000), id="silence for the dead-man time"),
    ],
)
def test_what_is_stored_is_forgotten(forget):
    bench = Armory()
    forget(bench)
    assert bench.fire(1) == wire.Refused(1, wire.Fire.TYPE, RefusalReason.NO_SLOT, bench.now_us)
    assert bench.edges == []


def test_shortly_before_the_dead_man_time_it_is_still_known():
    bench = Armory()
    bench.until(59_999_999)
    assert bench.fire(1).outputs == 0b100


def test_before_a_greeting_nothing_is_stored_and_nothing_fired():
    bench = Bench(greet=False)
    program = wire.Program(2, 0, 0, 1, 1_000, 0, 0)
    answers = bench.send(program, wire.Fire(1, 0, 1_000))
    assert [(answer.answered, answer.reason) for answer in answers] == [
        (wire.Program.TYPE, RefusalReason.NO_HELLO),
        (wire.Fire.TYPE, RefusalReason.NO_HELLO),
    ]


def test_a_fire_that_was_heard_is_never_carried_out_again():
    bench = Armory()
    frame = wire.encode(wire.Fire(1, 3, 5_000))
    assert isinstance(bench.send_bytes(frame)[0], wire.Ack)
    bench.until(1_000)
    assert bench.send_bytes(frame) == [wire.Refused(1, wire.Fire.TYPE, RefusalReason.REPLAYED, 1_000)]
    assert isinstance(bench.fire(3), wire.Ack)
    assert bench.fire(4).reason == RefusalReason.BUSY
    bench.until(2_000)
    assert bench.fire(4).reason == RefusalReason.REPLAYED  # Refused once is refused for good.
    assert bench.fire(2).reason == RefusalReason.REPLAYED


@pytest.mark.parametrize(
    ("newest", "identifier", "is_newer"),
    [
        pytest.param(0x1_0FFF, 0x1_1000, True, id="the next one, across the low bits"),
        pytest.param(0x1_0000, 0x1_07FF, True, id="the furthest ahead"),
        pytest.param(0x1_0800, 0x1_0000, False, id="the furthest behind"),
        pytest.param(0x1_0003, 0x1_0003, False, id="itself"),
        pytest.param(wire.U32, 0, True, id="across all bits"),
    ],
)
def test_twelve_bits_of_an_id_are_made_whole(newest, identifier, is_newer):
    bench = Armory()
    bench.pulse(1_000, id=newest)
    answer = bench.fire(identifier)
    assert answer.id == identifier
    assert isinstance(answer, wire.Ack) == is_newer


@pytest.mark.parametrize("start_ms", [0, 65_000, 2**32 - 500, 2**31 - 500, 12_345_678])
@pytest.mark.parametrize(
    ("wait_ms", "accepted"),
    [
        pytest.param(0, True, id="now"),
        pytest.param(-1, False, id="just past"),
        pytest.param(1_000, True, id="soon"),
        pytest.param(0x3FFF, True, id="the furthest ahead"),
        pytest.param(0x4000, False, id="too far ahead to be told from the past"),
        pytest.param(-0xBFFF, False, id="the longest past"),
    ],
)
def test_sixteen_bits_of_an_expiry_have_a_clear_window(start_ms, wait_ms, accepted):
    bench = Armory(start_us=start_ms * 1000)
    answer = bench.fire(1, wait_ms=wait_ms)
    assert (answer.reason if isinstance(answer, wire.Refused) else None) == (
        None if accepted else RefusalReason.EXPIRED
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(0, 2), st.integers(1, 3_000_000)), max_size=15))
def test_no_stored_pulses_get_more_on_time_than_the_duty(commands):
    bench = Armory(DUTY)
    for identifier, (wait_us, kind, duration_us) in enumerate(commands, start=1):
        bench.until(bench.now_us + wait_us)
        if kind == 0:
            bench.store(duration_us)
        else:
            bench.fire(identifier)
    bench.until(bench.now_us + 10_000_000)
    expect_duty_kept(bench)
