"""The simulated crowds: the same for the same seed, as crowded as they say, and their truth is the truth."""

import numpy as np
import pytest

from benchmarks.crowds import SCENES, body_plan, simulate

BODY_PX = float(np.hypot(*np.ptp(body_plan(), axis=0)))


def frames(scene, n_animals=6, seconds=4.0, seed=1):
    return list(simulate(scene, n_animals, seconds=seconds, seed=seed))


def middles(frame):
    """Thorax of every animal that is found with it."""
    thoraces = zip(frame.truth.tolist(), frame.poses.xy[:, 1], strict=True)
    return {who: xy for who, xy in thoraces if who >= 0 and np.isfinite(xy).all()}


def share_found(scene):
    return np.mean([(frame.truth >= 0).sum() / frame.n_animals for frame in frames(scene, 12, seconds=8.0)])


@pytest.mark.parametrize("scene", SCENES)
def test_the_same_seed_gives_the_same_crowd(scene):
    one, again, other = frames(scene), frames(scene), frames(scene, seed=2)
    assert [frame.poses.xy.tobytes() for frame in one] == [frame.poses.xy.tobytes() for frame in again]
    assert [frame.truth.tolist() for frame in one] == [frame.truth.tolist() for frame in again]
    assert [frame.poses.xy.tobytes() for frame in one] != [frame.poses.xy.tobytes() for frame in other]


@pytest.mark.parametrize("scene", SCENES)
def test_an_animal_is_found_once_a_frame_and_moves_like_one(scene):
    last = {}
    for frame in frames(scene):
        animals = frame.truth[frame.truth >= 0].tolist()
        assert len(set(animals)) == len(animals) <= frame.n_animals
        for who, middle in middles(frame).items():
            before, when = last.get(who, (middle, frame.timestamp_ns))
            assert np.hypot(*(middle - before)) < 0.3 * BODY_PX + 4 * BODY_PX * (frame.timestamp_ns - when) * 1e-9
            last[who] = middle, frame.timestamp_ns


def test_detections_come_in_any_order_with_holes_and_false_ones():
    crowd = frames("cross")
    assert len({tuple(frame.truth.tolist()) for frame in crowd[:20]}) > 10
    assert 0.02 < np.mean([np.isnan(frame.poses.xy[..., 0]).mean() for frame in crowd]) < 0.04
    assert 0.0 < np.mean([(frame.truth < 0).any() for frame in crowd]) < 0.15
    assert all((np.isnan(frame.poses.xy[..., 0]) == (frame.poses.node_scores == 0)).all() for frame in crowd)


def test_the_lower_of_two_animals_is_not_found():
    assert share_found("occlude") < share_found("huddle") - 0.05


def test_who_comes_back_is_somebody_else():
    crowd = frames("leave", seconds=15.0)
    assert min(frame.n_animals for frame in crowd) < 6
    last_ns, first_ns = {}, {}
    for frame in crowd:
        for who in frame.truth[frame.truth >= 0].tolist():
            first_ns.setdefault(who, frame.timestamp_ns)
            assert frame.timestamp_ns - last_ns.get(who, frame.timestamp_ns) < 1e9
            last_ns[who] = frame.timestamp_ns
    assert len(first_ns) > 6
    assert min(ns for who, ns in first_ns.items() if who > 5) > 2e9
