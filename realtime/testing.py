"""What tests of the parts behind the tracker need: tracks of which only the ids matter."""

from collections.abc import Sequence

import numpy as np

from realtime.tracks import Tracks


def plain_tracks(
    track_ids: Sequence[int] = (),
    *,
    confidence: Sequence[float] | None = None,
    suspect_ids: Sequence[int] | None = None,
    corrected_ids: Sequence[int] | None = None,
) -> Tracks:
    """Return tracks of animals with one node each, all of them at (0, 0) px; of nobody without ids.

    Args:
        track_ids: Ascending.
        confidence: Of each one's identity, 0–1; 1 by default.
        suspect_ids: See `Tracks`; by default none is suspected.
        corrected_ids: See `Tracks`; by default none is corrected.
    """
    n = len(track_ids)
    return Tracks(
        track_ids=np.array(track_ids, np.int32),
        xy=np.zeros((n, 1, 2), np.float32),
        node_scores=np.ones((n, 1), np.float32),
        identity_confidence=np.ones(n, np.float32) if confidence is None else np.array(confidence, np.float32),
        last_seen_ns=np.zeros(n, np.int64),
        class_ids=np.full(n, -1, np.int32),
        suspect_ids=np.array(suspect_ids or [0] * n, np.int32),
        corrected_ids=np.array(corrected_ids or [0] * n, np.int32),
    )
