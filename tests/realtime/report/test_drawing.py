"""Axes and thinning."""

import numpy as np
import pytest

from realtime.report.drawing import Scale, thin_out


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (Scale(0.0, 10.0, 0, 1), [0, 2, 4, 6, 8, 10]),
        (Scale(-0.25, 0.6, 0, 1), [-0.2, 0.0, 0.2, 0.4, 0.6]),
        (Scale(0.01, 100.0, 0, 1, log=True), [0.01, 0.1, 1, 10, 100]),
        (Scale(1.5, 30.0, 0, 1, log=True), [2, 5, 10, 20]),
    ],
)
def test_ticks_are_round(scale: Scale, ticks: list[float]) -> None:
    assert scale.ticks() == pytest.approx(ticks)


def test_thinning_keeps_the_extremes() -> None:
    seconds = np.linspace(0.0, 100.0, 50_000)
    values = np.sin(seconds)
    values[12_345], values[23_456], values[30_000:40_000] = 9.0, -9.0, np.nan
    _, thinned = thin_out(seconds, values)
    assert len(thinned) <= 1500
    assert (np.nanmax(thinned), np.nanmin(thinned)) == (9.0, -9.0)
    assert np.isnan(thinned).sum() > 200
