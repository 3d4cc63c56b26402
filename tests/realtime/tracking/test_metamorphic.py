"""What makes no difference to a tracker: every preset, with what is seen mirrored, moved, scaled or in another order.

A scene is followed as it is and changed; every instance must become the same track in both, and every track must be as
sure, as long unseen and of the same class. Two things follow from what the trackers promise:

- Animals that are first seen in the same frame are numbered from left to right (the live tracker) or in the order of
  the instances (SLEAP's). So where a change alters that order, tracks that begin in the same frame may exchange names.
- The live tracker knows one length in px, `min_body_px`, and the smallest animal of a scene is larger. Of SLEAP's
  similarities `instance` and `iou` are made for one size in px, so that scaling means nothing to them.

Coordinates are eighths of a px, so that the changes themselves round nothing. Mirrors, quarter turns, powers of two and
later stamps do not round anything inside the trackers either: there the numbers must be the same bit for bit. For the
others sums of other terms or in another order round differently, by some 1e-16 of their size.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.crowds import Scene, body_plan, simulate
from benchmarks.following import rows_of
from models.poses import Poses
from realtime.tracking import GreedyTracker, TrackerOptions
from realtime.tracking.sleap import SleapTracker, SleapTrackerOptions

CLASSES = ("a", "b", "c", "d", "e", "f")
SIDE_PX = 1024  # of a scene
IMAGE_PX = 128

# --- what is seen, and what becomes of it


class Frame(NamedTuple):
    """What is seen in one frame, with the place that each instance had before any change."""

    time_ns: int
    xy: NDArray[np.float64]
    node_scores: NDArray[np.float64]
    scores: NDArray[np.float64]
    class_probs: NDArray[np.float64]
    places: NDArray[np.int64]
    image: NDArray[np.uint8] | None = None


class Outcome(NamedTuple):
    """The tracks of one frame, by their ids: the place of the instance, -1 = not seen, how sure, and what else."""

    places: dict[int, int]
    sure: dict[int, float]
    details: dict[int, tuple[int, ...]]


@functools.cache
def crowd(
    kind: Scene, n_animals: int, seed: int, n_frames: int, rate_hz: float = 60.0, n_classes: int = 0
) -> list[Frame]:
    """Animals that cross and hide one another; some are missed, some seen twice, some are false, some lack nodes."""
    rng = np.random.default_rng(seed)
    frames = []
    for seen in simulate(kind, n_animals, seconds=n_frames / rate_hz, rate_hz=rate_hz, seed=seed):
        found = np.flatnonzero(rng.random(len(seen.truth)) > 0.05)
        doubled = found[rng.random(found.size) < 0.05]
        both = np.concatenate([found, doubled])
        xy = seen.poses.xy[both].astype(np.float64) + rng.normal(0, 1, (len(both), 1, 2))
        xy[rng.random(xy.shape[:2]) < 0.1] = np.nan
        scores = np.concatenate([rng.uniform(0.6, 1.0, found.size), rng.uniform(0.2, 0.6, doubled.size)])
        looks = rng.uniform(0, 1, (len(both), n_classes))
        if n_classes:
            right = rng.random(len(both)) < 0.9
            looks[right, seen.truth[both][right] % n_classes] += 5
            looks[seen.truth[both] < 0] = np.nan
        frames.append(
            Frame(
                time_ns=seen.timestamp_ns,
                xy=np.round(xy * 8) / 8,
                node_scores=np.where(np.isnan(xy[..., 0]), 0.0, rng.uniform(0.5, 1.0, xy.shape[:2])),
                scores=scores,
                class_probs=looks / looks.sum(axis=1, keepdims=True),
                places=np.arange(len(both)),
            )
        )
    return frames


def renamed(outcomes: list[Outcome]) -> list[Outcome]:
    """Name the tracks that begin in the same frame in the order of the places of their instances."""
    names, first = {0: 0}, 1  # 0 = no track
    for outcome in outcomes:
        new = sorted(outcome.places.keys() - names.keys())
        assert new == list(range(first, first + len(new)))  # so nothing but tracks of this frame exchange names
        in_order = sorted(new, key=outcome.places.__getitem__)
        names |= {track: first + k for k, track in enumerate(in_order)}
        first += len(new)
    return [_with_names(outcome, names) for outcome in outcomes]


def _with_names(outcome: Outcome, names: dict[int, int]) -> Outcome:
    def of(by_track: dict[int, Any]) -> dict[int, Any]:
        return {names[track]: value for track, value in by_track.items()}

    details = {
        track: (*detail[:N_PLAIN], *(names[other] for other in detail[N_PLAIN:]))
        for track, detail in of(outcome.details).items()
    }
    return Outcome(of(outcome.places), of(outcome.sure), details)


def assert_same(plain: Sequence[Outcome], changed: Sequence[Outcome], rtol: float) -> None:
    for i, (one, other) in enumerate(zip(plain, changed, strict=True)):
        assert one.places == other.places, f"frame {i}"
        assert one.details == other.details, f"frame {i}"
        sure = [[outcome.sure[track] for track in one.places] for outcome in (one, other)]
        np.testing.assert_allclose(sure[1], sure[0], rtol=rtol, err_msg=f"frame {i}")


# --- changes


class Change(NamedTuple):
    """A change of every frame.

    Attributes:
        of: What it does to a frame.
        scale: What it does to lengths.
        rounds: Whether something inside a tracker is rounded differently then.
    """

    of: Callable[[Frame], Frame]
    scale: float = 1.0
    rounds: bool = False


def mapped(matrix: object, shift: tuple[float, float] = (0.0, 0.0)) -> Callable[[Frame], Frame]:
    def change(frame: Frame) -> Frame:
        return frame._replace(xy=frame.xy @ np.array(matrix, np.float64).T + np.array(shift))

    return change


def scaled(by: float, rounds: bool = False) -> Change:
    return Change(mapped(by * np.eye(2)), by, rounds)


def reordered(frame: Frame) -> Frame:
    order = np.random.default_rng(frame.time_ns).permutation(len(frame.xy))
    return frame._replace(
        xy=frame.xy[order],
        node_scores=frame.node_scores[order],
        scores=frame.scores[order],
        class_probs=frame.class_probs[order],
        places=frame.places[order],
    )


def with_other_nodes(frame: Frame) -> Frame:
    order = np.random.default_rng(1).permutation(frame.xy.shape[1])
    return frame._replace(xy=frame.xy[:, order], node_scores=frame.node_scores[:, order])


def later(by_ns: int) -> Callable[[Frame], Frame]:
    return lambda frame: frame._replace(time_ns=frame.time_ns + by_ns)


CHANGES = {
    "mirrored left and right": Change(mapped([[-1, 0], [0, 1]])),
    "mirrored up and down": Change(mapped([[1, 0], [0, -1]])),
    "turned by a quarter": Change(mapped([[0, -1], [1, 0]])),
    "moved": Change(mapped(np.eye(2), (-2048.25, 640.5)), rounds=True),
    "half as large": scaled(0.5),
    "twice as large": scaled(2.0),
    "three times as large": scaled(3.0, rounds=True),
    "detections in another order": Change(reordered),
    "nodes in another order": Change(with_other_nodes, rounds=True),
    "some time later": Change(later(1)),
    "an age later": Change(later(10**18 + 123_456_789)),
}

UNCHANGED = Change(lambda frame: frame)

# --- the live tracker


class Live(NamedTuple):
    """Options of the live tracker and the scene in which they matter."""

    scene: tuple[Any, ...]
    options: dict[str, Any]
    n_classes: int = 0


LIVE = {
    "defaults": Live(("occlude", 2, 0, 700), {}),
    "open population": Live(("leave", 4, 0, 700), {"closed_population": False, "max_tracks": 8, "lost_s": 0.4}),
    "seen for a while first": Live(("occlude", 3, 2, 500), {"confirm_s": 0.05, "max_tracks": 3, "lost_s": 0.1}),
    "and in an open population": Live(
        ("occlude", 4, 1, 700), {"confirm_s": 0.1, "closed_population": False, "max_tracks": 5, "lost_s": 0.3}
    ),
    "six animals": Live(("occlude", 6, 0, 500), {"max_tracks": 6}),
    "six animals that a model tells apart": Live(
        ("occlude", 6, 2, 500, 60.0, 6), {"max_tracks": 6, "lost_s": 0.3}, n_classes=6
    ),
    "fewer tracks than animals, two classes": Live(("cross", 6, 0, 500, 60.0, 2), {"max_tracks": 4}, n_classes=2),
    "nothing at its default": Live(
        ("huddle", 4, 0, 500),
        {
            "max_tracks": 5, "gate": 0.3, "gate_growth_per_s": 6.0, "gate_limit": 2.0, "kernel_width": 0.05,
            "velocity_s": 0.1, "lost_s": 0.2, "min_visible_nodes": 11, "min_score": 0.7, "class_memory_s": 1.0,
        },
    ),
}  # fmt: skip
N_PLAIN = 2  # details that are no tracks' ids


def followed_live(preset: Live, frames: Sequence[Frame]) -> list[Outcome]:
    options = TrackerOptions.model_validate(preset.options)
    follower = GreedyTracker(options, frames[0].xy.shape[1], CLASSES[: preset.n_classes])
    outcomes = []
    for frame in frames:
        fields = (frame.xy, frame.node_scores, frame.scores, frame.class_probs)
        poses = Poses(*(field.astype(np.float32) for field in fields))
        tracks = follower.update(poses, frame.time_ns)
        rows = rows_of(poses, tracks)
        ids = tracks.track_ids.tolist()
        places = dict.fromkeys(ids, -1) | {ids[row]: int(frame.places[k]) for k, row in enumerate(rows) if row >= 0}
        details = np.stack(
            [frame.time_ns - tracks.last_seen_ns, tracks.class_ids, tracks.suspect_ids, tracks.corrected_ids], axis=1
        )
        sure = tracks.identity_confidence.tolist()
        outcomes.append(
            Outcome(
                places, dict(zip(ids, sure, strict=True)), dict(zip(ids, map(tuple, details.tolist()), strict=True))
            )
        )
    return outcomes


@functools.cache
def plain_live(name: str) -> list[Outcome]:
    return followed_live(LIVE[name], crowd(*LIVE[name].scene))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", LIVE)
def test_the_live_tracker(name: str, change: str) -> None:
    changed = followed_live(LIVE[name], [CHANGES[change].of(frame) for frame in crowd(*LIVE[name].scene)])
    plain = plain_live(name)
    if change in {"mirrored left and right", "turned by a quarter"}:
        plain, changed = renamed(plain), renamed(changed)
    assert_same(plain, changed, 1e-6 if CHANGES[change].rounds else 0)  # confidences are float32


@pytest.mark.parametrize("name", LIVE)
def test_the_live_tracker_has_a_hard_time(name: str) -> None:
    """The scenes are no proof if nothing happens in them."""
    frames, outcomes, options = crowd(*LIVE[name].scene), plain_live(name), TrackerOptions(**LIVE[name].options)
    shown = [sum(place >= 0 for place in outcome.places.values()) for outcome in outcomes]
    assert any(n < len(frame.xy) for n, frame in zip(shown, frames, strict=True))  # false, or seen twice
    assert any(n < len(outcome.places) for n, outcome in zip(shown, outcomes, strict=True))  # missed
    assert min(sure for outcome in outcomes for sure in outcome.sure.values()) < 0.7
    assert any(detail[N_PLAIN] for outcome in outcomes for detail in outcome.details.values())  # suspected
    assert (max(max(outcome.places, default=0) for outcome in outcomes) > options.max_tracks) is not (
        options.closed_population
    )
    assert any(detail[1] >= 0 for outcome in outcomes for detail in outcome.details.values()) is bool(
        LIVE[name].n_classes
    )
    smallest = min(np.hypot(*(np.nanmax(xy, axis=0) - np.nanmin(xy, axis=0))) for frame in frames for xy in frame.xy)
    assert 0.5 * smallest > options.min_body_px


def test_which_detections_of_one_animal_are_dropped() -> None:
    """The middle one of three is like both others, which are not like one another; the score decides, not the side."""
    body_px = float(np.hypot(*np.ptp(body_plan(), axis=0)))
    frames = []
    for along, scores in (((0.0, 0.4), (1.0, 1.0)), ((0.0, 0.1, 0.2), (0.5, 0.6, 0.9))):
        xy = np.round(8 * np.array([body_plan() + np.array([x * body_px, 0]) for x in along])) / 8
        ones = np.ones(xy.shape[:2])
        frames.append(Frame(len(frames) * 10_000_000, xy, ones, np.array(scores), ones[:, :0], np.arange(len(xy))))
    plain, mirrored = (
        renamed(followed_live(LIVE["defaults"], [change.of(frame) for frame in frames]))
        for change in (UNCHANGED, CHANGES["mirrored left and right"])
    )
    assert [outcome.places for outcome in mirrored] == [outcome.places for outcome in plain]


# --- SLEAP's tracker, by the poses alone

SIMILARITIES: dict[str, dict[str, Any]] = {
    "instance": {"similarity": "instance"},
    "normalized_instance": {"similarity": "normalized_instance"},
    "centroid": {"similarity": "centroid"},
    "iou": {"similarity": "iou"},
    "object_keypoint": {"similarity": "object_keypoint", "oks_errors": (64.0,)},
    "object_keypoint, by those seen, weighted": {
        "similarity": "object_keypoint", "oks_errors": (64.0,), "oks_normalization": "ref", "oks_score_weighting": True,
    },
    "object_keypoint, by those seen in both": {
        "similarity": "object_keypoint", "oks_errors": (64.0,), "oks_normalization": "union",
    },
}  # fmt: skip
MATCHES = ("greedy", "hungarian")
ROBUST = {"the best": 1.0, "a quantile": 0.6}
REACH = {"instance": 1 / 512, "iou": 1 / 1024}
"""How small scenes must be so that animals are never too far apart to be alike at all: at 0 the order decides."""
FIXED_SIZE = ("instance", "iou")


def sleap_cases(changes: dict[str, Change]) -> list[Any]:
    """Return every way to track with every change that means something to it; SLEAP's tracker knows no time."""
    return [
        pytest.param(similarity, match, robust, change, id=f"{similarity}-{match}-{robust}-{change}")
        for similarity, match, robust, change in itertools.product(SIMILARITIES, MATCHES, ROBUST, changes)
        if not (similarity in FIXED_SIZE and changes[change].scale != 1) and not change.endswith("later")
    ]


