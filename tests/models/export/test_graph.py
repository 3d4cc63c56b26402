import numpy as np
import onnxruntime
import pytest

from models.errors import ModelInputError
from models.export.builder import GraphBuilder
from models.export.graph import (
    add_network,
    check_map_sizes,
    layer_strides,
    max_stride,
    output_channels,
    output_stride,
)
from models.export.reference import reference_outputs
from models.network import Layer, Network

RNG = np.random.default_rng(3)


@pytest.fixture
def compute(run_graph):
    def run(layers, weights, image):
        """Run `layers` on one `(height, width, channels)` image; return the last layer's output, channels last."""
        network = Network(
            (Layer("input", "input", channels=image.shape[2]), *layers), {"last": layers[-1].name}, weights
        )
        graph = GraphBuilder("test")
        value = graph.input("image", np.float32, (1, image.shape[2], *image.shape[:2]))
        output = add_network(graph, network, value)["last"]
        rank = 4 if layers[-1].name in layer_strides(network) else 2
        (result,) = run_graph(graph, {output: (np.float32, rank)}, {"image": image.transpose(2, 0, 1)[np.newaxis]})
        return result[0] if rank == 2 else result[0].transpose(1, 2, 0)

    return run


def image_of(height, width, channels):
    return RNG.standard_normal((height, width, channels)).astype(np.float32)


def weights_of(name, kernel_shape, n):
    return {f"{name}/kernel": image_of(*kernel_shape[:2], int(np.prod(kernel_shape[2:]))).reshape(kernel_shape),
            f"{name}/bias": RNG.standard_normal(n).astype(np.float32)}  # fmt: skip


