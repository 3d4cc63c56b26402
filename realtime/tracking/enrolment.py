"""Enrolment: which track gets which name, where no model tells the animals apart."""

import math
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from realtime.geometry import pose_centre
from realtime.tracking.state import TrackState

MIN_SIZE_RATIO = 1.05
"""By size, an animal must be longer than the next one by this factor: measuring errors decide nothing."""

MIN_APART = 0.25
"""By place, an animal must be this far (in body lengths) before the next one."""

MARK_REACH = 1.0
"""A mark is that of an animal whose centre is at most this far (in body lengths) away."""

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Mark(BaseModel):
    """One animal, named by hand.

    Attributes:
        name: Who it is.
        at_s: When, from the first frame on; the first frame from then on counts.
        x_px, y_px: Where its centre (the mean of its nodes) is in that frame.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(min_length=1)
    at_s: float = Field(ge=0, allow_inf_nan=False)
    x_px: Finite
    y_px: Finite


class EnrolmentOptions(BaseModel):
    """How animals get their names at the start; for models that tell no identities.

    A name stays with its track. It is lost when the animal is (`[tracker] lost_s`) unless it was the only one missing,
    and comes back with another mark only.

    Attributes:
        by: `size` = the longest body is the first of `names`; `x` = the leftmost is; `y` = the topmost is; `marks` =
            by hand, as `poseloop enrol` writes it.
        names: As many as there are animals. Names are given once exactly so many have been seen without a break for
            `after_s` and differ clearly (by 5 % in size, by a quarter of a body length in place); until then there are
            none.
        after_s: How long that is, s.
        marks: A name may come again later, which corrects it from there on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    by: Literal["size", "x", "y", "marks"]
    names: Annotated[tuple[str, ...], Field(strict=False)] = ()
    after_s: float = Field(1.0, ge=0, le=3600)
    marks: Annotated[tuple[Mark, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.by == "marks":
            if not self.marks or self.names:
                raise ValueError('by = "marks": expected marks and no names; poseloop enrol SESSION writes them')
            return self
        if self.marks:
            raise ValueError(f'by = "{self.by}": expected no marks, got {len(self.marks)}')
        if not self.names or "" in self.names or len(set(self.names)) != len(self.names):
            raise ValueError(f'by = "{self.by}": expected the names of all animals, each once, got {list(self.names)}')
        return self

    @property
    def identities(self) -> tuple[str, ...]:
        """The names, each once; a track's class is the index into them."""
        return self.names or tuple(dict.fromkeys(mark.name for mark in self.marks))


class Enrolment:
    """Looks at the tracks frame by frame until every name is given.

    Attributes:
        done: Nothing is left to do.
    """

    def __init__(self, options: EnrolmentOptions) -> None:
        self.done = False
        self._options = options
        self._marks = sorted(options.marks, key=lambda mark: mark.at_s)
        self._first_ns: int | None = None
        self._whole_since_ns: int | None = None

    def look(self, state: TrackState, timestamp_ns: int) -> None:
        """Take one frame's tracks and write the classes of those that get a name now."""
        if self._first_ns is None:
            self._first_ns = timestamp_ns
        if self._options.by == "marks":
            self._look_for_marks(state, timestamp_ns)
        else:
            self._look_for_order(state, timestamp_ns)

    def _look_for_marks(self, state: TrackState, timestamp_ns: int) -> None:
        elapsed_s = (timestamp_ns - (self._first_ns or 0)) * 1e-9
        while self._marks and self._marks[0].at_s <= elapsed_s + 1e-9:
            mark = self._marks.pop(0)
            row = _marked_row(state, timestamp_ns, mark)
            if row is not None:
                _name(state, row, self._options.identities.index(mark.name))
        self.done = not self._marks

    def _look_for_order(self, state: TrackState, timestamp_ns: int) -> None:
        names = self._options.names
        n_tracks = int(state.counts[0])
        if n_tracks != len(names) or (state.last_seen_ns[:n_tracks] != timestamp_ns).any():
            self._whole_since_ns = None
            return
        if self._whole_since_ns is None:
            self._whole_since_ns = timestamp_ns
        if (timestamp_ns - self._whole_since_ns) * 1e-9 < self._options.after_s:
            return
        order = _order(state, n_tracks, self._options.by)
        if order is not None:
            for class_id, row in enumerate(order):
                _name(state, row, class_id)
            self.done = True


def _order(state: TrackState, n_tracks: int, by: str) -> list[int] | None:
    """Return the rows in the order of the names, or None where two of them are too much alike."""
    body_px = state.body_px[:n_tracks]
    if by == "size":
        order = np.argsort(-body_px, kind="stable")
        is_clear = body_px[order[:-1]] >= MIN_SIZE_RATIO * body_px[order[1:]]
    else:
        axis = 0 if by == "x" else 1
        place = np.array([pose_centre(pose)[axis] for pose in state.pose[:n_tracks]])
        order = np.argsort(place, kind="stable")
        is_clear = np.diff(place[order]) >= MIN_APART * float(body_px.mean())
    return order.tolist() if np.all(is_clear) else None


def _marked_row(state: TrackState, timestamp_ns: int, mark: Mark) -> int | None:
    distances = [
        _distance(state.pose[row], mark) / state.body_px[row] if state.last_seen_ns[row] == timestamp_ns else math.inf
        for row in range(int(state.counts[0]))
    ]
    nearest = int(np.argmin(distances)) if distances else -1
    return nearest if nearest >= 0 and distances[nearest] <= MARK_REACH else None


def _distance(pose: NDArray[np.float64], mark: Mark) -> float:
    x, y = pose_centre(pose)
    return math.hypot(x - mark.x_px, y - mark.y_px)


def _name(state: TrackState, row: int, class_id: int) -> None:
    """Say who a track is: no other track has this class, and nothing is in doubt."""
    for other in range(int(state.counts[0])):
        if state.home_ids[other] == class_id:
            state.home_ids[other] = state.class_ids[other] = -1
    state.home_ids[row] = state.class_ids[row] = class_id
    state.confidence[row] = 1.0
    state.suspect_ids[row] = 0
