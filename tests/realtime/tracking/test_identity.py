import math

import numpy as np
import pytest

from realtime.tracking.identity import add_class_evidence, kept_confidence, log_posterior

NO_LOOK = np.full(2, np.nan)


@pytest.mark.parametrize(
    ("confidence", "keep", "expected"),
    [(1.0, 1.0, 1.0), (1.0, 0.0, 0.5), (1.0, 0.5, 0.75), (0.5, 0.3, 0.5)],
)
def test_kept_confidence(confidence: float, keep: float, expected: float) -> None:
    assert kept_confidence(confidence, keep, 0.5) == expected


def test_first_look_is_the_posterior() -> None:
    evidence = NO_LOOK.copy()
    assert add_class_evidence(evidence, np.array([0.7, 0.3]), 0.0, 2.0)
    assert math.exp(log_posterior(evidence, 0)) == pytest.approx(0.7)


def test_the_same_second_says_the_same_at_any_frame_rate() -> None:
    posteriors = []
    for frame_rate in (50, 500):
        evidence = NO_LOOK.copy()
        for _ in range(frame_rate):
            add_class_evidence(evidence, np.array([0.55, 0.45]), 1.0 / frame_rate, 2.0)
        posteriors.append(math.exp(log_posterior(evidence, 0)))
    assert posteriors[0] == pytest.approx(posteriors[1], abs=0.02)
    assert 0.7 < posteriors[0] < 0.9


def test_old_looks_are_forgotten() -> None:
    evidence = NO_LOOK.copy()
    for _ in range(1000):
        add_class_evidence(evidence, np.array([0.99, 0.01]), 0.01, 2.0)
    for _ in range(300):
        add_class_evidence(evidence, np.array([0.1, 0.9]), 0.01, 2.0)
    assert log_posterior(evidence, 1) > log_posterior(evidence, 0)


@pytest.mark.parametrize("probs", [[np.nan, 0.5], [np.nan, np.nan]])
def test_a_detection_without_class_says_nothing(probs: list[float]) -> None:
    evidence = NO_LOOK.copy()
    assert not add_class_evidence(evidence, np.array(probs), 0.1, 2.0)
    assert np.isnan(evidence).all()
