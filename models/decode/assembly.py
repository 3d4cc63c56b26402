"""Assembly: the peaks of a bottom-up model into animals, along the skeleton's edges."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from models.decode.kernel import Animals, AssignmentRoom, Peaks, assemble
from models.errors import ModelNotOpenError
from models.skeleton import Skeleton


class Assembler:
    """Joins peaks into animals as SLEAP does (its supplement, "Bottom-up instance assembly").

    For every edge, its source's and its destination's peaks are matched so that the sum of the edge scores is the
    highest (of all matchings with as many possible pairs as can be); then matches below `min_edge_score` are dropped.
    The peaks that are linked by what is left are one animal. In a tree two peaks of the same node are never linked, so
    that nothing has to be decided there. A peak without any match is no animal and is dropped, unless the skeleton has
    one node only: then every peak is one.

    The instance score is the mean of the animal's edge scores, each clipped to 0–1, over all edges of the skeleton, 0
    for those that are missing: SLEAP's score is the sum. With one node it is the peak's score, clipped to 0–1.

    All memory is allocated, and the compiled code loaded, at construction. The results of one image are overwritten by
    the next.

    Attributes:
        xy: `(max_instances, n_nodes, 2)` float32, px; NaN = not seen. The animal with the highest score comes first.
        node_scores: `(max_instances, n_nodes)` float32, the peaks' values as given; 0 where not seen.
        instance_scores: `(max_instances,)` float32, 0–1; 0 in empty rows.
        overflow: There were more animals than `max_instances`; those with the highest scores are kept.
    """

    def __init__(self, skeleton: Skeleton, max_instances: int, max_peaks: int, min_edge_score: float = 0.25) -> None:
        """Make room.

        Args:
            skeleton: A tree that links all nodes; the direction of its edges does not matter.
            max_instances: How many animals are kept.
            max_peaks: Slots for peaks, a node.
            min_edge_score: An edge score below this does not join two peaks.

        Raises:
            ModelNotOpenError: The skeleton is not a tree, or does not link all nodes.
        """
        n_nodes = len(skeleton.nodes)
        most = n_nodes * max_peaks
        self._walk = tree_walk(skeleton)
        self._min_edge_score = float(min_edge_score)
        self._peaks = Peaks.empty(n_nodes, max_peaks)
        self._edge_scores = np.full((len(skeleton.edges), max_peaks, max_peaks), -np.inf, np.float32)
        self._room = AssignmentRoom.empty(max_peaks)
        self._owner = np.zeros((n_nodes, max_peaks), np.int64)
        self._owner_scores = np.zeros(most)
        self._slot = np.zeros(most, np.int64)
        self._animals = Animals.empty(max_instances, n_nodes)
        self.xy, self.node_scores, self.instance_scores = self._animals
        self.overflow = False
        self.assemble(*self._peaks, self._edge_scores)

    def assemble(
        self,
        peaks: NDArray[np.float32],
        peak_scores: NDArray[np.float32],
        peak_valid: NDArray[np.bool_],
        edge_scores: NDArray[np.float32],
    ) -> int:
        """Join the peaks of one image into animals; the results are in this object's attributes.

        Args:
            peaks: `(n_nodes, max_peaks, 2)`, px.
            peak_scores: `(n_nodes, max_peaks)`.
            peak_valid: `(n_nodes, max_peaks)`; slots that are not valid do not count.
            edge_scores: `(n_edges, max_peaks, max_peaks)`, source peak by destination peak, about -1 to 1; -∞ or NaN
                = impossible.

        Returns:
            The number of animals, at most `max_instances`.
        """
        # Copies: one type and layout for the compiled code, whatever an engine hands over.
        self._peaks.xy[:] = peaks
        self._peaks.scores[:] = peak_scores
        self._peaks.valid[:] = peak_valid
        self._edge_scores[:] = edge_scores
        n_animals = assemble(
            self._walk,
            self._min_edge_score,
            self._peaks,
            self._edge_scores,
            self._room,
            self._owner,
            self._owner_scores,
            self._slot,
            self._animals,
        )
        self.overflow = n_animals > len(self.xy)
        return min(n_animals, len(self.xy))


def tree_walk(skeleton: Skeleton) -> NDArray[np.int64]:
    """Order the edges of a skeleton breadth first from its first node.

    The walk ignores the edges' direction: which peaks belong together does not depend on it, nor on where the walk
    starts. (SLEAP follows the direction from one root and leaves out what it does not reach.)

    Returns:
        `(n_edges, 4)`: edge, node where the walk enters it, node to which it leads, 1 where that is against its
        direction.

    Raises:
        ModelNotOpenError: The edges form a circle, or do not link all nodes.
    """
    circle = _nodes_on_circles(skeleton)
    if circle:
        raise ModelNotOpenError(
            f"skeleton: expected a tree, got a circle of edges through {_names(skeleton, circle)}; "
            "train the model with a skeleton that lacks one of these edges"
        )
    walk: list[tuple[int, int, int, int]] = []
    reached, waiting = {0}, deque([0])
    while waiting:
        node = waiting.popleft()
        for edge, ends in enumerate(skeleton.edges):
            for against, (parent, child) in enumerate((ends, ends[::-1])):
                if parent == node and child not in reached:
                    walk.append((edge, parent, child, against))
                    reached.add(child)
                    waiting.append(child)
    if len(reached) < len(skeleton.nodes):
        apart = set(range(len(skeleton.nodes))) - reached
        raise ModelNotOpenError(
            f"skeleton: expected edges that link all nodes, got none between {_names(skeleton, reached)} and "
            f"{_names(skeleton, apart)}; train the model with a skeleton that has one, or without the nodes apart"
        )
    return np.array(walk, np.int64).reshape(-1, 4)


def _nodes_on_circles(skeleton: Skeleton) -> set[int]:
    """Return the nodes that are left when loose ends are cut off until there are none."""
    edges = list(skeleton.edges)
    while True:
        ends = [node for edge in edges for node in edge]
        kept = [edge for edge in edges if all(ends.count(node) > 1 for node in edge)]
        if len(kept) == len(edges):
            return set(ends)
        edges = kept


def _names(skeleton: Skeleton, nodes: set[int]) -> str:
    return ", ".join(skeleton.nodes[node] for node in sorted(nodes))
