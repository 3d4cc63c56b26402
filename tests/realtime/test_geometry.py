import numpy as np
import pytest

from realtime.geometry import body_length, displacement, pose_centre, visible_nodes

NAN = (np.nan, np.nan)


@pytest.mark.parametrize(
    ("nodes", "n_visible", "centre", "length"),
    [
        pytest.param([(0, 0), (30, 40)], 2, (15, 20), 50, id="two-nodes"),
        pytest.param([(0, 0), NAN, (30, 40)], 2, (15, 20), 50, id="a-missing-node-is-skipped"),
        pytest.param([(5, 5), (5, 25)], 2, (5, 15), 20, id="collinear"),
        pytest.param([(7, 9), NAN], 1, (7, 9), 0, id="one-node"),
        pytest.param([NAN, NAN], 0, NAN, 0, id="nothing-seen"),
    ],
)
def test_pose(nodes: list[tuple[float, float]], n_visible: int, centre: tuple[float, float], length: float) -> None:
    xy = np.array(nodes, dtype=np.float64)
    assert visible_nodes(xy) == n_visible
    np.testing.assert_array_equal(pose_centre(xy), centre)
    assert body_length(xy) == length


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param([(0, 0), (10, 0)], [(3, 4), (13, 4)], (3, 4), id="translation"),
        pytest.param([(0, 0), (10, 0), NAN], [(3, 4), (13, 4), (900, 900)], (3, 4), id="appearing-node"),
        pytest.param([(0, 0), (10, 0), (5, 5)], [(3, 4), (13, 4), (700, 5)], (3, 4), id="node-put-on-another-animal"),
        pytest.param([(0, 0), NAN], [NAN, (1, 1)], NAN, id="no-common-node"),
    ],
)
def test_displacement(
    before: list[tuple[float, float]], after: list[tuple[float, float]], expected: tuple[float, float]
) -> None:
    room = np.empty((2, len(before)))
    moved = displacement(np.array(before, dtype=np.float64), np.array(after, dtype=np.float64), room[0], room[1])
    np.testing.assert_array_equal(moved, expected)


@pytest.mark.parametrize("n_nodes", [1, 2, 3, 12, 13, 24])
def test_a_displacement_is_the_median(n_nodes: int) -> None:
    random = np.random.default_rng(n_nodes)
    before, after = random.normal(0, 50, (2, n_nodes, 2))
    before[random.random(n_nodes) < 0.2] = np.nan
    room = np.empty((2, n_nodes))
    np.testing.assert_array_equal(displacement(before, after, room[0], room[1]), np.nanmedian(after - before, axis=0))
