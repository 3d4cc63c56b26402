"""Parity: does an engine find what the reference says, and where it says?"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from models.decode.reading import pose_reader
from models.engines.options import Precision
from models.export.reference import MAPS
from models.poses import Poses
from models.spec import TOP_DOWN, ModelSpec


@dataclass(frozen=True, slots=True)
class Rounding:
    """What a precision may change.

    Attributes:
        percent: So many of a hundred points must lie within the tolerance.
        tolerance_px: Where nobody says another one, px.
        score_percent: So many of a hundred scores must lie within `score`.
        score: How far a score may lie from the reference's.
        borderline: A point whose score lies closer to the threshold may be seen by one engine and not by another.
        other_points: Share of the points beyond these that may be missing or extra.
    """

    percent: Literal[90, 99] = 99
    tolerance_px: float = 0.1
    score_percent: Literal[90, 100] = 100
    score: float = 0.02
    borderline: float = 0.02
    other_points: float = 0.0


# bfloat16 has 8 bits and integers have 7 or 8; where a map has two peaks that are almost the same, they decide which.
# Scores of 7,800 points of fly_pair, by 90 %, 99 %, 99.9 % and all: 0.005, 0.06, 0.12, 0.18 in bfloat16 and 0.04, 0.10,
# 0.17, 0.24 in integers, whose steps are of one size up to the largest value of a map.
ROUNDING: Mapping[Precision, Rounding] = {
    "fp32": Rounding(),
    "fp16": Rounding(),
    "bf16": Rounding(percent=90, tolerance_px=1.0, score_percent=90, score=0.05),
    "int8": Rounding(percent=90, tolerance_px=1.0, score_percent=90, score=0.08, borderline=0.05, other_points=0.01),
}
# Two animals farther apart than this share of the image's longer side are not the same one.
MATCH_REACH = 0.05

Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Parity:
    """How an engine's answers differ from the reference.

    Animals are matched so that the sum of their distances is least. Points are the nodes of matched animals and, of
    bottom-up models, the raw peaks too. A number that nothing was compared for is NaN.

    Attributes:
        n_images: Images compared.
        n_animals: Animals in the reference.
        missing: Animals of the reference that the engine did not find.
        extra: Animals that only the engine found.
        n_points: Points compared.
        missing_points: Points of the reference that the engine did not see; those whose score is so close to the
            threshold that rounding decides do not count.
        extra_points: Points that only the engine saw, counted likewise.
        offset_px: Median of engine − reference, signed, (x, y), px.
        p50_px: Median distance, px.
        p90_px: 90th percentile, px.
        p99_px: 99th percentile, px.
        max_px: Largest distance, px.
        p90_score_difference: 90th percentile of how far nodes' and animals' scores and class probabilities are apart.
        max_score_difference: The largest of them.
        max_edge_score_difference: The same of the scores of bottom-up models' edges.
        max_map_difference: The same of what the networks put out, where the reference holds it.
        rounding: What the engine's precision may change.
    """

    n_images: int
    n_animals: int
    missing: int
    extra: int
    n_points: int
    missing_points: int
    extra_points: int
    offset_px: tuple[float, float]
    p50_px: float
    p90_px: float
    p99_px: float
    max_px: float
    p90_score_difference: float
    max_score_difference: float
    max_edge_score_difference: float
    max_map_difference: float
    rounding: Rounding = ROUNDING["fp32"]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values; what is no finite number is None."""
        numbers = asdict(self)
        del numbers["rounding"]
        offset = numbers.pop("offset_px")
        numbers |= {"offset_x_px": offset[0], "offset_y_px": offset[1]}
        return {name: value if np.isfinite(value) else None for name, value in numbers.items()}

    def tolerance_px(self, asked_px: float | None) -> float:
        """Return the tolerance that was asked for, or what the precision needs if none was, px."""
        return self.rounding.tolerance_px if asked_px is None else asked_px

    def within(self, tolerance_px: float | None = None) -> bool:
        """Return whether the engine may be trusted: whether `deviation` has nothing to say."""
        return not self.deviation(tolerance_px)

    def deviation(self, tolerance_px: float | None = None) -> str:
        """Say in one sentence what is wrong and what to look at; the empty string if nothing is.

        Nothing is wrong if there were points to compare, no animal or point is missing or extra, 99 % of the points
        and the median per axis lie within the tolerance, and no score differs by more than 0.02; in a precision that
        rounds more, what `ROUNDING` says.

        Args:
            tolerance_px: How far a point may lie from the reference, px; None = what the precision needs.
        """
        limit_px = self.tolerance_px(tolerance_px)
        faults = (
            self._nothing_compared,
            self._other_animals,
            self._shift(limit_px),
            self._scatter(limit_px),
            self._other_points,
            self._other_scores,
        )
        return next(filter(None, faults), "")

    @property
    def _nothing_compared(self) -> str:
        if self.n_points or self.missing or self.extra:
            return ""
        return (
            "nothing could be compared, because there is no animal in the reference's images: "
            "give the model a reference with real frames"
        )

    @property
    def _other_animals(self) -> str:
        if not (self.missing or self.extra):
            return ""
        return (
            f"{self.missing} of the reference's {self.n_animals} animals are missing and {self.extra} are extra: "
            f"check that these are the weights and the peak threshold of the reference, and try another engine"
        )

    def _shift(self, tolerance_px: float) -> str:
        x, y = self.offset_px
        ways = [
            f"{abs(by):.2f} px {where[by > 0]}"
            for by, where in ((x, ("to the left of", "to the right of")), (y, ("above", "below")))
            if abs(by) > tolerance_px
        ]
        if not ways:
            return ""
        return (
            f"points lie {' and '.join(ways)} the reference, all shifted alike: check that these are its weights, and "
            f"try another engine, as this one may resize or crop differently"
        )

    def _scatter(self, tolerance_px: float) -> str:
        percent = self.rounding.percent
        distance_px = {90: self.p90_px, 99: self.p99_px}[percent]
        if not distance_px > tolerance_px:
            return ""
        return (
            f"{100 - percent} % of the points lie {distance_px:.2f} px or more from the reference (half of them within "
            f"{self.p50_px:.2f} px, the farthest {self.max_px:.2f} px): check the weights and the precision"
        )

    @property
    def _other_points(self) -> str:
        n_reference = self.n_points + self.missing_points
        if self.missing_points + self.extra_points <= self.rounding.other_points * n_reference:
            return ""
        return (
            f"{self.missing_points} of the reference's {n_reference} points are missing and {self.extra_points} are "
            f"extra: check the weights and the precision"
        )

    @property
    def _other_scores(self) -> str:
        percent = self.rounding.score_percent
        difference = {90: self.p90_score_difference, 100: self.max_score_difference}[percent]
        if not difference > self.rounding.score:
            return ""
        scores = (
            "scores differ"
            if percent == 100
            else f"{100 - percent} % of the scores differ by {difference:.3f} or more,"
        )
        return (
            f"points lie where they should, but {scores} by up to {self.max_score_difference:.3f} from the "
            f"reference: check the weights and the precision"
        )


