"""The running median, against NumPy's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from realtime.lookahead.latency import N_LATENCIES, RunningMedian


def test_before_the_first_it_is_nothing() -> None:
    assert RunningMedian().value_ns == 0


@given(st.lists(st.integers(-5, 40), min_size=1, max_size=4 * N_LATENCIES))
def test_it_is_the_median_of_the_last(durations: list[int]) -> None:
    running = RunningMedian()
    for count, duration in enumerate(durations, 1):
        running.add(duration)
        last = durations[max(0, count - N_LATENCIES) : count]
        assert running.value_ns == np.percentile(last, 50, method="inverted_cdf")


def test_one_late_frame_changes_nothing() -> None:
    running = RunningMedian()
    for duration in [3_000_000] * 20 + [900_000_000]:
        running.add(duration)
    assert running.value_ns == 3_000_000
