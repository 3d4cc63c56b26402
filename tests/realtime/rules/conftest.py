"""A rig with two identities, two zones and a calibration of 10 px/mm, and tracks made from what a test says of them."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from realtime.rules import RoleSpec, RuleContext, ZoneSpec
from realtime.tracks import Tracks

NODES = ("head", "thorax", "abdomen")
CLASSES = ("male", "female")


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
    )


@pytest.fixture(scope="session")
def make_tracks() -> Callable[..., Tracks]:
    """Tracks from `{track_id: {node: (x, y)}}`; a node's score is 1, or as given in `scores[track_id]`, where seen."""

    def make(
        animals: Mapping[int, Mapping[str, tuple[float, float]]],
        *,
        scores: Mapping[int, float] | None = None,
        identities: Mapping[int, str] | None = None,
        confidence: Mapping[int, float] | None = None,
        suspects: Mapping[int, int] | None = None,
        corrected: Mapping[int, int] | None = None,
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
        )

    return make
