"""The courtship rule that ships, on a chase that is made up: who is behind, faces the other and keeps up."""

import math
from pathlib import Path

import numpy as np
import pytest

from realtime.decision import State
from realtime.rig import load_rig
from realtime.rules import RuleContext, TrackTable, compile_rule
from realtime.tracks import Tracks

RIG = Path(__file__).parents[3] / "rigs" / "courtship.toml"
BODY, N_FRAMES, FRAME_NS = 76.0, 75, 40_000_000


def chase(distance: float, *, speed_mm_s: float = 5.0, heading_deg: float = 0.0, beside: float = 0.0) -> list[Tracks]:
    """One fly that walks to the right, and one so many bodies behind it that walks as fast, turned by an angle."""
    frames = []
    for index in range(N_FRAMES):
        x = 100.0 + speed_mm_s * 30.3 * index * FRAME_NS * 1e-9
        dx, dy = BODY / 2 * math.cos(math.radians(heading_deg)), BODY / 2 * math.sin(math.radians(heading_deg))
        hx, hy = x - distance * BODY, 500.0 + beside * BODY  # its head
        frames.append(
            Tracks(
                np.array([1, 2], np.int32),
                np.array(
                    [
                        [[hx, hy], [hx - dx, hy - dy], [hx - 2 * dx, hy - 2 * dy]],
                        [[x + BODY / 2, 500], [x, 500], [x - BODY / 2, 500]],
                    ],
                    np.float32,
                ),
                np.ones((2, 3), np.float32),
                np.ones(2, np.float32),
                np.zeros(2, np.int64),
                np.full(2, -1, np.int32),
                np.zeros(2, np.int32),
                np.zeros(2, np.int32),
            )
        )
    return frames


CASES = {
    "behind, facing, keeping up": (chase(1.2), True),
    "far behind": (chase(1.8), False),
    "both at rest": (chase(1.2, speed_mm_s=0.0), False),
    "looks away": (chase(1.2, heading_deg=45.0), False),
    "in front and walks backwards": (chase(-1.2, heading_deg=180.0), False),
    "beside": (chase(0.0, heading_deg=-90.0, beside=1.2), False),
}


@pytest.mark.parametrize("name", CASES)
def test_courtship(name: str) -> None:
    frames, expected = CASES[name]
    context = RuleContext(("head", "thorax", "abdomen"), front="head", back="abdomen", centre="thorax", px_per_mm=30.3)
    rule = compile_rule("courting", load_rig(RIG).rules["courting"], context)
    times_ns = [index * FRAME_NS for index in range(N_FRAMES)]
    table = rule.evaluate_recording(TrackTable.stack(range(N_FRAMES), times_ns, frames))
    assert bool(table.states[-1] == State.ON) is expected
    assert bool((table.states == State.ON).any()) is expected
    if expected:
        assert table.track_ids[-1].tolist() == [1, 2]
