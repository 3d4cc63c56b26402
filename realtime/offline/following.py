"""Following: the live loop's tracker, or SLEAP's, over what was found, frame by frame with the video's own times.

The tracker runs after the model has seen every frame, over the work file. So an interrupted job needs no tracker state
to go on, and every pass over the same work file gives the same tracks.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import tee

import numpy as np
from numpy.typing import NDArray

from models.decode.identity import exclusive_classes
from models.poses import Poses
from realtime.offline.finding import Progress
from realtime.offline.sleap_following import Kept, SleapFollower
from realtime.offline.tracked import TrackedFrame
from realtime.offline.work_file import FoundBatch, FoundFrame
from realtime.recording.records import unpack_poses
from realtime.tracking import GreedyTracker
from realtime.tracking.sleap import connect_single_breaks
from realtime.tracks import Tracks

TELL_EVERY = 8
"""Frames."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """The instances of one frame that are kept.

    Attributes:
        names: `(n,)` the tracker's ids, or without one the classes; -1 = none.
        class_ids: `(n,)` index into the class names, -1 = unknown.
        xy: `(n, n_nodes, 2)`, px.
        node_scores: `(n, n_nodes)`.
        instance_scores: `(n,)`.
        tracking_scores: `(n,)`.
        n_found: How many the model found.
    """

    names: NDArray[np.int32]
    class_ids: NDArray[np.int32]
    xy: NDArray[np.float32]
    node_scores: NDArray[np.float32]
    instance_scores: NDArray[np.float32]
    tracking_scores: NDArray[np.float32]
    n_found: int

    def renamed(self, names: NDArray[np.int32], *, keep_scores: bool) -> "_Rows":
        """Return the same instances under other names."""
        kept = keep_scores | (names == self.names)
        return replace(self, names=names, tracking_scores=np.where(kept, self.tracking_scores, np.float32(0)))


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over the frames tells.

    Attributes:
        track_rows: The tracker's id, or without one the class, → index into `track_names`.
        track_names: In the order of the ids.
        n_frames: Frames that were looked at.
        end: One more than the index of the last of them.
        times_ns: `(n_frames,)` int64, the video's own time of each, ns from its first frame.
        n_instances: Instances that are kept.
        n_left_out: Instances that the tracker takes for no animal.
        n_overflows: Frames with more animals than the model has room for.
        n_faults: Points that no healthy network gives.
    """

    track_rows: Mapping[int, int]
    track_names: tuple[str, ...]
    n_frames: int
    end: int
    times_ns: NDArray[np.int64]
    n_instances: int
    n_left_out: int
    n_overflows: int
    n_faults: int


class Follower:
    """Says who is whom in the frames of a work file, as often as it is asked.

    With a tracker, a name is a track's id, and only instances with a track are kept: the live loop's has left out
    doubles and what is more than there are animals, SLEAP's what shows too little. Without, every instance is kept;
    those of an identity model are named by their class where it is theirs alone and no other is more probable, as in
    SLEAP.

    Args:
        batches: Gives all that was found, from the first frame on at every call.
        make_tracker: Gives the tracker of one pass: a new one, or the only one of SLEAP's, which remembers; None for no
            tracking.
        class_names: Identities that the model tells apart.
        join_breaks: How many animals there are, to join single breaks by as SLEAP does; None for not joining them. What
            the live loop's tracker was sure of does not hold for a track that was joined to another: it gets 0.
    """

    def __init__(
        self,
        batches: Callable[[], Iterable[FoundBatch]],
        make_tracker: Callable[[], GreedyTracker | SleapFollower] | None,
        class_names: tuple[str, ...],
        join_breaks: int | None = None,
    ) -> None:
        self._batches = batches
        self._make_tracker = make_tracker
        self._class_names = class_names
        self._join_breaks = join_breaks

    def survey(self, tell: Callable[[Progress], None] = lambda _: None, end: int | None = None) -> Survey:
        """Go once through all frames, for the names of the tracks and the counts.

        Args:
            tell: Told how far it is, every few frames.
            end: One more than the index of the last frame, for who is told.
        """
        n_seen: Counter[int] = Counter()
        n_as_class: Counter[tuple[int, int]] = Counter()
        times_ns, last, n_found, n_kept = array("q"), -1, 0, 0
        for found, rows in _telling(self._pass(), tell, end):
            times_ns.append(found.time_ns)
            last = found.index
            n_found, n_kept = n_found + rows.n_found, n_kept + len(rows.names)
            names = rows.names.tolist()
            n_seen.update(names)
            n_as_class.update(zip(names, rows.class_ids.tolist(), strict=True))
        ids = sorted(n_seen) if self._make_tracker else list(range(len(self._class_names)))
        return Survey(
            track_rows={name: row for row, name in enumerate(ids)},
            track_names=self._track_names(ids, n_seen, n_as_class),
            n_frames=len(times_ns),
            end=last + 1,
            times_ns=np.array(times_ns, np.int64),
            n_instances=n_kept,
            n_left_out=n_found - n_kept,
            n_overflows=sum(batch.n_overflows for batch in self._batches()),
            n_faults=sum(batch.n_faults for batch in self._batches()),
        )

    def frames(self, track_rows: Mapping[int, int]) -> Iterator[TrackedFrame]:
        """Yield every frame; `track_rows` says where in the names a track stands."""
        for found, rows in self._pass():
            tracks = np.array([track_rows.get(name, -1) for name in rows.names.tolist()], np.int32)
            yield TrackedFrame(
                found.index, tracks, rows.xy, rows.node_scores, rows.instance_scores, rows.tracking_scores
            )

    def _pass(self) -> Iterator[tuple[FoundFrame, _Rows]]:
        tracker = None if self._make_tracker is None else self._make_tracker()
        followed = self._followed(tracker)
        if self._join_breaks is None:
            return followed
        return _joined(followed, self._join_breaks, keep_scores=isinstance(tracker, SleapFollower))

    def _followed(self, tracker: GreedyTracker | SleapFollower | None) -> Iterator[tuple[FoundFrame, _Rows]]:
        all_found = (found for batch in self._batches() for found in batch.frames)
        for number, found in enumerate(all_found):
            poses = unpack_poses(found.poses)
            if tracker is None:
                yield found, _named(poses)
            elif isinstance(tracker, SleapFollower):
                yield found, _kept(poses, tracker.kept(number, found.index, poses))
            else:
                yield found, _tracked(poses, tracker.update(poses, found.time_ns))

    def _track_names(
        self, ids: list[int], n_seen: Counter[int], n_as_class: Counter[tuple[int, int]]
    ) -> tuple[str, ...]:
        """Name every track: by the class that it had most of the time, if no other has more right to it."""
        if self._make_tracker is None:
            return self._class_names
        classes = range(len(self._class_names))
        shares = np.array([[n_as_class[track, k] / n_seen[track] for k in classes] for track in ids], np.float32)
        shares = shares.reshape(len(ids), len(classes))
        owned = exclusive_classes(shares, np.array([n_seen[track] for track in ids], np.float32))
        return tuple(
            self._class_names[k] if k >= 0 and shares[row, k] > 0.5 else f"track_{ids[row]}"
            for row, k in enumerate(owned.tolist())
        )


