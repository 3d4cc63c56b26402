"""When exposures ended, from two clocks that are not the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.looptest.exposures import exposure_ends

MS = 1_000_000


@given(
    st.floats(-100e-6, 100e-6),
    st.integers(-(10**12), 10**12),
    st.lists(st.floats(0.0, 20.0), min_size=30, max_size=120),
)
def test_no_frame_comes_before_its_time(drift, zero_ns, late_ms):
    true_ns = 5 * 10**9 + 10 * MS * np.arange(len(late_ms), dtype=np.int64)
    late_ns = np.round(np.array(late_ms) * MS).astype(np.int64)
    available = np.maximum.accumulate(true_ns + late_ns)
    device = np.round((true_ns - true_ns[0]) * (1.0 + drift)).astype(np.int64) + zero_ns
    ends, late = exposure_ends(available, device)
    if late is None:  # so few frames, so late, that they are no line
        assert np.array_equal(ends, available)
        return
    assert late.min() == pytest.approx(0.0, abs=1000.0)
    assert np.all(ends <= available + 1000)


def test_lateness_by_chance_is_taken_off():
    rng = np.random.default_rng(0)
    true_ns = 10 * MS * np.arange(2000, dtype=np.int64)
    late_ns = np.round(3 * MS * rng.random(2000)).astype(np.int64)
    ends, late = exposure_ends(true_ns + late_ns, np.round(true_ns * 1.00003).astype(np.int64))
    assert np.abs(ends - true_ns).max() < 0.02 * MS
    assert late == pytest.approx(late_ns, abs=0.02 * MS)


@pytest.mark.parametrize(
    "device",
    [None, [0, 0, 0, 0], [0, 20, 10, 30], [0, 11, 22, 33], [0, 10]],
    ids=["none", "stands", "goes back", "other seconds", "two frames"],
)
def test_a_clock_that_is_of_no_use(device):
    available = np.array([5, 15, 25, 36], np.int64)[: len(device or [0] * 4)] * MS
    ends, late = exposure_ends(available, None if device is None else np.array(device, np.int64) * MS)
    assert ends.tolist() == available.tolist()
    assert late is None
