import numpy as np
import pytest
from pydantic import ValidationError

from models.poses import Poses
from realtime.tracking import EnrolmentOptions, GreedyTracker, Mark, TrackerOptions
from realtime.tracks import Tracks

FRAME_NS = 10_000_000
BODY = np.array([[0, 0], [10, 0], [20, 0], [30, 5], [40, 0]], dtype=np.float32)


class Scene:
    """Animals at places of their own, followed frame by frame by a tracker that enrols them."""

    def __init__(self, options: dict[str, object], **tracker: object) -> None:
        self.follower = GreedyTracker(
            TrackerOptions.model_validate(tracker), len(BODY), (), EnrolmentOptions.model_validate(options)
        )
        self.n_frames = 0

    def see(self, *animals: tuple[float, float, float], n_frames: int = 1) -> Tracks:
        """Show animals as (x, y, size) for some frames; return the last one's tracks."""
        xy = np.array([size * BODY + np.array([x, y], np.float32) for x, y, size in animals], np.float32)
        xy = xy.reshape(-1, len(BODY), 2)
        scores = np.ones(xy.shape[:2], np.float32)
        for _ in range(n_frames):
            tracks = self.follower.update(Poses(xy, scores, scores[:, 0]), self.n_frames * FRAME_NS)
            self.n_frames += 1
        return tracks


LEFT_LOW, RIGHT_HIGH = (0.0, 300.0, 1.0), (500.0, 0.0, 1.5)  # tracks 1 and 2

ORDERS = {
    "largest first": ({"by": "size", "names": ["female", "male"]}, [1, 0]),
    "leftmost first": ({"by": "x", "names": ["resident", "intruder"]}, [0, 1]),
    "topmost first": ({"by": "y", "names": ["resident", "intruder"]}, [1, 0]),
}


@pytest.mark.parametrize("name", ORDERS)
def test_names_by_order(name: str) -> None:
    options, expected = ORDERS[name]
    scene = Scene(options | {"after_s": 0.5})
    assert scene.see(LEFT_LOW, RIGHT_HIGH, n_frames=50).class_ids.tolist() == [-1, -1]
    assert scene.see(LEFT_LOW, RIGHT_HIGH).class_ids.tolist() == expected


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_the_detections_does_not_matter(order: int) -> None:
    scene = Scene({"by": "size", "names": ["female", "male"], "after_s": 0.0})
    assert scene.see(*(LEFT_LOW, RIGHT_HIGH)[::order]).class_ids.tolist() == [1, 0]


def test_the_names_stay_when_the_animals_change_places() -> None:
    scene = Scene({"by": "x", "names": ["a", "b"], "after_s": 0.0}, gate=3.0)
    scene.see((0.0, 0.0, 1.0), (100.0, 80.0, 1.0))
    for x in range(0, 101, 5):
        tracks = scene.see((float(x), 0.0, 1.0), (100.0 - x, 80.0, 1.0))
    assert tracks.class_ids.tolist() == [0, 1]
    assert tracks.xy[:, 0, 0].tolist() == [100.0, 0.0]


ALIKE = {
    "size": ({"by": "size", "names": ["a", "b"]}, [(0.0, 0.0, 1.0), (500.0, 0.0, 1.02)]),
    "x": ({"by": "x", "names": ["a", "b"]}, [(0.0, 0.0, 1.0), (5.0, 300.0, 1.0)]),
    "y": ({"by": "y", "names": ["a", "b"]}, [(0.0, 0.0, 1.0), (300.0, 5.0, 1.0)]),
}


@pytest.mark.parametrize("name", ALIKE)
def test_animals_that_do_not_differ_clearly_have_no_names_until_they_do(name: str) -> None:
    options, animals = ALIKE[name]
    scene = Scene(options | {"after_s": 0.1})
    assert scene.see(*animals, n_frames=100).class_ids.tolist() == [-1, -1]
    clear = {"size": [animals[0], (500.0, 0.0, 1.5)], "x": [animals[0], (50.0, 300.0, 1.0)]}
    clear["y"] = [animals[0], (300.0, 50.0, 1.0)]
    named = scene.see(*clear[name], n_frames=300).class_ids.tolist()
    assert sorted(named) == [0, 1]


def test_the_time_begins_again_when_an_animal_is_not_seen() -> None:
    scene = Scene({"by": "x", "names": ["a", "b"], "after_s": 0.5})
    scene.see(LEFT_LOW, RIGHT_HIGH, n_frames=45)
    scene.see(LEFT_LOW)
    assert scene.see(LEFT_LOW, RIGHT_HIGH, n_frames=50).class_ids.tolist() == [-1, -1]
    assert scene.see(LEFT_LOW, RIGHT_HIGH).class_ids.tolist() == [0, 1]


@pytest.mark.parametrize("n_animals", [1, 3])
def test_no_names_while_there_are_more_or_fewer_animals_than_names(n_animals: int) -> None:
    scene = Scene({"by": "x", "names": ["a", "b"], "after_s": 0.0}, max_tracks=3)
    animals = [(300.0 * k, 0.0, 1.0) for k in range(n_animals)]
    assert scene.see(*animals, n_frames=50).class_ids.tolist() == [-1] * n_animals


def test_the_only_animal_that_was_missing_keeps_its_name() -> None:
    scene = Scene({"by": "x", "names": ["a", "b"], "after_s": 0.0})
    scene.see(LEFT_LOW, RIGHT_HIGH, n_frames=5)
    scene.see(LEFT_LOW, n_frames=300)
    assert scene.see(LEFT_LOW, (900.0, 900.0, 1.5), n_frames=2).class_ids.tolist() == [0, 1]


