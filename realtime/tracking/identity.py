"""Identity: how sure it is that a track is still the same animal, and what was seen of its class.

Confidence is the chance that a row is still the animal that it was when its track began. Every event keeps a share of
what the confidence stands above chance, which is 1 / max_tracks (1/2 for a single track):

    c ← chance + (c − chance) · keep

    matched              keep = tanh(margin / MARGIN_SOFTNESS) at 60 frames a second, at another rate the power of it
                         that makes it the same in a second; margin = what confusing two animals would have cost
    not seen             keep = exp(−unseen / lost_s), in what is reported only
    seen again           keep = exp(−(unseen / HIDDEN_S)³) if it may be another animal that came out there: one that is
                         or was out of sight too, or anybody in an open population; else nothing is lost
    lost and seen again  keep = 0, and the class is forgotten; nothing, if it is the only animal of all that was missing
    class seen           c moves to the posterior of the track's own class over class_memory_s, at once below 1/2
    swap corrected       c = that posterior (`swaps`)

Two animals in contact cost confidence as far as their poses become hard to tell apart, no further: with the default
kernel, two flies half a body length apart lose none. How true the number is: `python -m benchmarks.tracking_crowds`.
"""

import math

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import inner

MARGIN_SOFTNESS = 0.15
"""Margin (in units of a pair's cost, 0–2) at which a quarter of the confidence above chance is lost."""

CLASS_CERTAIN = 0.8
"""Posterior from which a track is said to be of a class."""

LOOKS_PER_S = 10.0
"""Independent looks at an animal's class per second: frames closer together repeat the same error."""

LOWEST_CLASS_PROB = 0.01
"""No single look is surer than this that an animal is not of a class."""


@inner
def kept_confidence(confidence: float, keep: float, chance: float) -> float:
    """Keep a share (0–1) of the confidence above chance."""
    return chance + (confidence - chance) * keep


@inner
def add_class_evidence(
    evidence: NDArray[np.float64], class_probs: NDArray[np.float64], elapsed_s: float, memory_s: float
) -> bool:
    """Add one look to a track's summed log-probabilities, in place, and forget old ones over `memory_s`.

    Args:
        evidence: `(n_classes,)`, NaN before the first look.
        class_probs: `(n_classes,)` of the detection; not finite = says nothing.
        elapsed_s: Time since the track was last seen.
        memory_s: Time after which a look counts 1/e.

    Returns:
        Whether the detection said anything.
    """
    if evidence.size == 0:
        return False
    for k in range(class_probs.size):
        if not np.isfinite(class_probs[k]):
            return False
    first = np.isnan(evidence[0])
    keep = math.exp(-elapsed_s / memory_s)
    look = 1.0 if first else min(1.0, elapsed_s * LOOKS_PER_S)
    for k in range(evidence.size):
        before = 0.0 if first else evidence[k] * keep
        evidence[k] = before + look * math.log(max(class_probs[k], LOWEST_CLASS_PROB))
    return True


@inner
def log_posterior(evidence: NDArray[np.float64], class_id: int) -> float:
    """Return the logarithm of a class's probability given all looks; NaN before the first."""
    highest = evidence[0]
    for k in range(1, evidence.size):
        highest = max(highest, evidence[k])
    total = 0.0
    for k in range(evidence.size):
        total += math.exp(evidence[k] - highest)
    return float(evidence[class_id] - highest - math.log(total))
