"""PoseReader: a graph's outputs into poses."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.decode.assembly import Assembler
from models.decode.identity import IdentityGrouper
from models.poses import Poses
from models.spec import MARGIN_PX, ModelSpec

Outputs = Mapping[str, NDArray[Any]]
# Points, scores, which are there.
_Candidates = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]


class PoseReader(ABC):
    """Reads the outputs of `ModelSpec.outputs`, and counts what is not as it should be.

    Attributes:
        faults: Things that no healthy network gives: a node, peak or animal with a score that counts but without a
            finite position inside the image, an edge score or class probability that is not a number. They are
            reported as not seen, and an animal of unknown class as equally likely each.
        overflows: Images with more animals, or more peaks of a node, than there are slots.
    """

    def __init__(self) -> None:
        self.faults = 0
        self.overflows = 0

    @abstractmethod
    def read(self, outputs: Outputs, i: int) -> Poses:
        """Return the poses in image `i` of a batch; nothing of `outputs` is kept."""


def pose_reader(spec: ModelSpec) -> PoseReader:
    """Return the reader for a model's type.

    Raises:
        ModelNotOpenError: The skeleton of a `bottom_up` model is not a tree.
    """
    if spec.type == "bottom_up":
        return _JoinedPeaks(spec)
    return _NamedPeaks(spec) if spec.type == "bottom_up_id" else _Slots(spec)


class _Slots(PoseReader):
    """Reads the types whose graph fills slots for animals."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self._threshold = spec.peak_threshold
        self._inside = _Inside(spec)

    def read(self, outputs: Outputs, i: int) -> Poses:
        n = _count(outputs["valid"][i])
        self.overflows += int(outputs["overflow"][i])
        xy, values = outputs["xy"][i, :n].copy(), outputs["node_scores"][i, :n]
        instance_scores = outputs["instance_scores"][i, :n].copy()
        # The graph marks an animal without a possible position by a score of NaN.
        possible = np.isfinite(instance_scores)
        # Comparisons with NaN are false: what is not seen and what is not a number are both left out.
        scores = np.clip(values, 0.0, 1.0)
        counts = ~(values < self._threshold) & possible[:, np.newaxis]
        seen = counts & self._inside(xy) & np.isfinite(values)
        self.faults += _count(counts & ~seen) + _count(~possible)
        xy[~seen] = np.nan
        scores[~seen] = 0.0
        whole = Poses(xy, scores, instance_scores, self._class_probs(outputs, i, n))
        kept = np.asarray(seen.any(axis=1))
        return whole if kept.all() else _rows(whole, kept)

    def _class_probs(self, outputs: Outputs, i: int, n: int) -> NDArray[np.float32] | None:
        if "class_probs" not in outputs:
            return None
        probs: NDArray[np.float32] = outputs["class_probs"][i, :n].copy()
        unknown = ~np.isfinite(probs.sum(axis=1))
        self.faults += _count(unknown)
        probs[unknown] = 1.0 / probs.shape[1]
        return probs


class _Peaks(PoseReader):
    """Reads the types whose graph gives peaks, which are put together here."""

    def __init__(self, spec: ModelSpec, animals: Assembler | IdentityGrouper) -> None:
        super().__init__()
        self._inside = _Inside(spec)
        self._found = animals

    def read(self, outputs: Outputs, i: int) -> Poses:
        peaks, scores, valid = (outputs[name][i] for name in ("peaks", "peak_scores", "peak_valid"))
        possible = valid & self._inside(peaks) & np.isfinite(scores)
        self.faults += _count(valid & ~possible)
        n, overflow = self._group(outputs, i, (peaks, scores, possible))
        self.overflows += int(overflow or outputs["overflow"][i])
        found = self._found
        probs = found.class_probs[:n].copy() if isinstance(found, IdentityGrouper) else None
        scores = np.clip(found.node_scores[:n], 0.0, 1.0)
        return Poses(found.xy[:n].copy(), scores, found.instance_scores[:n].copy(), probs)

    @abstractmethod
    def _group(self, outputs: Outputs, i: int, peaks: _Candidates) -> tuple[int, bool]:
        """Put peaks together; return how many animals, and whether there were more."""


class _JoinedPeaks(_Peaks):
    """Reads `bottom_up`: peaks are joined along the skeleton's edges."""

    def __init__(self, spec: ModelSpec) -> None:
        assert spec.peaks is not None  # noqa: S101  # the type has it
        peaks = spec.peaks
        self._assembler = Assembler(spec.plan(), spec.max_instances, peaks.max_peaks, peaks.min_edge_score)
        super().__init__(spec, self._assembler)

    def _group(self, outputs: Outputs, i: int, peaks: _Candidates) -> tuple[int, bool]:
        edge_scores = outputs["edge_scores"][i]
        # Minus infinity is what the graph gives where a peak is missing.
        broken = ~(edge_scores < np.inf)
        if broken.any():
            self.faults += _count(broken)
            edge_scores = np.where(broken, -np.inf, edge_scores)
        return self._assembler.assemble(*peaks, edge_scores), self._assembler.overflow


class _NamedPeaks(_Peaks):
    """Reads `bottom_up_id`: peaks of the same class are one animal."""

    def __init__(self, spec: ModelSpec) -> None:
        assert spec.peaks is not None  # noqa: S101  # the type has it
        self._grouper = IdentityGrouper(
            len(spec.skeleton.nodes),
            len(spec.class_names),
            spec.peaks.max_peaks,
            sleap_compat=spec.geometry == "sleap_compat",
        )
        super().__init__(spec, self._grouper)

    def _group(self, outputs: Outputs, i: int, peaks: _Candidates) -> tuple[int, bool]:
        probs = outputs["class_probs"][i]
        self.faults += _count(np.isnan(probs))
        return self._grouper.group(*peaks, probs), False


class _Inside:
    """Tells which points `(…, 2)` can be in the image; NaN cannot."""

    def __init__(self, spec: ModelSpec) -> None:
        self._low = np.array([-MARGIN_PX, -MARGIN_PX], np.float32)
        self._high = np.array([spec.image.width_px, spec.image.height_px], np.float32) - 1 + MARGIN_PX

    def __call__(self, points: NDArray[np.float32]) -> NDArray[np.bool_]:
        return np.asarray(((points >= self._low) & (points <= self._high)).all(axis=-1))


def _count(where: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(where))


def _rows(poses: Poses, kept: NDArray[np.bool_]) -> Poses:
    probs = None if poses.class_probs is None else poses.class_probs[kept]
    return Poses(poses.xy[kept], poses.node_scores[kept], poses.instance_scores[kept], probs)
