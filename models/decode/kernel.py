"""The compiled half of decoding: optimal assignment, and from labelled peaks to animals.

Everything that is compiled for `models.decode` stays in this file, because Numba notices that a function's own file
changed but not the files of the functions compiled into it, and would go on running old code from its cache. Nothing
here allocates: the arrays are the caller's. The same input gives the same bits on every call.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

_Function = TypeVar("_Function", bound=Callable[..., object])


class Peaks(NamedTuple):
    """The peaks of one image, `n_peaks` slots a node.

    Attributes:
        xy: `(n_nodes, n_peaks, 2)` float32, px.
        scores: `(n_nodes, n_peaks)` float32.
        valid: `(n_nodes, n_peaks)` bool; whatever else is said of a slot that is not valid does not count.
    """

    xy: NDArray[np.float32]
    scores: NDArray[np.float32]
    valid: NDArray[np.bool_]

    @classmethod
    def empty(cls, n_nodes: int, n_peaks: int) -> "Peaks":
        """Make room; no slot is valid."""
        shape = (n_nodes, n_peaks)
        return cls(np.full((*shape, 2), np.nan, np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.bool_))


class Animals(NamedTuple):
    """The animals of one image in `n_slots` slots, the empty ones last.

    Attributes:
        xy: `(n_slots, n_nodes, 2)` float32, px; NaN = not seen.
        node_scores: `(n_slots, n_nodes)` float32; 0 where not seen.
        instance_scores: `(n_slots,)` float32, 0–1; 0 in empty slots.
    """

    xy: NDArray[np.float32]
    node_scores: NDArray[np.float32]
    instance_scores: NDArray[np.float32]

    @classmethod
    def empty(cls, n_slots: int, n_nodes: int) -> "Animals":
        """Make room; all slots are empty."""
        shape = (n_slots, n_nodes)
        return cls(np.full((*shape, 2), np.nan, np.float32), np.zeros(shape, np.float32), np.zeros(n_slots, np.float32))


class AssignmentRoom(NamedTuple):
    """Working memory of `assign`, whatever the matrix, up to `side` rows and `side` columns.

    Attributes:
        scores: `(side, side)` float64, for the caller to write a matrix in.
        match: `(side,)` int64, the result: the column of each row, -1 = none.
        cost: `(side, side)` float64, the matrix as it is minimised, never with more rows than columns.
        row_price: `(side,)` float64; no cost is ever less than the prices of its row and column together.
        column_price: `(side,)` float64, see `row_price`.
        distance: `(side,)` float64, length of the shortest path to each column.
        row_before: `(side,)` int64, the row from which that path comes.
        settled: `(side,)` bool, whether that length is final.
        row_of: `(side,)` int64, the row of each column, -1 = none.
        column_of: `(side,)` int64, the column of each row, -1 = none.
    """

    scores: NDArray[np.float64]
    match: NDArray[np.int64]
    cost: NDArray[np.float64]
    row_price: NDArray[np.float64]
    column_price: NDArray[np.float64]
    distance: NDArray[np.float64]
    row_before: NDArray[np.int64]
    settled: NDArray[np.bool_]
    row_of: NDArray[np.int64]
    column_of: NDArray[np.int64]

    @classmethod
    def empty(cls, side: int) -> "AssignmentRoom":
        """Make room."""
        matrix, row, places = (side, side), np.zeros(side), np.zeros(side, np.int64)
        return cls(
            scores=np.zeros(matrix),
            match=places.copy(),
            cost=np.zeros(matrix),
            row_price=row.copy(),
            column_price=row.copy(),
            distance=row.copy(),
            row_before=places.copy(),
            settled=np.zeros(side, np.bool_),
            row_of=places.copy(),
            column_of=places.copy(),
        )


def _compiled(function: _Function) -> _Function:
    """Numba's decorator with the function's type kept. No fastmath: a replay agrees to the last bit."""
    compiled: _Function = numba.njit(cache=True)(function)
    return compiled


@_compiled
def assign(n_rows: int, n_columns: int, room: AssignmentRoom) -> None:
    """Match rows with columns: as many possible pairs as can be, of all such matchings the one with the highest sum.

    Shortest augmenting paths with prices (Jonker and Volgenant 1987), O(n³). Which of several best matchings is found
    depends on nothing but the matrix.

    Args:
        n_rows: Rows of the matrix.
        n_columns: Columns of the matrix.
        room: `room.scores[:n_rows, :n_columns]` is the matrix, where a score that is not finite marks a pair that is
            impossible; the result is in `room.match[:n_rows]`.
    """
    transposed = n_rows > n_columns
    _fill_costs(n_rows, n_columns, transposed, room)
    few, many = min(n_rows, n_columns), max(n_rows, n_columns)
    room.row_price[:few] = 0.0
    room.column_price[:many] = 0.0
    room.row_of[:many] = -1
    room.column_of[:few] = -1
    for row in range(few):
        _assign_row(row, many, room)
    for row in range(n_rows):
        column = room.row_of[row] if transposed else room.column_of[row]
        room.match[row] = column if column >= 0 and math.isfinite(room.scores[row, column]) else -1


@_compiled
def _fill_costs(n_rows: int, n_columns: int, transposed: bool, room: AssignmentRoom) -> None:
    """Scores to costs. One impossible pair more costs more than all the others could make up for."""
    scores = room.scores
    largest = 0.0
    for row in range(n_rows):
        for column in range(n_columns):
            if math.isfinite(scores[row, column]):
                largest = max(largest, abs(scores[row, column]))
    impossible = 2.0 * (min(n_rows, n_columns) + 1) * (largest if largest > 0.0 else 1.0)
    for row in range(n_rows):
        for column in range(n_columns):
            score = scores[row, column]
            cost = -score if math.isfinite(score) else impossible
            if transposed:
                room.cost[column, row] = cost
            else:
                room.cost[row, column] = cost


@_compiled
def _assign_row(new_row: int, n_columns: int, room: AssignmentRoom) -> None:
    """Give one row more a column, at the least cost; rows that have one may have to change theirs."""
    last = _find_path(new_row, n_columns, room)
    length = room.distance[last]
    room.row_price[new_row] += length
    for column in range(n_columns):
        if room.settled[column] and column != last:
            gained = length - room.distance[column]
            room.column_price[column] -= gained
            room.row_price[room.row_of[column]] += gained
    row = -1
    while row != new_row:
        row = room.row_before[last]
        room.row_of[last] = row
        last, room.column_of[row] = room.column_of[row], last


@_compiled
def _find_path(new_row: int, n_columns: int, room: AssignmentRoom) -> int:
    """Return the free column that is nearest to a row, where a row's own column leads on from it (Dijkstra)."""
    room.distance[:n_columns] = math.inf
    room.settled[:n_columns] = False
    row, length = new_row, 0.0
    while True:
        nearest = -1
        for column in range(n_columns):
            if room.settled[column]:
                continue
            through = length + (room.cost[row, column] - room.row_price[row] - room.column_price[column])
            if through < room.distance[column]:
                room.distance[column] = through
                room.row_before[column] = row
            if nearest < 0 or room.distance[column] < room.distance[nearest]:
                nearest = column
        room.settled[nearest] = True
        length, row = room.distance[nearest], room.row_of[nearest]
        if row < 0:
            return nearest


