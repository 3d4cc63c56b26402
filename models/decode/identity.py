"""Identity: which known animal each peak, or each instance, is; every animal is there at most once."""

import numpy as np
from numpy.typing import NDArray

from models.decode.kernel import Animals, AssignmentRoom, Peaks, assign_classes, group_by_class


class IdentityGrouper:
    """Groups the peaks of a bottom-up model with class maps: peaks of the same class are one animal.

    For every node, its peaks and the classes are matched so that the sum of class probability × peak score is the
    highest, each at most once. The peak's score counts because class maps saturate: at a probability of 1.0 a faint
    false peak would do as well as the real one. A peak can only have the class that is the most probable there, so that
    a false peak is not taken for an animal that is out of sight just because its name is left over. SLEAP matches
    first and looks at this afterwards, by which it can lose a peak to a class that it is then denied.

    All memory is allocated, and the compiled code loaded, at construction. The results of one image are overwritten by
    the next.

    Attributes:
        xy: `(class_count, n_nodes, 2)` float32, px; NaN = not seen. Animals come in the order of their classes; classes
            without a peak are left out, and the empty rows are last.
        node_scores: `(class_count, n_nodes)` float32, the peaks' values as given; 0 where not seen.
        instance_scores: `(class_count,)` float32, mean of the scores of the nodes that are seen, clipped to 0–1
            (SLEAP's convention); 0 in empty rows.
        class_probs: `(class_count, class_count)` float32, class probabilities of each row's animal: mean over its
            peaks, then scaled to sum to 1. The highest is that of its own class. 0 in empty rows.
    """

    def __init__(self, n_nodes: int, class_count: int, max_peaks: int, *, sleap_compat: bool = False) -> None:
        """Make room.

        Args:
            n_nodes: Nodes of the skeleton.
            class_count: Known animals.
            max_peaks: Slots for peaks, a node.
            sleap_compat: Match by class probability alone, and drop what is not a peak's most probable class only
                afterwards, as SLEAP does.
        """
        self._sleap_compat = sleap_compat
        self._peaks = Peaks.empty(n_nodes, max_peaks)
        self._probs = np.zeros((n_nodes, max_peaks, class_count), np.float32)
        self._room = AssignmentRoom.empty(max(max_peaks, class_count))
        self._owner = np.zeros((n_nodes, max_peaks), np.int64)
        self._slot = np.zeros(class_count, np.int64)
        self._animals = Animals.empty(class_count, n_nodes)
        self.xy, self.node_scores, self.instance_scores = self._animals
        self.class_probs = np.zeros((class_count, class_count), np.float32)
        self.group(*self._peaks, self._probs)

    def group(
        self,
        peaks: NDArray[np.float32],
        peak_scores: NDArray[np.float32],
        peak_valid: NDArray[np.bool_],
        class_probs: NDArray[np.float32],
    ) -> int:
        """Group the peaks of one image; the results are in this object's attributes.

        Args:
            peaks: `(n_nodes, max_peaks, 2)`, px.
            peak_scores: `(n_nodes, max_peaks)`, positive.
            peak_valid: `(n_nodes, max_peaks)`; slots that are not valid do not count.
            class_probs: `(n_nodes, max_peaks, class_count)`, 0–1, not necessarily summing to 1; 0 or NaN = impossible.

        Returns:
            The number of animals.
        """
        # Copies: one type and layout for the compiled code, whatever an engine hands over.
        self._peaks.xy[:] = peaks
        self._peaks.scores[:] = peak_scores
        self._peaks.valid[:] = peak_valid
        self._probs[:] = class_probs
        return group_by_class(
            self._peaks,
            self._probs,
            self._sleap_compat,
            self._room,
            self._owner,
            self._slot,
            self._animals,
            self.class_probs,
        )


def exclusive_classes(class_probs: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.int32]:
    """Give every instance a class of its own: the assignment with the highest sum of probability × weight.

    As many instances as can be get one, the least probable if it must be; none gets one that is impossible for it.

    Args:
        class_probs: `(n_instances, n_classes)`; 0 or NaN = impossible.
        weights: `(n_instances,)`, how sure it is that the instance is there, as its score; 0 or NaN = it gets no class.

    Returns:
        `(n_instances,)`, -1 = none.
    """
    n_instances, n_classes = class_probs.shape
    classes = np.empty(n_instances, np.int32)
    assign_classes(
        np.array(class_probs, np.float32, order="C"),
        np.array(weights, np.float32, order="C"),
        AssignmentRoom.empty(max(n_instances, n_classes)),
        classes,
    )
    return classes
