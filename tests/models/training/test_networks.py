"""The UNet rule, its heads, and the way to Keras and to ONNX."""

import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from models.errors import ModelNotInstalledError
from models.export.builder import GraphBuilder
from models.export.graph import add_network, max_stride, output_stride
from models.network import Layer, Network
from models.training.backend import import_keras, to_keras, with_weights_of
from models.training.networks import ClassHead, MapHead, parameter_count, unet


def confmaps(channels, stride):
    return [MapHead("confmaps", channels, stride)]


# Trained SLEAP models and shipped profiles, with the parameters that they are known to have.
PARAMETER_COUNTS = {
    "min_tracks_2node": (80_683, [*confmaps(2, 2), MapHead("class_maps", 2, 2)], None, 8, 1.5, 16),
    "centroid.fast.210504": (324_180, confmaps(1, 2), None, 16, 1.5, 16),
    "td_id.fast.v2.210519": (477_570, confmaps(13, 2), ClassHead(2, 3, 256), 16, 1.5, 16),
    "flies13 top-down, centred net": (1_686_100, confmaps(13, 2), None, 24, 1.5, 32),
    "baseline.centroid": (1_953_000, confmaps(1, 2), None, 16, 2.0, 16),
    "baseline_medium_rf.topdown, 13 nodes": (4_311_000, confmaps(13, 4), None, 24, 2.0, 16),
    "baseline_large_rf.topdown, 13 nodes": (1_645_000, confmaps(13, 4), None, 24, 1.5, 32),
    "bees, bottom-up, 21 nodes, 20 edges": (6_790_200, [*confmaps(21, 4), MapHead("pafs", 40, 8)], None, 32, 1.5, 64),
    "baseline_medium_rf.bottomup": (7_822_000, [*confmaps(21, 4), MapHead("pafs", 40, 8)], None, 16, 2.0, 32),
}


@pytest.mark.parametrize(
    ("count", "heads", "classes", "filters", "rate", "max_"), PARAMETER_COUNTS.values(), ids=PARAMETER_COUNTS
)
def test_known_models_have_their_parameters(count, heads, classes, filters, rate, max_):
    network = unet(heads, classes, filters=filters, filters_rate=rate, max_stride=max_)
    tolerance = 0 if count % 100 else 500  # the larger ones are published in thousands
    assert abs(parameter_count(network) - count) <= tolerance


@pytest.mark.parametrize(("stem", "output", "max_"), [(1, 1, 8), (1, 4, 16), (2, 2, 16), (4, 4, 32), (4, 8, 8)])
def test_strides_are_those_asked_for(stem, output, max_):
    heads = [*confmaps(3, output), MapHead("pafs", 4, max_)]
    network = unet(heads, filters=4, filters_rate=1.5, max_stride=max_, stem_stride=stem)
    assert output_stride(network, "confmaps") == output
    assert output_stride(network, "pafs") == max_
    assert max_stride(network) == max_


HEADS = {
    "maps": (confmaps(3, 1), None, 1),
    "coarse maps behind a stem": (confmaps(3, 4), None, 2),
    "offsets": ([*confmaps(3, 4), MapHead("offsets", 6, 4)], None, 4),
    "fields": ([*confmaps(3, 2), MapHead("pafs", 4, 8)], None, 1),
    "class maps": ([*confmaps(3, 2), MapHead("class_maps", 2, 4)], None, 2),
    "class vectors": (confmaps(3, 4), ClassHead(2, 2, 5), 4),
}


@pytest.mark.parametrize(("heads", "classes", "stem"), HEADS.values(), ids=HEADS)
def test_onnx_computes_what_keras_trained(heads, classes, stem):
    pytest.importorskip("tensorflow", reason="needs the extra train")
    untrained = unet(heads, classes, filters=6, filters_rate=1.5, max_stride=16, stem_stride=stem)
    model = to_keras(untrained, 48, 64)
    rng = np.random.default_rng(0)
    for layer in model.layers:  # fresh biases are 0, which would hide a bias in the wrong place
        layer.set_weights([w + rng.normal(0, 0.1, w.shape) for w in layer.get_weights()])
    network = with_weights_of(untrained, model)
    image = rng.random((2, 48, 64, 1), np.float32)
    from_keras = {head: np.asarray(maps) for head, maps in model(image).items()}
    assert list(from_keras) == list(network.outputs)

    graph = GraphBuilder("unet")
    value = graph.input("image", np.float32, [2, 1, 48, 64])
    for head, output in add_network(graph, network, value).items():
        n, *size, channels = from_keras[head].shape
        graph.output(output, head, np.float32, [n, channels, *size])
    session = onnxruntime.InferenceSession(graph.build().SerializeToString(), providers=["CPUExecutionProvider"])
    from_onnx = session.run(list(from_keras), {"image": image.transpose(0, 3, 1, 2)})

    for (head, expected), got in zip(from_keras.items(), from_onnx, strict=True):
        assert np.abs(expected).max() > 0.1, head
        # Values reach 80, where processors that add in another order differ in the seventh digit.
        np.testing.assert_allclose(np.moveaxis(got, 1, -1), expected, rtol=1e-5, atol=1e-4, err_msg=head)
    assert parameter_count(network) == model.count_params() == sum(w.size for w in network.weights.values())
    again = to_keras(network, 48, 64)(image)
    for head, expected in from_keras.items():
        np.testing.assert_allclose(np.asarray(again[head]), expected, atol=1e-6)


def test_half_precision_keeps_weights_and_outputs_in_full():
    pytest.importorskip("tensorflow", reason="needs the extra train")
    network = unet(confmaps(3, 4), ClassHead(2, 1, 8), filters=6, filters_rate=1.5, max_stride=16)
    model = to_keras(network, 32, 32, "bf16")
    assert {weight.dtype for weight in model.weights} == {"float32"}
    outputs = model(np.random.default_rng(0).random((1, 32, 32, 1), np.float32))
    assert {str(np.asarray(value).dtype) for value in outputs.values()} == {"float32"}
    assert model.get_layer("enc0_conv0").compute_dtype == "bfloat16"
    assert model.get_layer("class_logits").compute_dtype == "float32"


def test_an_operation_that_no_unet_has_is_refused():
    pytest.importorskip("tensorflow", reason="needs the extra train")
    network = Network((Layer("image", "input", channels=1), Layer("s", "add", ("image",))), {"confmaps": "s"})
    with pytest.raises(ValueError, match=r"^training: expected an operation of a UNet, got add \(s\)$"):
        to_keras(network, 16, 16)


def test_without_keras_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ModelNotInstalledError) as caught:
        import_keras()
    assert str(caught.value) == (
        "training: Keras and its backend are not installed (import of keras halted; None in sys.modules); install them "
        "with: pip install 'poseloop[train]', or set KERAS_BACKEND to a backend that is there"
    )


def test_a_backend_that_is_not_there_is_named():
    pytest.importorskip("keras", reason="needs the extra train")
    script = "from models.training.backend import import_keras; import_keras()"
    environment = {"KERAS_BACKEND": "torch", "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    if subprocess.run([sys.executable, "-c", "import torch"], capture_output=True, check=False).returncode == 0:
        pytest.skip("PyTorch is installed here")
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert "ModelNotInstalledError: training: Keras and its backend are not installed (No module named 'torch')" in (
        ended.stderr
    )