def followed_by_sleap(frames: Sequence[Frame], side_px: float, scale: float = 1.0, **options: Any) -> list[Outcome]:
    """Follow what is seen at a scale, with the lengths among the options at that scale too; the first track is 1."""
    if "oks_errors" in options:
        options["oks_errors"] = tuple(scale * error for error in options["oks_errors"])
    in_units = scale if options["similarity"] == "centroid" else 1.0  # a similarity that is a length
    chosen = SleapTrackerOptions.model_validate(options)
    follower = SleapTracker(chosen, frames[0].xy.shape[1], (scale * side_px, scale * side_px))
    outcomes = []
    for frame in frames:
        assigned = follower.update(frame.xy, frame.node_scores, frame.image)
        tracks = dict(sorted((track + 1, k) for k, track in enumerate(assigned.tracks.tolist()) if track >= 0))
        outcomes.append(
            Outcome(
                {track: int(frame.places[k]) for track, k in tracks.items()},
                {track: float(assigned.similarities[k]) / in_units for track, k in tracks.items()},
                {},
            )
        )
    return outcomes


def followed_by_poses(similarity: str, match: str, robust: str, change: Change) -> list[Outcome]:
    size = scaled(REACH.get(similarity, 1.0))
    frames = [change.of(size.of(frame)) for frame in crowd("cross", 4, 4, 70, 25.0)]
    return followed_by_sleap(
        frames, SIDE_PX, change.scale, tracker="simple", match=match, robust=ROBUST[robust],
        min_new_track_points=9, min_match_points=8, **SIMILARITIES[similarity],
    )  # fmt: skip


