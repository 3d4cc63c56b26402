"""Shares of the light into a distribution of delays, its exposure and its intervals."""

import numpy as np
import pytest

from realtime.looptest.blinks import Blinks, NoLightError
from realtime.looptest.delays import estimate_delays

MS = 1_000_000


def blinks(delays_ms, *, exposure_ms=4.0, period_ms=10.0, noise_sd=0.01, seed=0, unclear=()):
    """What frames at every phase show of light that comes so late; the sensor's noise is normal."""
    rng = np.random.default_rng(seed)
    n = len(delays_ms)
    ends = (rng.permutation(n) + rng.random(n)) / n * period_ms + period_ms * np.arange(12)[:, np.newaxis]
    shares = np.clip((ends - delays_ms) / exposure_ms, 0.0, 1.0)
    onset = np.argmax(shares > 0.5, axis=0)
    rows = onset + np.arange(-1, 2)[:, np.newaxis]
    told = np.take_along_axis(shares, rows, axis=0).T + rng.normal(0.0, noise_sd, (n, 3))
    offsets = np.take_along_axis(ends, rows, axis=0).T * MS
    told[list(unclear)] = np.nan
    return Blinks(np.arange(n), offsets, told, offsets[:, 1], 80.0, noise_sd, n, 0)


@pytest.mark.parametrize("exposure_ms", [0.2, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("noise_sd", [0.005, 0.1])
def test_the_delay_and_the_exposure(exposure_ms, noise_sd):
    found = estimate_delays(blinks(np.full(60, 23.4), exposure_ms=exposure_ms, noise_sd=noise_sd), 10.0 * MS)
    value, low, high = found.quantiles_ns[0] / MS
    assert value == pytest.approx(23.4, abs=0.5)
    assert low - 0.1 <= 23.4 <= high + 0.1
    assert high - low < 2.0
    assert found.exposure_ns / MS == pytest.approx(exposure_ms, abs=0.4 + 8.0 * noise_sd)
    assert found.weights.sum() == pytest.approx(1.0)


def test_more_noise_makes_the_interval_wider_and_keeps_the_truth_in_it():
    delays_ms = 20.0 + 3.0 * np.random.default_rng(9).random(80)
    widths = []
    for noise_sd in (0.01, 0.05, 0.15):
        low, high = estimate_delays(blinks(delays_ms, noise_sd=noise_sd, seed=2), 10.0 * MS).quantiles_ns[0, 1:] / MS
        assert low <= np.median(delays_ms) <= high
        widths.append(high - low)
    assert widths[2] > widths[0]


def test_pulses_with_a_lost_frame_tell_nothing_and_do_no_harm():
    delays_ms = np.full(40, 15.0)
    plain = estimate_delays(blinks(delays_ms), 10.0 * MS)
    strange = blinks(delays_ms, unclear=(3, 8))
    strange.offsets_ns[[3, 8]] += 60 * MS
    found = estimate_delays(strange, 10.0 * MS)
    assert found.quantiles_ns[0, 0] == pytest.approx(plain.quantiles_ns[0, 0], abs=0.1 * MS)
    assert np.flatnonzero(np.isnan(found.pulses_ns)).tolist() == [3, 8]
    assert found.largest_ns[2] < 30 * MS


def test_the_largest_delay_lies_between_what_frames_leave_possible():
    delays_ms = np.full(60, 20.0)
    delays_ms[17] = 34.0
    value, low, high = (time / MS for time in estimate_delays(blinks(delays_ms), 10.0 * MS).largest_ns)
    assert low - 0.2 <= 34.0 <= high
    assert low <= value <= high
    assert high - low < 10.0


def test_uncertain_times_make_the_estimate_uncertain():
    few = blinks(np.full(40, 20.0))
    exact, vague = (estimate_delays(few, 10.0 * MS, time_sd_ns=sd * MS) for sd in (0.0, 2.0))
    assert np.median(vague.spread_ns) > 1.2 * np.median(exact.spread_ns)


def test_nothing_clear():
    with pytest.raises(NoLightError) as caught:
        estimate_delays(blinks(np.full(5, 20.0), unclear=range(5)), 10.0 * MS)
    assert str(caught.value) == (
        "looptest: expected blinks with no lost frame beside them, got none in 5 pulses; there is no delay to "
        "estimate; does the camera lose every other frame?"
    )
