"""Tracker: poses in, tracks out; greedy assignment to moved last poses, for a fixed number of animals."""

from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from models.poses import Poses
from realtime.compiled import in_python
from realtime.tracking.answers import Answers, again
from realtime.tracking.buffers import (
    NO_FRAME_NS,
    detections_in,
    empty_buffers,
    empty_room,
    state_in,
)
from realtime.tracking.enrolment import Enrolment, EnrolmentOptions
from realtime.tracking.flow import Flow, Method
from realtime.tracking.update import LATE, expect_tracks, update_tracks
from realtime.tracking.work import MATCHINGS, MOTIONS, SIMILARITIES, Settings
from realtime.tracks import Tracks


class TrackerOptions(BaseModel):
    """How animals are followed. Lengths are in body lengths: the diagonal of the box around an animal's nodes.

    The first three choose the stages; the defaults are those that lose the fewest identities on simulated crowds and on
    real flies (`python -m benchmarks.tracking_crowds --stages`).

    Attributes:
        motion: Where a track is expected: `still`, `velocity`, `kalman`, or by optical flow, `lucas_kanade` as SLEAP
            does it or `farneback` as it was published; see `motion.py`. Optical flow needs the pictures.
        similarity: What tells two animals apart in contact, as good a place being given: `keypoints` (node by node),
            `centroid` (how near), `iou` (how much the boxes around them overlap).
        matching: `greedy` takes the cheapest pair first, `hungarian` the assignment that costs the least in all.
        max_tracks: How many animals there are at most; never more tracks than that live at a time.
        gate: How far from where it is expected an animal may be seen at once, body lengths.
        gate_growth_per_s: How much farther for every second without seeing it, body lengths per second.
        gate_limit: How far at most, body lengths.
        kernel_width: σ of the node-by-node similarity, body lengths.
        velocity_s: Time over which velocity is averaged and believed.
        lost_s: How long a track that is not seen waits for its animal near where it was. Then, in a closed
            population, it takes whichever detection is left over; otherwise it ends.
        closed_population: The same animals are there all the time. When all tracks are in use, a detection left over
            is the animal of a lost track (with low identity confidence) instead of a new one.
        min_visible_nodes: Nodes that a detection must show to start or re-take a track; all of them where the
            skeleton has fewer.
        min_score: Instance score that a detection must have to start or re-take a track.
        min_body_px: Lower limit of the body length; what counts as one for a skeleton of a single node.
        class_memory_s: How long what an identity model saw of an animal is believed.
        confirm_s: How long a detection without a track must be seen before it starts or re-takes one, so that single
            false detections do not; 0 = at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    motion: Literal["still", "velocity", "kalman", "lucas_kanade", "farneback"] = "velocity"
    similarity: Literal["keypoints", "centroid", "iou"] = "keypoints"
    matching: Literal["greedy", "hungarian"] = "greedy"
    max_tracks: int = Field(2, ge=1, le=256)
    gate: float = Field(0.6, gt=0, allow_inf_nan=False)
    gate_growth_per_s: float = Field(3.0, ge=0, allow_inf_nan=False)
    gate_limit: float = Field(3.0, gt=0, allow_inf_nan=False)
    kernel_width: float = Field(0.1, gt=0, allow_inf_nan=False)
    velocity_s: float = Field(0.05, gt=0, allow_inf_nan=False)
    lost_s: float = Field(1.0, gt=0, le=1e6)
    closed_population: bool = True
    min_visible_nodes: int = Field(3, ge=1)
    min_score: float = Field(0.0, allow_inf_nan=False)
    min_body_px: float = Field(10.0, gt=0, allow_inf_nan=False)
    class_memory_s: float = Field(2.0, gt=0, allow_inf_nan=False)
    confirm_s: float = Field(0.0, ge=0, le=60)

    @property
    def uses_flow(self) -> bool:
        """True where the tracker needs the frames' images."""
        return self.motion in get_args(Method)


