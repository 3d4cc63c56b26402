"""Arms: the same for ever at a seed, as many as planned, and one stimulus' arms untouched by another's."""

import hashlib
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.stimulus.controls import Arms, draw
from realtime.stimulus.spec import StimulusSpec


def arms(n: int, name: str = "light", **control: object) -> list[str]:
    spec = StimulusSpec.model_validate(
        {"rule": "near", "triggers": ["laser"], "channel": 0, "duration_ms": 1.0} | control
    )
    found = Arms(name, spec)
    return [found.of(ordinal) for ordinal in range(n)]


def binomial_interval(n: int, share: float, risk: float = 1e-6) -> tuple[int, int]:
    """Return the fewest and the most successes that are not rarer than `risk` on their side, exactly."""
    fewest, most, total = 0, n, 0.0
    for k in range(n + 1):
        total += comb(n, k) * share**k * (1 - share) ** (n - k)
        if total < risk:
            fewest = k + 1
        if total > 1 - risk:
            most = min(most, k)
    return fewest, most


def test_a_draw_is_what_the_documentation_says() -> None:
    digest = hashlib.sha256(b"7/arm/12/light").hexdigest()
    assert draw(7, "arm", 12, "light") == int(digest[:16], 16) // 2**11 / 2**53
    assert draw(7, "arm", 12, "light") == 0.4919780583958101, "sessions of the past are drawn anew by this number"


@given(st.integers(), st.sampled_from(["arm", "interval"]), st.integers(0, 10**9), st.text())
def test_a_draw_is_a_share(seed: int, purpose: str, ordinal: int, name: str) -> None:
    assert 0.0 <= draw(seed, purpose, ordinal, name) < 1.0


def test_draws_are_spread_evenly() -> None:
    counts = [0] * 10
    for ordinal in range(10_000):
        counts[int(10 * draw(1, "arm", ordinal, "light"))] += 1
    # Standard deviation of a count: sqrt(10,000 * 0.1 * 0.9) = 30.
    assert all(abs(count - 1000) < 5 * 30 for count in counts)


def test_without_a_control_everything_is_real_and_with_sham_nothing_is() -> None:
    assert arms(50) == ["real"] * 50
    assert arms(50, sham=True) == ["sham"] * 50


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("seed", [1, 2, 99])
def test_as_many_are_real_as_the_probability_says(probability: float, seed: int) -> None:
    n_real = arms(1000, seed=seed, probability=probability).count("real")
    low, high = binomial_interval(1000, probability)
    assert low <= n_real <= high


def test_the_arms_of_a_seed_never_change() -> None:
    told = "".join(arm[0] for arm in arms(24, seed=1, probability=0.5))
    assert told == "sssrrssrsrrrsrssssrssrsr"
    told = "".join(arm[0] for arm in arms(24, seed=1, blocks={"size": 6, "real": 3}))
    assert told == "sssrrrsrsrsrsrrrssrssrsr"
    assert arms(24, seed=2, probability=0.5) != arms(24, seed=1, probability=0.5)
    assert arms(24, "tone", seed=1, probability=0.5) != arms(24, seed=1, probability=0.5)


def test_the_arm_of_a_number_is_the_same_whatever_was_asked_before() -> None:
    for control in ({"probability": 0.3}, {"blocks": {"size": 7, "real": 3}}):
        spec = StimulusSpec(rule="near", triggers=("laser",), channel=0, duration_ms=1.0, seed=4, **control)
        in_order = [Arms("light", spec).of(ordinal) for ordinal in range(40)]
        one = Arms("light", spec)
        assert [one.of(ordinal) for ordinal in reversed(range(40))] == in_order[::-1]


@given(st.integers(), st.integers(1, 30), st.data())
def test_every_block_holds_as_many_real_ones_as_planned(seed: int, size: int, data: st.DataObject) -> None:
    real = data.draw(st.integers(0, size))
    found = arms(4 * size, seed=seed, blocks={"size": size, "real": real})
    for start in range(0, 4 * size, size):
        assert found[start : start + size].count("real") == real


def test_every_order_of_a_block_is_as_likely() -> None:
    n = 3000
    found = arms(4 * n, seed=5, blocks={"size": 4, "real": 2})
    counts: dict[tuple[str, ...], int] = {}
    for start in range(0, 4 * n, 4):
        order = tuple(found[start : start + 4])
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    # Standard deviation of a count: sqrt(3000 / 6 * 5 / 6) = 20.4.
    assert all(abs(count - n / 6) < 5 * 20.4 for count in counts.values())