@functools.cache
def plain_by_poses(similarity: str, match: str, robust: str) -> list[Outcome]:
    return followed_by_poses(similarity, match, robust, UNCHANGED)


@pytest.mark.parametrize(("similarity", "match", "robust", "change"), sleap_cases(CHANGES))
def test_sleaps_tracker(similarity: str, match: str, robust: str, change: str) -> None:
    plain = plain_by_poses(similarity, match, robust)
    changed = followed_by_poses(similarity, match, robust, CHANGES[change])
    if change == "detections in another order":
        plain, changed = renamed(plain), renamed(changed)
    assert_same(plain, changed, 1e-9 if CHANGES[change].rounds else 0)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_sleaps_tracker_has_a_hard_time(similarity: str) -> None:
    runs = {how: plain_by_poses(similarity, *how) for how in itertools.product(MATCHES, ROBUST)}
    for outcomes in runs.values():
        assert len({track for outcome in outcomes for track in outcome.places}) > 4  # tracks end and begin
        assert len({tuple(outcome.places.items()) for outcome in outcomes}) > 20  # nobody keeps its place
    assert len({str([outcome.places for outcome in outcomes]) for outcomes in runs.values()}) > 1


# --- SLEAP's tracker, by the pictures too


def pictured(matrix: object, image: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], **shift: Any) -> Change:
    points = mapped(matrix, **shift)

    def change(frame: Frame) -> Frame:
        assert frame.image is not None
        return points(frame)._replace(image=np.ascontiguousarray(image(frame.image)))

    return Change(change, scale=float(np.abs(matrix).max()))


