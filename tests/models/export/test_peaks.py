import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.export.builder import GraphBuilder
from models.export.peaks import Maps, add_global_peaks, add_local_peaks

HEIGHT, WIDTH, SLOTS, THRESHOLD = 6, 7, 4, 0.2
EARLIER = [(-1, -1), (-1, 0), (-1, 1), (0, -1)]
LATER = [(0, 1), (1, -1), (1, 0), (1, 1)]
# Few distinct values, so that ties are common.
levels = st.sampled_from([-0.5, 0.0, 0.2, 0.25, 0.5, 1.0])
stacks = arrays(np.float32, (2, 3, HEIGHT, WIDTH), elements=levels)


def local_session(geometry, *, channels=1, offsets=False):
    graph = GraphBuilder("local")
    values = graph.input("maps", np.float32, ("n", channels, HEIGHT, WIDTH))
    moved = graph.input("offsets", np.float32, ("n", 2 * channels, HEIGHT, WIDTH)) if offsets else None
    found = add_local_peaks(graph, Maps(values, moved, channels, HEIGHT, WIDTH), THRESHOLD, SLOTS, geometry)
    slots = ("n", channels, SLOTS)
    graph.output(found.cells, "peaks", np.float32, (*slots, 2))
    graph.output(found.values, "values", np.float32, slots)
    graph.output(found.valid, "valid", np.bool_, slots)
    graph.output(found.overflow, "overflow", np.bool_, ("n",))
    return onnxruntime.InferenceSession(graph.build().SerializeToString())


def global_session(geometry, *, offsets=False):
    graph = GraphBuilder("global")
    values = graph.input("maps", np.float32, ("n", 3, HEIGHT, WIDTH))
    moved = graph.input("offsets", np.float32, ("n", 6, HEIGHT, WIDTH)) if offsets else None
    peaks, scores = add_global_peaks(graph, Maps(values, moved, 3, HEIGHT, WIDTH), THRESHOLD, geometry)
    graph.output(peaks, "peaks", np.float32, ("n", 3, 2))
    graph.output(scores, "values", np.float32, ("n", 3))
    return onnxruntime.InferenceSession(graph.build().SerializeToString())


LOCAL = {geometry: local_session(geometry, channels=3) for geometry in ("exact", "sleap_compat")}
GLOBAL = {geometry: global_session(geometry) for geometry in ("exact", "sleap_compat")}


def refined(cells, row, column, geometry):
    """The refinement, written out; None where it has no value."""
    if geometry == "exact":
        patch = np.pad(np.maximum(cells.astype(np.float64), 1e-3), 1)[row : row + 3, column : column + 3]
        return tuple(
            at + gaussian_middle(patch.sum(axis=axis)) * (0 < at < size - 1)
            for at, size, axis in ((column, WIDTH, 0), (row, HEIGHT, 1))
        )
    patch = np.pad(cells.astype(np.float64), 2)[row : row + 5, column : column + 5]
    y, x = np.mgrid[-2:3, -2:3]
    total = patch.sum()
    if abs(total) < 1e-6:
        return None
    return column + (x * patch).sum() / total, row + (y * patch).sum() / total


def gaussian_middle(values):
    """The vertex of the parabola through the logarithms of three values, at most half a step from the middle one."""
    left, middle, right = np.log(np.maximum(values, 1e-3))
    bend = max(2 * (2 * middle - left - right), 1e-3)
    return float(np.clip((right - left) / bend, -0.5, 0.5))


def local_reference(cells, geometry):
    padded = np.pad(cells, 1, constant_values=-np.inf)
    found = []
    for row, column in np.ndindex(cells.shape):
        value = cells[row, column]
        before = max(padded[row + 1 + dy, column + 1 + dx] for dy, dx in EARLIER)
        after = max(padded[row + 1 + dy, column + 1 + dx] for dy, dx in LATER)
        beats_later = value >= after if geometry == "exact" else value > after
        if value > before and beats_later and value > np.float32(THRESHOLD):
            found.append((value, row, column))
    return sorted(found, key=lambda peak: -peak[0])


@pytest.mark.parametrize("geometry", ["exact", "sleap_compat"])
@settings(max_examples=200, deadline=None)
@given(stack=stacks)
def test_local_peaks_are_those_of_the_definition(geometry, stack):
    peaks, values, valid, overflow = LOCAL[geometry].run(None, {"maps": stack})
    for n, k in np.ndindex(2, 3):
        cells = stack[n, k]
        expected = local_reference(cells, geometry)[:SLOTS]
        empty = SLOTS - len(expected)
        assert valid[n, k].tolist() == [True] * len(expected) + [False] * empty
        np.testing.assert_array_equal(values[n, k], [value for value, _, _ in expected] + [0] * empty)
        assert np.isnan(peaks[n, k][~valid[n, k]]).all()
        for peak, (_, row, column) in zip(peaks[n, k], expected, strict=False):
            point = refined(cells, row, column, geometry)
            if point is not None:
                np.testing.assert_allclose(peak, point, atol=1e-4)
    assert overflow.tolist() == [
        any(len(local_reference(cells, geometry)) > SLOTS for cells in stack[n]) for n in range(2)
    ]


