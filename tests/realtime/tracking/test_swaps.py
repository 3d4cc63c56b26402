import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.poses import Poses
from realtime.tracking import GreedyTracker, TrackerOptions
from realtime.tracks import Tracks

FRAME_NS = 10_000_000
BODY = np.array([[0, 0], [10, 0], [20, 0], [30, 5], [40, 0]], dtype=np.float32)
CLASSES = ("male", "female")
MALE, FEMALE = [0.95, 0.05], [0.05, 0.95]
UNSURE = [0.5, 0.5]


class Scene:
    """Animals at places of their own, each with a class as the model sees it, followed frame by frame."""

    def __init__(self, class_names: tuple[str, ...] = CLASSES, **options: object) -> None:
        self.follower = GreedyTracker(TrackerOptions.model_validate(options), len(BODY), class_names)
        self.n_frames = 0

    def see(self, animals: dict[tuple[float, float], list[float]], n_frames: int = 1) -> Tracks:
        xy = np.array([BODY + np.array(place, dtype=np.float32) for place in animals], np.float32)
        scores = np.ones(xy.shape[:2], np.float32)
        probs = np.array(list(animals.values()), np.float32)
        for _ in range(n_frames):
            seen = Poses(xy.reshape(-1, len(BODY), 2), scores, scores[:, 0], probs if self.follower else None)
            tracks = self.follower.update(seen, self.n_frames * FRAME_NS)
            self.n_frames += 1
        return tracks

    def see_until_corrected(self, animals: dict[tuple[float, float], list[float]], most: int = 1000) -> int:
        for frame in range(most):
            if self.see(animals).corrected_ids.any():
                return frame
        raise AssertionError(f"no correction in {most} frames")


def places(tracks: Tracks) -> dict[int, tuple[float, float]]:
    return {
        int(track_id): (float(xy[0, 0]), float(xy[0, 1]))
        for track_id, xy in zip(tracks.track_ids, tracks.xy, strict=True)
    }


HERE, THERE = (0.0, 0.0), (300.0, 0.0)
RIGHT = {HERE: MALE, THERE: FEMALE}
SWAPPED = {HERE: FEMALE, THERE: MALE}  # the animals changed places and the tracker did not notice


def test_a_swap_is_corrected_once_and_the_male_stays_the_male() -> None:
    scene = Scene()
    before = scene.see(RIGHT, 300)
    assert places(before) == {1: HERE, 2: THERE}
    assert before.class_ids.tolist() == [0, 1]
    scene.see_until_corrected(SWAPPED)
    after = scene.see(SWAPPED)
    assert places(after) == {1: THERE, 2: HERE}
    assert after.class_ids.tolist() == [0, 1]
    for _ in range(500):
        assert not scene.see(SWAPPED).corrected_ids.any()


def test_a_correction_names_both_tracks_in_its_frame_only() -> None:
    scene = Scene()
    scene.see(RIGHT, 300)
    corrections = [scene.see(SWAPPED).corrected_ids.tolist() for _ in range(600)]
    assert [c for c in corrections if c != [0, 0]] == [[2, 1]]


def test_a_swap_is_suspected_before_it_is_corrected_and_trusted_again_after() -> None:
    scene = Scene()
    assert scene.see(RIGHT, 300).suspect_ids.tolist() == [0, 0]
    suspected = corrected = -1
    for frame in range(600):
        tracks = scene.see(SWAPPED)
        if suspected < 0 and tracks.suspect_ids.tolist() == [2, 1]:
            suspected = frame
            assert tracks.identity_confidence.max() < 0.9
        if tracks.corrected_ids.any():
            corrected = frame
    assert 0 <= suspected < corrected
    assert scene.see(SWAPPED).suspect_ids.tolist() == [0, 0]
    assert scene.see(SWAPPED).identity_confidence.min() >= 0.95


def test_no_animal_has_a_class_that_the_model_contradicts_on_the_way() -> None:
    scene = Scene()
    scene.see(RIGHT, 300)
    wrong_for_s = 0.0
    for _ in range(600):
        tracks = scene.see(SWAPPED)
        male = np.flatnonzero(tracks.class_ids == 0)
        if male.size and places(tracks)[int(tracks.track_ids[male[0]])] != THERE:
            wrong_for_s += FRAME_NS * 1e-9
    assert wrong_for_s < 3.0  # class_memory_s and the evidence for the exchange


