"""Tracking a whole video: find the poses, follow the animals, write the files; may be interrupted at any time."""

import contextlib
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from camera_drivers.decoding import VideoReader
from camera_drivers.errors import CameraError
from models.labels import IDENTITY_CONFIDENCE, TRACKING_SCORE
from realtime.machine import poseloop_version
from realtime.offline.errors import OfflineInputError
from realtime.offline.finding import BatchModel, Ending, Progress, find_poses
from realtime.offline.finishing import check_finishing, check_window, smoothed
from realtime.offline.following import Follower, Survey
from realtime.offline.images import ImagesAgain
from realtime.offline.outputs import check_outputs, write_outputs
from realtime.offline.reading import ReadAhead
from realtime.offline.sleap_following import SleapFollower
from realtime.offline.tracked import TrackedFrame, TrackedVideo
from realtime.offline.work_file import FoundBatch, Job, WorkFile
from realtime.tracking import GreedyTracker, TrackerOptions
from realtime.tracking.sleap import SleapTracker, SleapTrackerOptions

FINGERPRINT_BYTES = 1 << 20
FIRST_FRAMES = 30


@dataclass(frozen=True, slots=True)
class TrackRequest:
    """What is to be done.

    Attributes:
        video: The file.
        outputs: Files to make; the suffix says which kind. The work file lies beside the first.
        first: Index of the first frame of interest.
        last: Index of the last one, or None for the video's last.
        batch: Frames that go through the model together.
        tracker: The options of the live loop's tracker or of SLEAP's, or None for no tracking.
        join_breaks: How many animals there are, to join single breaks by: a track that begins where one other ended is
            taken for the same animal. None for not joining them.
        smooth_s: The window in which points are smoothed over time, s; None for not smoothing them.
        overwrite: Replace outputs that are there, and unfinished work of another job.
    """

    video: Path
    outputs: tuple[Path, ...]
    first: int = 0
    last: int | None = None
    batch: int = 8
    tracker: TrackerOptions | SleapTrackerOptions | None = field(default_factory=TrackerOptions)
    join_breaks: int | None = None
    smooth_s: float | None = None
    overwrite: bool = False

    @property
    def work_file(self) -> Path:
        """Where unfinished work is kept."""
        return self.outputs[0].with_name(f"{self.outputs[0].name}.part")


