import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decode.assembly import Assembler, tree_walk
from models.decode.kernel import assemble
from models.errors import ModelNotOpenError
from models.skeleton import Skeleton

NO = -np.inf
MIN_EDGE_SCORE = 0.25


def skeleton(*links: str, nodes: str = "abcd") -> Skeleton:
    return Skeleton(tuple(nodes), tuple((nodes.index(link[0]), nodes.index(link[1])) for link in links))


def scene(n_nodes: int, n_peaks: int, n_edges: int, seed: int = 0):
    """Peaks at random places with random edge scores, every slot in use."""
    random = np.random.default_rng(seed)
    return (
        random.uniform(0, 100, (n_nodes, n_peaks, 2)).astype(np.float32),
        random.uniform(0.2, 1.1, (n_nodes, n_peaks)).astype(np.float32),
        np.ones((n_nodes, n_peaks), np.bool_),
        random.uniform(-0.5, 1.2, (n_edges, n_peaks, n_peaks)).astype(np.float32),
    )


def assembled(plan: Skeleton, inputs, max_instances: int = 20):
    """The animals as a list of (xy, node scores, instance score)."""
    peaks = inputs[0]
    assembler = Assembler(plan, max_instances, peaks.shape[1], MIN_EDGE_SCORE)
    n = assembler.assemble(*inputs)
    assert np.isnan(assembler.xy[n:]).all()
    assert not assembler.node_scores[n:].any()
    assert not assembler.instance_scores[n:].any()
    return [
        (assembler.xy[k].copy(), assembler.node_scores[k].copy(), float(assembler.instance_scores[k])) for k in range(n)
    ]


# --- named cases ------------------------------------------------------------------------------------------------------


def test_two_animals_that_cross_edges_are_told_apart_by_the_edge_scores():
    plan = skeleton("ab", "bc", nodes="abc")
    peaks, scores, valid, _ = scene(3, 2, 2)
    crossed, straight = [[0.1, 0.9], [0.8, 0.1]], [[0.7, 0.0], [0.0, 0.6]]
    first, second = assembled(plan, (peaks, scores, valid, np.array([crossed, straight], np.float32)))
    np.testing.assert_array_equal(first[0], [peaks[0, 0], peaks[1, 1], peaks[2, 1]])
    np.testing.assert_array_equal(second[0], [peaks[0, 1], peaks[1, 0], peaks[2, 0]])
    np.testing.assert_array_equal(first[1], [scores[0, 0], scores[1, 1], scores[2, 1]])
    assert first[2] == pytest.approx((0.9 + 0.6) / 2)
    assert second[2] == pytest.approx((0.8 + 0.7) / 2)


def test_the_sum_of_an_edge_counts_not_its_best_pair():
    plan = skeleton("ab", nodes="ab")
    peaks, scores, valid, _ = scene(2, 2, 1)
    found = assembled(plan, (peaks, scores, valid, np.array([[[0.9, 0.8], [0.8, 0.3]]], np.float32)))
    assert [animal[2] for animal in found] == pytest.approx([0.8, 0.8])


def test_a_match_below_the_least_edge_score_is_dropped_only_after_matching():
    plan = skeleton("ab", nodes="ab")
    peaks, scores, valid, _ = scene(2, 2, 1)
    # 0.9 alone would be the better pair, but 0.8 + 0.2 is the better matching.
    found = assembled(plan, (peaks, scores, valid, np.array([[[0.9, 0.8], [0.2, NO]]], np.float32)))
    assert [animal[2] for animal in found] == pytest.approx([0.8])


@pytest.mark.parametrize(("score", "n_animals"), [(0.25, 1), (np.nextafter(np.float32(0.25), np.float32(0)), 0)])
def test_the_least_edge_score_itself_counts(score, n_animals):
    peaks, scores, valid, _ = scene(2, 1, 1)
    found = assembled(skeleton("ab", nodes="ab"), (peaks, scores, valid, np.full((1, 1, 1), score, np.float32)))
    assert len(found) == n_animals


def test_a_peak_without_an_edge_is_dropped():
    plan = skeleton("ab", "bc", nodes="abc")
    peaks, scores, valid, _ = scene(3, 2, 2)
    edges = np.full((2, 2, 2), NO, np.float32)
    edges[0, 0, 0] = 1.0
    ((xy, node_scores, score),) = assembled(plan, (peaks, scores, valid, edges))
    np.testing.assert_array_equal(xy, [peaks[0, 0], peaks[1, 0], [np.nan, np.nan]])
    assert node_scores[2] == 0
    assert score == pytest.approx(0.5)


