"""What the reader makes of Keras's layers and of SLEAP's backbones must compute what Keras computes."""

import json
import os

import numpy as np
import pytest

from models.errors import ModelInputError, ModelNotOpenError
from models.export.graph import check_map_sizes, max_stride
from models.sources.keras import read_keras_network

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")


def conv(layers, x, filters, side=3, *, stride=1, norm=None, name=None, **settings):
    """SLEAP's block: convolution, normalisation before or after the activation, activation."""
    x = layers.Conv2D(filters, side, strides=stride, padding="same", name=name, **settings)(x)
    if norm == "before":
        x = layers.BatchNormalization()(x)
    x = layers.Activation("relu")(x)
    return layers.BatchNormalization()(x) if norm == "after" else x


def unet(layers, x, *, stem=0, down=3, up=2, interpolate=True, stacks=1, norm=None, filters=4, skip="concat"):
    """SLEAP's UNet: a stem of 7×7 convolutions, `stacks` encoders and decoders; returns their ends and the middle."""
    for _ in range(stem):
        x = conv(layers, x, filters, 7, norm=norm)
        x = conv(layers, x, filters, 7, norm=norm)
        x = layers.MaxPooling2D(2, strides=2, padding="same")(x)
    finals = []
    for _ in range(stacks):
        skips = []
        for i in range(down):
            if i:
                x = layers.MaxPooling2D(2, strides=2, padding="same")(x)
            x = conv(layers, conv(layers, x, filters + i, norm=norm), filters + i, norm=norm)
            skips.append(x)
        x = layers.MaxPooling2D(2, strides=2, padding="same")(x)
        x = middle = conv(layers, conv(layers, x, filters + down), filters + down)
        for source in skips[::-1][:up]:
            if interpolate:
                x = layers.UpSampling2D(2, interpolation="bilinear")(x)
            else:
                x = layers.Activation("relu")(layers.Conv2DTranspose(filters, 3, strides=2, padding="same")(x))
            if skip == "concat":
                x = layers.Concatenate()([source, x])
            else:
                x = layers.Add()([layers.Conv2D(x.shape[-1], 1, padding="same")(source), x])
            x = conv(layers, conv(layers, x, filters), filters)
        finals.append(x)
    return finals, middle


def unet_heads(layers, x, **options):
    finals, middle = unet(layers, x, **options)
    heads = [layers.Conv2D(3, 1, padding="same", name=f"MultiInstanceConfmapsHead_{k}")(final)
             for k, final in enumerate(finals)]  # fmt: skip
    return [*heads, layers.Conv2D(2, 1, padding="same", activation="sigmoid", name="ClassMapsHead_0")(middle)]


def hourglass(layers, x):
    """SLEAP's hourglass: a strided 7×7 stem, normalisation after activation, sums, nearest neighbours, two stacks."""

    def block(x, filters, side=3, stride=1):
        x = layers.Conv2D(filters, side, strides=stride, padding="same", activation="relu")(x)
        return layers.BatchNormalization()(x)

    x = block(block(x, 4, 7, 2), 8)
    x = block(layers.MaxPooling2D(strides=2, padding="same")(x), 6)
    heads = []
    for k in range(2):
        skips = []
        for i in range(2):
            skips.append(x)
            x = block(layers.MaxPooling2D(strides=2, padding="same")(x), 6 + i)
        for source in skips[::-1]:
            x = layers.UpSampling2D(interpolation="nearest")(block(x, 6))
            x = layers.Add()([x, block(source, 6)])
        heads.append(layers.Conv2D(2, 1, padding="same", name=f"CentroidConfmapsHead_{k}")(x))
    return heads


def leap(layers, x):
    """LEAP: three convolutions a block, no skips, transposed convolutions."""
    for i in range(2):
        for _ in range(3):
            x = conv(layers, x, 4 + i)
        x = layers.MaxPooling2D(2, strides=2, padding="same")(x)
    for i in (2, 1):
        x = layers.Activation("relu")(layers.Conv2DTranspose(4 + i, 3, strides=2, padding="same")(x))
        x = conv(layers, x, 4 + i)
    return [layers.Conv2D(2, 1, name="SingleInstanceConfmapsHead")(x)]


def resnet(layers, x):
    """ResNet: zeros around, valid convolutions, strided and dilated residual blocks, a padded pool."""

    def residual(x, filters, stride=1, dilation=1, *, shortcut=True):
        beside = x
        if shortcut:
            beside = layers.Conv2D(4 * filters, 1, strides=stride, dilation_rate=dilation)(x)
            beside = layers.BatchNormalization(epsilon=1.001e-5)(beside)
        x = layers.Conv2D(filters, 1, strides=stride, dilation_rate=dilation)(x)
        x = layers.Activation("relu")(layers.BatchNormalization(epsilon=1.001e-5)(x))
        x = layers.Conv2D(filters, 3, padding="same", dilation_rate=dilation)(x)
        x = layers.Activation("relu")(layers.BatchNormalization(epsilon=1.001e-5)(x))
        x = layers.BatchNormalization(epsilon=1.001e-5)(layers.Conv2D(4 * filters, 1)(x))
        return layers.Activation("relu")(layers.Add()([beside, x]))

    x = layers.Conv2D(4, 7, strides=2)(layers.ZeroPadding2D(((3, 3), (3, 3)))(x))
    x = layers.Activation("relu")(layers.BatchNormalization(epsilon=1.001e-5)(x))
    x = layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(1)(x))
    x = residual(residual(x, 2), 2, shortcut=False)
    x = residual(residual(x, 3, stride=2), 3, shortcut=False)
    x = residual(x, 4, dilation=2)
    x = layers.UpSampling2D(4, interpolation="bilinear")(x)
    return [layers.Conv2D(3, 3, padding="same", name="CentroidConfmapsHead")(x)]


