import json

import numpy as np
import pytest
from pydantic import ValidationError

from models.errors import ModelNotOpenError
from models.spec import ModelSpec

GRAPH = {"file": "model.onnx", "sha256": "0" * 64}
GOOD = {
    "format_version": 2,
    "type": "top_down",
    "skeleton": {"nodes": ["head", "tail"], "edges": [[1, 0]], "symmetries": []},
    "image": {"height_px": 60, "width_px": 70, "channels": 1},
    "whole_image": {"input_scale": 0.5, "output_stride": 2, "pad_to_stride": 16},
    "crop": {"size_px": 32, "input_scale": 1.0, "output_stride": 2, "views": 4},
    "peaks": None,
    "anchor": "head",
    "peak_threshold": 0.2,
    "max_instances": 2,
    "class_names": [],
    "geometry": "exact",
    "graph": GRAPH,
    "parts": {"detector": GRAPH | {"file": "detector.onnx"}, "crops": GRAPH | {"file": "crops.onnx"}},
    "int8": {
        "graph": GRAPH | {"file": "model.int8.onnx"},
        "parts": {"detector": GRAPH | {"file": "detector.int8.onnx"}, "crops": GRAPH | {"file": "crops.int8.onnx"}},
        "calibration": {"n_frames": 50},
    },
    "reference": GRAPH | {"file": "reference.npz"},
    "provenance": {"seed": 3, "files": ["a"]},
}


def changed(path, value):
    spec = json.loads(json.dumps(GOOD))
    *parents, last = path.split(".")
    place = spec
    for key in parents:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return spec


def test_a_spec_survives_its_file(tmp_path):
    spec = ModelSpec.model_validate_json(json.dumps(GOOD))
    spec.save(tmp_path)
    assert ModelSpec.load(tmp_path) == spec
    assert json.loads((tmp_path / "model.json").read_text()) == GOOD
    assert spec.image.shape == (60, 70)
    assert spec.plan().edges == ((1, 0),)


def test_an_older_file_has_neither_integers_nor_halves_and_one_view(tmp_path):
    older = {key: value for key, value in changed("crop.views", ...).items() if key not in ("int8", "parts")}
    spec = ModelSpec.model_validate_json(json.dumps(older))
    assert (spec.int8, spec.parts, spec.crop.views) == (None, None, 1)
    assert spec.graphs(tmp_path, "fp32") is spec
    with pytest.raises(ModelNotOpenError, match="precision int8: expected the model's graphs in 8-bit integers"):
        spec.graphs(tmp_path, "int8")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("crop.size_px", "big", '$.crop.size_px: expected integer, got "big"'),
        ("crop.size_px", 0, "$.crop.size_px: expected greater than 0, got 0"),
        ("crop.size_px", ..., "$.crop.size_px: expected a value, got none"),
        ("crop.views", 0, "$.crop.views: expected greater than or equal to 1, got 0"),
        ("crop.views", 17, "$.crop.views: expected less than or equal to 16, got 17"),
        ("crop.views", 2.5, "$.crop.views: expected integer, got 2.5"),
        ("crop.views", True, "$.crop.views: expected integer, got true"),
        ("geometry", "sleap_compat", "$: crop.views: expected 1 for geometry sleap_compat, got 4"),
        ("crop", None, "$: crop: expected a value for type top_down"),
        ("peaks", {"max_peaks": 3}, "$: peaks: expected none for type top_down"),
        ("whole_image.speed", 1, "$.whole_image.speed: unknown key"),
        ("geometry", "crooked", "$.geometry: expected 'exact' or 'sleap_compat', got \"crooked\""),
        ("format_version", "2", '$.format_version: expected 2, got "2"'),
        ("image.channels", 2, "$.image.channels: expected 1 or 3, got 2"),
        ("anchor", "nose", "$: anchor: expected one of head, tail, got nose"),
        ("class_names", ["male"], "$: class_names: expected none for type top_down"),
        ("skeleton.edges", [[0, 2]], "$: skeleton: expected links between nodes 0 to 1, got 0 → 2"),
        ("graph", None, "$.graph: expected an object, got null"),
        ("graph.file", "../x.onnx",
         "$.graph.file: expected the name of an .onnx or .npz file in this folder, got ../x.onnx"),
        ("int8.graph", ..., "$.int8.graph: expected a value, got none"),
        ("int8.bits", 4, "$.int8.bits: unknown key"),
        ("graph.sha256", "12", "$.graph.sha256: expected 64 hexadecimal digits, got 12"),
    ],
)  # fmt: skip
def test_every_mistake_is_named(tmp_path, path, value, message):
    (tmp_path / "model.json").write_text(json.dumps(changed(path, value)))
    with pytest.raises(ModelNotOpenError) as error:
        ModelSpec.load(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'model.json'}: ")
    assert str(error.value).removeprefix(f"{tmp_path / 'model.json'}: ").startswith(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "single_instance", "crop": None}, "max_instances: expected 1 for type single_instance, got 2"),
        ({"type": "top_down_id"}, "class_names: expected a value for type top_down_id"),
        ({"type": "top_down_id", "class_names": ["m", "m"]}, "class_names: expected unique names, got m, m"),
        ({"type": "bottom_up", "crop": None}, "peaks: expected a value for type bottom_up"),
        ({"type": "bottom_up_id", "crop": None, "peaks": {"max_peaks": 4}, "class_names": ["a", "b", "c"]},
         "max_instances: expected 3 for type bottom_up_id, got 2"),
    ],
)  # fmt: skip
def test_types_need_what_they_need(changes, message):
    with pytest.raises(ValidationError, match=message):
        ModelSpec.model_validate_json(json.dumps(GOOD | changes))