def compare(reference: Outputs, engine: Outputs, spec: ModelSpec, precision: Precision = "fp32") -> Parity:
    """Compare what came out of an engine with a reference, image by image.

    Args:
        reference: As in `Reference.outputs`.
        engine: The same for the same images; in maps and in what else only one of both has, nothing is compared.
        spec: The model.
        precision: What the engine computes in.
    """
    tally = _Tally(spec, ROUNDING[precision])
    for expected, got in zip(_poses(reference, spec), _poses(engine, spec), strict=True):
        tally.add_poses(expected, got)
    if "peaks" in reference and "peaks" in engine:
        for i in range(len(reference["peaks"])):
            tally.add_peaks(*({name: found[name][i] for name in spec.outputs} for found in (reference, engine)))
    for name in reference:
        if name.startswith(MAPS) and name in engine:
            tally.map_differences.append(_differences(reference[name], engine[name]))
    return tally.result()


def _poses(outputs: Outputs, spec: ModelSpec) -> list[Poses]:
    """Return the animals in a graph's outputs or in another reference (see `Reference`), image by image."""
    if all(name in outputs for name in spec.outputs):
        reader = pose_reader(spec)
        return [reader.read(outputs, i) for i in range(len(outputs["overflow"]))]
    return [_foreign_poses({name: array[i] for name, array in outputs.items()}) for i in range(len(outputs["xy"]))]


