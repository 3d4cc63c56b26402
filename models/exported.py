"""ExportedModel: a model folder (`model.json` and its ONNX graphs), run on every frame."""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

import models
from models.base import PoseModel
from models.engines.onnxruntime import BoundGraph, OnnxGraph, Provider, engine_version
from models.errors import ModelInputError, ModelNotOpenError
from models.poses import Poses
from models.skeleton import Skeleton
from models.spec import SPEC_FILE, GraphRole, ModelSpec

ZOO = Path(models.__file__).parent / "zoo"
ZOO_PREFIX = "zoo:"
WARM_UP_ROUNDS = 5
WARM_UP_LIMIT_S = 5.0
# How far outside the image a point may lie, px: SLEAP's own geometry puts points of the first pixel at −0.5.
MARGIN_PX = 1.0


class ExportedOptions(BaseModel):
    """Settings of an exported model.

    Attributes:
        path: The model's folder, or `zoo:NAME` for one that comes with the program.
        threads: Threads of one operation; None = one for every core that the process may use.
        provider: Where the graphs run; there is no fall-back.
        spinning: Waiting threads poll instead of sleep; only where a core for each thread is to spare.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    path: Annotated[Path, Field(strict=False)]
    threads: int | None = Field(default=None, gt=0)
    provider: Provider = "cpu"
    spinning: bool = False


class ExportedModel(PoseModel):
    """Finds the animals in the frame, then the nodes of each.

    Attributes:
        spec: What `model.json` says.
        faults: How many points came out of the graphs that no healthy network gives: a node or a centroid with a
            score that counts, but without a finite position inside the image. They are reported as not seen.

    Raises:
        ModelNotOpenError: The folder is missing, damaged or not what its `model.json` says.
        ModelNotInstalledError: The provider is not there.
    """

    Options: ClassVar[type[BaseModel]] = ExportedOptions

    def __init__(self, options: ExportedOptions) -> None:
        self._folder = model_folder(options.path)
        self.spec = ModelSpec.load(self._folder)
        self.faults = 0
        self._skeleton = self.spec.plan()
        self._options = options
        self._shape = self.spec.image.shape
        n_slots, n_nodes = self.spec.max_instances, len(self._skeleton.nodes)
        self._centroids = np.zeros((n_slots, 2), np.float32)
        self._scores = np.zeros(n_slots, np.float32)
        self._valid = np.zeros(n_slots, np.bool_)
        self._peaks = np.zeros((n_slots, n_nodes, 2), np.float32)
        self._values = np.zeros((n_slots, n_nodes), np.float32)
        self._low = np.array([-MARGIN_PX, -MARGIN_PX], np.float32)
        self._high = np.array([self._shape[1] - 1 + MARGIN_PX, self._shape[0] - 1 + MARGIN_PX], np.float32)
        # The detector, then the other graph bound for 1, 2, … animals: its cost grows with their number.
        self._graphs = [self._bound_detector(), *self._bound_instances()]

    @property
    def skeleton(self) -> Skeleton:
        """The animal's plan."""
        return self._skeleton

    @property
    def class_names(self) -> tuple[str, ...]:
        """Identities that the model tells apart."""
        return self.spec.class_names

    @property
    def max_instances(self) -> int:
        """Number of slots of the graphs."""
        return self.spec.max_instances

    @property
    def source(self) -> Mapping[str, Any]:
        """Kind, folder, engine, and the SHA-256 of every file."""
        files = {graph.file: graph.sha256 for graph in self.spec.graphs.values()}
        files[SPEC_FILE] = hashlib.sha256((self._folder / SPEC_FILE).read_bytes()).hexdigest()
        return {
            "kind": "exported",
            "path": str(self._folder),
            "engine": engine_version(),
            "provider": self._options.provider,
            "files": files,
        }

    def warm_up(self, height: int, width: int, channels: int) -> None:
        """Check the camera's image shape, then run both graphs, with every number of animals, until no run is faster.

        Raises:
            ModelInputError: The model was exported for another image shape.
        """
        image = self.spec.image
        if (height, width, channels) != (image.height_px, image.width_px, image.channels):
            raise ModelInputError(
                f"{self._folder}: expected images of {image.width_px}×{image.height_px} px with {image.channels} "
                f"channel(s), got {width}×{height} px with {channels}; set the camera to that size or export the model "
                f"again for this one"
            )
        blank = np.zeros(self._shape, np.uint8)
        self._centroids[:] = (width / 2, height / 2)
        for graph in self._graphs:
            _run_until_settled(graph, blank)

    def predict(
        self,
        image: NDArray[np.uint8],
        frame_id: int,  # noqa: ARG002
        expected_xy: NDArray[np.float32] | None = None,  # noqa: ARG002
    ) -> Poses:
        """Return the poses in one image; `frame_id` and `expected_xy` are not needed.

        `instance_scores` are the detector's confidences. An instance without any node is not returned.

        Raises:
            ModelInputError: The image has another shape or type than the model was exported for.
            ModelFailedError: Inference failed.
        """
        if image.shape != self._shape or image.dtype != np.uint8:
            raise ModelInputError(
                f"{self._folder}: expected an image of shape {self._shape} uint8, got {image.shape} {image.dtype}"
            )
        self._graphs[0].run("image", image)
        n = self._keep_possible_centroids(int(np.count_nonzero(self._valid)))
        if n > 0:
            self._graphs[n].run("image", image)
        return self._poses(n)

    def close(self) -> None:
        """Release both graphs."""
        self._graphs.clear()

    def _bound_detector(self) -> BoundGraph:
        found = {"centroids": self._centroids, "centroid_scores": self._scores, "valid": self._valid}
        return self._load("detector").bind({"image": np.zeros(self._shape, np.uint8)}, found)

    def _bound_instances(self) -> list[BoundGraph]:
        graph = self._load("instances")
        image = np.zeros(self._shape, np.uint8)
        return [
            graph.bind(
                {"image": image, "centroids": self._centroids[:n]},
                {"peaks": self._peaks[:n], "peak_values": self._values[:n]},
            )
            for n in range(1, self.max_instances + 1)
        ]

    def _load(self, role: GraphRole) -> OnnxGraph:
        entry = self.spec.graphs[role]
        path = self._folder / entry.file
        try:
            graph = path.read_bytes()
        except OSError as error:
            raise ModelNotOpenError(f"{path}: {error.strerror}; {SPEC_FILE} names it as {role}") from error
        actual = hashlib.sha256(graph).hexdigest()
        if actual != entry.sha256:
            raise ModelNotOpenError(
                f"{path}: expected SHA-256 {entry.sha256} as {SPEC_FILE} says, got {actual}; "
                f"the file was changed or damaged: export the model again"
            )
        options = self._options
        return OnnxGraph(graph, path, threads=options.threads, provider=options.provider, spinning=options.spinning)

    def _keep_possible_centroids(self, n: int) -> int:
        centroids = self._centroids[:n]
        possible = ((centroids >= self._low) & (centroids <= self._high)).all(axis=1)
        if possible.all():
            return n
        kept = np.flatnonzero(possible)
        self.faults += n - kept.size
        self._centroids[: kept.size] = centroids[kept]
        self._scores[: kept.size] = self._scores[:n][kept]
        return int(kept.size)

    def _poses(self, n: int) -> Poses:
        xy = self._peaks[:n].copy()
        # Comparisons with NaN are false: what is not seen and what is not a number are both left out.
        scores = np.clip(self._values[:n], 0.0, 1.0)
        counts = ~(self._values[:n] < self.spec.peak_threshold)
        seen = counts & ((xy >= self._low) & (xy <= self._high)).all(axis=2) & np.isfinite(scores)
        self.faults += int(np.count_nonzero(counts & ~seen))
        xy[~seen] = np.nan
        scores[~seen] = 0.0
        whole = Poses(xy, scores, self._scores[:n].copy())
        kept = seen.any(axis=1)
        return whole if kept.all() else Poses(xy[kept], scores[kept], whole.instance_scores[kept])


def model_folder(path: Path) -> Path:
    """Return the absolute folder of a model; `zoo:NAME`, wherever the rest of the path points, is one of ours.

    Raises:
        ModelNotOpenError: There is no such model.
    """
    if not path.name.startswith(ZOO_PREFIX):
        return path.absolute()
    name = path.name.removeprefix(ZOO_PREFIX)
    there = sorted(folder.name for folder in ZOO.iterdir() if (folder / SPEC_FILE).is_file())
    if name not in there:
        raise ModelNotOpenError(f"{ZOO_PREFIX}{name}: expected one of {', '.join(there) or '(none installed)'}")
    return ZOO / name


def _run_until_settled(graph: BoundGraph, image: NDArray[np.uint8]) -> None:
    """Run until several runs in a row brought no new best time, or for `WARM_UP_LIMIT_S`."""
    best_s, rounds = float("inf"), 0
    end_s = time.monotonic() + WARM_UP_LIMIT_S
    while rounds < WARM_UP_ROUNDS and time.monotonic() < end_s:
        start_s = time.perf_counter()
        graph.run("image", image)
        took_s = time.perf_counter() - start_s
        rounds = 0 if took_s < 0.95 * best_s else rounds + 1
        best_s = min(best_s, took_s)