@pytest.mark.parametrize(
    ("changes", "shapes"),
    [
        ({}, {"xy": (2, 2, 2), "node_scores": (2, 2), "instance_scores": (2,), "valid": (2,), "overflow": ()}),
        ({"type": "top_down_id", "class_names": ["a", "b", "c"]},
         {"xy": (2, 2, 2), "node_scores": (2, 2), "instance_scores": (2,), "valid": (2,), "class_probs": (2, 3),
          "overflow": ()}),
        ({"type": "bottom_up", "crop": None, "peaks": {"max_peaks": 4}},
         {"peaks": (2, 4, 2), "peak_scores": (2, 4), "peak_valid": (2, 4), "edge_scores": (1, 4, 4), "overflow": ()}),
        ({"type": "bottom_up_id", "crop": None, "peaks": {"max_peaks": 4}, "class_names": ["a", "b"]},
         {"peaks": (2, 4, 2), "peak_scores": (2, 4), "peak_valid": (2, 4), "class_probs": (2, 4, 2), "overflow": ()}),
    ],
)  # fmt: skip
def test_outputs(changes, shapes):
    spec = ModelSpec.model_validate_json(json.dumps(GOOD | changes))
    assert {name: output.shape for name, output in spec.outputs.items()} == shapes
    booleans = {name for name, output in spec.outputs.items() if output.dtype == np.bool_}
    assert booleans == {"valid", "peak_valid", "overflow"} & set(shapes)


def test_all_mistakes_are_named_at_once(tmp_path):
    spec = changed("max_instances", 0) | {"peak_threshold": 2.0}
    (tmp_path / "model.json").write_text(json.dumps(spec))
    with pytest.raises(ModelNotOpenError) as error:
        ModelSpec.load(tmp_path)
    path = tmp_path / "model.json"
    assert str(error.value) == (
        f"{path}: $.peak_threshold: expected less than 1, got 2.0\n"
        f"{path}: $.max_instances: expected greater than 0, got 0"
    )


def test_an_older_format_is_the_only_complaint(tmp_path):
    path = tmp_path / "model.json"
    path.write_text(json.dumps({"format_version": 1, "type": "top_down", "detector": {}}))
    with pytest.raises(ModelNotOpenError) as error:
        ModelSpec.load(tmp_path)
    assert str(error.value) == f"{path}: $.format_version: expected 2, got 1; import or train the model again"


def test_missing_and_damaged_files(tmp_path):
    path = tmp_path / "model.json"
    with pytest.raises(ModelNotOpenError) as error:
        ModelSpec.load(tmp_path)
    assert str(error.value) == f"{path}: No such file or directory; expected the folder of an exported model"
    path.write_text('{"type": ')
    with pytest.raises(ModelNotOpenError, match="expected JSON, got a damaged file: EOF while parsing"):
        ModelSpec.load(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelNotOpenError, match="expected the folder of an exported model"):
        ModelSpec.load(tmp_path)