def _foreign_poses(outputs: Outputs) -> Poses:
    """Read one image of a reference that somebody else made; a score that it lacks is NaN."""
    xy = outputs["xy"].astype(np.float32)
    seen = np.asarray(np.isfinite(xy).all(axis=2))
    xy[~seen] = np.nan
    kept = seen.any(axis=1) & outputs.get("valid", np.array(True)).astype(bool)
    node_scores = outputs.get("node_scores", np.full(seen.shape, np.nan)).astype(np.float32)
    instance_scores = outputs.get("instance_scores", np.full(len(xy), np.nan)).astype(np.float32)
    probs = outputs["class_probs"].astype(np.float32)[kept] if "class_probs" in outputs else None
    return Poses(xy[kept], node_scores[kept], instance_scores[kept], probs)


@dataclass(slots=True)
class _Tally:
    """Counts and collects differences, image by image."""

    spec: ModelSpec
    rounding: Rounding
    map_differences: list[NDArray[np.float64]] = field(default_factory=list)
    _n_images: int = 0
    _n_animals: int = 0
    _missing: int = 0
    _extra: int = 0
    _missing_points: int = 0
    _extra_points: int = 0
    _offsets: list[NDArray[np.float64]] = field(default_factory=list)
    _score_differences: list[NDArray[np.float64]] = field(default_factory=list)
    _edge_differences: list[NDArray[np.float64]] = field(default_factory=list)

    def add_poses(self, expected: Poses, got: Poses) -> None:
        """Compare the animals of one image."""
        self._n_images += 1
        self._n_animals += len(expected.xy)
        mine, theirs = self._match(expected.xy, got.xy)
        self._missing += self._n_certain(expected, mine)
        self._extra += self._n_certain(got, theirs)
        self._add_points(expected.xy[mine], got.xy[theirs], expected.node_scores[mine], got.node_scores[theirs])
        self._add_scores(expected.instance_scores[mine], got.instance_scores[theirs])
        if expected.class_probs is not None and got.class_probs is not None:
            self._add_scores(expected.class_probs[mine], got.class_probs[theirs])

    def add_peaks(self, expected: Outputs, got: Outputs) -> None:
        """Compare the peaks of one image, node by node, and what is read at them and between them."""
        slots = []
        for node in range(len(expected["peaks"])):
            mine, theirs = (np.flatnonzero(found["peak_valid"][node]) for found in (expected, got))
            xy, other_xy = expected["peaks"][node, mine], got["peaks"][node, theirs]
            rows, columns = self._match(xy[:, np.newaxis], other_xy[:, np.newaxis])
            scores, other_scores = expected["peak_scores"][node, mine], got["peak_scores"][node, theirs]
            self._missing_points += int(np.count_nonzero(~self._is_borderline(np.delete(scores, rows))))
            self._extra_points += int(np.count_nonzero(~self._is_borderline(np.delete(other_scores, columns))))
            self._add_points(xy[rows], other_xy[columns], scores[rows], other_scores[columns])
            slots.append((mine[rows], theirs[columns]))
            if "class_probs" in expected:
                self._add_scores(expected["class_probs"][node, mine[rows]], got["class_probs"][node, theirs[columns]])
        if "edge_scores" in expected:
            for edge, (source, destination) in enumerate(self.spec.skeleton.edges):
                self._edge_differences.append(
                    _differences(
                        expected["edge_scores"][edge][np.ix_(slots[source][0], slots[destination][0])],
                        got["edge_scores"][edge][np.ix_(slots[source][1], slots[destination][1])],
                    )
                )

    def result(self) -> Parity:
        """Return what was collected."""
        offsets = np.concatenate(self._offsets) if self._offsets else np.empty((0, 2))
        distances = np.hypot(offsets[:, 0], offsets[:, 1])
        there = len(offsets) > 0
        p50, p90, p99, largest = np.percentile(distances, (50, 90, 99, 100)) if there else (np.nan,) * 4
        x, y = np.median(offsets, axis=0) if there else (np.nan, np.nan)
        return Parity(
            n_images=self._n_images,
            n_animals=self._n_animals,
            missing=self._missing,
            extra=self._extra,
            n_points=len(offsets),
            missing_points=self._missing_points,
            extra_points=self._extra_points,
            offset_px=(float(x), float(y)),
            p50_px=float(p50),
            p90_px=float(p90),
            p99_px=float(p99),
            max_px=float(largest),
            p90_score_difference=_percentile(self._score_differences, 90),
            max_score_difference=_percentile(self._score_differences, 100),
            max_edge_score_difference=_percentile(self._edge_differences, 100),
            max_map_difference=_percentile(self.map_differences, 100),
            rounding=self.rounding,
        )

    def _match(self, xy: NDArray[Any], other_xy: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Match `(n, nodes, 2)` with `(k, nodes, 2)` by the mean distance of the nodes that both have."""
        reach = MATCH_REACH * max(self.spec.image.height_px, self.spec.image.width_px)
        between = np.linalg.norm(xy[:, np.newaxis] - other_xy[np.newaxis], axis=-1)
        both = np.isfinite(between)
        total = np.where(both, between, 0.0).sum(axis=2)
        n_both = both.sum(axis=2)
        cost = np.minimum(np.where(n_both > 0, total / np.maximum(n_both, 1), np.inf), reach)
        rows, columns = linear_sum_assignment(cost)
        near = cost[rows, columns] < reach
        return rows[near], columns[near]

    def _add_points(
        self, xy: NDArray[Any], other_xy: NDArray[Any], scores: NDArray[Any], other_scores: NDArray[Any]
    ) -> None:
        """Compare matched points `(…, 2)`, NaN = not seen, and their scores `(…)`."""
        seen, other_seen = (np.isfinite(points).all(axis=-1) for points in (xy, other_xy))
        self._missing_points += int(np.count_nonzero(seen & ~other_seen & ~self._is_borderline(scores)))
        self._extra_points += int(np.count_nonzero(other_seen & ~seen & ~self._is_borderline(other_scores)))
        both = seen & other_seen
        self._offsets.append((other_xy[both] - xy[both]).astype(np.float64))
        self._add_scores(scores[both], other_scores[both])

    def _add_scores(self, scores: NDArray[Any], other_scores: NDArray[Any]) -> None:
        self._score_differences.append(_differences(scores, other_scores))

    def _n_certain(self, poses: Poses, matched: NDArray[np.intp]) -> int:
        """Return how many of the animals that were not matched are there beyond any rounding."""
        rest = np.delete(np.arange(len(poses.xy)), matched)
        unseen = ~np.isfinite(poses.xy[rest]).all(axis=2)
        borderline = (self._is_borderline(poses.node_scores[rest]) | unseen).all(axis=1)
        if self.spec.type in TOP_DOWN:
            borderline |= self._is_borderline(poses.instance_scores[rest])
        return int(np.count_nonzero(~borderline))

    def _is_borderline(self, scores: NDArray[Any]) -> NDArray[np.bool_]:
        return np.asarray(np.abs(scores - self.spec.peak_threshold) < self.rounding.borderline)


def _differences(some: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """Return how far they are apart, `(n,)`, where neither is NaN; equal infinities are equal."""
    differences = np.abs(np.where(some == others, 0.0, some.astype(np.float64) - others))
    return np.asarray(differences[~np.isnan(differences)], np.float64)


def _percentile(differences: Sequence[NDArray[np.float64]], percent: int) -> float:
    """Return a percentile of all of them, NaN if there are none."""
    together = np.concatenate([np.empty(0), *differences])
    return float(np.percentile(together, percent)) if together.size else float("nan")