def _telling(
    followed: Iterator[tuple[FoundFrame, _Rows]], tell: Callable[[Progress], None], end: int | None
) -> Iterator[tuple[FoundFrame, _Rows]]:
    """Hand the frames on and tell how far it is, every few of them and when all are followed."""
    n_done = 0
    for found, rows in followed:
        if n_done % TELL_EVERY == 0:
            tell(Progress(found.index, end, n_done, len(rows.names), "following"))
        n_done += 1
        yield found, rows
    if n_done:
        tell(Progress(found.index + 1, found.index + 1, n_done, len(rows.names), "following"))


def _joined(
    followed: Iterator[tuple[FoundFrame, _Rows]], n_animals: int, *, keep_scores: bool
) -> Iterator[tuple[FoundFrame, _Rows]]:
    """Rename tracks by SLEAP's final pass, which is one frame ahead at most."""
    here, ahead = tee(followed)
    names = connect_single_breaks((rows.names.astype(np.int64) for _, rows in ahead), n_animals)
    for (found, rows), joined in zip(here, names, strict=True):
        yield found, rows.renamed(joined.astype(np.int32), keep_scores=keep_scores)


def _tracked(poses: Poses, tracks: Tracks) -> _Rows:
    seen = np.isfinite(tracks.xy).any(axis=(1, 2))
    xy = tracks.xy[seen]
    return _Rows(
        names=tracks.track_ids[seen],
        class_ids=tracks.class_ids[seen],
        xy=xy,
        node_scores=tracks.node_scores[seen],
        instance_scores=np.array([_score_of(pose, poses) for pose in xy], np.float32),
        tracking_scores=tracks.identity_confidence[seen],
        n_found=len(poses.xy),
    )


def _kept(poses: Poses, kept: Kept) -> _Rows:
    return _Rows(
        names=kept.tracks,
        class_ids=np.full(len(kept.rows), -1, np.int32),
        xy=poses.xy[kept.rows],
        node_scores=poses.node_scores[kept.rows],
        instance_scores=poses.instance_scores[kept.rows],
        tracking_scores=kept.scores,
        n_found=len(poses.xy),
    )


def _score_of(pose: NDArray[np.float32], poses: Poses) -> np.float32:
    """Return the score of the instance that a track shows: the tracker hands its points on as they are."""
    missing = ~np.isfinite(poses.xy).all(axis=2, keepdims=True)
    same = np.where(missing, np.isnan(pose), poses.xy == pose)
    return np.float32(poses.instance_scores[same.all(axis=(1, 2))].max())


def _named(poses: Poses) -> _Rows:
    n = len(poses.xy)
    classes, probs = np.full(n, -1, np.int32), np.zeros(n, np.float32)
    if poses.class_probs is not None and n:
        owned = exclusive_classes(poses.class_probs, poses.instance_scores)
        likeliest = poses.class_probs.argmax(axis=1)
        classes = np.where(owned == likeliest, owned, -1).astype(np.int32)
        probs = np.where(classes >= 0, poses.class_probs.max(axis=1), 0).astype(np.float32)
    return _Rows(classes, classes, poses.xy, poses.node_scores, poses.instance_scores, probs, n)
