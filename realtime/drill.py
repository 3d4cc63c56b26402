"""DecisionDrill: what follows the network, done for animals that do not exist while the loop waits for a frame.

The tracker and the rules take a tenth of a millisecond if their code has left the caches, and a quarter of that if not.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from models.poses import Poses
from realtime.lookahead import LookAhead
from realtime.plane import Leveller
from realtime.rules import Rule
from realtime.tracking import GreedyTracker

_INTERVAL_NS: Final = 10_000_000
_APART_PX: Final = 100.0


class DecisionDrill:
    """Decides again and again on the same poses, with parts of its own: nothing of it reaches a session or an output.

    Args:
        tracker: As the loop's, one that needs no images.
        rules: As the loop's. Rules in Python are somebody else's code, and are not to be asked about such animals.
        lookahead: As the loop's.
        leveller: As the loop's.
        n_animals: How many animals there are.
        n_nodes: Landmarks of the skeleton.
    """

    def __init__(
        self,
        tracker: GreedyTracker,
        rules: Sequence[Rule],
        lookahead: LookAhead | None,
        leveller: Leveller | None,
        n_animals: int,
        n_nodes: int,
    ) -> None:
        self._tracker = tracker
        self._rules = rules
        self._lookahead = lookahead
        self._leveller = leveller
        spots = np.random.default_rng(0).uniform(0.0, _APART_PX / 2, (n_animals, n_nodes, 2))
        xy = (spots + _APART_PX * np.arange(n_animals)[:, np.newaxis, np.newaxis]).astype(np.float32)
        self._poses = Poses(xy, np.ones((n_animals, n_nodes), np.float32), np.ones(n_animals, np.float32))
        self._n_frames = 0

    def once(self) -> None:
        """Track, look ahead, level and evaluate one frame."""
        self._n_frames += 1
        timestamp_ns = self._n_frames * _INTERVAL_NS
        tracks = self._tracker.update(self._poses, timestamp_ns)
        if self._lookahead is not None:
            tracks = self._lookahead.predict(tracks, timestamp_ns)
        if self._leveller is not None:
            tracks = self._leveller.level(tracks)
        for rule in self._rules:
            rule.evaluate(tracks, self._n_frames, timestamp_ns)
