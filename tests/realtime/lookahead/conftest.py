"""Animals of six nodes that are where a test says, and a look-ahead that is shown them frame by frame."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from realtime.lookahead import LookAhead, LookAheadOptions
from realtime.tracks import Tracks

NODES = ("head", "eyeL", "eyeR", "legL", "legR", "tail")
BODY = np.array([(0, 0), (25, 10), (25, -10), (75, 10), (75, -10), (100, 0)], np.float32)
"""px: 102 long and wide, as the look-ahead counts it."""

Animals = Mapping[int, "tuple[float, float] | NDArray[np.float32]"]


def _tracks(animals: Animals, corrected: Mapping[int, int] | None = None) -> Tracks:
    ids = sorted(animals)
    poses = [animals[i] if np.ndim(animals[i]) == 2 else BODY + np.asarray(animals[i], np.float32) for i in ids]
    n = len(ids)
    xy = np.asarray(poses, np.float32).reshape(n, len(BODY), 2)
    return Tracks(
        track_ids=np.array(ids, np.int32),
        xy=xy,
        node_scores=np.isfinite(xy[..., 0]).astype(np.float32),
        identity_confidence=np.ones(n, np.float32),
        last_seen_ns=np.zeros(n, np.int64),
        class_ids=np.full(n, -1, np.int32),
        suspect_ids=np.zeros(n, np.int32),
        corrected_ids=np.array([(corrected or {}).get(i, 0) for i in ids], np.int32),
    )


@pytest.fixture(scope="session")
def make_tracks() -> Callable[..., Tracks]:
    """Tracks from `{track_id: (x, y) of the head, or the whole pose}`, and what is corrected."""
    return _tracks


@pytest.fixture(scope="session")
def make_ahead() -> Callable[..., LookAhead]:
    """A look-ahead from what a rig would say of it."""

    def make(max_tracks: int = 4, n_reused: int = 0, **options: object) -> LookAhead:
        return LookAhead(LookAheadOptions.model_validate(options), NODES, max_tracks, n_reused=n_reused)

    return make


@pytest.fixture(scope="session")
def shown() -> Callable[..., list[Tracks]]:
    """What a look-ahead says of one animal that is at `places[k]` in frame k; of no animal where that is None."""

    def show(
        ahead: LookAhead, places: Sequence[tuple[float, float] | None], period_ms: float = 10.0, first_ms: float = 0.0
    ) -> list[Tracks]:
        return [
            ahead.predict(
                _tracks({1: BODY * np.nan if place is None else place}), round((first_ms + k * period_ms) * 1e6)
            )
            for k, place in enumerate(places)
        ]

    return show