@pytest.mark.parametrize("geometry", ["exact", "sleap_compat"])
@settings(max_examples=200, deadline=None)
@given(stack=stacks)
def test_global_peaks_are_those_of_the_definition(geometry, stack):
    peaks, values = GLOBAL[geometry].run(None, {"maps": stack})
    for n, k in np.ndindex(2, 3):
        cells = stack[n, k]
        row, column = np.unravel_index(cells.argmax(), cells.shape)
        if geometry == "sleap_compat":
            row, column = cells.max(axis=1).argmax(), cells.max(axis=0).argmax()
        assert values[n, k] == cells[row, column]
        if values[n, k] < np.float32(THRESHOLD):
            assert np.isnan(peaks[n, k]).all()
        elif (point := refined(cells, row, column, geometry)) is not None:
            np.testing.assert_allclose(peaks[n, k], point, atol=1e-4)


@pytest.mark.parametrize(
    "cells", [[(2, 2), (2, 3)], [(2, 2), (3, 2)], [(2, 2), (3, 3)], [(2, 3), (3, 2)], [(2, 2), (2, 3), (3, 2), (3, 3)]]
)
def test_a_plateau_is_one_peak_but_none_for_sleap(cells):
    flat = np.zeros((1, 3, HEIGHT, WIDTH), np.float32)
    for row, column in cells:
        flat[0, :, row, column] = 1.0
    peaks, _, valid, _ = LOCAL["exact"].run(None, {"maps": flat})
    assert valid[0, 1].tolist() == [True, False, False, False]
    np.testing.assert_allclose(peaks[0, 1, 0], np.mean(cells, axis=0)[::-1], atol=1e-6)
    assert not LOCAL["sleap_compat"].run(None, {"maps": flat})[2].any()


def test_the_threshold_itself_is_a_global_peak_but_not_a_local_one():
    flat = np.zeros((1, 3, HEIGHT, WIDTH), np.float32)
    flat[0, :, 2, 2] = THRESHOLD
    assert not LOCAL["exact"].run(None, {"maps": flat})[2].any()
    np.testing.assert_allclose(GLOBAL["exact"].run(None, {"maps": flat})[0], np.full((1, 3, 2), 2.0))


def test_negative_cells_throw_a_peak_out_of_its_patch_only_in_sleap():
    cells = np.zeros((1, 3, HEIGHT, WIDTH), np.float32)
    cells[0, :, 3, 3], cells[0, :, 3, 1] = 1.0, -0.9
    exact, sleap = (GLOBAL[geometry].run(None, {"maps": cells})[0] for geometry in ("exact", "sleap_compat"))
    np.testing.assert_allclose(exact, np.full((1, 3, 2), 3.0), atol=1e-6)
    np.testing.assert_allclose(sleap[0, 0], (3 + 18, 3), atol=1e-3)


@pytest.mark.parametrize("sigma", [0.75, 1.0, 1.9, 2.5, 4.0])
def test_a_gaussian_of_any_width_is_found_exactly_but_pulled_to_its_cell_by_sleap(sigma):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    points = np.random.default_rng(2).uniform((2.0, 2.0), (WIDTH - 3, HEIGHT - 3), (50, 3, 2))
    maps = np.exp(-((x - points[..., 0, None, None]) ** 2 + (y - points[..., 1, None, None]) ** 2) / (2 * sigma**2))
    exact, sleap = (GLOBAL[geometry].run(None, {"maps": maps.astype(np.float32)})[0] for geometry in GLOBAL)
    np.testing.assert_allclose(exact, points, atol=0.02)
    if sigma >= 1.9:
        assert np.abs(sleap - points).max() > 0.2


def test_offset_maps_replace_the_refinement():
    rng = np.random.default_rng(1)
    stack = rng.random((2, 3, HEIGHT, WIDTH), np.float32) + 0.3
    offsets = rng.random((2, 6, HEIGHT, WIDTH), np.float32) - 0.5
    peaks, _ = global_session("exact", offsets=True).run(None, {"maps": stack, "offsets": offsets})
    for n, k in np.ndindex(2, 3):
        row, column = np.unravel_index(stack[n, k].argmax(), (HEIGHT, WIDTH))
        np.testing.assert_allclose(peaks[n, k], (column, row) + offsets[n, 2 * k : 2 * k + 2, row, column], atol=1e-6)
    session = local_session("exact", channels=3, offsets=True)
    peaks, _, valid, _ = session.run(None, {"maps": stack, "offsets": offsets})
    for n, k in np.ndindex(2, 3):
        expected = local_reference(stack[n, k], "exact")[:SLOTS]
        assert valid[n, k].sum() == len(expected) > 1
        for peak, (_, row, column) in zip(peaks[n, k], expected, strict=False):
            np.testing.assert_allclose(peak, (column, row) + offsets[n, 2 * k : 2 * k + 2, row, column], atol=1e-6)


def test_maps_of_nan_have_no_peaks():
    nan = np.full((1, 3, HEIGHT, WIDTH), np.nan, np.float32)
    assert not LOCAL["exact"].run(None, {"maps": nan})[2].any()
    assert np.isnan(GLOBAL["exact"].run(None, {"maps": nan})[0]).all()