LAST_PX = IMAGE_PX - 1
PICTURED = {
    "mirrored left and right": pictured([[-1, 0], [0, 1]], lambda image: image[:, ::-1], shift=(LAST_PX, 0)),
    "mirrored up and down": pictured([[1, 0], [0, -1]], lambda image: image[::-1], shift=(0, LAST_PX)),
    "turned by a quarter": pictured([[0, -1], [1, 0]], lambda image: np.rot90(image, -1), shift=(LAST_PX, 0)),
    "moved": pictured(np.eye(2), lambda image: np.roll(image, (-8, 5), axis=(0, 1)), shift=(5, -8)),
    "twice as large": pictured(2 * np.eye(2), lambda image: image.repeat(2, axis=0).repeat(2, axis=1)),
    "detections in another order": CHANGES["detections in another order"],
    "nodes in another order": CHANGES["nodes in another order"],
}


@functools.cache
def glimpses() -> list[Frame]:
    """Three animals that creep over a pattern, while the picture jumps by about as much as they are apart."""
    rng = np.random.default_rng(2)
    pattern = cv2.GaussianBlur(rng.uniform(0, 255, (2 * IMAGE_PX, 2 * IMAGE_PX)), (0, 0), 6.0)
    pattern = cv2.normalize(pattern, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    nodes = np.array([[-6, -6], [6, -6], [0, 0], [-6, 6], [6, 6]])
    centres, corners = np.array([[122, 124], [131, 125], [123, 134]]), [(64, 64), (73, 65), (72, 73), (63, 72)]
    frames = []
    for i in range(13):
        left, top = corners[i % 4]
        centres = centres + rng.integers(-1, 2, centres.shape)
        seen = rng.permutation(3)[int(i in {4, 7, 8}) :]  # in any order, and now and then one is missed
        wrong = rng.integers(-4, 5, (len(seen), 5, 2)) / 8
        xy = centres[seen, None] + nodes + wrong - np.array([left, top])
        xy[rng.random(xy.shape[:2]) < 0.15] = np.nan
        ones = np.ones(xy.shape[:2])
        image = pattern[top : top + IMAGE_PX, left : left + IMAGE_PX]
        frames.append(Frame(i * 40_000_000, xy, ones, ones[:, 0], ones[:, :0], np.arange(len(seen)), image))
    return frames


def followed_by_flow(similarity: str, match: str, robust: str, change: Change, tracker: str = "flow") -> list[Outcome]:
    return followed_by_sleap(
        [change.of(frame) for frame in glimpses()], IMAGE_PX, change.scale, tracker=tracker, match=match,
        robust=ROBUST[robust], img_scale=1 / change.scale, min_match_points=1, **SIMILARITIES[similarity],
    )  # fmt: skip


@functools.cache
def plain_by_flow(similarity: str, match: str, robust: str) -> list[Outcome]:
    return followed_by_flow(similarity, match, robust, UNCHANGED)


@pytest.mark.parametrize(("similarity", "match", "robust", "change"), sleap_cases(PICTURED))
def test_sleaps_tracker_with_flow(similarity: str, match: str, robust: str, change: str) -> None:
    """Only who is whom: pyramids of a mirrored or moved picture are not quite the same."""
    plain = plain_by_flow(similarity, match, robust)
    changed = followed_by_flow(similarity, match, robust, PICTURED[change])
    if change == "detections in another order":
        plain, changed = renamed(plain), renamed(changed)
    assert [outcome.places for outcome in changed] == [outcome.places for outcome in plain]


@pytest.mark.parametrize("match", MATCHES)
def test_the_flow_matters(match: str) -> None:
    by_poses = followed_by_flow("instance", match, "the best", UNCHANGED, tracker="simple")
    by_flow = plain_by_flow("instance", match, "the best")
    assert [outcome.places for outcome in by_poses] != [outcome.places for outcome in by_flow]
