"""`check_rule` finds what breaks the protocol of a rule in Python."""

import random
import time
from collections.abc import Sequence
from time import perf_counter

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from realtime.rules import Animal, PythonRule, RuleContext
from realtime.rules.testing import check_rule


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    fault: str = ""


class Near(PythonRule):
    """Near, with many faults to choose from."""

    Options = Options
    n_animals = 2
    n_asked = 0

    def evaluate(self, animals: Sequence[Animal], timestamp_ns: int) -> bool | None:
        fault = getattr(self.options, "fault", "")
        self.n_asked += 1
        gap = float(np.hypot(*(animals[0]["head"] - animals[1]["head"])))
        answers = {
            "clock": bool(time.monotonic_ns() % 2) if fault == "clock" else None,
            "imported clock": bool(perf_counter() > 1) if fault == "imported clock" else None,
            "random": random.random() < 0.5,
            "forgets": self.n_asked % 7 == 0,
            "number": gap,
            "never unknown": gap < 60,
        }
        if fault == "slow":
            time.sleep(0.002)
        if fault in answers:
            return answers[fault]  # type: ignore[return-value]
        return None if np.isnan(gap) else gap < 60

    def reset(self) -> None:
        if getattr(self.options, "fault", "") != "forgets":
            self.n_asked = 0

    def reasons(self) -> Sequence[str]:
        return "too far" if getattr(self.options, "fault", "") == "text" else ("too far",)


def test_a_good_rule_passes(context: RuleContext) -> None:
    check_rule(Near, Options(), context)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("clock", "evaluate: expected no reading of a clock; the time is the frame's timestamp_ns"),
        ("imported clock", "evaluate: expected no reading of a clock; the time is the frame's timestamp_ns"),
        ("random", "evaluate: another instance on the same frames: expected "),
        ("forgets", "evaluate: the same frames after reset: expected "),
        ("number", "evaluate: expected True, False or None, got "),
        ("never unknown", "evaluate: animals that are not seen: expected None in frame 0, got False"),
        ("slow", "evaluate: expected an answer within 1 ms, took "),
        ("text", "reasons: expected a sequence of texts, got one text 'too far'"),
    ],
)
def test_what_breaks_the_protocol_is_found(context: RuleContext, fault: str, text: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_rule(Near, Options(fault=fault), context, max_ms=1.0)
    assert str(caught.value).startswith(text)


def test_frames_of_ones_own(context: RuleContext) -> None:
    seen: list[int] = []

    class Watching(Near):
        def evaluate(self, animals: Sequence[Animal], timestamp_ns: int) -> bool | None:
            seen.append(timestamp_ns)
            return super().evaluate(animals, timestamp_ns)

    animal = Animal(context.node_names, np.zeros((3, 2)), np.ones(3))
    check_rule(Watching, Options(), context, lambda: [(animal, animal)] * 4)
    assert seen[:5] == [0, 10_000_000, 20_000_000, 30_000_000, 0]
