"""Where the light is: a rectangle that a person gives, or what brightens with every pulse."""

import numpy as np
import pytest

from realtime.looptest.blinks import NoLightError
from realtime.looptest.region import N_LOCATING, Finder, Look, Region, parse_region

N_FRAMES = 8
ONSET = 3  # frames after the command, lit for three


def find(spot, *, shape=(64, 96), rise=60.0, missed=(), late=(), noise_sd=2.0, disturb=lambda image, frame: image):
    """Show pulses in `spot`, (x, y, width, height), `N_FRAMES` after each command and six dark ones before it."""
    rng = np.random.default_rng(1)
    finder = Finder(N_FRAMES)
    x, y, width, height = spot
    frame = 0
    for pulse in range(N_LOCATING):
        for after in range(-6, N_FRAMES):
            if after == 0:
                finder.command()
            image = rng.normal(90.0, noise_sd, shape).astype(np.float32)
            onset = ONSET + (1 if pulse in late else 0)
            if onset <= after < onset + 3 and pulse not in missed:
                image[y : y + height, x : x + width] += rise
            image = disturb(image, frame)
            assert finder.look(np.clip(np.rint(image), 0, 255).astype(np.uint8)) == Look(0.0, 0.0)
            frame += 1
    return finder.found()


SPOT = (20, 12, 10, 8)


def as_tuple(region):
    return region.x_px, region.y_px, region.width_px, region.height_px


@pytest.mark.parametrize(
    ("spot", "shape"),
    [
        (SPOT, (64, 96)),
        ((40, 50, 1, 1), (64, 96)),
        ((0, 0, 96, 64), (64, 96)),
        ((0, 0, 3, 64), (64, 96)),
        ((90, 60, 6, 4), (64, 96)),
        ((40, 16, 48, 32), (256, 512)),
        ((500, 252, 12, 4), (256, 512)),
        ((101, 33, 40, 30), (131, 517)),
    ],
    ids=["small", "one pixel", "large", "an edge", "a corner", "in blocks", "a corner of blocks", "uneven blocks"],
)
def test_the_light_is_found(spot, shape):
    block = max(1, -(-max(shape) // 128))
    x, y, width, height = spot
    left, top, right, bottom = _corners(find(spot, shape=shape))
    assert abs(left - x) < block
    assert abs(top - y) < block
    assert abs(right - min(x + width, shape[1])) < block
    assert abs(bottom - min(y + height, shape[0])) < block
    assert right <= shape[1]
    assert bottom <= shape[0]


def _corners(region):
    x, y, width, height = as_tuple(region)
    return x, y, x + width, y + height


def test_a_light_that_fills_the_picture_is_no_noise():
    """Most frames may show it, and all of their blocks."""
    assert as_tuple(find((0, 0, 96, 64), rise=20.0)) == (0, 0, 96, 64)


@pytest.mark.parametrize("missed", [(), (0,), (3, 4, 9), (0, 5, 6, 11)])
def test_up_to_four_pulses_may_be_missed(missed):
    assert as_tuple(find(SPOT, missed=missed)) == SPOT


def test_five_may_not():
    with pytest.raises(NoLightError, match="no part of the picture brightens with the pulses"):
        find(SPOT, missed=(0, 2, 5, 6, 11), noise_sd=0.5)


def test_pulses_may_be_a_frame_late():
    assert as_tuple(find(SPOT, late=range(0, N_LOCATING, 2))) == SPOT


def test_what_walks_is_no_light():
    def animal(image, frame):
        x = (7 * frame) % 80
        image[40:50, x : x + 14] = 10.0
        return image

    assert as_tuple(find(SPOT, disturb=animal)) == SPOT
    with pytest.raises(NoLightError):
        find(SPOT, missed=range(N_LOCATING), disturb=animal)


def test_a_flickering_lamp_is_no_light():
    def lamp(image, frame):
        return image + 12.0 * np.sin(2.4 * frame)

    assert as_tuple(find(SPOT, disturb=lamp, rise=80.0)) == SPOT
    with pytest.raises(NoLightError):
        find(SPOT, missed=range(N_LOCATING), disturb=lamp)


def test_a_coloured_light_shows_in_one_channel():
    def red(image, frame):
        return np.stack([np.full_like(image, 50.0), np.full_like(image, 50.0), image], axis=2)

    assert as_tuple(find(SPOT, disturb=red)) == SPOT


def test_before_any_command_nothing_is_found():
    with pytest.raises(NoLightError):
        Finder(N_FRAMES).found()


def test_a_region_tells_how_bright_and_how_white_it_is():
    image = np.zeros((20, 30), np.uint8)
    image[5:9, 10:15] = 255
    image[5, 10] = 155
    assert Region(10, 5, 5, 4).look(image) == Look(250.0, 0.95)
    assert str(Region(10, 5, 5, 4)) == "10,5,5,4"


def test_a_region_that_a_person_gives():
    assert parse_region("10, 5,5,4", height=20, width=30) == Region(10, 5, 5, 4)
    assert parse_region("0,0,30,20", height=20, width=30) == Region(0, 0, 30, 20)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10,5,5", "--region: expected X,Y,WIDTH,HEIGHT in px, such as 10,20,40,40, got '10,5,5'"),
        ("a,b,c,d", "--region: expected X,Y,WIDTH,HEIGHT in px, such as 10,20,40,40, got 'a,b,c,d'"),
        ("-1,0,5,5", "--region: expected a part of the image of 30 × 20 px, got '-1,0,5,5'"),
        ("0,0,0,5", "--region: expected a part of the image of 30 × 20 px, got '0,0,0,5'"),
        ("26,0,5,5", "--region: expected a part of the image of 30 × 20 px, got '26,0,5,5'"),
        ("0,16,5,5", "--region: expected a part of the image of 30 × 20 px, got '0,16,5,5'"),
    ],
)
def test_a_region_that_is_none(text, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared whole
        parse_region(text, height=20, width=30)
    assert str(caught.value) == message
