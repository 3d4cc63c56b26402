"""Where animals are predicted that walk, stand, jump, hide, are exchanged, and come and go."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from realtime.lookahead import LookAhead
from realtime.tracks import Prediction, Tracks

Make = Callable[..., LookAhead]
Show = Callable[..., list[Tracks]]
MakeTracks = Callable[..., Tracks]


def prediction(tracks: Tracks) -> Prediction:
    assert tracks.prediction is not None
    return tracks.prediction


def shift(tracks: Tracks, row: int = 0) -> NDArray[np.float32]:
    """How far each node is predicted from where it is, px."""
    return prediction(tracks).xy[row] - tracks.xy[row]


def walk(n: int, per_frame: float = 1.0) -> list[tuple[float, float]]:
    return [(per_frame * k, 0.5 * per_frame * k) for k in range(n)]


@pytest.mark.parametrize("horizon_ms", [5.0, 20.0, 100.0])
def test_an_animal_that_walks_is_ahead_by_its_velocity(horizon_ms: float, make_ahead: Make, shown: Show) -> None:
    tracks = shown(make_ahead(horizon_ms=horizon_ms), walk(100))[-1]
    assert prediction(tracks).horizon_ns == round(horizon_ms * 1e6)
    expected = np.array([horizon_ms / 10, horizon_ms / 20])  # 1 and 0.5 px in 10 ms
    np.testing.assert_allclose(shift(tracks), np.broadcast_to(expected, (6, 2)), rtol=0.01)


def test_dropped_frames_and_jitter_do_not_change_a_velocity(make_ahead: Make, make_tracks: MakeTracks) -> None:
    random = np.random.default_rng(0)
    times_ms = np.cumsum(random.choice([2.0, 10.0, 10.0, 50.0], 200))
    ahead = make_ahead(horizon_ms=20.0)
    for time_ms in times_ms:
        tracks = ahead.predict(make_tracks({1: (0.1 * time_ms, 0.0)}), round(time_ms * 1e6))
    np.testing.assert_allclose(shift(tracks), np.broadcast_to([2.0, 0.0], (6, 2)), atol=0.02)


def test_in_the_first_frame_nobody_moves(make_ahead: Make, shown: Show) -> None:
    assert not shift(shown(make_ahead(horizon_ms=20.0), walk(1))[0]).any()


def test_noise_on_a_standing_animal_is_not_taken_for_walking(make_ahead: Make, make_tracks: MakeTracks) -> None:
    random = np.random.default_rng(0)
    ahead = make_ahead(horizon_ms=10.0)
    frames = [make_tracks({1: tuple(random.normal(0, 1, 2))}) for _ in range(400)]
    off = [shift(ahead.predict(tracks, k * 10_000_000))[0, 0] for k, tracks in enumerate(frames)]
    assert np.std(off[50:]) < 0.5  # of two such poses, one frame apart, it would be 1.4


def test_an_animal_that_is_not_seen_is_not_predicted(make_ahead: Make, shown: Show) -> None:
    tracks = shown(make_ahead(horizon_ms=20.0), [*walk(100), None])[-1]
    assert np.isnan(prediction(tracks).xy).all()


def test_an_animal_that_comes_out_of_hiding_has_kept_its_velocity(make_ahead: Make, shown: Show) -> None:
    places = walk(100)
    tracks = shown(make_ahead(horizon_ms=20.0), [*places[:80], *[None] * 5, *places[85:86]])[-1]
    np.testing.assert_allclose(shift(tracks), np.broadcast_to([2.0, 1.0], (6, 2)), rtol=0.05)


def test_a_jump_tells_no_velocity(make_ahead: Make, shown: Show) -> None:
    tracks = shown(make_ahead(horizon_ms=20.0), [*walk(100), (300.0, 0.0)])[-1]
    assert not shift(tracks).any()


def test_a_node_that_is_not_seen_is_not_predicted_and_moves_nobody(make_ahead: Make, make_tracks: MakeTracks) -> None:
    ahead, random = make_ahead(horizon_ms=20.0), np.random.default_rng(0)
    body = make_tracks({1: (0.0, 0.0)}).xy[0]
    for k in range(100):
        pose = body + np.float32(k)
        pose[random.integers(0, 6, 2)] = np.nan
        tracks = ahead.predict(make_tracks({1: pose}), k * 10_000_000)
        assert (np.isnan(shift(tracks)) == np.isnan(pose)).all()
    np.testing.assert_allclose(np.nanmean(shift(tracks), axis=0), [2.0, 2.0], rtol=0.01)


def test_groups_move_by_themselves_and_what_is_in_none_stays(make_ahead: Make, make_tracks: MakeTracks) -> None:
    ahead = make_ahead(horizon_ms=20.0, groups={"front": ["head", "eyeL", "eyeR"], "tail": ["tail"]})
    body = make_tracks({1: (0.0, 0.0)}).xy[0]
    for k in range(100):
        pose = body.copy()
        pose[:5, 0] += np.float32(k)  # the legs go with the head
        pose[5, 1] -= np.float32(0.5 * k)
        tracks = ahead.predict(make_tracks({1: pose}), k * 10_000_000)
    expected = [[2.0, 0.0]] * 3 + [[0.0, 0.0]] * 2 + [[0.0, -1.0]]
    np.testing.assert_allclose(shift(tracks), expected, atol=0.02)
    assert ahead.groups == ("front", "tail")


def test_after_a_corrected_swap_the_velocity_is_not_the_other_animal_s(
    make_ahead: Make, make_tracks: MakeTracks
) -> None:
    ahead = make_ahead(horizon_ms=20.0)
    for k in range(100):
        ahead.predict(make_tracks({1: (1.0 * k, 0.0), 2: (20.0, 30.0)}), k * 10_000_000)
    exchanged = make_tracks({1: (20.0, 30.0), 2: (100.0, 0.0)}, {1: 2, 2: 1})
    tracks = ahead.predict(exchanged, 1_000_000_000)
    assert not shift(tracks, 0).any()
    assert not shift(tracks, 1).any()


def test_a_track_keeps_its_velocity_when_one_above_it_ends(make_ahead: Make, make_tracks: MakeTracks) -> None:
    ahead = make_ahead(max_tracks=2, horizon_ms=20.0)
    for k in range(100):
        ahead.predict(make_tracks({3: (0.0, 2.0 * k), 5: (1.0 * k, 0.0)}), k * 10_000_000)
    tracks = ahead.predict(make_tracks({5: (100.0, 0.0), 6: (50.0, 50.0)}), 1_000_000_000)
    np.testing.assert_allclose(shift(tracks, 0), np.broadcast_to([2.0, 0.0], (6, 2)), atol=0.02)
    assert not shift(tracks, 1).any()


def test_an_animal_is_predicted_the_same_whoever_else_is_there(make_ahead: Make, make_tracks: MakeTracks) -> None:
    random = np.random.default_rng(0)
    places = np.cumsum(random.normal(0, 3, (200, 3, 2)), axis=0)
    alone, among = make_ahead(horizon_ms=20.0), make_ahead(horizon_ms=20.0)
    for k, place in enumerate(places.tolist()):
        one = alone.predict(make_tracks({2: tuple(place[0])}), k * 10_000_000)
        company = {1: tuple(place[1]), 2: tuple(place[0])} | ({3: tuple(place[2])} if k % 7 else {})
        other = among.predict(make_tracks(company), k * 10_000_000)
        assert prediction(one).xy[0].tobytes() == prediction(other).xy[1].tobytes()


def test_the_same_time_again_changes_nothing(make_ahead: Make, make_tracks: MakeTracks, shown: Show) -> None:
    once, twice = make_ahead(horizon_ms=20.0), make_ahead(horizon_ms=20.0)
    shown(once, walk(50))
    shown(twice, walk(50))
    twice.predict(make_tracks({1: (60.0, 0.0)}), 490_000_000)
    one, other = (ahead.predict(make_tracks({1: (50.0, 25.0)}), 500_000_000) for ahead in (once, twice))
    assert prediction(one).xy.tobytes() == prediction(other).xy.tobytes()


def test_a_clock_that_was_set_back_begins_anew(make_ahead: Make, make_tracks: MakeTracks, shown: Show) -> None:
    ahead = make_ahead(horizon_ms=20.0)
    shown(ahead, walk(50), first_ms=9000.0)
    tracks = ahead.predict(make_tracks({1: (50.0, 25.0)}), 1_000_000)
    assert not shift(tracks).any()
    tracks = shown(ahead, walk(100), first_ms=2.0)[-1]
    np.testing.assert_allclose(shift(tracks), np.broadcast_to([2.0, 1.0], (6, 2)), rtol=0.01)