def test_animals_that_were_lost_together_lose_their_names() -> None:
    scene = Scene({"by": "x", "names": ["a", "b"], "after_s": 0.0})
    scene.see(LEFT_LOW, RIGHT_HIGH, n_frames=5)
    scene.see(n_frames=300)
    assert scene.see(LEFT_LOW, RIGHT_HIGH, n_frames=200).class_ids.tolist() == [-1, -1]


def mark(name: str, at_s: float, x_px: float, y_px: float) -> dict[str, object]:
    return {"name": name, "at_s": at_s, "x_px": x_px, "y_px": y_px}


def test_marks_name_the_animals_that_are_there_then() -> None:
    marks = [mark("male", 0.2, 530.0, 1.0), mark("female", 0.2, 20.0, 301.0)]
    scene = Scene({"by": "marks", "marks": marks})
    assert scene.see(LEFT_LOW, RIGHT_HIGH, n_frames=20).class_ids.tolist() == [-1, -1]
    assert scene.see(LEFT_LOW, RIGHT_HIGH).class_ids.tolist() == [1, 0]


def test_the_time_of_a_mark_is_from_the_first_frame_on() -> None:
    scene = Scene({"by": "marks", "marks": [mark("male", 0.2, 20.0, 301.0)]})
    scene.n_frames = 10**6
    assert scene.see(LEFT_LOW, n_frames=20).class_ids.tolist() == [-1]
    assert scene.see(LEFT_LOW).class_ids.tolist() == [0]


def test_a_mark_where_no_animal_is_names_nobody() -> None:
    scene = Scene({"by": "marks", "marks": [mark("male", 0.0, 300.0, 300.0)]})
    assert scene.see(LEFT_LOW, RIGHT_HIGH, n_frames=5).class_ids.tolist() == [-1, -1]


def test_a_later_mark_corrects_an_earlier_one() -> None:
    marks = [mark("male", 0.0, 20.0, 301.0), mark("male", 0.5, 530.0, 1.0)]
    scene = Scene({"by": "marks", "marks": marks})
    assert scene.see(LEFT_LOW, RIGHT_HIGH, n_frames=50).class_ids.tolist() == [0, -1]
    assert scene.see(LEFT_LOW, RIGHT_HIGH).class_ids.tolist() == [-1, 0]


def test_a_mark_ends_the_doubt() -> None:
    scene = Scene({"by": "marks", "marks": [mark("a", 0.0, 20.0, 301.0), mark("a", 4.0, 20.0, 301.0)]})
    scene.see(LEFT_LOW, RIGHT_HIGH, n_frames=5)
    scene.see(n_frames=300)
    doubted = scene.see(LEFT_LOW, RIGHT_HIGH, n_frames=90)
    assert doubted.class_ids[0] == -1
    assert doubted.suspect_ids[0] != 0
    sure = scene.see(LEFT_LOW, RIGHT_HIGH, n_frames=10)
    assert sure.class_ids[0] == 0
    assert sure.suspect_ids[0] == 0
    assert sure.identity_confidence[0] == 1.0


def test_a_reset_enrols_anew() -> None:
    scene = Scene({"by": "x", "names": ["a", "b"], "after_s": 0.0})
    scene.see(LEFT_LOW, RIGHT_HIGH)
    scene.follower.reset()
    assert scene.see(LEFT_LOW, RIGHT_HIGH).class_ids.tolist() == [0, 1]


def test_a_warm_up_enrols_nobody() -> None:
    scene = Scene({"by": "x", "names": ["a"], "after_s": 0.0}, max_tracks=1)
    scene.follower.warm_up()
    assert scene.see().class_ids.tolist() == []
    assert scene.see(LEFT_LOW).class_ids.tolist() == [0]


WRONG = {
    "no names": ({"by": "size"}, 'by = "size": expected the names of all animals, each once, got []'),
    "a name twice": (
        {"by": "x", "names": ["a", "a"]},
        "by = \"x\": expected the names of all animals, each once, got ['a', 'a']",
    ),
    "an empty name": ({"by": "y", "names": [""]}, "by = \"y\": expected the names of all animals, each once, got ['']"),
    "marks and an order": (
        {"by": "x", "names": ["a"], "marks": [mark("a", 0.0, 1.0, 1.0)]},
        'by = "x": expected no marks, got 1',
    ),
    "no marks": (
        {"by": "marks"},
        'by = "marks": expected marks and no names; poseloop enrol SESSION writes them',
    ),
    "marks and names": (
        {"by": "marks", "names": ["a"], "marks": [mark("a", 0.0, 1.0, 1.0)]},
        'by = "marks": expected marks and no names; poseloop enrol SESSION writes them',
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_options_that_make_no_sense(name: str) -> None:
    options, message = WRONG[name]
    with pytest.raises(ValidationError) as caught:
        EnrolmentOptions.model_validate(options)
    assert message in str(caught.value)


def test_names_by_marks_stand_once() -> None:
    marks = (Mark(name="b", at_s=0, x_px=0, y_px=0), Mark(name="a", at_s=0, x_px=0, y_px=0))
    again = Mark(name="b", at_s=9, x_px=0, y_px=0)
    assert EnrolmentOptions(by="marks", marks=(*marks, again)).identities == ("b", "a")


def test_a_model_that_tells_identities_needs_no_enrolment() -> None:
    options = EnrolmentOptions(by="x", names=("a", "b"))
    with pytest.raises(ValueError, match="expected no enrolment, since the model tells identities \\(male, female\\)"):
        GreedyTracker(TrackerOptions(), len(BODY), ("male", "female"), options)