def test_a_model_that_cannot_tell_corrects_nothing() -> None:
    scene = Scene()
    scene.see(RIGHT, 300)
    for _ in range(1000):
        assert not scene.see({HERE: UNSURE, THERE: UNSURE}).corrected_ids.any()


def test_after_a_correction_as_much_evidence_again_is_needed_to_go_back() -> None:
    first, back = Scene(), Scene()
    for scene in (first, back):
        scene.see({HERE: [0.9, 0.1], THERE: [0.1, 0.9]}, 300)
    n_first = first.see_until_corrected({HERE: [0.1, 0.9], THERE: [0.9, 0.1]})
    back.see_until_corrected({HERE: [0.1, 0.9], THERE: [0.9, 0.1]})
    n_back = back.see_until_corrected({HERE: [0.9, 0.1], THERE: [0.1, 0.9]})
    assert n_back > 0.05 * n_first
    assert n_back * FRAME_NS * 1e-9 > 0.2


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_a_model_that_is_right_in_three_of_five_looks_does_not_flip_to_and_fro(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = Scene()
    scene.see(RIGHT, 200)
    n_corrections = 0
    for _ in range(40):  # looks of 0.1 s, the independent ones
        is_right = rng.random(2) < 0.6
        looks = {HERE: MALE if is_right[0] else FEMALE, THERE: FEMALE if is_right[1] else MALE}
        for _ in range(10):
            n_corrections += bool(scene.see(looks).corrected_ids.any())
    assert n_corrections <= 4


def test_an_animal_whose_partner_is_not_seen_loses_its_class_until_it_is_found_out() -> None:
    scene = Scene()
    scene.see(RIGHT, 300)
    tracks = scene.see({HERE: FEMALE}, 300)  # only one of the swapped animals is in sight
    assert tracks.class_ids[0] == -1
    assert not tracks.corrected_ids.any()
    scene.see_until_corrected(SWAPPED)
    assert places(scene.see(SWAPPED)) == {1: THERE, 2: HERE}


def test_three_animals_that_changed_places_in_a_ring_are_all_corrected() -> None:
    classes = ("a", "b", "c")
    looks = [[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]]
    spots = [(0.0, 0.0), (300.0, 0.0), (600.0, 0.0)]
    scene = Scene(classes, max_tracks=3)
    scene.see(dict(zip(spots, looks, strict=True)), 300)
    ring = dict(zip(spots, [looks[2], looks[0], looks[1]], strict=True))
    tracks = scene.see(ring, 1000)
    assert tracks.class_ids.tolist() == [0, 1, 2]
    assert places(tracks) == {1: spots[1], 2: spots[2], 3: spots[0]}


def test_a_wrong_first_class_gives_way_where_no_track_has_the_right_one() -> None:
    scene = Scene()
    scene.see({HERE: MALE}, 5)
    assert scene.see({HERE: FEMALE}, 600).class_ids.tolist() == [1]


def test_contact_without_an_identity_model_stays_suspected() -> None:
    scene = Scene((), gate=3.0)
    scene.see({HERE: UNSURE, (120.0, 0.0): UNSURE}, 10)
    tracks = scene.see({(59.0, 0.0): UNSURE, (61.0, 40.0): UNSURE})
    assert tracks.suspect_ids.tolist() == [2, 1]
    assert scene.see({HERE: UNSURE, (120.0, 40.0): UNSURE}, 300).suspect_ids.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("rival_place", "expected"), [((100.0, 0.0), [2, 1]), ((900.0, 0.0), [1, 2])], ids=["near", "far away"]
)
def test_the_suspect_is_the_nearest_animal_else_any(rival_place: tuple[float, float], expected: list[int]) -> None:
    scene = Scene((), lost_s=0.5)
    scene.see({HERE: UNSURE, rival_place: UNSURE}, 2)
    scene.n_frames += 200
    assert scene.see({HERE: UNSURE, rival_place: UNSURE}).suspect_ids.tolist() == expected
