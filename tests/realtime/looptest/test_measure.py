"""The whole test on a clock that stands still until it is moved: known delays must come out."""

import re

import numpy as np
import pytest

from realtime.looptest.blinks import NoLightError
from realtime.looptest.firing import StoppedError
from realtime.looptest.region import Region
from realtime.stimulus import LimitSpec

EXACT_MS = 0.5
SPOT = Region(8, 6, 9, 7)  # where the lamp of the scene is


@pytest.mark.parametrize(
    ("delay_ms", "frame_rate_hz", "exposed"),
    [
        (0.0, 30.0, 1.0),
        (0.3, 100.0, 0.4),
        (4.0, 60.0, 0.05),
        (12.34, 30.0, 0.3),
        (20.0, 50.0, 1.0),
        (27.7, 150.0, 0.8),
        (41.5, 500.0, 0.5),
        (50.0, 25.0, 0.25),
        (50.0, 100.0, 0.9),
    ],
)
def test_a_constant_delay_is_found_to_half_a_millisecond(make_bench, delay_ms, frame_rate_hz, exposed):
    period_ms = 1000.0 / frame_rate_hz
    result = make_bench(delay_ms, period_ms=period_ms, exposure_ms=exposed * period_ms, late_ms=3.0).measure()
    value, low, high = result.light_ms()["p50"]
    assert value == pytest.approx(delay_ms, abs=EXACT_MS)
    assert low - 0.1 <= delay_ms <= high + 0.1
    assert result.light_ms()["p95"][0] == pytest.approx(delay_ms, abs=max(EXACT_MS, 0.05 * period_ms))
    assert (result.blinks.n_missed, result.n_lost) == (0, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"flicker": 15.0},
        {"flicker": 15.0, "flicker_hz": 99.0},
        {"dropped": 0.1},
        {"dropped": 0.3},
        {"level": 20.0, "noise_sd": 6.0},
        {"level": 255.0, "background": 120.0},
        {"has_clock": False},
        {"has_clock": False, "late_ms": 2.0},
        {"exposure_ms": 10.0, "noise_sd": 0.0},
    ],
    ids=lambda changes: " ".join(map(str, changes)),
)
def test_what_disturbs_the_picture_does_not_disturb_the_delay(make_bench, changes):
    result = make_bench(12.34, **changes).measure()
    assert result.light_ms()["p50"][0] == pytest.approx(12.34, abs=EXACT_MS)
    assert result.region.x_px >= SPOT.x_px
    assert result.region.y_px >= SPOT.y_px
    assert (result.n_lost > 0) == ("dropped" in changes)
    assert (result.late_ns is None) == ("has_clock" in changes)


def test_a_delay_that_varies_comes_out_as_its_distribution(make_bench):
    rng = np.random.default_rng(5)
    bench = make_bench(lambda _: 10.0 + 8.0 * rng.random() ** 2, n_pulses=200)
    result = bench.measure()
    truth = bench.true_ms()
    grid_ms, reached = result.delays.grid_ns / 1e6, np.cumsum(result.delays.weights)
    true_share = np.searchsorted(np.sort(truth), grid_ms, side="right") / truth.size
    assert np.abs(reached - true_share).max() < 0.15
    for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99")):
        value, low, high = result.light_ms()[name]
        assert value == pytest.approx(np.quantile(truth, share), abs=0.7)
        assert low <= np.quantile(truth, share) <= high
    largest, low, high = result.light_ms()["max"]
    assert low - 0.05 <= truth.max() <= high
    assert largest == pytest.approx(truth.max(), abs=1.0)


def test_two_delays_come_out_as_two(make_bench):
    bench = make_bench(lambda n: 11.0 if n % 4 else 31.0, n_pulses=80)
    delays = bench.measure().delays
    late = delays.weights[delays.grid_ns > 21e6].sum()
    assert late == pytest.approx(np.mean(bench.true_ms() > 21.0), abs=0.01)


def test_pulses_without_light_are_missed_and_counted(make_bench):
    rng = np.random.default_rng(2)
    bench = make_bench(lambda n: np.nan if n > 12 and rng.random() < 0.25 else 20.0, n_pulses=80)
    result = bench.measure()
    missed = int(np.isnan(bench.true_ms()).sum())
    assert result.blinks.n_missed == missed > 10
    assert result.light_ms()["p50"][0] == pytest.approx(20.0, abs=EXACT_MS)
    assert f"{missed} of 80 pulses were not seen" in result.warnings()


@pytest.mark.parametrize("missed", [{2, 5, 9}, {1, 4, 5, 12}])
def test_the_region_is_found_though_some_of_the_pulses_are_missed(make_bench, missed):
    result = make_bench(lambda n: np.nan if n in missed else 20.0, n_pulses=20).measure()
    assert result.region == SPOT


