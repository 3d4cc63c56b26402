"""The UNet rule, and the way to Keras and to ONNX."""

import sys

import numpy as np
import onnxruntime
import pytest

from models.errors import ModelNotInstalledError
from models.export.builder import GraphBuilder
from models.export.graph import add_network, max_stride, output_stride
from models.network import Layer, Network
from models.training.networks import import_keras, parameter_count, to_keras, unet, with_weights_of

# Trained SLEAP models and shipped profiles, with the parameters that they are known to have.
PARAMETER_COUNTS = {
    "min_tracks_2node, 2 confidence and 2 class maps": (80_683, 4, 8, 1.5, 16, 2),
    "centroid.fast.210504": (324_180, 1, 16, 1.5, 16, 2),
    "td_id.fast.v2.210519 without its identity head": (477_570 - 153_090, 13, 16, 1.5, 16, 2),
    "flies13 top-down, centred net": (1_686_100, 13, 24, 1.5, 32, 2),
    "baseline.centroid": (1_953_000, 1, 16, 2.0, 16, 2),
    "baseline_medium_rf.topdown, 13 nodes": (4_311_000, 13, 24, 2.0, 16, 4),
    "baseline_large_rf.topdown, 13 nodes": (1_645_000, 13, 24, 1.5, 32, 4),
}


@pytest.mark.parametrize(
    ("count", "channels", "filters", "rate", "max_", "output"), PARAMETER_COUNTS.values(), ids=PARAMETER_COUNTS
)
def test_known_models_have_their_parameters(count, channels, filters, rate, max_, output):
    network = unet(channels, filters=filters, filters_rate=rate, max_stride=max_, output_stride=output)
    tolerance = 0 if count % 100 else 500  # the larger ones are published in thousands
    assert abs(parameter_count(network) - count) <= tolerance


@pytest.mark.parametrize(("stem", "output", "max_"), [(1, 1, 8), (1, 4, 16), (2, 2, 16), (4, 4, 32), (4, 8, 8)])
def test_strides_are_those_asked_for(stem, output, max_):
    network = unet(3, filters=4, filters_rate=1.5, max_stride=max_, output_stride=output, stem_stride=stem)
    assert output_stride(network, "confmaps") == output
    assert max_stride(network) == max_


@pytest.mark.parametrize(("stem", "output"), [(1, 1), (2, 4), (4, 4)])
def test_onnx_computes_what_keras_trained(stem, output):
    pytest.importorskip("tensorflow", reason="needs the extra train")
    untrained = unet(3, filters=6, filters_rate=1.5, max_stride=16, output_stride=output, stem_stride=stem)
    model = to_keras(untrained, 48, 64)
    rng = np.random.default_rng(0)
    for layer in model.layers:  # fresh biases are 0, which would hide a bias in the wrong place
        layer.set_weights([w + rng.normal(0, 0.1, w.shape) for w in layer.get_weights()])
    network = with_weights_of(untrained, model)
    image = rng.random((2, 48, 64, 1), np.float32)
    from_keras = np.asarray(model(image))

    graph = GraphBuilder("unet")
    value = graph.input("image", np.float32, [2, 1, 48, 64])
    graph.output(add_network(graph, network, value)["confmaps"], "maps", np.float32, [2, 3, 48 // output, 64 // output])
    session = onnxruntime.InferenceSession(graph.build().SerializeToString(), providers=["CPUExecutionProvider"])
    (from_onnx,) = session.run(None, {"image": image.transpose(0, 3, 1, 2)})

    assert np.abs(from_keras).max() > 0.1
    np.testing.assert_allclose(from_onnx.transpose(0, 2, 3, 1), from_keras, atol=1e-4)
    assert parameter_count(network) == model.count_params() == sum(w.size for w in network.weights.values())
    np.testing.assert_allclose(np.asarray(to_keras(network, 48, 64)(image)), from_keras, atol=1e-6)


def test_an_operation_that_no_unet_has_is_refused():
    pytest.importorskip("tensorflow", reason="needs the extra train")
    network = Network((Layer("image", "input", channels=1), Layer("s", "sigmoid", ("image",))), ("s",))
    with pytest.raises(ValueError, match=r"^training: expected an operation of a UNet, got sigmoid \(s\)$"):
        to_keras(network, 16, 16)


def test_without_tensorflow_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ModelNotInstalledError) as caught:
        import_keras()
    assert str(caught.value) == (
        "training: TensorFlow is not installed; install it with: pip install 'poseloop[train]'"
    )