@_compiled
def link_peaks(
    walk: NDArray[np.int64],
    min_edge_score: float,
    valid: NDArray[np.bool_],
    edge_scores: NDArray[np.float32],
    room: AssignmentRoom,
    owner: NDArray[np.int64],
    owner_scores: NDArray[np.float64],
) -> int:
    """Give linked peaks the same owner.

    The walk starts at one node of a tree and only ever leads to new nodes, so that a child's peak never has an owner
    yet: a match either joins it to its parent's owner or starts a new one, and none is ever lost or in conflict.

    Args:
        walk: `(n_edges, 4)`: edge, node where the walk enters it (parent), node to which it leads (child), 1 where
            that is against its direction.
        min_edge_score: A match with less than this does not count.
        valid: `(n_nodes, n_peaks)`.
        edge_scores: `(n_edges, n_peaks, n_peaks)`, source peak by destination peak; not finite = impossible.
        room: For `n_peaks` × `n_peaks`.
        owner: `(n_nodes, n_peaks)`, out: number of each peak's owner, -1 = none.
        owner_scores: `(≥ n_nodes · n_peaks // 2,)`, out: mean over all edges of each owner's matches, clipped to 0–1.

    Returns:
        The number of owners.
    """
    n_peaks = valid.shape[1]
    owner[:] = -1
    n_owners = 0
    for step in range(walk.shape[0]):
        edge, parent, child, against = walk[step]
        for i in range(n_peaks):
            for j in range(n_peaks):
                score = edge_scores[edge, j, i] if against else edge_scores[edge, i, j]
                room.scores[i, j] = score if valid[parent, i] and valid[child, j] else -math.inf
        assign(n_peaks, n_peaks, room)
        for i in range(n_peaks):
            j = room.match[i]
            if j < 0 or room.scores[i, j] < min_edge_score:
                continue
            if owner[parent, i] < 0:
                owner[parent, i] = n_owners
                owner_scores[n_owners] = 0.0
                n_owners += 1
            owner[child, j] = owner[parent, i]
            owner_scores[owner[child, j]] += min(max(room.scores[i, j], 0.0), 1.0) / walk.shape[0]
    return n_owners