def test_a_blind_corner_of_the_camera_is_part_of_the_delay_and_can_be_taken_off(make_bench):
    plain = make_bench(10.0, transfer_ms=6.0, late_ms=1.0).measure()
    told = make_bench(10.0, transfer_ms=6.0, late_ms=1.0).measure(transfer_ns=6_000_000)
    assert plain.light_ms()["p50"][0] == pytest.approx(16.0, abs=EXACT_MS)
    assert told.light_ms()["p50"][0] == pytest.approx(10.0, abs=EXACT_MS)
    assert told.as_dict()["pulses"][0]["light_ms"] == pytest.approx(10.0, abs=5.0)


def test_a_saturated_light_is_found_and_told(make_bench):
    result = make_bench(12.34, level=255.0, background=120.0).measure()
    assert result.white_share > 0.9
    assert any("pixels are white while it is lit" in warning for warning in result.warnings())
    assert not any("white" in warning for warning in make_bench(12.34, n_pulses=20).measure().warnings())


def test_a_light_without_a_clock_of_the_camera_is_found_and_told(make_bench):
    result = make_bench(12.34, has_clock=False, late_ms=1.0, n_pulses=20).measure()
    assert "the camera has no usable clock of its own: how late the host took a frame counts as delay" in (
        result.warnings()
    )


NOTHING = (
    "looptest: no part of the picture brightens with the pulses: expected a rise of {} gray levels, got {}; look "
    "whether the output is connected and the light in the picture, try a longer pulse (--pulse-ms) or a longer wait "
    "(--longest-ms), or give the place with --region"
)


@pytest.mark.parametrize(
    ("delay_ms", "changes"),
    [
        (np.nan, {}),
        (np.nan, {"flicker": 15.0}),
        (np.nan, {"flicker": 15.0, "flicker_hz": 101.0}),
        (12.0, {"level": 2.0}),
        (12.0, {"level": 8.0, "noise_sd": 12.0}),
        (150.0, {}),
    ],
    ids=["no light", "only a lamp", "only a slow lamp", "too dim", "too dim for the noise", "too late"],
)
def test_no_light(make_bench, delay_ms, changes):
    bench = make_bench(delay_ms, n_pulses=12, **changes)
    with pytest.raises(NoLightError) as caught:
        bench.measure()
    pattern = re.escape(NOTHING).replace(r"\{\}", r"[-\d.]+")
    assert re.fullmatch(pattern, str(caught.value)), caught.value
    assert bench.lamp.is_off


def test_no_light_in_the_region_that_was_given(make_bench):
    bench = make_bench(12.0, locate=False, n_pulses=12)
    with pytest.raises(NoLightError, match=r"^looptest: no light that follows the commands: expected the region to be"):
        bench.measure(Region(30, 20, 8, 8))
    assert bench.lamp.is_off
    assert make_bench(12.0, locate=False, n_pulses=12).measure(SPOT).region == SPOT


def test_the_output_is_off_when_a_stop_is_asked_for(make_bench):
    bench = make_bench()
    fire = bench.lamp.delay_ms

    def stop_at_the_20th(n):
        if n == 20:
            bench.stop.request("signal SIGTERM")
        return fire(n)

    bench.lamp.delay_ms = stop_at_the_20th
    with pytest.raises(StoppedError, match=r"^signal SIGTERM$"):
        bench.measure()
    assert bench.lamp.is_off
    assert len(bench.lamp.delays_ms) == 20


@pytest.mark.parametrize("fails_at", [40, 400])
def test_the_output_is_off_when_the_camera_fails(make_bench, fails_at):
    bench = make_bench(fails_at=fails_at)
    with pytest.raises(OSError, match="unplugged"):
        bench.measure()
    assert bench.lamp.delays_ms
    assert bench.lamp.is_off


def test_the_limits_of_the_rig_hold(make_bench):
    """A stricter limit only makes it slower: no pulse is fired that it does not allow."""
    limits = {("lamp", 0): LimitSpec(max_on_s=0.04, max_duty=0.1, duty_window_s=1.0)}
    bench = make_bench(12.0, n_pulses=20, limits=limits)
    spans = []
    fire = bench.lamp.fire

    def note(pulse, command_id, expires_ns):
        spans.append((bench.clock.now_ns, bench.clock.now_ns + pulse.duration_us * 1000))
        return fire(pulse, command_id, expires_ns)

    bench.lamp.fire = note
    bench.measure()
    starts, ends = np.array(spans).T
    for start in starts:
        on_ns = np.clip(np.minimum(ends, start + 10**9) - np.maximum(starts, start), 0, None).sum()
        assert on_ns <= 0.1 * 10**9 + 1