def identity(layers, x):
    """A class head on the middle block beside confidence maps; the maps' decoder has another stride."""
    (x,), middle = unet(layers, x, down=2, up=1)
    y = layers.Flatten()(layers.GlobalMaxPooling2D()(middle))
    for _ in range(2):
        y = layers.Activation("relu")(layers.Dense(5)(y))
    return [
        layers.Conv2D(2, 1, name="CenteredInstanceConfmapsHead_0")(x),
        layers.Dense(3, activation="softmax", name="ClassVectorsHead_0")(y),
    ]


def flattened(layers, x):
    """A class head without a global pool: the whole map goes into the dense layer."""
    x = layers.MaxPooling2D(8)(conv(layers, x, 3))
    return [layers.Dense(2, activation="softmax")(layers.Dropout(0.5)(layers.Flatten()(x)))]


def odds_and_ends(layers, x):
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=1)(layers.Conv2D(4, 5, padding="same")(x))
    x = layers.LeakyReLU(0.2)(layers.SpatialDropout2D(0.1)(x))
    x = layers.Add()([layers.ELU()(x), layers.ReLU(negative_slope=0.1)(x), layers.Softmax()(x)])
    overlapping = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    averaged = layers.AveragePooling2D(3, strides=2, padding="same")(x)
    plain = layers.AveragePooling2D(2, padding="valid")(x)
    strided = layers.Conv2D(3, 4, strides=2, padding="same", use_bias=False, activation="tanh")(x)
    dense = layers.MaxPooling2D(2, strides=1, padding="same")(layers.Concatenate()([overlapping, averaged]))
    x = layers.Concatenate(axis=-1)([dense, plain, layers.BatchNormalization(scale=False, center=False)(strided)])
    exact = layers.Conv2DTranspose(3, 2, strides=2, padding="valid")(x)
    wide = layers.Conv2DTranspose(3, 5, strides=2, padding="same", activation="elu")(x)
    x = layers.Concatenate()([exact, wide, layers.Conv2DTranspose(2, 4, strides=2, padding="same")(x)])
    return [x, layers.BatchNormalization()(layers.GlobalAveragePooling2D()(x))]


ARCHITECTURES = {
    "unet, bilinear": (unet_heads, {}),
    "unet, transposed": (unet_heads, {"interpolate": False}),
    "unet, stem": (unet_heads, {"stem": 1, "down": 2}),
    "unet, full resolution": (unet_heads, {"down": 2}),
    "unet, no decoder": (unet_heads, {"up": 0}),
    "unet, two stacks": (unet_heads, {"down": 2, "up": 2, "stacks": 2}),
    "unet, normalised before": (unet_heads, {"norm": "before"}),
    "unet, normalised after": (unet_heads, {"norm": "after", "skip": "add"}),
    "hourglass": (hourglass, {}),
    "leap": (leap, {}),
    "resnet": (resnet, {}),
    "class vectors": (identity, {}),
    "flattened maps": (flattened, {}),
    "other layers": (odds_and_ends, {}),
}


def build(module, name, channels=1, size=(32, 48)):
    """Return a model with weights and statistics that no initialiser would choose."""
    make, options = ARCHITECTURES[name]
    rng = np.random.default_rng(5)
    x = module.Input((*size, channels), name="input")
    model = module.Model(x, make(module.layers, x, **options))
    for layer in model.layers:
        weights = layer.get_weights()
        layer.set_weights([
            weight + rng.uniform(0.1, 0.3, weight.shape) if weight.ndim == 1 else
            rng.normal(0, 1.2 / np.sqrt(np.prod(weight.shape[:-1])), weight.shape) for weight in weights
        ])  # fmt: skip
    return model


def images_of(model):
    return np.random.default_rng(6).random((2, *model.input_shape[1:])).astype(np.float32)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_networks_compute_what_keras_computes(write_keras2, run_network, tmp_path, name):
    model = build(keras, name)
    images = images_of(model)
    write_keras2(model, tmp_path / "best_model.h5")
    network, input_size = read_keras_network(tmp_path / "best_model.h5")
    assert input_size == (32, 48)
    check_map_sizes(network)
    expected = model(images, training=False)
    expected = [np.asarray(output) for output in (expected if isinstance(expected, list) else [expected])]
    results = list(run_network(network, images).values())
    for result, reference in zip(results, expected, strict=True):
        assert result.shape == reference.shape
        np.testing.assert_allclose(result, reference, atol=1e-4 * max(1.0, np.abs(reference).max()))
        assert reference.std() > 1e-3


