"""The options: SLEAP's defaults, and no mistake taken for granted."""

import pytest
from pydantic import ValidationError

from realtime.tracking.sleap import SleapTrackerOptions

WRONG = {
    "unknown key": {"max_tracks": 2},
    "unknown tracker": {"tracker": "kalman"},
    "unknown similarity": {"similarity": "cosine"},
    "unknown match": {"match": "first"},
    "text for a number": {"track_window": "5"},
    "no window": {"track_window": 0},
    "quantile 0": {"robust": 0.0},
    "quantile above 1": {"robust": 1.1},
    "fewer than no points": {"min_new_track_points": -1},
    "no image": {"img_scale": 0.0},
    "window too small for OpenCV": {"of_window_size": 2},
    "no error": {"oks_errors": ()},
    "error 0": {"oks_errors": (0.0,)},
}


def test_the_defaults_are_those_of_sleaps_factory():
    assert SleapTrackerOptions().model_dump() == {
        "tracker": "flow",
        "similarity": "instance",
        "match": "greedy",
        "track_window": 5,
        "robust": 1.0,
        "min_new_track_points": 0,
        "min_match_points": 0,
        "img_scale": 1.0,
        "of_window_size": 21,
        "of_max_levels": 3,
        "oks_errors": (1.0,),
        "oks_score_weighting": False,
        "oks_normalization": "all",
    }


@pytest.mark.parametrize("options", WRONG.values(), ids=WRONG)
def test_mistakes(options):
    with pytest.raises(ValidationError):
        SleapTrackerOptions(**options)


def test_options_do_not_change():
    with pytest.raises(ValidationError):
        SleapTrackerOptions().track_window = 3