def test_an_animal_without_its_middle_node_is_two():
    plan = skeleton("ab", "bc", "cd", "de", nodes="abcde")
    peaks, scores, valid, _ = scene(5, 1, 4)
    valid[2] = False
    edges = np.ones((4, 1, 1), np.float32)
    assert len(assembled(plan, (peaks, scores, valid, edges))) == 2


@pytest.mark.parametrize("links", [("ab", "bc"), ("ba", "cb"), ("ab", "cb"), ("ba", "bc"), ("cb", "ab")])
def test_the_direction_of_edges_and_their_order_lose_no_peak(links):
    plan = skeleton(*links, nodes="abc")
    peaks, scores, valid, _ = scene(3, 2, 2)
    edges = np.zeros((2, 2, 2), np.float32)
    for edge, link in enumerate(links):  # a1-b0-c1 and a0-b1-c0
        rows = {"a": [1, 0], "b": [0, 1], "c": [1, 0]}
        edges[edge, rows[link[0]], rows[link[1]]] = [0.9, 0.8]
    first, second = assembled(plan, (peaks, scores, valid, edges))
    np.testing.assert_array_equal(first[0], [peaks[0, 1], peaks[1, 0], peaks[2, 1]])
    np.testing.assert_array_equal(second[0], [peaks[0, 0], peaks[1, 1], peaks[2, 0]])


def test_without_edges_every_peak_is_an_animal():
    plan = Skeleton(("a",))
    peaks, _, valid, edges = scene(1, 3, 0)
    scores = np.array([[0.5, 0.9, 1.4]], np.float32)
    valid[0, 1] = False
    first, second = assembled(plan, (peaks, scores, valid, edges))
    np.testing.assert_array_equal(first[0], peaks[:, 2])
    assert first[1] == np.float32(1.4)
    assert (first[2], second[2]) == (1.0, 0.5)


def test_more_animals_than_slots_keep_the_best_and_set_overflow():
    plan = skeleton("ab", nodes="ab")
    peaks, scores, valid, _ = scene(2, 3, 1)
    assembler = Assembler(plan, 2, 3, MIN_EDGE_SCORE)
    edges = np.full((1, 3, 3), NO, np.float32)
    edges[0, [0, 1, 2], [0, 1, 2]] = 0.5, 0.7, 0.6
    assert assembler.assemble(peaks, scores, valid, edges) == 2
    assert assembler.overflow
    np.testing.assert_array_equal(assembler.xy, peaks[:, [1, 2]].swapaxes(0, 1))
    assert assembler.instance_scores.tolist() == pytest.approx([0.7, 0.6])
    valid[0, 0] = False
    assert assembler.assemble(peaks, scores, valid, edges) == 2
    assert not assembler.overflow


def test_equal_scores_come_in_the_order_of_the_first_nodes_peaks():
    peaks, scores, valid, _ = scene(2, 3, 1)
    edges = np.where(np.eye(3, dtype=bool)[::-1], 0.5, NO)[None].astype(np.float32)
    found = assembled(skeleton("ab", nodes="ab"), (peaks, scores, valid, edges), max_instances=2)
    np.testing.assert_array_equal([animal[0][0] for animal in found], peaks[0, :2])


def test_a_slot_that_is_not_valid_does_not_count_whatever_it_holds():
    peaks, scores, valid, edges = scene(2, 2, 1)
    valid[1] = [True, False]
    peaks[1, 1], scores[1, 1], edges[0, :, 1], edges[0, :, 0] = 7.0, 9.0, 5.0, [0.9, 0.4]
    ((xy, _, _),) = assembled(skeleton("ab", nodes="ab"), (peaks, scores, valid, edges))
    np.testing.assert_array_equal(xy, peaks[:, 0])


@pytest.mark.parametrize("impossible", [np.nan, np.inf, NO])
def test_a_score_that_is_no_number_is_impossible(impossible):
    peaks, scores, valid, _ = scene(2, 1, 1)
    inputs = (peaks, scores, valid, np.full((1, 1, 1), impossible, np.float32))
    assert assembled(skeleton("ab", nodes="ab"), inputs) == []


