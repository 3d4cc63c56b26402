"""Every engine that is there, on every kind of graph: the same outputs in the caller's arrays, the same refusals."""

import importlib.util
import tracemalloc
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from models.engines.options import EngineOptions
from models.engines.registry import ALL_OPTIONS, open_engine
from models.errors import ModelError, ModelFailedError, ModelInputError, ModelNotOpenError

PATH = Path("folder/model.onnx")
# Points in px, scores of order 1.
TOLERANCE = 1e-4


# A machine without GPU software need not be told so at every test; test_registry.py says why each is left out.
HAS_GPU_SOFTWARE = {
    "onnxruntime": "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    "tensorrt": importlib.util.find_spec("tensorrt") is not None,
}
CANDIDATES = [options for options in ALL_OPTIONS if options.device == "cpu" or HAS_GPU_SOFTWARE[options.engine]]


@pytest.fixture(params=CANDIDATES, ids=[options.title for options in CANDIDATES])
def options(request, usable):
    return usable(request.param)


@pytest.fixture
def engine(options, plain_case):
    engine = open_engine(plain_case.graph, PATH, options)
    yield engine
    engine.close()


def outputs_of(options, case, images):
    engine = open_engine(case.graph, PATH, options)
    arrays = case.arrays(len(images))
    before = {name: array.ctypes.data for name, array in arrays.items()}
    engine.bind(images.shape, arrays).run(images)
    assert {name: array.ctypes.data for name, array in arrays.items()} == before
    engine.close()
    return arrays


def test_outputs_are_those_of_onnx_runtime(options, case):
    images = case.images(2)
    images.flags.writeable = False  # as a camera's are
    expected = outputs_of(EngineOptions(), case, images)
    found = outputs_of(options, case, images)
    # Half precision is compared in test_half.py, where a network alone is.
    tolerance = TOLERANCE if options.precision == "fp32" else 0.5
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=tolerance, rtol=1e-5, equal_nan=True, err_msg=name)
    if "valid" in expected:
        assert expected["valid"].any(), "a case without animals shows nothing"


def test_every_run_reads_its_own_image(options, top_down_case):
    images = [top_down_case.images(1, seed=seed) for seed in (0, 1)]
    expected = [outputs_of(EngineOptions(), top_down_case, image)["xy"] for image in images]
    assert not np.array_equal(expected[0], expected[1], equal_nan=True)
    engine, arrays = open_engine(top_down_case.graph, PATH, options), top_down_case.arrays(1)
    bound = engine.bind(images[0].shape, arrays)
    for k in (0, 1, 0, 0, 1):
        bound.run(images[k])
        tolerance = TOLERANCE if options.precision == "fp32" else 0.5
        np.testing.assert_allclose(arrays["xy"], expected[k], atol=tolerance, equal_nan=True)


def test_two_batch_sizes_can_be_bound_at_once(options, network_case):
    engine = open_engine(network_case.graph, PATH, options)
    images = network_case.images(2)
    both, first = network_case.arrays(2), network_case.arrays(1)
    bound = engine.bind(images.shape, both), engine.bind(images[:1].shape, first)
    bound[0].run(images)
    bound[1].run(images[:1])
    np.testing.assert_allclose(both["maps"][:1], first["maps"], atol=1e-5 if options.precision == "fp32" else 1e-2)


def test_outputs_that_are_not_wanted_are_left_out(engine, plain_case):
    images = plain_case.images(1)
    bright = np.zeros((1, 4, 6), np.bool_)
    engine.bind(images.shape, {"bright": bright}).run(images)
    assert np.array_equal(bright, images > 128)


@pytest.mark.parametrize(
    ("shape", "outputs", "message"),
    [
        ((1, 4, 5), {}, r"input image: expected \(1, 4, 5\) uint8, got \((1|any), 4, 6\) uint8"),
        ((1, 4, 6, 3), {}, r"input image: expected \(1, 4, 6, 3\) uint8, got \((1|any), 4, 6\) uint8"),
        ((1, 4, 6), {"peaks": np.zeros((1, 4, 6))}, "expected an output peaks, got whole, bright, logarithmic"),
        (
            (1, 4, 6),
            {"bright": np.zeros((1, 4, 6), np.uint8)},
            r"output bright: expected \(1, 4, 6\) uint8, got \((1|any), 4, 6\) bool",
        ),
        (
            (1, 4, 6),
            {"whole": np.zeros((1, 4), np.int64)},
            r"output whole: expected \(1, 4\) int64, got \((1|any), 4, 6\) int64",
        ),
        (
            (1, 4, 6),
            {"whole": np.zeros((1, 4, 12), np.int64)[:, :, ::2]},
            "output whole: expected a writable, C-contiguous array to fill",
        ),
    ],
)
def test_what_does_not_fit_the_graph_is_not_bound(engine, shape, outputs, message):
    with pytest.raises(ModelNotOpenError, match=f"^folder/model.onnx: {message}$"):
        engine.bind(shape, outputs)


def test_outputs_for_another_batch_are_refused(engine, plain_case):
    with pytest.raises(ModelError, match=r"^folder/model\.onnx: output whole: expected (shape )?\(2, 4, 6\)"):
        engine.bind((1, 4, 6), plain_case.arrays(2))


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (np.zeros((1, 4, 5), np.uint8), "(1, 4, 5) uint8"),
        (np.zeros((4, 6), np.uint8), "(4, 6) uint8"),
        (np.zeros((1, 4, 6), np.float32), "(1, 4, 6) float32"),
        (np.zeros((1, 4, 12), np.uint8)[:, :, ::2], "(1, 4, 6) uint8, not C-contiguous"),
    ],
)
def test_another_image_is_refused(engine, plain_case, image, got):
    bound = engine.bind((1, 4, 6), plain_case.arrays(1))
    with pytest.raises(ModelInputError) as error:
        bound.run(image)
    assert str(error.value) == f"folder/model.onnx: expected an image of shape (1, 4, 6) uint8, got {got}"


def test_a_damaged_graph_is_refused(options, plain_case):
    for damaged in (plain_case.graph[:150], b""):
        with pytest.raises(ModelNotOpenError, match=r"^folder/model.onnx: ."):
            open_engine(damaged, PATH, options)


def test_nothing_runs_after_closing(options, plain_case):
    engine = open_engine(plain_case.graph, PATH, options)
    bound = engine.bind((1, 4, 6), plain_case.arrays(1))
    engine.close()
    engine.close()
    for use in (lambda: bound.run(plain_case.images(1)), lambda: engine.bind((1, 4, 6), plain_case.arrays(1))):
        with pytest.raises(ModelFailedError) as error:
            use()
        assert str(error.value) == "folder/model.onnx: expected an open engine, got one that was closed"


def test_the_description_names_runtime_device_and_precision(engine, options):
    name, *_ = engine.description.split(" ")
    assert name == options.engine
    assert options.precision in engine.description
    assert options.device in engine.description or options.provider in engine.description


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_run_keeps_nothing(name, usable, top_down_case):
    engine = open_engine(top_down_case.graph, PATH, usable(EngineOptions(engine=name)))
    image = top_down_case.images(1)
    bound = engine.bind(image.shape, top_down_case.arrays(1))
    tracemalloc.start()
    try:
        for _ in range(100):  # until the interpreter has specialised what it runs
            bound.run(image)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(200):
            bound.run(image)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.reset_peak()
        bound.run(image)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert grown < 200  # not a byte a run
    assert peak < 2000  # some objects of a few bytes, no array