@pytest.mark.parametrize("channels", [1, 3])
def test_functions_of_sleaps_pretrained_resnet_are_known_by_name(write_keras2, run_network, tmp_path, channels):
    x = keras.Input((8, 8, channels), name="input")
    y = keras.layers.Identity(name="tile_channels")(x) if channels == 1 else x
    y = keras.layers.Identity(name="imagenet_preproc_v1")(y)
    path = tmp_path / "best_model.h5"
    write_keras2(keras.Model(x, y), path)
    edit_layers(path, lambda layers: [
        layer.update(class_name="Lambda", config={"function": name, "function_type": "function", "module": "x"})
        for name, layer in layers.items() if name != "input"
    ])  # fmt: skip
    images = np.random.default_rng(7).random((1, 8, 8, channels)).astype(np.float32)
    (result,) = run_network(read_keras_network(path)[0], images).values()
    rgb = np.repeat(images, 3, axis=3) if channels == 1 else images
    np.testing.assert_allclose(result, rgb[..., ::-1] * 255 - [103.939, 116.779, 123.68], atol=1e-4)


def edit_layers(path, change):
    with h5py.File(path, "r+") as file:
        model = json.loads(file.attrs["model_config"])
        change({layer["name"]: layer for layer in model["config"]["layers"]})
        file.attrs["model_config"] = json.dumps(model)


@pytest.fixture
def small(write_keras2, tmp_path):
    """A file with one layer of each kind whose settings can be wrong."""
    x = keras.Input((8, 8, 1), name="input")
    y = keras.layers.Conv2D(2, 3, padding="same", name="conv")(x)
    y = keras.layers.BatchNormalization(name="norm")(y)
    y = keras.layers.ReLU(name="relu")(y)
    y = keras.layers.MaxPooling2D(2, name="pool")(y)
    y = keras.layers.Conv2DTranspose(2, 3, strides=2, padding="same", name="trans")(y)
    y = keras.layers.UpSampling2D(2, name="up")(y)
    y = keras.layers.Identity(name="function")(y)
    write_keras2(keras.Model(x, y), tmp_path / "best_model.h5")
    edit_layers(tmp_path / "best_model.h5", lambda layers: layers["function"].update(class_name="Dropout"))
    return tmp_path / "best_model.h5"


MISTAKES = {
    "conv.kernel_size": ([3, 5], "conv: kernel_size: expected the same in both directions, got [3, 5]"),
    "conv.padding": ("causal", "conv: padding: expected same or valid, got causal"),
    "conv.groups": (2, "conv: groups: expected 1, got 2"),
    "conv.data_format": ("channels_first", "conv: data_format: expected channels_last, got channels_first"),
    "conv.activation": ("gelu",
                        "conv: activation: expected linear, relu, elu, tanh, sigmoid, softmax, got gelu"),
    "norm.axis": ([1], "norm: axis: expected -1, got [1]"),
    "relu.max_value": (6.0, "relu: max_value: expected None, got 6.0"),
    "pool.pool_size": ([2, 3], "pool: pool_size: expected the same in both directions, got [2, 3]"),
    "trans.output_padding": ([1, 1], "trans: output_padding: expected None, got [1, 1]"),
    "up.interpolation": ("bicubic", "up: interpolation: expected bilinear or nearest, got bicubic"),
}  # fmt: skip


@pytest.mark.parametrize("where", MISTAKES)
def test_settings_that_cannot_be_had_are_named(small, where):
    (layer, key), (value, message) = where.split("."), MISTAKES[where]
    edit_layers(small, lambda layers: layers[layer]["config"].update({key: value}))
    with pytest.raises(ModelNotOpenError) as error:
        read_keras_network(small)
    assert str(error.value) == f"{small}: layer {message}"


def test_code_in_a_file_is_never_run(small):
    config = {"function": ["4wEAAAAAAAAA", None, None], "function_type": "lambda"}
    edit_layers(small, lambda layers: layers["function"].update(class_name="Lambda", config=config))
    with pytest.raises(ModelNotOpenError) as error:
        read_keras_network(small)
    assert str(error.value) == (
        f"{small}: layer function: function: expected tile_channels or imagenet_preproc_v1, "
        "got code, which is never run"
    )


def test_a_vector_does_not_go_into_a_convolution(small):
    edit_layers(small, lambda layers: layers["pool"].update(class_name="GlobalMaxPooling2D"))
    with pytest.raises(ModelNotOpenError) as error:
        read_keras_network(small)
    assert str(error.value) == f"{small}: layer trans: input: expected maps, got a vector"


def test_maps_that_shrink_are_refused(small):
    edit_layers(small, lambda layers: layers["conv"]["config"].update(padding="valid"))
    network, _ = read_keras_network(small)
    assert max_stride(network) == 2
    with pytest.raises(ModelInputError) as error:
        check_map_sizes(network)
    assert str(error.value) == ("layer up: expected a map of 16×16 cells for an input of 8×8 px, got 12×12")