def test_no_peaks_are_no_animals_also_after_an_image_with_some():
    plan = skeleton("ab", "bc", "bd")
    assembler = Assembler(plan, 2, 3, MIN_EDGE_SCORE)
    peaks, scores, valid, edges = scene(4, 3, 3)
    assert assembler.assemble(peaks, scores, valid, edges) == 2
    assert assembler.assemble(peaks, scores, ~valid, edges) == 0
    assert np.isnan(assembler.xy).all()
    assert not assembler.instance_scores.any()
    assert not assembler.overflow


def test_any_layout_is_taken_and_nothing_is_compiled_again():
    plan = skeleton("ab", "bc", "bd")
    inputs = scene(4, 3, 3)
    expected = assembled(plan, inputs)
    strange = [np.asfortranarray(array) for array in inputs]
    for array in strange:
        array.flags.writeable = False
    found = assembled(plan, strange)
    np.testing.assert_equal(found, expected)
    assert len(assemble.signatures) == 1


# --- properties -------------------------------------------------------------------------------------------------------


def best_matching(scores):
    """The pairs of the best matching, by trying all: first as many as can be, then the highest sum."""
    n_rows, n_columns = scores.shape
    columns = [*range(n_columns), *[None] * n_rows]
    best, best_value = [], (0, 0.0)
    for chosen in set(itertools.permutations(columns, n_rows)):
        pairs = [pair for pair in enumerate(chosen) if pair[1] is not None]
        value = (len(pairs), sum(float(scores[pair]) for pair in pairs))
        if all(np.isfinite(scores[pair]) for pair in pairs) and value > best_value:
            best, best_value = pairs, value
    return best


def by_brute_force(plan: Skeleton, inputs):
    """The animals as {((node, peak), …): score}, by joining the ends of all accepted pairs in any order."""
    _, _, valid, edges = inputs
    sets = {(node, peak): {(node, peak)} for node, peak in np.argwhere(valid).tolist()}
    scores = []
    for (source, destination), matrix in zip(plan.edges, edges, strict=True):
        possible = np.where(valid[source][:, None] & valid[destination], matrix, NO)
        for i, j in best_matching(possible):
            if possible[i, j] >= MIN_EDGE_SCORE:
                joined = sets[source, i] | sets[destination, j]
                sets |= dict.fromkeys(joined, joined)
                scores.append(((source, i), min(float(possible[i, j]), 1.0)))
    return {
        tuple(sorted(animal)): sum(score for end, score in scores if end in animal) / len(plan.edges)
        for animal in sets.values()
        if len(animal) > 1
    }


def by_place(animals):
    return sorted(animals, key=lambda animal: np.nan_to_num(animal[0]).ravel().tolist())


@st.composite
def trees(draw):
    """A tree with 2-4 nodes, its edges in any direction and order."""
    n_nodes = draw(st.integers(2, 4))
    links = [(draw(st.integers(0, node - 1)), node) for node in range(1, n_nodes)]
    links = [link[::-1] if draw(st.booleans()) else link for link in links]
    return Skeleton(tuple("abcd"[:n_nodes]), tuple(draw(st.permutations(links))))


@st.composite
def scenes(draw):
    """A tree, and 0-3 peaks a node with edge scores that do not tie, some of them impossible."""
    plan = draw(trees())
    n_nodes, n_edges, n_peaks = len(plan.nodes), len(plan.edges), draw(st.integers(1, 3))
    seed = draw(st.integers(0, 2**32 - 1))
    peaks, scores, _, edges = scene(n_nodes, n_peaks, n_edges, seed)
    random = np.random.default_rng(seed + 1)
    valid = random.random((n_nodes, n_peaks)) < draw(st.sampled_from([0.5, 0.9, 1.0]))
    edges[random.random(edges.shape) < draw(st.sampled_from([0.0, 0.2, 0.7]))] = NO
    return plan, (peaks, scores, valid, edges)


@settings(deadline=None, max_examples=300)
@given(scenes())
def test_assembly_equals_brute_force(case):
    plan, inputs = case
    peaks, scores, _, _ = inputs
    expected = by_brute_force(plan, inputs)
    found = assembled(plan, inputs)
    assert len(found) == len(expected)
    place = {tuple(peaks[node, peak]): (node, peak) for node, peak in np.ndindex(scores.shape)}
    for xy, node_scores, score in found:
        animal = tuple(place[tuple(point)] for point in xy if not np.isnan(point).any())
        assert score == pytest.approx(expected.pop(animal), abs=1e-6)
        seen = {node: scores[node, peak] for node, peak in animal}
        assert node_scores.tolist() == [seen.get(node, 0.0) for node in range(len(plan.nodes))]
    assert [score for *_, score in found] == sorted((score for *_, score in found), reverse=True)