@_compiled
def own_peaks(peaks: Peaks, owner: NDArray[np.int64], owner_scores: NDArray[np.float64]) -> int:
    """Give every peak of the first node an owner of its own; arguments and result as of `link_peaks`."""
    n_owners = 0
    for peak in range(owner.shape[1]):
        owner[0, peak] = -1
        if peaks.valid[0, peak]:
            owner[0, peak] = n_owners
            owner_scores[n_owners] = min(max(peaks.scores[0, peak], 0.0), 1.0)
            n_owners += 1
    return n_owners


@_compiled
def rank(owner_scores: NDArray[np.float64], n_owners: int, n_slots: int, slot: NDArray[np.int64]) -> int:
    """Give the owners with the highest scores a slot, the highest the first; ties go to the lower number.

    Args:
        owner_scores: `(≥ n_owners,)`.
        n_owners: How many there are.
        n_slots: How many of them can have a slot.
        slot: `(≥ n_owners,)`, out: -1 = none.

    Returns:
        The number of slots in use.
    """
    slot[:n_owners] = -1
    n_ranked = min(n_owners, n_slots)
    for place in range(n_ranked):
        best = -1
        for number in range(n_owners):
            if slot[number] < 0 and (best < 0 or owner_scores[number] > owner_scores[best]):
                best = number
        slot[best] = place
    return n_ranked


@_compiled
def write_animals(peaks: Peaks, owner: NDArray[np.int64], slot: NDArray[np.int64], animals: Animals) -> None:
    """Copy every peak into the slot of its owner; `animals.instance_scores` is left to the caller."""
    animals.xy[:] = math.nan
    animals.node_scores[:] = 0.0
    for node in range(owner.shape[0]):
        for peak in range(owner.shape[1]):
            if owner[node, peak] >= 0 and slot[owner[node, peak]] >= 0:
                row = slot[owner[node, peak]]
                animals.xy[row, node, 0] = peaks.xy[node, peak, 0]
                animals.xy[row, node, 1] = peaks.xy[node, peak, 1]
                animals.node_scores[row, node] = peaks.scores[node, peak]


@_compiled
def assemble(
    walk: NDArray[np.int64],
    min_edge_score: float,
    peaks: Peaks,
    edge_scores: NDArray[np.float32],
    room: AssignmentRoom,
    owner: NDArray[np.int64],
    owner_scores: NDArray[np.float64],
    slot: NDArray[np.int64],
    animals: Animals,
) -> int:
    """Join peaks into animals; see `Assembler.assemble`. Returns how many there are, also beyond the slots."""
    if walk.shape[0] > 0:
        n_owners = link_peaks(walk, min_edge_score, peaks.valid, edge_scores, room, owner, owner_scores)
    else:
        n_owners = own_peaks(peaks, owner, owner_scores)
    rank(owner_scores, n_owners, animals.xy.shape[0], slot)
    write_animals(peaks, owner, slot, animals)
    animals.instance_scores[:] = 0.0
    for number in range(n_owners):
        if slot[number] >= 0:
            animals.instance_scores[slot[number]] = owner_scores[number]
    return n_owners


