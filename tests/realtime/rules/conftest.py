"""A rig with two identities, two zones and a calibration of 10 px/mm, and tracks made from what a test says of them."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from realtime.rules import RoleSpec, RuleContext, ZoneSpec
from realtime.tracks import Prediction, Tracks

NODES = ("head", "thorax", "abdomen")
CLASSES = ("male", "female")


def predicting(xy: NDArray[np.float32], shifts: Sequence[tuple[float, float]]) -> Prediction:
    """That each animal will have moved by (x, y) px as a whole."""
    moved = xy + np.array(shifts, np.float32).reshape(-1, 1, 2)
    unknown = np.full((len(xy), 1), np.nan, np.float32)
    return Prediction(20_000_000, moved, np.ones((len(xy), 1), np.bool_), unknown, unknown, ())


@pytest.fixture(scope="session")
def context() -> RuleContext:
    return RuleContext(
        node_names=NODES,
        class_names=CLASSES,
        roles={
            "male": RoleSpec(identity="male"),
            "female": RoleSpec(identity="female"),
            "first": RoleSpec(track=1),
            "second": RoleSpec(track=2),
        },
        front="head",
        back="abdomen",
        centre="thorax",
        px_per_mm=10.0,
        zones={
            "food": ZoneSpec(circle=(30.0, 40.0, 5.0), unit="px"),
            "nest": ZoneSpec(rectangle=(0.0, 0.0, 2.0, 1.0), unit="mm"),
        },
        predicted_nodes=NODES,
    )


@pytest.fixture(scope="session")
def make_tracks() -> Callable[..., Tracks]:
    """Tracks from `{track_id: {node: (x, y)}}`; a node's score is 1, or as given in `scores[track_id]`, where seen.

    With `predicted`, each animal will have moved by so many px, (0, 0) where it is not named.
    """

    def make(
        animals: Mapping[int, Mapping[str, tuple[float, float]]],
        *,
        scores: Mapping[int, float] | None = None,
        identities: Mapping[int, str] | None = None,
        confidence: Mapping[int, float] | None = None,
        suspects: Mapping[int, int] | None = None,
        corrected: Mapping[int, int] | None = None,
        predicted: Mapping[int, tuple[float, float]] | None = None,
    ) -> Tracks:
        ids = sorted(animals)
        xy = np.full((len(ids), len(NODES), 2), np.nan, np.float32)
        node_scores = np.zeros((len(ids), len(NODES)), np.float32)
        for row, track_id in enumerate(ids):
            for node, point in animals[track_id].items():
                xy[row, NODES.index(node)] = point
                node_scores[row, NODES.index(node)] = (scores or {}).get(track_id, 1.0)
        return Tracks(
            track_ids=np.array(ids, np.int32),
            xy=xy,
            node_scores=node_scores,
            identity_confidence=np.array([(confidence or {}).get(i, 1.0) for i in ids], np.float32),
            last_seen_ns=np.zeros(len(ids), np.int64),
            class_ids=np.array(
                [CLASSES.index(identities[i]) if identities and i in identities else -1 for i in ids], np.int32
            ),
            suspect_ids=np.array([(suspects or {}).get(i, 0) for i in ids], np.int32),
            corrected_ids=np.array([(corrected or {}).get(i, 0) for i in ids], np.int32),
            prediction=None if predicted is None else predicting(xy, [predicted.get(i, (0.0, 0.0)) for i in ids]),
        )

    return make
