"""What a rig says of a stimulus: what goes out, what asks for it, and which control conditions there are."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from triggers.pulse import MAX_DURATION_US, Pulse

SOURCES = ("rule", "schedule_s", "random_interval_s", "yoked")
CONTROLS = ("probability", "blocks", "sham")

_YEAR_S = 31_536_000
_LONGEST_MS = MAX_DURATION_US / 1000
_Time = Annotated[float, Field(le=_YEAR_S)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class BlockSpec(_Section):
    """Arms in blocks: of every `size` stimuli in a row, `real` are real, in an order that is drawn for each block.

    Attributes:
        size: Stimuli in a block; they are drawn together, with the first one.
        real: Real ones among them; the others are shams.
    """

    size: int = Field(ge=1, le=100)
    real: int = Field(ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.real > self.size:
            raise ValueError(f"expected at most size = {self.size} real stimuli in a block, got real = {self.real}")
        return self


class YokeSpec(_Section):
    """The stimuli of another session, to be repeated at the same times.

    Attributes:
        session: Folder of that session, the master's.
        stimulus: Name that the stimulus has there; None for the same name as here.
        events: What the master's stimulus did: (`start` or `stop`, time of the frame from the session's first frame,
            how much before that time a frame counts as that one), ns, in order of time. It is read from the session
            when the rig is loaded, and stands in the record of the yoked session, so that a replay does not need the
            master; a person leaves it out.
    """

    session: str
    stimulus: str | None = None
    events: (
        Annotated[
            tuple[Annotated[tuple[Literal["start", "stop"], int, int], Field(strict=False)], ...],
            Field(strict=False),
        ]
        | None
    ) = None


class StimulusSpec(_Section):
    """What goes out, and when: exactly one of `rule`, `schedule_s`, `random_interval_s` and `yoked` asks for it.

    Times other than the delay are those of the frames (`Frame.timestamp_ns`), from the session's first frame on. What
    is due at a time goes out with the first frame then, unless that comes later than the rig's deadline allows.

    Attributes:
        rule: Asked for when this rule's state rises.
        schedule_s: Asked for at these times, s, ascending.
        random_interval_s: Asked for again and again, whatever the animals do: (shortest, longest) time to the next
            onset, s; each is drawn evenly between the two.
        yoked: Asked for when another session's stimulus was sent.
        triggers: Every one of them is sent the pulse.
        channel: Output of each trigger, 0–15.
        duration_ms: From the first rising edge to the end, ms.
        intensity: 0–1, the share of the channel's full power.
        train_hz: Pulses a second, or None for one unbroken pulse.
        width_ms: Width of each pulse of a train, ms; None without `train_hz`.
        delay_ms: How long after the frame of the edge became available it goes out, ms, on the host's clock: with the
            first frame that is decided then, never sooner.
        while_on: Send the pulse or train again, before the last one ends, as long as the rule is on. Where a trigger
            can extend what runs, that goes on without a break; elsewhere a train begins anew each time.
        stop_on_release: When the rule's state falls, switch the channel off if this stimulus is still running, and
            cancel it if it waits for its delay.
        priority: A running stimulus of higher priority is not replaced on its channel; one of the same priority is.
        seed: What is drawn follows from it and the stimulus' name; None where nothing is drawn.
        probability: Share of the stimuli that are real, drawn for each; the others are shams.
        blocks: Real ones and shams in balanced blocks.
        sham: Every one is a sham: it passes the same checks and is recorded, and nothing is sent.
    """

    rule: str | None = None
    schedule_s: Annotated[tuple[_Time, ...], Field(strict=False, min_length=1)] | None = None
    random_interval_s: Annotated[tuple[_Time, _Time], Field(strict=False)] | None = None
    yoked: YokeSpec | None = None
    triggers: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]  # TOML knows lists only
    channel: int
    duration_ms: float = Field(gt=0, le=_LONGEST_MS)
    intensity: float = 1.0
    train_hz: float | None = None
    width_ms: float | None = Field(default=None, le=_LONGEST_MS)
    delay_ms: float = Field(default=0.0, ge=0, le=3_600_000)
    while_on: bool = False
    stop_on_release: bool = False
    priority: int = 0
    seed: int | None = None
    probability: float | None = Field(default=None, ge=0, le=1)
    blocks: BlockSpec | None = None
    sham: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.triggers)) != len(self.triggers):
            raise ValueError(f"expected every trigger once, got {', '.join(self.triggers)}")
        if (self.train_hz is None) != (self.width_ms is None):
            raise ValueError("expected train_hz and width_ms together or neither, got only one of them")
        self.pulse()
        self._check_source()
        self._check_times()
        self._check_draws()
        return self

    def _check_source(self) -> None:
        given = [name for name in SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected exactly one of {_listed(SOURCES)}, which says when the stimulus goes out, "
                f"got {_listed(given) or 'none'}"
            )
        bound = {"delay_ms": self.delay_ms > 0, "while_on": self.while_on, "stop_on_release": self.stop_on_release}
        wrong = [name for name, is_set in bound.items() if is_set]
        if wrong and self.rule is None:
            raise ValueError(f"expected {_listed(wrong)} beside a rule only, got it beside {given[0]}")

    def _check_times(self) -> None:
        times_s = self.schedule_s or ()
        if any(time_s < 0 for time_s in times_s) or any(later <= sooner for sooner, later in pairwise(times_s)):
            raise ValueError(f"expected schedule_s from 0 on and ascending, got {list(times_s)}")
        if self.random_interval_s is not None:
            shortest, longest = self.random_interval_s
            if not MIN_INTERVAL_S <= shortest <= longest:
                raise ValueError(
                    f"expected random_interval_s = [shortest, longest], from {MIN_INTERVAL_S:g} s on, "
                    f"got {[shortest, longest]}"
                )

    def _check_draws(self) -> None:
        given = [name for name in CONTROLS if getattr(self, name) is not None and getattr(self, name) is not False]
        if len(given) > 1:
            raise ValueError(f"expected at most one of {_listed(CONTROLS)}, got {_listed(given)}")
        drawn = [name for name in ("probability", "blocks", "random_interval_s") if getattr(self, name) is not None]
        if drawn and self.seed is None:
            raise ValueError(f"expected a seed, from which {_listed(drawn)} is drawn, got none; write seed = 1, say")
        if self.seed is not None and not drawn:
            raise ValueError(f"expected no seed, since nothing is drawn, got {self.seed}")

    def pulse(self) -> Pulse:
        """Return what is sent.

        Raises:
            ValueError: A value is out of the range of a pulse.
        """
        width_us = None if self.width_ms is None else round(self.width_ms * 1000)
        return Pulse(self.channel, round(self.duration_ms * 1000), self.intensity, self.train_hz, width_us)


# Shorter ones are no stimuli that an animal could tell apart, and the loop works them off one by one.
MIN_INTERVAL_S = 0.1


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return names[0] if len(names) == 1 else " and ".join((", ".join(names[:-1]), names[-1])) if names else ""
