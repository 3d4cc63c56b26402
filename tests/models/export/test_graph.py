import numpy as np
import pytest

from models.errors import ModelInputError
from models.export.builder import GraphBuilder
from models.export.graph import add_network, max_stride, output_channels, output_stride
from models.network import Layer, Network

RNG = np.random.default_rng(3)


@pytest.fixture
def compute(run_graph):
    def run(layers, weights, image):
        """Run `layers` on one `(height, width, channels)` image; return the last layer's output, channels last."""
        network = Network((Layer("input", "input", channels=image.shape[2]), *layers), (layers[-1].name,), weights)
        graph = GraphBuilder("test")
        value = graph.input("image", np.float32, (1, image.shape[2], *image.shape[:2]))
        output = add_network(graph, network, value)[layers[-1].name]
        rank = 2 if {layer.op for layer in layers} & {"dense", "flatten"} else 4
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


def test_strides_and_channels():
    layers = (
        Layer("input", "input", channels=1),
        Layer("c", "conv", ("input",), 8, 3, 2),
        Layer("p", "max_pool", ("c",), stride=2),
        Layer("u", "upsample", ("p",), stride=2),
        Layer("k", "concat", ("c", "u")),
        Layer("r", "relu", ("k",)),
    )
    network = Network(layers, ("r",))
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
    network = Network((Layer("input", "input", channels=1), Layer("c", "conv", ("input",), 1, 1)), ("c",), weights)
    graph = GraphBuilder("test")
    with pytest.raises(ModelInputError) as error:
        add_network(graph, network, graph.input("image", np.float32, (1, 1, 4, 4)))
    assert str(error.value) == message
