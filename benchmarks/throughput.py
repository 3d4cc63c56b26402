"""Offline: how many frames a second `poseloop track` gets through, by batch size and stage, from a file to a file.

The whole way is that of the command: one thread decodes while the model works on the batch before, the poses go into a
work file, then the tracker runs over it, once for the names of the tracks and once more while the output is written.

- `decode alone`: reading the video, every frame, nothing beside it.
- `predict alone`: the model on frames that are in memory, nothing beside it: decoding excluded.
- `find`: both together, as they run in the command; the time from one batch to the next.
- `track`, `write`: the tracker's first pass; the second one with the output.
- `whole`: from opening the video to the finished output; loading the model is not included.

Rows are in ms a frame: of every frame for `decode alone`, of every batch, divided by its size, for the others. The
stamps are taken on CLOCK_MONOTONIC right before and after each frame or batch. Not counted: a short run of the whole
way at the start, the first batches of `predict alone` and the first batch of `find`.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from time import monotonic_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.circumstances import circumstances, ratios, with_reference
from benchmarks.json_file import add_json_option, write_json
from benchmarks.percentiles import percentiles_ms, table
from camera_drivers.decoding import VideoReader
from camera_drivers.errors import CameraError
from models.engines.options import EngineOptions
from models.errors import ModelError
from models.exported import ExportedModel, ExportedOptions
from realtime.offline import TrackRequest, track_video
from realtime.offline.errors import OfflineError
from realtime.offline.finding import Progress
from realtime.offline.track import TrackReport
from realtime.tracking import TrackerOptions

DEFAULT_VIDEO = Path(__file__).resolve().parents[2] / "shared" / "data" / "flies_1024" / "session_a.mp4"
GOAL_FRAMES_PER_S = 150.0
WARM_UP_BATCHES = 3
_N_IN_MEMORY = 64
_PREDICT_ALONE_S = 10.0


STAGES = ("find", "track", "write")


class ThroughputError(Exception):
    """The video is too short, or was not tracked to its end."""


class _Stopwatch:
    """Notes when the command was how far."""

    def __init__(self, now_ns: Callable[[], int] = monotonic_ns) -> None:
        self._now_ns = now_ns
        self._n_done = 0
        self.begin_ns = now_ns()
        self.found: list[tuple[int, int]] = []
        self.followed_ns: list[int] = []

    def tell(self, progress: Progress) -> None:
        now_ns = self._now_ns()
        if progress.stage == "following":
            self.followed_ns.append(now_ns)
        elif progress.n_done > self._n_done:
            self.found.append((now_ns, progress.n_done - self._n_done))
            self._n_done = progress.n_done

    def find_ns(self) -> list[float]:
        """Return ns a frame of every batch but the first."""
        times = [now_ns for now_ns, _ in self.found]
        return [(after - before) / n for before, after, (_, n) in zip(times, times[1:], self.found[1:], strict=False)]

    def seconds(self, end_ns: int) -> dict[str, float]:
        """Return how long each stage took, of a run that ended at `end_ns`."""
        ends = [self.begin_ns, self.found[-1][0], self.followed_ns[-1], end_ns]
        stages = {name: (after - before) / 1e9 for name, before, after in zip(STAGES, ends, ends[1:], strict=False)}
        return {**stages, "whole": (end_ns - self.begin_ns) / 1e9}


def decode_ns(video: Path, channels: int, n_frames: int) -> list[int]:
    """Return how long each of the first frames took to read.

    Raises:
        CameraError: The video cannot be read.
    """
    times = []
    with closing(VideoReader(video, channels)) as reader:
        for _ in range(n_frames):
            begin_ns = monotonic_ns()
            if next(reader, None) is None:
                break
            times.append(monotonic_ns() - begin_ns)
    return times


def predict_ns(model: ExportedModel, images: NDArray[np.uint8], batch: int, n_batches: int) -> list[float]:
    """Return ns a frame of batches of images in memory; ends early when 10 s have passed.

    Args:
        model: Open.
        images: `(n, …)` uint8, `n` at least `batch`.
        batch: Images at once.
        n_batches: How many count, after three that do not.

    Raises:
        ModelError: Inference failed.
    """
    times: list[float] = []
    end_ns = monotonic_ns() + int(_PREDICT_ALONE_S * 1e9)
    for k in range(WARM_UP_BATCHES + n_batches):
        first = k * batch % (len(images) - batch + 1)
        begin_ns = monotonic_ns()
        model.predict_batch(images[first : first + batch])
        now_ns = monotonic_ns()
        if k >= WARM_UP_BATCHES:
            times.append((now_ns - begin_ns) / batch)
            if now_ns > end_ns:
                break
    return times


def first_images(video: Path, channels: int, n: int) -> NDArray[np.uint8]:
    """Return `(n, …)` the first images of a video.

    Raises:
        CameraError: The video cannot be read.
        ThroughputError: It has fewer.
    """
    with closing(VideoReader(video, channels)) as reader:
        images = [decoded.image.copy() for _, decoded in zip(range(n), reader, strict=False)]
    if len(images) < n:
        raise ThroughputError(f"{video}: expected at least {n} frames, got {len(images)}; lower --frames or --batches")
    return np.stack(images)


def measure(
    video: Path, options: ExportedOptions, batches: Sequence[int], n_frames: int, max_tracks: int
) -> dict[str, Any]:
    """Track the video once for every batch size, and run its stages alone.

    Returns:
        `rows` in ms a frame, and `frames_per_s` by batch size and stage.

    Raises:
        CameraError: The video cannot be read.
        ModelError: The model cannot be loaded, or inference failed.
        OfflineError: Video and model do not fit together.
        ThroughputError: The video is too short, or damaged.
    """
    rows: dict[str, dict[str, float]] = {}
    frames_per_s: dict[str, dict[str, float]] = {}
    with closing(ExportedModel(options)) as model:
        channels = model.spec.image.channels
        images = first_images(video, channels, max(*batches, min(_N_IN_MEMORY, n_frames)))
        decoding = decode_ns(video, channels, n_frames)
        rows["decode alone"] = percentiles_ms(decoding)
        _whole(video, model, min(batches), 2 * min(batches), max_tracks)  # compiles the tracker
        for batch in batches:
            title = f"batch {batch}"
            predicting = predict_ns(model, images, batch, max(1, n_frames // batch))
            watch, seconds, n_done = _whole(video, model, batch, n_frames, max_tracks)
            rows[f"{title}: predict alone"] = percentiles_ms(predicting)
            rows[f"{title}: find"] = percentiles_ms(watch.find_ns())
            frames_per_s[title] = {
                "decode alone": 1e9 / float(np.mean(decoding)),
                "predict alone": 1e9 / float(np.mean(predicting)),
                **{stage: n_done / took for stage, took in seconds.items()},
            }
    return {"rows": rows, "frames_per_s": frames_per_s, "n_frames": n_done}


def _whole(
    video: Path, model: ExportedModel, batch: int, n_frames: int, max_tracks: int
) -> tuple[_Stopwatch, dict[str, float], int]:
    """Run the command's own way; return its times, the seconds of its stages and how many frames there were."""
    with tempfile.TemporaryDirectory() as folder:
        request = TrackRequest(
            video=video,
            outputs=(Path(folder) / "out.slp",),
            last=n_frames - 1,
            batch=batch,
            tracker=TrackerOptions(max_tracks=max_tracks),
        )
        watch = _Stopwatch()
        report = track_video(request, model, tell=watch.tell)
        end_ns = monotonic_ns()
    assert isinstance(report, TrackReport)  # noqa: S101  # Nobody stops it.
    if report.damage is not None:
        raise ThroughputError(f"{video}: expected {n_frames} frames without damage, got: {report.damage}")
    return watch, watch.seconds(end_ns), report.n_frames