def convolved(image, kernel, bias, stride):
    """TensorFlow's "same" convolution, written out."""
    side, n_out = kernel.shape[0], kernel.shape[3]
    surplus = max(side - stride, 0)
    padded = np.pad(image, ((surplus // 2, surplus - surplus // 2),) * 2 + ((0, 0),))
    height, width = image.shape[0] // stride, image.shape[1] // stride
    out = np.zeros((height, width, n_out))
    for y in range(height):
        for x in range(width):
            patch = padded[y * stride : y * stride + side, x * stride : x * stride + side]
            out[y, x] = np.einsum("abi,abio->o", patch, kernel)
    return out + bias


@pytest.mark.parametrize(("side", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1), (7, 2), (2, 2)])
def test_convolution(compute, side, stride):
    image, weights = image_of(8, 6, 2), weights_of("c", (side, side, 2, 3), 3)
    result = compute([Layer("c", "conv", ("input",), 3, side, stride)], weights, image)
    np.testing.assert_allclose(result, convolved(image, weights["c/kernel"], weights["c/bias"], stride), atol=1e-4)


def test_depthwise_convolution(compute):
    image, weights = image_of(6, 6, 2), weights_of("c", (3, 3, 2, 1), 2)
    result = compute([Layer("c", "depthwise_conv", ("input",), 2, 3)], weights, image)
    for k in range(2):
        kernel = weights["c/kernel"][:, :, k : k + 1]
        expected = convolved(image[:, :, k : k + 1], kernel, weights["c/bias"][k], 1)
        np.testing.assert_allclose(result[:, :, k : k + 1], expected, atol=1e-4)


def test_transposed_convolution_is_cropped_at_the_end(compute):
    image, weights = image_of(4, 3, 2), weights_of("t", (3, 3, 5, 2), 5)
    result = compute([Layer("t", "conv_transpose", ("input",), 5, 3, 2)], weights, image)
    full = np.zeros((9, 7, 5))
    for y, x, a, b in np.ndindex(4, 3, 3, 3):
        full[2 * y + a, 2 * x + b] += weights["t/kernel"][a, b] @ image[y, x]
    np.testing.assert_allclose(result, full[:8, :6] + weights["t/bias"], atol=1e-4)


@pytest.mark.parametrize("factor", [2, 4])
def test_upsampling_is_half_pixel_and_clamped(compute, factor):
    image = image_of(5, 4, 1)
    result = compute([Layer("u", "upsample", ("input",), stride=factor)], {}, image)
    rows, columns = ((np.arange(n * factor) + 0.5) / factor - 0.5 for n in (5, 4))
    down = np.stack([np.interp(rows, np.arange(5), column) for column in image[:, :, 0].T], axis=1)
    expected = np.stack([np.interp(columns, np.arange(4), row) for row in down])
    np.testing.assert_allclose(result[:, :, 0], expected, atol=1e-6)


def test_branches_and_activations(compute):
    image = image_of(4, 4, 2)
    relu, sigmoid = Layer("r", "relu", ("input",)), Layer("s", "sigmoid", ("input",))
    concat = compute([relu, sigmoid, Layer("c", "concat", ("r", "s"))], {}, image)
    positive, squashed = np.maximum(image, 0), 1 / (1 + np.exp(-image))
    np.testing.assert_allclose(concat, np.concatenate([positive, squashed], axis=2), atol=1e-6)
    added = compute([relu, sigmoid, Layer("a", "add", ("r", "s"))], {}, image)
    np.testing.assert_allclose(added, positive + squashed, atol=1e-6)
    pooled = compute([Layer("p", "max_pool", ("input",), stride=2)], {}, image)
    np.testing.assert_allclose(pooled, image.reshape(2, 2, 2, 2, 2).max(axis=(1, 3)), atol=1e-6)


def test_classifier_reads_maps_channels_last(compute):
    image, weights = image_of(2, 3, 2), weights_of("d", (1, 1, 12, 4), 4)
    weights["d/kernel"] = weights["d/kernel"].reshape(12, 4)
    result = compute([Layer("f", "flatten", ("input",)), Layer("d", "dense", ("f",), 4)], weights, image)
    np.testing.assert_allclose(result, image.ravel() @ weights["d/kernel"] + weights["d/bias"], atol=1e-5)


def test_global_pool_and_softmax(compute):
    image = image_of(3, 3, 4)
    layers = [Layer("g", "global_max_pool", ("input",)), Layer("f", "flatten", ("g",)), Layer("s", "softmax", ("f",))]
    highest = image.max(axis=(0, 1))
    np.testing.assert_allclose(compute(layers, {}, image), np.exp(highest) / np.exp(highest).sum(), atol=1e-6)


def test_explicit_padding_and_dilation(compute):
    image, weights = image_of(9, 7, 2), weights_of("c", (3, 3, 2, 3), 3)
    result = compute([Layer("c", "conv", ("input",), 3, 3, pads=(2, 0, 1, 3), dilation=2)], weights, image)
    dilated = np.zeros((5, 5, 2, 3), np.float32)
    dilated[::2, ::2] = weights["c/kernel"]
    padded = np.pad(image, ((2, 1), (0, 3), (0, 0)))
    inner = convolved(padded, dilated, weights["c/bias"], 1)[2:-2, 2:-2]
    np.testing.assert_allclose(result, inner, atol=1e-4)


def test_the_reference_evaluator_knows_dilation():
    weights = weights_of("c", (3, 3, 2, 3), 3)
    layers = (Layer("input", "input", channels=2), Layer("c", "conv", ("input",), 3, 3, 2, dilation=2))
    graph = GraphBuilder("test")
    image = graph.input("image", np.float32, (1, 2, 8, 6))
    outputs = add_network(graph, Network(layers, {"confmaps": "c"}, weights), image)
    graph.output(outputs["confmaps"], "maps", np.float32, (1, 3, 4, 3))
    model, images = graph.build().SerializeToString(), image_of(1, 2, 48).reshape(1, 2, 8, 6)
    (expected,) = onnxruntime.InferenceSession(model).run(None, {"image": images})
    np.testing.assert_allclose(reference_outputs(model, images)["maps"], expected, atol=1e-5)


def test_transposed_convolution_is_cropped_as_told(compute):
    image, weights = image_of(4, 3, 2), weights_of("t", (3, 3, 5, 2), 5)
    whole = compute([Layer("t", "conv_transpose", ("input",), 5, 3, 2, pads=(0, 0, 0, 0))], weights, image)
    assert whole.shape == (9, 7, 5)
    late = compute([Layer("t", "conv_transpose", ("input",), 5, 3, 2, pads=(1, 1, 0, 0))], weights, image)
    np.testing.assert_allclose(late, whole[1:, 1:], atol=1e-6)
    same = compute([Layer("t", "conv_transpose", ("input",), 5, 3, 2)], weights, image)
    np.testing.assert_allclose(same, whole[:8, :6], atol=1e-6)


@pytest.mark.parametrize(("op", "combine"), [("max_pool", np.max), ("average_pool", np.mean)])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (2, 1), (0, 2)])
def test_pools_do_not_count_their_padding(compute, op, combine, kernel, stride):
    image = image_of(6, 4, 2) - 3
    result = compute([Layer("p", op, ("input",), kernel=kernel, stride=stride)], {}, image)
    side = kernel or stride
    begin = max(side - stride, 0) // 2
    for y, x in np.ndindex(6 // stride, 4 // stride):
        rows, columns = (slice(max(k * stride - begin, 0), k * stride - begin + side) for k in (y, x))
        np.testing.assert_allclose(result[y, x], combine(image[rows, columns], axis=(0, 1)), atol=1e-6)


def test_nearest_neighbours_zeros_around_and_numbers_per_channel(compute):
    image, (scale, bias) = image_of(3, 2, 2), RNG.standard_normal((2, 2)).astype(np.float32)
    nearest = compute([Layer("u", "upsample_nearest", ("input",), stride=3)], {}, image)
    np.testing.assert_allclose(nearest, image.repeat(3, axis=0).repeat(3, axis=1))
    padded = compute([Layer("p", "pad", ("input",), pads=(1, 2, 3, 0))], {}, image)
    np.testing.assert_allclose(padded, np.pad(image, ((1, 3), (2, 0), (0, 0))))
    weights = {"a/scale": scale, "a/bias": bias}
    np.testing.assert_allclose(compute([Layer("a", "affine", ("input",))], weights, image), image * scale + bias, 1e-5)
    pooled = compute([Layer("g", "global_average_pool", ("input",)), Layer("a", "affine", ("g",))], weights, image)
    np.testing.assert_allclose(pooled, image.mean(axis=(0, 1)) * scale + bias, 1e-4)


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (Layer("x", "leaky_relu", ("input",), slope=0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
        (Layer("x", "elu", ("input",)), lambda x: np.where(x > 0, x, np.expm1(x))),
        (Layer("x", "tanh", ("input",)), np.tanh),
        (Layer("x", "softmax", ("input",)), lambda x: np.exp(x) / np.exp(x).sum(axis=2, keepdims=True)),
    ],
    ids=lambda value: getattr(value, "op", ""),
)
def test_other_activations(compute, layer, function):
    image = image_of(3, 4, 3)
    np.testing.assert_allclose(compute([layer], {}, image), function(image), atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Layer("a", "conv", ("input",), 1, 3, pads=(0, 0, 0, 0))],
         "layer a: expected a map of 4×4 cells for an input of 4×4 px, got 2×2"),
        ([Layer("a", "conv", ("input",), 1, 3, 2, pads=(1, 1, 1, 1))], None),
        ([Layer("a", "pad", ("input",), pads=(3, 3, 3, 3)), Layer("b", "conv", ("a",), 1, 7, 2, pads=(0, 0, 0, 0))],
         None),
        ([Layer("a", "conv", ("input",), 1, 2, 2, pads=(0, 1, 0, 1))],
         "layer a: expected a map of 4×4 cells for an input of 8×8 px, got 4×5"),
        ([Layer("a", "max_pool", ("input",), kernel=3, stride=2, pads=(0, 0, 0, 0)),
          Layer("b", "upsample", ("a",), stride=2), Layer("c", "concat", ("input", "b"))],
         "layer b: expected a map of 8×8 cells for an input of 8×8 px, got 6×6"),
        ([Layer("a", "conv_transpose", ("input",), 1, 3, 2, pads=(1, 1, 1, 1))],
         "layer a: expected a map of 8×8 cells for an input of 4×4 px, got 7×7"),
    ],
)  # fmt: skip
def test_sizes_of_maps_are_checked(layers, message):
    network = Network((Layer("input", "input", channels=1), *layers), {"confmaps": layers[-1].name})
    if message is None:
        check_map_sizes(network)
        return
    with pytest.raises(ModelInputError) as error:
        check_map_sizes(network)
    assert str(error.value) == message


