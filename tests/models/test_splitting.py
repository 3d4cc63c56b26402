import sys

import numpy as np
import pytest

from models import splitting
from models.errors import ModelInputError
from models.export.export import Crops, WholeImage, export_model
from models.guided import GuidedModel, GuidedOptions
from models.network import Layer, Network
from models.skeleton import Skeleton
from models.spec import GraphFile, Int8Spec, ModelSpec, sha256_of
from models.splitting import add_parts

SHAPE = (90, 100)


def network(n_maps, n_classes=0, *, offsets=True):
    """Random weights; with `n_classes` a head of class vectors."""
    random = np.random.default_rng(n_maps)
    layers = [
        Layer("input", "input", channels=1),
        Layer("deep", "conv", ("input",), 6, 3, 2),
        Layer("relu", "relu", ("deep",)),
        Layer("confmaps", "conv", ("relu",), n_maps, 1),
    ]
    shapes = {"deep": (3, 3, 1, 6), "confmaps": (1, 1, 6, n_maps)}
    if offsets:
        layers.append(Layer("offsets", "conv", ("relu",), 2 * n_maps, 1))
        shapes["offsets"] = (1, 1, 6, 2 * n_maps)
    outputs = {name: name for name in ("confmaps", "offsets") if name in shapes}
    if n_classes:
        layers += [Layer("pool", "global_max_pool", ("relu",)), Layer("flat", "flatten", ("pool",))]
        layers += [Layer("logits", "dense", ("flat",), n_classes), Layer("class_vectors", "softmax", ("logits",))]
        shapes["logits"] = (6, n_classes)
        outputs["class_vectors"] = "class_vectors"
    weights = {}
    for name, shape in shapes.items():
        weights[f"{name}/kernel"] = random.normal(0, 1.5, shape).astype(np.float32)
        weights[f"{name}/bias"] = random.normal(0, 0.1, shape[-1]).astype(np.float32)
    return Network(tuple(layers), outputs, weights)


CASES = {
    "with offsets": (network(1), network(3), (), 1),
    "without offsets": (network(1, offsets=False), network(3, offsets=False), (), 1),
    "identities": (network(1), network(3, 2), ("a", "b"), 1),
    "as many identities as nodes": (network(1, offsets=False), network(3, 3, offsets=False), ("a", "b", "c"), 1),
    "turned views": (network(1), network(3, 2), ("a", "b"), 8),
}


@pytest.mark.parametrize("name", CASES)
def test_the_halves_are_those_that_an_export_writes(tmp_path, name):
    detector, crops, classes, views = CASES[name]
    written = export_model(
        tmp_path,
        "top_down_id" if classes else "top_down",
        skeleton=Skeleton(("a", "b", "c")),
        image_shape=SHAPE,
        whole_image=WholeImage(detector),
        crops=Crops(crops, 24, views=views),
        class_names=classes,
    )
    image = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    before = GuidedModel(GuidedOptions(path=tmp_path)).predict(image, 0)
    assert len(before.xy)
    quantised = Int8Spec(graph=written.graph.model_copy(update={"file": "model.int8.onnx"}))
    written.model_copy(update={"parts": None, "int8": quantised}).save(tmp_path)
    (tmp_path / "detector.onnx").unlink()
    (tmp_path / "crops.onnx").unlink()
    (tmp_path / "model.int8.onnx").write_bytes(b"whole, without halves")
    assert add_parts(tmp_path) == ModelSpec.load(tmp_path) == written
    assert not (tmp_path / "model.int8.onnx").exists()
    after = GuidedModel(GuidedOptions(path=tmp_path)).predict(image, 0)
    for value in ("xy", "node_scores", "instance_scores", "class_probs"):
        np.testing.assert_array_equal(getattr(before, value), getattr(after, value))


def test_a_model_that_is_exported_again_keeps_no_old_half_and_no_integers(tmp_path):
    top_down = {"whole_image": WholeImage(network(1)), "crops": Crops(network(1), 24)}
    for kind, networks, names in (
        ("top_down", top_down, {"detector.onnx", "crops.onnx"}),
        ("centroid", {"whole_image": WholeImage(network(1))}, set()),
    ):
        spec = export_model(tmp_path, kind, skeleton=Skeleton(("a",)), image_shape=SHAPE, **networks)
        assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.json"} | names
        assert ModelSpec.load(tmp_path).int8 is None
        (tmp_path / "model.int8.onnx").write_bytes(b"of this one, not of the next one")
        quantised = Int8Spec(graph=GraphFile(file="model.int8.onnx", sha256=sha256_of(tmp_path / "model.int8.onnx")))
        spec.model_copy(update={"int8": quantised}).save(tmp_path)


def test_kinds_without_halves_are_refused(tmp_path, monkeypatch, capsys):
    export_model(tmp_path, "centroid", skeleton=Skeleton(("a",)), image_shape=SHAPE, whole_image=WholeImage(network(1)))
    message = "expected a top-down model with geometry exact, got centroid, exact"
    with pytest.raises(ModelInputError, match=message):
        add_parts(tmp_path)
    monkeypatch.setattr(sys, "argv", ["splitting", str(tmp_path)])
    assert splitting.main() == 2
    assert message in capsys.readouterr().err