@settings(deadline=None)  # the first call may compile
@given(scenes(), st.integers(0, 2**32 - 1))
def test_the_order_of_the_peaks_changes_at_most_the_order_of_animals_with_equal_scores(case, seed):
    plan, (peaks, scores, valid, edges) = case
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(peaks.shape[1]), (len(peaks), 1)), axis=1)
    rows = np.arange(len(peaks))[:, None]
    moved = np.stack([edges[e][np.ix_(orders[s], orders[d])] for e, (s, d) in enumerate(plan.edges)])
    found = assembled(plan, (peaks[rows, orders], scores[rows, orders], valid[rows, orders], moved))
    expected = assembled(plan, (peaks, scores, valid, edges))
    assert [score for *_, score in found] == [score for *_, score in expected]
    np.testing.assert_equal(by_place(found), by_place(expected))


@settings(deadline=None)  # the first call may compile
@given(scenes())
def test_a_peak_that_no_edge_reaches_changes_nothing(case):
    plan, (peaks, scores, valid, edges) = case
    padded = (
        np.pad(peaks, ((0, 0), (1, 0), (0, 0))),
        np.pad(scores, ((0, 0), (1, 0)), constant_values=1),
        np.pad(valid, ((0, 0), (1, 0)), constant_values=True),
        np.pad(edges, ((0, 0), (1, 0), (1, 0)), constant_values=NO),
    )
    np.testing.assert_equal(assembled(plan, padded), assembled(plan, (peaks, scores, valid, edges)))


@settings(deadline=None)  # the first call may compile
@given(scenes(), scenes())
def test_an_image_leaves_nothing_behind_for_the_next(case, other):
    plan, inputs = case
    assembler = Assembler(plan, 2, inputs[0].shape[1], MIN_EDGE_SCORE)
    assembler.assemble(*inputs)
    first = [array.tobytes() for array in (assembler.xy, assembler.node_scores, assembler.instance_scores)]
    assembler.assemble(*scene(*inputs[1].shape, len(plan.edges), seed=1))
    assembler.assemble(*inputs)
    assert [array.tobytes() for array in (assembler.xy, assembler.node_scores, assembler.instance_scores)] == first


# --- skeletons --------------------------------------------------------------------------------------------------------


def test_the_walk_goes_breadth_first_and_notes_edges_against_their_direction():
    assert tree_walk(skeleton("cd", "ab", "cb", "ae", nodes="abcde")).tolist() == [
        [1, 0, 1, 0],
        [3, 0, 4, 0],
        [2, 1, 2, 1],
        [0, 2, 3, 0],
    ]


def test_one_node_needs_no_walk():
    assert tree_walk(Skeleton(("a",))).shape == (0, 4)


@pytest.mark.parametrize(
    ("links", "through"),
    [
        pytest.param(("ab", "bc", "ca", "cd"), "a, b, c", id="triangle"),
        pytest.param(("ab", "ba", "bc", "cd"), "a, b", id="there-and-back"),
        pytest.param(("ab", "ab", "bc", "cd"), "a, b", id="twice"),
        pytest.param(("ab", "bc", "cd", "dd"), "d", id="to-itself"),
        pytest.param(("ab", "cd", "dc"), "c, d", id="apart"),
    ],
)
def test_a_circle_is_an_error(links, through):
    with pytest.raises(ModelNotOpenError) as caught:
        Assembler(skeleton(*links), 2, 4)
    assert str(caught.value) == (
        f"skeleton: expected a tree, got a circle of edges through {through}; "
        "train the model with a skeleton that lacks one of these edges"
    )


@pytest.mark.parametrize(
    ("links", "reached", "apart"),
    [
        pytest.param((), "a", "b, c, d", id="no-edges"),
        pytest.param(("ab", "cd"), "a, b", "c, d", id="two-parts"),
        pytest.param(("da", "ab"), "a, b, d", "c", id="a-node-alone"),
    ],
)
def test_nodes_apart_are_an_error(links, reached, apart):
    with pytest.raises(ModelNotOpenError) as caught:
        Assembler(skeleton(*links), 2, 4)
    assert str(caught.value) == (
        f"skeleton: expected edges that link all nodes, got none between {reached} and {apart}; "
        "train the model with a skeleton that has one, or without the nodes apart"
    )