def test_strides_and_channels():
    layers = (
        Layer("input", "input", channels=1),
        Layer("c", "conv", ("input",), 8, 3, 2),
        Layer("p", "max_pool", ("c",), stride=2),
        Layer("u", "upsample", ("p",), stride=2),
        Layer("k", "concat", ("c", "u")),
        Layer("r", "relu", ("k",)),
    )
    network = Network(layers, {"confmaps": "r"})
    assert (max_stride(network), output_stride(network, "r"), output_channels(network, "r")) == (4, 2, 16)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "layer c: expected the weight c/kernel, got none"),
        ({"c/kernel": np.zeros((3, 3))}, "weight c/kernel: expected 4 dimensions, got shape (3, 3)"),
        ({"c/kernel": np.full((1, 1, 1, 1), np.nan)}, "weight c/kernel: expected finite numbers, got NaN or infinity"),
    ],
    ids=["missing", "shape", "not finite"],
)
def test_bad_weights_are_named(weights, message):
    network = Network(
        (Layer("input", "input", channels=1), Layer("c", "conv", ("input",), 1, 1)), {"confmaps": "c"}, weights
    )
    graph = GraphBuilder("test")
    with pytest.raises(ModelInputError) as error:
        add_network(graph, network, graph.input("image", np.float32, (1, 1, 4, 4)))
    assert str(error.value) == message