@_compiled
def label_peaks(
    peaks: Peaks,
    class_probs: NDArray[np.float32],
    sleap_compat: bool,
    room: AssignmentRoom,
    owner: NDArray[np.int64],
) -> None:
    """Find each peak's class: every class at most once a node, and none where another is more probable.

    Args:
        peaks: The image's peaks.
        class_probs: `(n_nodes, n_peaks, n_classes)`; 0 and less or not finite = impossible.
        sleap_compat: Assign by probability alone, and look only afterwards whether another class is more probable.
        room: For the larger of `n_peaks` and `n_classes`.
        owner: `(n_nodes, n_peaks)`, out: the class of each peak, -1 = none.
    """
    n_nodes, n_peaks, n_classes = class_probs.shape
    for node in range(n_nodes):
        for peak in range(n_peaks):
            probs = class_probs[node, peak]
            weight = 1.0 if sleap_compat else np.float64(peaks.scores[node, peak])
            write_products(probs, weight if peaks.valid[node, peak] else 0.0, room.scores[peak])
            if not sleap_compat:
                highest = _highest(probs)
                for k in range(n_classes):
                    if probs[k] < highest:
                        room.scores[peak, k] = -math.inf
        assign(n_peaks, n_classes, room)
        for peak in range(n_peaks):
            k = room.match[peak]
            owner[node, peak] = k if k >= 0 and class_probs[node, peak, k] == _highest(class_probs[node, peak]) else -1


@_compiled
def _highest(probs: NDArray[np.float32]) -> float:
    """Return the highest value; NaN does not count."""
    highest = -math.inf
    for prob in probs:
        if prob > highest:  # noqa: PLR1730 (max says nothing of NaN)
            highest = prob
    return highest


@_compiled
def write_products(probs: NDArray[np.float32], weight: float, scores: NDArray[np.float64]) -> None:
    """Write probability × weight of every class; -∞ where that is not a positive number."""
    for k in range(probs.shape[0]):
        product = np.float64(probs[k]) * weight
        scores[k] = product if product > 0.0 else -math.inf


@_compiled
def group_by_class(
    peaks: Peaks,
    class_probs: NDArray[np.float32],
    sleap_compat: bool,
    room: AssignmentRoom,
    owner: NDArray[np.int64],
    slot: NDArray[np.int64],
    animals: Animals,
    animal_probs: NDArray[np.float32],
) -> int:
    """Group peaks by class; see `IdentityGrouper.group`."""
    label_peaks(peaks, class_probs, sleap_compat, room, owner)
    slot[:] = -1
    for label in owner.flat:
        if label >= 0:
            slot[label] = 0
    n_animals = 0
    for k in range(slot.shape[0]):
        if slot[k] >= 0:
            slot[k] = n_animals
            n_animals += 1
    write_animals(peaks, owner, slot, animals)
    _average(class_probs, owner, slot, animals, animal_probs)
    return n_animals


@_compiled
def _average(
    class_probs: NDArray[np.float32],
    owner: NDArray[np.int64],
    slot: NDArray[np.int64],
    animals: Animals,
    animal_probs: NDArray[np.float32],
) -> None:
    """Average the scores and probabilities of each animal's peaks."""
    animals.instance_scores[:] = 0.0
    animal_probs[:] = 0.0
    n_nodes, n_peaks, n_classes = class_probs.shape
    for row_class in range(n_classes):
        row = slot[row_class]
        if row < 0:
            continue
        score, n_points, total = 0.0, 0, 0.0
        for node in range(n_nodes):
            for peak in range(n_peaks):
                if owner[node, peak] == row_class:
                    score += animals.node_scores[row, node]
                    n_points += 1
                    for k in range(n_classes):
                        if class_probs[node, peak, k] > 0.0:
                            animal_probs[row, k] += class_probs[node, peak, k]
        for k in range(n_classes):
            total += animal_probs[row, k]
        for k in range(n_classes):
            animal_probs[row, k] /= total
        animals.instance_scores[row] = min(max(score / n_points, 0.0), 1.0)


@_compiled
def assign_classes(
    class_probs: NDArray[np.float32],
    weights: NDArray[np.float32],
    room: AssignmentRoom,
    classes: NDArray[np.int32],
) -> None:
    """Give every row a class of its own; see `exclusive_classes`."""
    n_rows, n_classes = class_probs.shape
    for row in range(n_rows):
        write_products(class_probs[row], np.float64(weights[row]), room.scores[row])
    assign(n_rows, n_classes, room)
    for row in range(n_rows):
        classes[row] = room.match[row]
