"""What a graph takes and gives, in words."""

from pathlib import Path

import numpy as np
import pytest

from models.engines.signature import Signature, TensorType
from models.errors import ModelNotOpenError

IMAGE = TensorType(np.dtype(np.uint8), (None, 4, 6))


@pytest.mark.parametrize(
    ("shape", "dtype", "fits"),
    [
        ((1, 4, 6), np.uint8, True),
        ((9, 4, 6), np.uint8, True),
        ((1, 4, 7), np.uint8, False),
        ((4, 6), np.uint8, False),
        ((1, 4, 6, 3), np.uint8, False),
        ((1, 4, 6), np.int8, False),
    ],
)
def test_any_size_fits_where_none_is_known(shape, dtype, fits):
    assert IMAGE.takes(shape, np.dtype(dtype)) is fits


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (IMAGE, "(any, 4, 6) uint8"),
        (TensorType(np.dtype(np.bool_), (2,)), "(2,) bool"),
        (TensorType(np.dtype(np.float32), ()), "() float32"),
    ],
)
def test_a_type_reads_like_a_shape_and_a_dtype(kind, text):
    assert str(kind) == text


@pytest.mark.parametrize(
    ("inputs", "got"), [({}, "none"), ({"x": IMAGE}, "x"), ({"image": IMAGE, "y": IMAGE}, "image, y")]
)
def test_a_graph_takes_one_image(inputs, got):
    with pytest.raises(ModelNotOpenError) as error:
        Signature(inputs, {}).check(Path("model.onnx"), (1, 4, 6), {})
    assert str(error.value) == f"model.onnx: expected one input, image, got {got}"


def test_a_read_only_array_cannot_be_filled():
    array = np.zeros((1, 2), np.float32)
    array.flags.writeable = False
    signature = Signature({"image": IMAGE}, {"out": TensorType(array.dtype, (None, 2))})
    with pytest.raises(ModelNotOpenError) as error:
        signature.check(Path("model.onnx"), (1, 4, 6), {"out": array})
    assert str(error.value) == "model.onnx: output out: expected a writable, C-contiguous array to fill"