@dataclass(frozen=True, slots=True)
class TrackReport:
    """What became of a video that was tracked to its end, or to its damage.

    Attributes:
        outputs: Files that were written.
        n_frames: Frames that the model has seen, those of earlier runs too.
        n_resumed: How many of them were of earlier runs.
        n_instances: Instances written.
        n_left_out: Instances that the tracker takes for no animal.
        track_names: Of all animals.
        n_overflows: Frames with more animals than the model has room for.
        n_faults: Points that no healthy network gives.
        frames_per_s: Through the model in this run, or None if there was none.
        damage: What made the video unreadable before its end, or None. The outputs hold what was before it.
    """

    outputs: tuple[Path, ...]
    n_frames: int
    n_resumed: int
    n_instances: int
    n_left_out: int
    track_names: tuple[str, ...]
    n_overflows: int
    n_faults: int
    frames_per_s: float | None
    damage: str | None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What is left of a run that was stopped; the same request goes on from there.

    Attributes:
        work_file: Where it is kept.
        n_frames: Frames that the model has seen so far.
    """

    work_file: Path
    n_frames: int


def track_video(
    request: TrackRequest,
    model: BatchModel,
    *,
    stopped: Callable[[], bool] = lambda: False,
    tell: Callable[[Progress], None] = lambda _: None,
) -> TrackReport | Unfinished:
    """Track a video from start to end, or from where an earlier run of the same request ended.

    Args:
        request: What is to be done.
        model: Open.
        stopped: Asked often; True ends the run and keeps what was found.
        tell: Told how far it is.

    Raises:
        OfflineError: The request, the video and the model do not fit together; or the work file is another job's, or
            cannot be written.
        CameraError: The video cannot be opened, or not even its first frame of interest can be read.
        ModelFailedError: Inference failed. What was found is kept.
        OSError: An output cannot be written. What was found is kept.
    """
    check_outputs(request.outputs, overwrite=request.overwrite)
    with contextlib.closing(VideoReader(request.video, model.spec.image.channels)) as reader:
        _check(request, reader, model)
        with contextlib.ExitStack() as at_end:
            work = WorkFile(request.work_file, _job(request, model), restart=request.overwrite)
            at_end.callback(work.close)
            n_resumed = 0 if work.next_index is None else work.next_index - request.first
            ending = _find(request, reader, model, work, stopped=stopped, tell=tell)
            work.sync()
            try:
                follower = _follower(request, model, lambda: _unless(stopped, work.batches()), at_end)
                survey = follower.survey(tell, work.next_index)
                _write(request, reader, model, follower, survey, ending)
            except _StoppedError:
                return Unfinished(request.work_file, n_resumed + ending.n_done)
            work.remove()
            return _report(request, ending, survey, n_resumed)


class _StoppedError(Exception):
    """Somebody asked for an end."""


def _unless(stopped: Callable[[], bool], batches: Iterable[FoundBatch]) -> Iterator[FoundBatch]:
    if stopped():
        raise _StoppedError
    for batch in batches:
        if stopped():
            raise _StoppedError
        yield batch


def _find(
    request: TrackRequest,
    reader: VideoReader,
    model: BatchModel,
    work: WorkFile,
    *,
    stopped: Callable[[], bool],
    tell: Callable[[Progress], None],
) -> Ending:
    """Find what is still to be found."""
    first = request.first if work.next_index is None else work.next_index
    end = reader.n_frames if request.last is None else request.last + 1
    if end is not None and first >= end:  # killed while it wrote the outputs
        return Ending(damage=None, n_done=0, seconds=0.0)
    with ReadAhead(reader, model.spec.image.channels, first=first, last=request.last, batch=request.batch) as ahead:
        ending = find_poses(ahead, model, work, stopped=stopped, tell=tell)
    if work.next_index is None and not stopped():
        work.remove()
        raise ending.damage or OfflineInputError(
            f"{request.video}: expected a frame {request.first} to begin with, got a video of {reader.n_read} frames"
        )
    return ending


def _follower(
    request: TrackRequest,
    model: BatchModel,
    batches: Callable[[], Iterable[FoundBatch]],
    at_end: contextlib.ExitStack,
) -> Follower:
    options, n_nodes, names = request.tracker, len(model.skeleton.nodes), model.class_names
    if options is None:
        return Follower(batches, None, names)
    if isinstance(options, SleapTrackerOptions):
        image = model.spec.image
        tracker = SleapTracker(options, n_nodes, (image.width_px, image.height_px))
        image_of = None
        if tracker.needs_images:
            image_of = at_end.enter_context(contextlib.closing(ImagesAgain(request.video, image.channels))).image_of
        sleap = SleapFollower(tracker, image_of)
        return Follower(batches, lambda: sleap, names, request.join_breaks)
    return Follower(batches, lambda: GreedyTracker(options, n_nodes, names), names, request.join_breaks)


def _finished(request: TrackRequest, follower: Follower, survey: Survey) -> Iterator[TrackedFrame]:
    followed = follower.frames(survey.track_rows)
    return followed if request.smooth_s is None else smoothed(followed, survey.times_ns, request.smooth_s)


def _write(
    request: TrackRequest,
    reader: VideoReader,
    model: BatchModel,
    follower: Follower,
    survey: Survey,
    ending: Ending,
) -> None:
    image = model.spec.image
    video = TrackedVideo(
        path=request.video.resolve(),
        shape=(reader.n_frames or survey.end, image.height_px, image.width_px, image.channels),
        frame_rate_hz=reader.frame_rate_hz,
        skeleton=model.skeleton,
        track_names=survey.track_names,
        n_frames=survey.end,
        frames=lambda: _finished(request, follower, survey),
        provenance={
            "poseloop": poseloop_version(),
            **_job(request, model),
            "model.path": model.source.get("path"),
            "tracker": None if request.tracker is None else request.tracker.model_dump(mode="json"),
            TRACKING_SCORE: _tracking_score(request),
            "join_breaks": request.join_breaks,
            "smooth_s": request.smooth_s,
            "partial": None if ending.damage is None else str(ending.damage),
        },
    )
    write_outputs(request.outputs, video)


def _tracking_score(request: TrackRequest) -> str:
    """Return what the tracking scores mean."""
    if request.tracker is None:
        return "class_probability"
    return "similarity" if isinstance(request.tracker, SleapTrackerOptions) else IDENTITY_CONFIDENCE


def _report(request: TrackRequest, ending: Ending, survey: Survey, n_resumed: int) -> TrackReport:
    return TrackReport(
        outputs=request.outputs,
        n_frames=survey.n_frames,
        n_resumed=n_resumed,
        n_instances=survey.n_instances,
        n_left_out=survey.n_left_out,
        track_names=survey.track_names,
        n_overflows=survey.n_overflows,
        n_faults=survey.n_faults,
        frames_per_s=ending.n_done / ending.seconds if ending.n_done else None,
        damage=None if ending.damage is None else str(ending.damage),
    )


def _check(request: TrackRequest, reader: VideoReader, model: BatchModel) -> None:
    if isinstance(request.tracker, TrackerOptions) and request.tracker.uses_flow:
        raise OfflineInputError(
            f'--tracker: expected a live tracker without optical flow, got motion = "{request.tracker.motion}"; use '
            f'"velocity", or sleap-flow'
        )
    check_finishing(request.tracker, join_breaks=request.join_breaks, smooth_s=request.smooth_s)
    if request.smooth_s is not None:
        check_window(request.smooth_s, _first_times_ns(request.video))
    image, last = model.spec.image, request.last
    if (reader.height, reader.width) != (image.height_px, image.width_px):
        raise OfflineInputError(
            f"{request.video}: expected {image.width_px} × {image.height_px} px, for which the model was exported, got "
            f"{reader.width} × {reader.height}; make a model for this size: with `poseloop import --size "
            f"{reader.width}x{reader.height}`, or export it again"
        )
    n_frames = reader.n_frames
    if n_frames is not None and max(request.first, last or 0) >= n_frames:
        wanted = f"{request.first}-{'' if last is None else last}"
        raise OfflineInputError(f"{request.video}: expected frames within 0-{n_frames - 1}, got {wanted}")
    names = [path.name for path in request.outputs if path.suffix.lower() == ".h5"]
    if request.tracker is None and names and model.max_instances > 1 and not model.class_names:
        raise OfflineInputError(
            f"{names[0]}: an analysis file has one row for each track, and untracked animals would overwrite each "
            f"other: leave out --no-tracking, or write .slp or .csv"
        )


def _first_times_ns(video: Path) -> NDArray[np.int64]:
    """Return the times of a few frames: what the container says of its frame rate may be wrong."""
    times_ns: list[int] = []
    with contextlib.closing(VideoReader(video)) as reader, contextlib.suppress(CameraError):
        times_ns.extend(decoded.time_ns for decoded in itertools.islice(reader, FIRST_FRAMES))
    return np.array(times_ns, np.int64)


def _job(request: TrackRequest, model: BatchModel) -> Job:
    """Return what decides over the poses. Tracker and finishing do not: they run when all poses are there."""
    files = ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(model.source["files"].items()))
    with request.video.open("rb") as file:
        begins = hashlib.sha256(file.read(FINGERPRINT_BYTES)).hexdigest()
        size = os.fstat(file.fileno()).st_size
    return {
        "video": f"{request.video.name} ({size} bytes, begins with {begins[:12]})",
        "model": files,
        "engine": model.source.get("engine"),
        "frames": f"{request.first}-{'' if request.last is None else request.last}",
    }