class GreedyTracker:
    """Follows a fixed number of animals.

    Every track expects its last pose, moved by its velocity and the time since. The cheapest pairs of expected pose
    and detection are matched first. What is left over starts new tracks up to `max_tracks`; in a closed population it
    re-takes lost ones. Animals first seen in the same frame are numbered from left to right. The order of
    the detections in `Poses` has no effect.

    Args:
        options: How.
        n_nodes: Landmarks of the skeleton.
        class_names: Identities that the model tells apart.
        enrolment: How tracks get names where the model tells none; their classes are the indices of its `identities`.
        n_reused: For a loop that never keeps what it is told: how many `Tracks` take turns, so that nothing is
            allocated. Each is overwritten when so many others have been returned. 0 = each is the receiver's own.

    Raises:
        ValueError: There are class names and an enrolment.
    """

    def __init__(
        self,
        options: TrackerOptions,
        n_nodes: int,
        class_names: tuple[str, ...] = (),
        enrolment: EnrolmentOptions | None = None,
        n_reused: int = 0,
    ) -> None:
        if class_names and enrolment is not None:
            raise ValueError(
                f"expected no enrolment, since the model tells identities ({', '.join(class_names)}), got one by "
                f"{enrolment.by}"
            )
        self._enrolment_options = enrolment
        self._flow: Flow | None = None
        if options.uses_flow:
            self._flow = Flow(cast("Method", options.motion))
        settings = Settings(
            motion=MOTIONS.index(options.motion),
            similarity=SIMILARITIES.index(options.similarity),
            matching=MATCHINGS.index(options.matching),
            gate=options.gate,
            gate_growth_per_s=options.gate_growth_per_s,
            gate_limit=options.gate_limit,
            kernel_width=options.kernel_width,
            velocity_s=options.velocity_s,
            lost_s=options.lost_s,
            closed_population=options.closed_population,
            min_visible_nodes=min(options.min_visible_nodes, n_nodes),
            min_score=options.min_score,
            min_body_px=options.min_body_px,
            class_memory_s=options.class_memory_s,
            confirm_s=options.confirm_s,
            chance=1.0 / max(options.max_tracks, 2),
            n_nodes=n_nodes,
            n_classes=len(class_names),
        )
        self._settings = settings
        self._buffers = empty_buffers(settings, options.max_tracks)
        self._state = in_python(state_in)(self._buffers.floats, self._buffers.integers, n_nodes, settings.n_classes)
        self._answers = Answers(options.max_tracks, n_nodes, n_reused)
        self._last: Tracks | None = None
        self._expected = np.empty((options.max_tracks, n_nodes, 2), dtype=np.float32)
        self._max_tracks = options.max_tracks
        self._make_room(options.max_tracks)
        self.reset()

    def reset(self) -> None:
        """Forget every animal; the next one is track 1."""
        self._state.counts[:] = (0, 1, 0, NO_FRAME_NS)
        if self._flow is not None:
            self._flow.reset()
        self._enrolment = None if self._enrolment_options is None else Enrolment(self._enrolment_options)

    def warm_up(self) -> None:
        """Compile what `update` and `expected_xy` need, then forget every animal."""
        xy = np.zeros((1, self._settings.n_nodes, 2), dtype=np.float32)
        scores = np.ones((1, self._settings.n_nodes), dtype=np.float32)
        self.update(Poses(xy, scores, scores[:, 0]), 0, np.zeros((64, 64), np.uint8))
        self.expected_xy(0)
        self.reset()

    def update(self, poses: Poses, timestamp_ns: int, image: NDArray[np.uint8] | None = None) -> Tracks:
        """Give every pose to the animal that it shows.

        Args:
            poses: Any number of instances in any order; nodes and whole instances may be NaN. `class_probs` counts
                where the tracker knows class names.
            timestamp_ns: The frame's time. A frame that is up to a second older than the last one came too late and
                changes nothing; one that is older still means that the clock was set, and that no time passed.
            image: `(height, width)` or `(height, width, 3)` of the frame, where the tracker needs images.

        Returns:
            Every living track; see `n_reused` for how long it stays as it is.

        Raises:
            ValueError: The tracker needs images and got none.
        """
        n_detections = self._take(poses)
        state = self._state
        if self._flow is not None:
            if image is None:
                raise ValueError(
                    "tracker: expected the frame's image for optical flow, got none; choose another motion"
                )
            self._flow.expect(state, image)
        answer = self._answers.room()
        n_tracks = update_tracks(*self._buffers, *self._room, answer, n_detections, timestamp_ns)
        if n_tracks == LATE and self._last is not None:
            return again(self._last)
        self._last = tracks = self._answers.tracks(answer, n_tracks)
        if self._flow is not None and image is not None:
            self._flow.remember(state, image, timestamp_ns)
        if self._enrolment is not None and not self._enrolment.done:
            self._enrolment.look(state, timestamp_ns)
            tracks.class_ids[:] = state.class_ids[:n_tracks]
            tracks.suspect_ids[:] = state.suspect_ids[:n_tracks]
        return tracks

    @property
    def last_expected(self) -> NDArray[np.float64]:
        """Where tracks were expected in the last update, `(n_tracks, n_nodes, 2)` px, in the order before it; a copy.

        NaN where a node had not been seen. For whoever judges the tracker.
        """
        n_nodes = self._settings.n_nodes
        expected = self._room.floats[: self._max_tracks * 2 * n_nodes].reshape(-1, n_nodes, 2)
        return expected[: self._state.counts[0]].copy()

    def expected_xy(self, timestamp_ns: int) -> NDArray[np.float32] | None:
        """Return where the nodes of the living tracks are expected, px; None without tracks.

        Returns:
            `(n_tracks, n_nodes, 2)`, NaN where a node was not seen last time.
        """
        buffers = self._buffers
        n_tracks = expect_tracks(buffers.settings, buffers.floats, buffers.integers, self._expected, timestamp_ns)
        return self._expected[:n_tracks].copy() if n_tracks else None

    def _take(self, poses: Poses) -> int:
        """Copy the poses: one type and layout for the compiled code, whatever a model hands over."""
        n = len(poses.xy)
        if n > len(self._raw.scores):
            self._make_room(2 * n)
        raw = self._raw
        raw.xy[:n] = poses.xy
        raw.node_scores[:n] = poses.node_scores
        raw.scores[:n] = poses.instance_scores
        if self._settings.n_classes:
            raw.class_probs[:n] = np.nan if poses.class_probs is None else poses.class_probs
        return n

    def _make_room(self, max_detections: int) -> None:
        self._room = empty_room(self._settings, self._max_tracks, max_detections)
        half = self._room.detections[: self._room.detections.size // 2]
        self._raw = in_python(detections_in)(half, self._settings.n_nodes, self._settings.n_classes)
