import json

import pytest

from models.errors import ModelNotOpenError
from models.spec import ModelSpec

GRAPH = {"file": "detector.onnx", "sha256": "0" * 64}
GOOD = {
    "format_version": 1,
    "type": "top_down",
    "skeleton": {"nodes": ["head", "tail"], "edges": [[1, 0]], "symmetries": []},
    "image": {"height_px": 60, "width_px": 70, "channels": 1},
    "detector": {"input_scale": 0.5, "output_stride": 2, "pad_to_stride": 16},
    "instance": {"crop_size_px": 32, "input_scale": 1.0, "output_stride": 2},
    "anchor": "head",
    "peak_threshold": 0.2,
    "max_instances": 2,
    "class_names": [],
    "geometry": "exact",
    "graphs": {"detector": GRAPH, "instances": GRAPH | {"file": "instances.onnx"}},
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


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("instance.crop_size_px", "big", "$.instance.crop_size_px: expected integer, got \"big\""),
        ("instance.crop_size_px", 0, "$.instance.crop_size_px: expected greater than 0, got 0"),
        ("instance.crop_size_px", ..., "$.instance.crop_size_px: expected a value, got none"),
        ("detector.speed", 1, "$.detector.speed: unknown key"),
        ("geometry", "crooked", "$.geometry: expected 'exact' or 'sleap_compat', got \"crooked\""),
        ("format_version", 2, "$.format_version: expected 1, got 2"),
        ("image.channels", 2, "$.image.channels: expected 1 or 3, got 2"),
        ("anchor", "nose", "$: anchor: expected one of head, tail, got nose"),
        ("graphs", {"detector": GRAPH}, "$: graphs: expected detector and instances, got no instances"),
        ("class_names", ["male"], "$: class_names: expected none for type top_down, got male"),
        ("skeleton.edges", [[0, 2]], "$: skeleton: expected links between nodes 0 to 1, got 0 → 2"),
        ("graphs.detector.file", "../x.onnx",
         "$.graphs.detector.file: expected the name of an .onnx file in this folder, got ../x.onnx"),
        ("graphs.detector.sha256", "12", "$.graphs.detector.sha256: expected 64 hexadecimal digits, got 12"),
    ],
)  # fmt: skip
def test_every_mistake_is_named(tmp_path, path, value, message):
    (tmp_path / "model.json").write_text(json.dumps(changed(path, value)))
    with pytest.raises(ModelNotOpenError) as error:
        ModelSpec.load(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'model.json'}: ")
    assert str(error.value).removeprefix(f"{tmp_path / 'model.json'}: ").startswith(message)


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
