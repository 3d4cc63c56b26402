"""Brightness into shares of the light: the noise, the contrast, and which frames tell the onset."""

import numpy as np
import pytest

from realtime.looptest.blinks import NoLightError, Watched, find_blinks

MS = 1_000_000
PERIOD = 10
EVERY = 20  # frames from one command to the next


def watched(*, n=40, level=50.0, light=80.0, noise_sd=0.0, seed=0, missed=(), flashes=(), lost=(), share=1.0):
    """Light from 12 ms after each command, for three frames; the first of them gets `share` of it."""
    rng = np.random.default_rng(seed)
    brightness = np.full(EVERY * (n + 2), level)
    commands = []
    for pulse in range(n):
        first = EVERY * (pulse + 1)
        commands.append(first * PERIOD - 12)
        if pulse not in missed:
            brightness[first : first + 3] += light * np.array([share, 1.0, 1.0])
    brightness += rng.normal(0.0, noise_sd, brightness.size) if noise_sd else 0.0
    for frame in flashes:
        brightness[frame] += 2 * light
    ends = np.arange(brightness.size, dtype=np.int64) * PERIOD * MS
    kept = np.isin(np.arange(ends.size), lost, invert=True)
    return Watched(
        np.array(commands, np.int64) * MS, ends[kept], ends[kept] + MS, brightness[kept], PERIOD * 1e6, 60 * MS
    )


@pytest.mark.parametrize("noise_sd", [0.5, 2.0, 8.0])
def test_the_noise_is_that_of_a_frame_less_the_median_of_five(noise_sd):
    """1 + π/10 is the variance of one value less the median of five others, in variances of one."""
    found = [find_blinks(watched(n=200, noise_sd=noise_sd, seed=seed)).noise_sd * 80.0 for seed in range(20)]
    assert np.mean(found) == pytest.approx(noise_sd * np.sqrt(1.0 + np.pi / 10), rel=0.03)
    rng = np.random.default_rng(1)
    dark = rng.normal(0.0, noise_sd, (20_000, 6))
    assert np.std(dark[:, 5] - np.median(dark[:, :5], axis=1)) == pytest.approx(np.mean(found), rel=0.04)


def test_a_flash_in_the_dark_is_neither_noise_nor_level_but_is_counted():
    flashes = [EVERY * pulse - 4 for pulse in range(3, 12)]
    calm, disturbed = find_blinks(watched(noise_sd=1.0)), find_blinks(watched(noise_sd=1.0, flashes=flashes))
    assert disturbed.noise_sd == pytest.approx(calm.noise_sd, rel=0.3)
    assert disturbed.contrast == pytest.approx(calm.contrast, rel=0.01)
    assert (calm.n_unasked, disturbed.n_unasked) == (0, len(flashes))


def test_the_contrast_is_not_that_of_the_brightest_noise():
    found = [find_blinks(watched(light=20.0, noise_sd=2.0, seed=seed)).contrast for seed in range(30)]
    assert np.mean(found) == pytest.approx(20.0, rel=0.01)


def test_the_onset_is_told_by_the_first_bright_frame_and_its_neighbours():
    blinks = find_blinks(watched(share=0.7))
    assert blinks.pulses.tolist() == list(range(40))
    assert blinks.offsets_ns[7].tolist() == [2 * MS, 12 * MS, 22 * MS]
    assert blinks.shares[7] == pytest.approx([0.0, 0.7, 1.0])
    assert blinks.seen_ns[7] == 13 * MS
    dim = find_blinks(watched(share=0.3))
    assert dim.offsets_ns[7].tolist() == [12 * MS, 22 * MS, 32 * MS]
    assert dim.shares[7] == pytest.approx([0.3, 1.0, 1.0])
    assert dim.seen_ns[7] == 13 * MS  # the dim frame shows it already


def test_pulses_that_nobody_saw():
    blinks = find_blinks(watched(missed={3, 17, 30}))
    assert blinks.n_missed == 3
    assert set(range(40)) - set(blinks.pulses.tolist()) == {3, 17, 30}
    mostly = find_blinks(watched(missed=set(range(40)) - set(range(0, 40, 4))))
    assert mostly.n_missed == 30


@pytest.mark.parametrize("lost", [-1, 0, 1])
def test_a_lost_frame_beside_the_onset_makes_a_pulse_unclear(lost):
    blinks = find_blinks(watched(lost=[EVERY * 8 + lost]))
    assert np.flatnonzero(blinks.unclear).tolist() == [7]
    assert np.all(np.isnan(blinks.shares[7]))
    assert (blinks.n_missed, blinks.pulses.size) == (0, 40)


def test_a_lost_frame_elsewhere_does_not():
    assert not find_blinks(watched(lost=[EVERY * 8 + 3])).unclear.any()


@pytest.mark.parametrize("changes", [{"light": 0.0}, {"light": 9.0, "noise_sd": 2.0}, {"light": 0.3}])
def test_no_light(changes):
    with pytest.raises(
        NoLightError, match=r"expected the region to become brighter by at least [\d.]+ gray levels, got"
    ):
        find_blinks(watched(**changes))


def test_frames_that_do_not_fit_the_commands():
    strange = watched(n=3)
    with pytest.raises(NoLightError, match=r"^looptest: no pulse has frames before and after it; is the camera's rate"):
        find_blinks(
            Watched(
                strange.commands_ns + 10**12, strange.ends_ns, strange.available_ns, strange.brightness, 1e7, 60 * MS
            )
        )