def measure_all(
    video: Path, options: ExportedOptions, batches: Sequence[int], n_frames: int, max_tracks: int, n_reference: int
) -> dict[str, Any]:
    """Return the result, JSON-able, with the reference on the model's engine in float32 before and after."""
    where = circumstances()
    fields = {name: getattr(options, name) for name in EngineOptions.model_fields}
    found, reference = with_reference(
        lambda: measure(video, options, batches, n_frames, max_tracks),
        n_reference,
        EngineOptions(**{**fields, "precision": "fp32"}),
    )
    result = {
        "benchmark": "throughput",
        "unit": "ms a frame",
        "settings": {
            "video": video.name,
            "model": options.model_dump(mode="json"),
            "n_frames": found["n_frames"],
            "max_tracks": max_tracks,
        },
        "stamps": "before → after a frame or batch, divided by its size",
        "not_included": ["loading the model"],
        "n_warm_up": WARM_UP_BATCHES,
        "latency_ms": found["rows"],
        "frames_per_s": found["frames_per_s"],
        **where,
    }
    if reference is not None:
        result |= {"reference": reference, "ratio": ratios(found["rows"], reference)}
    return result


def as_text(result: dict[str, Any]) -> str:
    """Return a result as two tables with its circumstances."""
    rates = result["frames_per_s"]
    stages = list(next(iter(rates.values())))
    lines = ["ms a frame", table(result["latency_ms"]), "", "frames a second"]
    lines.append(f"{'':<10}" + "".join(f"{stage:>15}" for stage in stages))
    for title, rate in rates.items():
        lines.append(f"{title:<10}" + "".join(f"{rate[stage]:>15.1f}" for stage in stages))
    best = max(rates, key=lambda title: rates[title]["whole"])
    rate = rates[best]["whole"]
    met = "met" if rate >= GOAL_FRAMES_PER_S else "missed"
    lines.append(f"best: {best} with {rate:.1f} frames a second; goal of {GOAL_FRAMES_PER_S:g} {met}")
    machine = result["machine"]
    lines.append(
        f"{machine['cpu']}, {machine['cores']} cores, load {result['load_average'][0]:.1f}; "
        f"{result['settings']['n_frames']} frames; warm-up {result['n_warm_up']} batches, left out"
    )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--video", type=Path, default=DEFAULT_VIDEO, help="default: the recording of two flies")
    parser.add_argument("--model", type=Path, default=Path("zoo:fly_pair"), help="default: %(default)s")
    parser.add_argument("--engine", default="onnxruntime", help="default: %(default)s")
    parser.add_argument("--threads", type=int, help="of the engine (default: the engine's own choice)")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 8, 16], metavar="N", help="default: 1 4 8 16")
    parser.add_argument("--frames", type=int, default=1000, help="of the video, at most (default: %(default)s)")
    parser.add_argument("--max-tracks", type=int, default=2, help="animals (default: %(default)s)")
    parser.add_argument("--reference", type=int, default=0, metavar="N", help="runs of the reference, twice (0 = none)")
    add_json_option(parser)
    given = parser.parse_args(arguments)
    if min(given.batches) < 1 or given.frames < 2 * max(given.batches) or given.max_tracks < 1 or given.reference < 0:
        parser.error("expected --batches and --max-tracks of at least 1, --frames of at least two batches")
    try:
        options = ExportedOptions.model_validate(
            {"path": given.model, "engine": given.engine, "threads": given.threads}
        )
        result = measure_all(given.video, options, given.batches, given.frames, given.max_tracks, given.reference)
    except (CameraError, ModelError, OfflineError, ThroughputError, ValueError) as error:
        print(f"throughput: {error}", file=sys.stderr)
        return 2
    print(as_text(result))
    write_json(result, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
