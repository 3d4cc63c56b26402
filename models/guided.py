"""GuidedModel: a top-down model that looks for animals where the tracker expects them.

Most of a frame is the search for animals that have not moved far. So crops are cut where the tracker expects the
animals, and the detector runs only where it is needed: every `detect_every` frames, so that a new animal is found in a
known time, and whenever the crops leave any doubt. On the cadence it runs when the frame's command is out.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from models.engines.base import BoundGraph, Engine
from models.engines.options import Precision
from models.engines.registry import open_engine
from models.errors import ModelNotOpenError
from models.exported import WARM_UP_RUNS, ExportedOptions, FolderModel
from models.poses import Poses
from models.spec import MARGIN_PX, SPEC_FILE, CropSpec, GraphFile, Output, PartsSpec, read_checked, sha256_of


class GuidedOptions(ExportedOptions):
    """Settings of a guided model.

    Attributes:
        detect_every: The longest time that a new animal can go unseen, in frames of the camera, dropped ones counted;
            the detector runs at least so often. 1 = in every frame, before its command.
        max_shift: How far from the middle of its crop an animal's anchor may be found, as a share of the crop's side:
            about as far as the crops were shifted in training. What is farther gets a second crop around where it was
            found, and what is still so far there is for the detector.
        min_seen: Share of the nodes that must be seen in a crop without asking the detector.
    """

    detect_every: int = Field(default=8, ge=1, le=10_000)
    max_shift: float = Field(default=0.1, gt=0, le=0.5)
    min_seen: Annotated[float, Field(ge=0, le=1)] = 0.5


class GuidedModel(FolderModel):
    """A top-down model whose two networks run one without the other.

    Where the detector runs in `predict`, the poses are those of `ExportedModel`, up to rounding. On the cadence it runs
    in `review`, when the frame's command is out: while it agrees with the poses, no frame has to wait for it.

    Attributes:
        n_detected: Frames in whose `predict` the detector ran, so far.
        n_reviewed: Frames in whose `review` it ran, so far.

    Raises:
        ModelNotOpenError: The folder is missing, damaged, not of a top-down model, or has no halves.
        ModelNotInstalledError: The engine is not there.
    """

    Options: ClassVar[type[BaseModel]] = GuidedOptions
    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "bf16", "int8")

    def __init__(self, options: GuidedOptions) -> None:
        super().__init__(options)
        self._options = options
        self._parts, self._crop = self._halves()
        self._detector = self._open(self._parts.detector)
        self._crop_engine = self._open(self._parts.crops)
        self._side = self._crop.cut_px
        self._max_shift_px = options.max_shift * self._crop.size_px
        self._anchor = None if self.spec.anchor is None else self.spec.skeleton.nodes.index(self.spec.anchor)
        slots = self.spec.max_instances
        self._outputs = _room(self.spec.outputs, 1)
        self._found = _room(self.spec.detector_outputs, 1)
        self._detect_graph = self._detector.bind((1, *self._shape), self._found)
        self._crop_images = np.zeros((slots, self._side, self._side, *self._shape[2:]), np.uint8)
        self._nodes = _room(self.spec.crop_outputs, slots)
        self._crop_graphs = {n: self._bind_crops(n) for n in _batches(slots)}
        self.n_detected = 0
        self.n_reviewed = 0
        self._detected_in: int | None = None
        self._n_last = 0
        self._last_anchors = np.empty((0, 2), np.float32)

    @property
    def source(self) -> Mapping[str, Any]:
        """Kind, folder, engine, and the SHA-256 of every file."""
        files = {entry.file: entry.sha256 for entry in (self._parts.detector, self._parts.crops)}
        return {
            "kind": "guided",
            "path": str(self._folder),
            "engine": f"{self._crop_engine.description} (crops), {self._detector.description} (detector)",
            "precision": self.precision,
            "detect_every": self._options.detect_every,
            "files": {**files, SPEC_FILE: sha256_of(self._folder / SPEC_FILE)},
        }

    @property
    def outputs(self) -> Mapping[str, NDArray[Any]]:
        """What would have been the outputs of the whole graph for the last image, each with a leading batch of 1."""
        return self._outputs

    @property
    def uses_expected_xy(self) -> bool:
        """It looks where the animals are expected."""
        return True

    def _warm_up(self) -> None:
        blank = np.zeros((1, *self._shape), np.uint8)
        for _ in range(WARM_UP_RUNS):
            self._detect_graph.run(blank)
            for n, graph in self._crop_graphs.items():
                graph.run(self._crop_images[:n])

    def predict(self, image: NDArray[np.uint8], frame_id: int, expected_xy: NDArray[np.float32] | None = None) -> Poses:
        """Return the poses in one image.

        `instance_scores`: the confidence of the detection, and in frames without the detector the one of the anchor
        (without one, the mean of the nodes').

        Raises:
            ModelInputError: The image has another shape or type than the model was exported for.
            ModelFailedError: Inference failed.
        """
        self._check_image(image)
        is_followed = (
            expected_xy is not None and self._may_guide(frame_id, len(expected_xy)) and self._follow(image, expected_xy)
        )
        if not is_followed:
            self._detect(image)
            self._detected_in = frame_id
            self.n_detected += 1
        poses = self._reader.read(self._outputs, 0)
        self._n_last = len(poses.xy)
        return poses

    def review(self, image: NDArray[np.uint8], frame_id: int) -> None:
        """Run the detector if it is time for it; if it sees anything else than `predict`, it has the next word.

        Raises:
            ModelFailedError: Inference failed.
        """
        if self._detected_in is None or not self._is_due(frame_id - self._detected_in):
            return
        self._detect_graph.run(image[np.newaxis])
        self.n_reviewed += 1
        self._detected_in = frame_id if self._detector_agrees() else None

    def close(self) -> None:
        """Release the engines."""
        self._detector.close()
        self._crop_engine.close()

    def _halves(self) -> tuple[PartsSpec, CropSpec]:
        if self.spec.crop is None:
            raise ModelNotOpenError(
                f"{self._folder}: expected a top-down model for kind guided, got {self.spec.type}; use kind exported"
            )
        if self._graphs.parts is None:
            raise ModelNotOpenError(
                f"{self._folder}: expected the halves of the model ({SPEC_FILE}: parts), got none; add them with "
                f"python -m models.splitting (geometry exact only), or use kind exported"
            )
        return self._graphs.parts, self.spec.crop

    def _open(self, entry: GraphFile) -> Engine:
        graph = read_checked(self._folder, entry, "a half")
        return open_engine(graph, self._folder / entry.file, self._engine_options)

    def _bind_crops(self, n: int) -> BoundGraph:
        shape = (n, *self._crop_images.shape[1:])
        return self._crop_engine.bind(shape, {name: array[:n] for name, array in self._nodes.items()})

    def _is_due(self, n_since: int) -> bool:
        """Return whether the detector, which ran `n_since` frames ago, must run now to run in time.

        What it finds shows in the frame after, which is counted.
        """
        return n_since > 0 and n_since + 1 >= self._options.detect_every

    def _detector_agrees(self) -> bool:
        """Return whether the detector has found each animal of the last poses near its anchor, and nothing else."""
        n = len(self._last_anchors)
        if np.count_nonzero(self._found["valid"][0]) != n or self._found["overflow"][0]:
            return False
        between = np.abs(self._found["xy"][0, :n, 0][:, np.newaxis] - self._last_anchors).max(axis=2)
        near = between <= self._max_shift_px
        return bool(near.any(axis=0).all() and near.any(axis=1).all())

    def _may_guide(self, frame_id: int, n: int) -> bool:
        """Return whether the detector may rest: the `n` expected were all seen last, and it ran not long ago."""
        if self._detected_in is None:
            return False
        is_recent = 0 <= frame_id - self._detected_in < self._options.detect_every
        return is_recent and 0 < n == self._n_last <= self.spec.max_instances

    def _follow(self, image: NDArray[np.uint8], expected_xy: NDArray[np.float32]) -> bool:
        """Look where the animals are expected; False, with nothing of use in the outputs, where there is any doubt.

        An animal that is elsewhere in its crop gets a second look, in a crop around where it was found.
        """
        anchors = self._places(expected_xy)
        if not np.isfinite(anchors).all():
            return False
        n = len(anchors)
        self._clear(n)
        self._look(image, anchors, np.arange(n))
        found = self._seen_anchors(n)
        moved = np.abs(found - anchors).max(axis=1) > self._max_shift_px
        if moved.any() and np.isfinite(found).all():
            anchors[moved] = found[moved]
            self._look(image, found[moved], np.flatnonzero(moved))
            found = self._seen_anchors(n)
        outputs = self._outputs
        scores = outputs["node_scores"][0, :n]
        is_seen = (scores >= self.spec.peak_threshold).mean(axis=1) >= self._options.min_seen
        if not is_seen.all() or self._is_astray(found, anchors):
            return False
        outputs["instance_scores"][0, :n] = scores.mean(axis=1) if self._anchor is None else scores[:, self._anchor]
        outputs["valid"][0] = np.arange(self.spec.max_instances) < n
        outputs["overflow"][0] = False
        self._last_anchors = found
        return True

    def _places(self, expected_xy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return where to look, `(n, 2)`: where the tracker expects the anchors.

        After a jump that a tracker does not follow it expects an animal where none was seen. What was seen last where
        none is expected is looked for there instead.
        """
        places = self._anchors(expected_xy).copy()
        between = np.abs(places[:, np.newaxis] - self._last_anchors).max(axis=2)
        is_far = between > self._crop.size_px / 2
        lost, left_over = is_far.all(axis=1), is_far.all(axis=0)
        if np.count_nonzero(lost) == np.count_nonzero(left_over):
            places[lost] = self._last_anchors[left_over]
        return places

    def _seen_anchors(self, n: int) -> NDArray[np.float32]:
        """Return the anchors of the first `n` animals in the outputs, `(n, 2)`, NaN where not seen."""
        xy, scores = self._outputs["xy"][0, :n], self._outputs["node_scores"][0, :n]
        seen = scores >= self.spec.peak_threshold
        return self._anchors(np.where(seen[..., np.newaxis], xy, np.float32(np.nan)))

    def _is_astray(self, found: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
        """Return whether an animal is not where it was expected, or two may be one; NaN counts as that."""
        shift = np.abs(found - expected).max(axis=1)
        if not (shift <= self._max_shift_px).all():
            return True
        return any(np.abs(found[i] - found[j]).max() <= self._max_shift_px for i in range(len(found)) for j in range(i))

    def _anchors(self, xy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the points on which the detector was trained, `(n, 2)`; NaN where it cannot be told."""
        if self._anchor is not None:
            return xy[:, self._anchor]
        seen = np.isfinite(xy)
        low = np.where(seen, xy, np.inf).min(axis=1)
        high = np.where(seen, xy, -np.inf).max(axis=1)
        return np.where(np.isfinite(low), (low + high) / 2, np.nan).astype(np.float32)

    def _inside_image(self, points: NDArray[np.float32]) -> bool:
        """Return whether all points can be in the image."""
        size = np.array([self.spec.image.width_px, self.spec.image.height_px], np.float32)
        return bool(((points >= -MARGIN_PX) & (points <= size - 1 + MARGIN_PX)).all())

    def _detect(self, image: NDArray[np.uint8]) -> None:
        """Find the animals in the whole image, then their nodes, as the whole graph does."""
        self._detect_graph.run(image[np.newaxis])
        found, outputs = self._found, self._outputs
        for name in ("instance_scores", "valid", "overflow"):
            np.copyto(outputs[name], found[name])
        n = int(np.count_nonzero(found["valid"][0]))
        anchors = found["xy"][0, :n, 0]
        # What no healthy detector gives has no place to crop at; the reader counts it by its score of NaN.
        impossible = [k for k in range(n) if not self._inside_image(anchors[k])]
        at = np.where(np.isin(np.arange(n), impossible)[:, np.newaxis], np.float32(0), anchors)
        self._clear(n)
        self._look(image, at, np.arange(n))
        for k in impossible:
            outputs["xy"][0, k] = np.nan
            outputs["node_scores"][0, k] = 0.0
            outputs["instance_scores"][0, k] = np.nan
        self._last_anchors = self._seen_anchors(n)

    def _look(self, image: NDArray[np.uint8], anchors: NDArray[np.float32], slots: NDArray[np.intp]) -> None:
        """Find the nodes in the crops around `(n, 2)` points and write them into `n` slots of the outputs."""
        n = len(anchors)
        if n == 0:
            return
        corners = np.rint(anchors - np.float32((self._side - 1) / 2))
        for k, (x, y) in enumerate(corners.astype(np.int64).tolist()):
            _cut(image, x, y, self._crop_images[k])
        batch = next(size for size in self._crop_graphs if size >= n)
        self._crop_graphs[batch].run(self._crop_images[:batch])
        outputs, nodes = self._outputs, self._nodes
        outputs["xy"][0, slots] = nodes["xy"][:n] + corners[:, np.newaxis]
        outputs["node_scores"][0, slots] = nodes["node_scores"][:n]
        if "class_probs" in outputs:
            outputs["class_probs"][0, slots] = nodes["class_probs"][:n]

    def _clear(self, n: int) -> None:
        """Make the slots behind the first `n` empty."""
        self._outputs["xy"][0, n:] = np.nan
        self._outputs["node_scores"][0, n:] = 0.0


def _room(outputs: Mapping[str, Output], batch: int) -> dict[str, NDArray[Any]]:
    return {name: np.zeros((batch, *output.shape), output.dtype) for name, output in outputs.items()}


def _batches(slots: int) -> list[int]:
    """Return the numbers of crops that graphs are bound for: up to four each, above in powers of two."""
    sizes = [n for n in (1, 2, 3, 4) if n <= slots]
    while sizes[-1] < slots:
        sizes.append(min(2 * sizes[-1], slots))
    return sizes


def _cut(image: NDArray[np.uint8], x: int, y: int, out: NDArray[np.uint8]) -> None:
    """Copy a square whose upper left pixel is (x, y); what is outside of the image is 0."""
    side, (height, width) = out.shape[0], image.shape[:2]
    if 0 <= x <= width - side and 0 <= y <= height - side:
        out[...] = image[y : y + side, x : x + side]
        return
    out[...] = 0
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + side, width), min(y + side, height)
    if left < right and top < bottom:
        out[top - y : bottom - y, left - x : right - x] = image[top:bottom, left:right]
