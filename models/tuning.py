"""Tuning: which engine, precision and number of threads runs a model fastest on this machine and finds the same."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.engines.options import EngineOptions
from models.engines.registry import ALL_OPTIONS, BF16_OPTIONS, INT8_OPTIONS
from models.errors import ModelError, ModelNotOpenError
from models.export.reference import stored_reference
from models.exported import ExportedModel, ExportedOptions, FolderModel, model_folder
from models.guided import GuidedModel, GuidedOptions
from models.spec import ModelSpec
from models.verification import quick_parity

SAME_IMAGE = 24  # frames in a row that show the same, so that a guided model has something to follow
ALMOST = 1.05  # no faster than this is not worth another thread


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way of running a model, as a rig's `[model]` says it.

    Attributes:
        kind: `exported` or `guided`.
        settings: What differs from the defaults of the kind; without the path.
    """

    kind: str
    settings: Mapping[str, Any]

    def open(self, path: Path) -> FolderModel:
        """Open the model in this way.

        Raises:
            ModelError: It cannot be run so.
        """
        if self.kind == "guided":
            return GuidedModel(GuidedOptions(path=path, **self.settings))
        return ExportedModel(ExportedOptions(path=path, **self.settings))


@dataclass(frozen=True, slots=True)
class Tuned:
    """How a candidate did.

    Attributes:
        p50_ms, p99_ms: Image in memory → poses in memory, ms; NaN where it could not be run.
        deviation: How its answers differ from the model's reference, or why it could not be run; empty if it may be
            trusted.
    """

    candidate: Candidate
    p50_ms: float
    p99_ms: float
    deviation: str


def candidates(spec: ModelSpec, n_cores: int | None = None) -> list[Candidate]:
    """Return every way of running a model that makes sense to try, installed or not.

    Args:
        spec: The model's.
        n_cores: Cores that the process may use; None = as many as it may.
    """
    n_cores = n_cores or len(os.sched_getaffinity(0))
    kinds = ("exported", "guided") if spec.parts is not None else ("exported",)
    engines = [options for options in ALL_OPTIONS if options.engine != "tensorflow"]
    if spec.parts is not None:
        engines += BF16_OPTIONS
    if spec.int8 is not None:
        engines += INT8_OPTIONS
    return [
        Candidate(kind, _settings(options, threads))
        for options in engines
        for kind in kinds
        if kind == "guided" or options.precision != "bf16"
        for threads in (_thread_counts(n_cores) if options.device == "cpu" else (None,))
    ]


def tune(
    path: Path,
    ways: Sequence[Candidate],
    n_frames: int,
    tell: Callable[[Candidate], None] = lambda _: None,
    clock_ns: Callable[[], int] = perf_counter_ns,
) -> list[Tuned]:
    """Try every candidate on the images of the model's reference; return them as they were given.

    Args:
        path: The model's folder, or `zoo:NAME`.
        ways: What to try.
        n_frames: Frames that are timed for each, after half as many that are not.
        tell: Called before each one.
        clock_ns: For tests.

    Raises:
        ModelNotOpenError: The model is missing or damaged, or has no reference.
    """
    folder = model_folder(path)
    reference = stored_reference(folder, ModelSpec.load(folder))
    if reference is None:
        raise ModelNotOpenError(
            f"{folder}: expected a reference (reference.npz), whose images are what is timed, got none; "
            f"export the model again"
        )
    tuned = []
    for way in ways:
        tell(way)
        tuned.append(_try(path, way, reference.images, n_frames, clock_ns))
    return tuned


def best(tuned: Sequence[Tuned]) -> Tuned | None:
    """Return the fastest at p50 of those that may be trusted; of almost equal ones that with the fewest threads."""
    fit = [one for one in tuned if not one.deviation]
    if not fit:
        return None
    enough_ms = ALMOST * min(one.p50_ms for one in fit)
    near = [one for one in fit if one.p50_ms <= enough_ms]
    return min(near, key=lambda one: (one.candidate.settings.get("threads", 0), one.p50_ms))


def _settings(options: EngineOptions, threads: int | None) -> dict[str, Any]:
    plain = EngineOptions()
    found = {name: value for name, value in options.model_dump().items() if value != getattr(plain, name)}
    return found if threads is None else found | {"threads": threads}


def _thread_counts(n_cores: int) -> Iterator[int]:
    n = 1
    while n < n_cores:
        yield n
        n *= 2
    yield n_cores


def _try(path: Path, way: Candidate, images: NDArray[np.uint8], n_frames: int, clock_ns: Callable[[], int]) -> Tuned:
    try:
        with closing(way.open(path)) as model:
            height, width = images.shape[1:3]
            model.warm_up(height, width, 3 if images.ndim == 4 else 1)
            parity = quick_parity(model)
            assert parity is not None  # noqa: S101  # `tune` has found a reference
            deviation = parity.deviation()
            times_ns = _times_ns(model, images, n_frames, clock_ns)
    except ModelError as error:
        return Tuned(way, np.nan, np.nan, str(error))
    p50, p99 = np.percentile(times_ns, (50, 99)) / 1e6
    return Tuned(way, float(p50), float(p99), deviation)


def _times_ns(model: FolderModel, images: NDArray[np.uint8], n_frames: int, clock_ns: Callable[[], int]) -> list[int]:
    """Time frames that show each image for a while; what was found last is where the animals are expected."""
    times_ns: list[int] = []
    expected_xy: NDArray[np.float32] | None = None
    for k in range(n_frames // 2 + n_frames):
        image = images[k // SAME_IMAGE % len(images)]
        began_ns = clock_ns()
        poses = model.predict(image, k, expected_xy)
        times_ns.append(clock_ns() - began_ns)
        model.review(image, k)
        expected_xy = poses.xy if len(poses.xy) else None
    return times_ns[n_frames // 2 :]
