"""A model quantised on frames: what is written, that every way of running it finds the same, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from camera_drivers.sim import SimOptions, SimScene
from models import quantising
from models.errors import ModelDiffersError, ModelInputError, ModelNotOpenError
from models.export.export import Crops, WholeImage, export_model
from models.export.reference import add_reference
from models.exported import ZOO, ExportedModel, ExportedOptions
from models.guided import GuidedModel, GuidedOptions
from models.network import Network
from models.quantising import quantise
from models.sources.onnx_graph import OnnxGraph
from models.sources.onnx_network import find_networks
from models.spec import SPEC_FILE, GraphFile, ModelSpec, sha256_of
from models.tuning import candidates
from models.verification import quick_parity, verify

FILES = ("model.int8.onnx", "detector.int8.onnx", "crops.int8.onnx")


@pytest.fixture(scope="module")
def frames():
    scene = SimScene(SimOptions(seed=11))
    return np.stack([scene.image(k * 25) for k in range(12)])


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(ZOO / "sim_pair", tmp_path / "sim_pair")


@pytest.fixture(scope="module")
def done(tmp_path_factory, frames):
    folder = shutil.copytree(ZOO / "sim_pair", tmp_path_factory.mktemp("int8") / "sim_pair")
    return folder, quantise(folder, frames, {"film": "sim, seed 11"})


def test_what_is_written_and_noted(done):
    folder, quantisation = done
    int8 = ModelSpec.load(folder).int8
    assert int8 == quantisation.spec.int8
    entries = (int8.graph, int8.parts.detector, int8.parts.crops)
    assert tuple(entry.file for entry in entries) == FILES
    assert all(sha256_of(folder / entry.file) == entry.sha256 for entry in entries)
    assert (int8.calibration["film"], int8.calibration["n_frames"]) == ("sim, seed 11", 6)
    assert int8.calibration["compared"] == quantisation.parity.as_dict()
    assert (quantisation.parity.n_images, quantisation.parity.n_animals) == (6, 12)
    for name in ("model", "crops"):
        assert (folder / f"{name}.int8.onnx").stat().st_size < 0.5 * (folder / f"{name}.onnx").stat().st_size


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", ["exported", "guided"])
def test_every_way_of_running_it_finds_what_float32_finds(done, frames, engine, kind):
    if engine == "openvino":
        pytest.importorskip("openvino")
    folder, _ = done
    model_class, options = {"exported": (ExportedModel, ExportedOptions), "guided": (GuidedModel, GuidedOptions)}[kind]
    exact = model_class(options(path=folder, engine=engine))
    rounded = model_class(options(path=folder, engine=engine, precision="int8"))
    assert quick_parity(rounded).deviation(1.0) == ""
    moved = [
        np.linalg.norm(exact.predict(frame, 0).xy - rounded.predict(frame, 0).xy, axis=-1).ravel() for frame in frames
    ]
    distances = np.concatenate(moved)
    assert np.isfinite(distances).mean() > 0.98
    assert 0 < np.nanpercentile(distances, 90) < 1.0
    assert rounded.source["precision"] == "int8"
    assert "int8" in rounded.source["engine"]
    assert {name for name in rounded.source["files"] if name != SPEC_FILE} < set(FILES)


def test_a_model_that_looks_at_turned_views_is_quantised_like_any_other(tmp_path, frames):
    spec = ModelSpec.load(ZOO / "sim_pair")
    found = find_networks(OnnxGraph(ZOO / "sim_pair" / spec.graph.file))
    detector, crops = (
        Network(network.layers, dict(zip(("confmaps",), network.outputs.values(), strict=True)), network.weights)
        for network in (one.network() for one in found)
    )
    export_model(
        tmp_path,
        "top_down",
        skeleton=spec.plan(),
        image_shape=spec.image.shape,
        whole_image=WholeImage(detector, spec.whole_image.input_scale, spec.whole_image.pad_to_stride),
        crops=Crops(crops, spec.crop.size_px, spec.crop.input_scale, views=3),
        anchor=spec.anchor,
    )
    add_reference(tmp_path, frames)
    quantise(tmp_path, frames, {})
    for options in (
        ExportedOptions(path=tmp_path, precision="int8"),
        GuidedOptions(path=tmp_path, precision="int8"),
        GuidedOptions(path=tmp_path),
    ):
        assert verify(options).parity.deviation() == ""


def test_auto_takes_it(done):
    folder, _ = done
    assert ExportedModel(ExportedOptions(path=folder, precision="auto")).precision == "int8"
    assert GuidedModel(GuidedOptions(path=folder, precision="auto")).source["precision"] == "int8"
    assert ExportedModel(ExportedOptions(path=Path("zoo:sim_pair"), precision="auto")).precision == "fp32"


def test_verification_and_tuning_know_it(done):
    folder, _ = done
    found = verify(ExportedOptions(path=folder, precision="int8", threads=1))
    assert "int8" in found.engine
    assert found.parity.max_px > 0
    assert found.parity.deviation() == ""
    ways = [way.settings for way in candidates(ModelSpec.load(folder), 1) if way.settings.get("precision") == "int8"]
    assert {way.get("engine", "onnxruntime") for way in ways} == {"onnxruntime", "openvino"}


def test_a_changed_file_is_not_run(done, tmp_path):
    folder = shutil.copytree(done[0], tmp_path / "changed")
    (folder / "model.int8.onnx").write_bytes((folder / "model.onnx").read_bytes())
    with pytest.raises(ModelNotOpenError, match=r"model\.int8\.onnx: expected SHA-256"):
        ExportedModel(ExportedOptions(path=folder, precision="int8"))


def test_a_file_that_was_half_written_is_not_run_until_it_is_quantised_again(done, frames, tmp_path, monkeypatch):
    folder = shutil.copytree(done[0], tmp_path / "killed")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ModelSpec, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            quantise(folder, frames[:6], {})
    assert ExportedModel(ExportedOptions(path=folder)).predict(frames[0], 0).xy.shape == (2, 5, 2)
    with pytest.raises(ModelNotOpenError, match="was changed or damaged: quantise the model again"):
        ExportedModel(ExportedOptions(path=folder, precision="int8"))
    quantise(folder, frames[:6], {})
    assert ExportedModel(ExportedOptions(path=folder, precision="int8")).precision == "int8"


def test_a_first_quantisation_that_was_killed_leaves_the_model_as_it_was(folder, frames, monkeypatch):
    before = ModelSpec.load(folder)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(quantising, "sha256_of", killed)
    with pytest.raises(KeyboardInterrupt):
        quantise(folder, frames[:6], {})
    assert ModelSpec.load(folder) == before
    assert ExportedModel(ExportedOptions(path=folder, precision="auto")).precision == "fp32"


def test_a_folder_that_cannot_be_written_to_is_explained(folder, frames):
    in_the_way = folder / "model.int8.onnx"
    in_the_way.mkdir()
    with pytest.raises(ModelInputError) as error:
        quantise(folder, frames[:6], {})
    assert str(error.value) == (
        f"{in_the_way}: cannot be written: Is a directory; quantise a copy of the model's folder where you may write, "
        f"and name that in the rig"
    )
    assert ModelSpec.load(folder).int8 is None


def test_without_integers_it_says_how_to_get_them(folder):
    for model, options in ((ExportedModel, ExportedOptions), (GuidedModel, GuidedOptions)):
        with pytest.raises(ModelNotOpenError) as error:
            model(options(path=folder, precision="int8"))
        assert str(error.value) == (
            f"{folder}: precision int8: expected the model's graphs in 8-bit integers (model.json: int8), got none; "
            f"make them with: poseloop quantise MODEL VIDEO"
        )


@pytest.mark.parametrize("factor", [0.1, 50.0])
def test_steps_of_the_wrong_size_are_refused_and_nothing_is_written(folder, frames, monkeypatch, factor):
    measure = quantising.measure_ranges

    def wrong(*arguments):
        return {place: (low * factor, high * factor) for place, (low, high) in measure(*arguments).items()}

    monkeypatch.setattr(quantising, "measure_ranges", wrong)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(ModelDiffersError, match=f"^{folder}: not quantised: in 8-bit integers "):
        quantise(folder, frames[:6], {})
    assert sorted(path.name for path in folder.iterdir()) == before
    assert ModelSpec.load(folder).int8 is None


def doubled(array):
    return array * 2


def of_the_next_channel(array):
    return np.roll(array, 1, axis=0)


def many_steps_higher(zero):
    return zero + np.uint8(40)


# What a file could have that is wrong and yet fits its own SHA-256: which constant of a DequantizeLinear, and how. The
# operation is the second one in the crops' network that turns steps of weights, or of values, back.
BROKEN = {
    "weights twice as large": ("weights/steps", 1, doubled),
    "weights of the next channel": ("weights/steps", 0, of_the_next_channel),
    "values twice as large as they were written": ("/int8", 1, doubled),
    "values read with another 0 than they were written with": ("/int8", 2, many_steps_higher),
}


@pytest.mark.parametrize(("reads", "constant", "change"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_graph_is_refused_when_it_is_verified_and_when_a_session_starts(tmp_path, reads, constant, change):
    folder = shutil.copytree(ZOO / "fly_pair", tmp_path / "broken")
    path = folder / "model.int8.onnx"
    model = onnx.load(path)
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    node = [node for node in nodes if node.name.startswith("crops/") and node.input[0].endswith(reads)][1]
    model.graph.initializer.append(onnx.numpy_helper.from_array(change(arrays[node.input[constant]]), "wrong"))
    node.input[constant] = "wrong"
    onnx.save(model, path)
    spec = ModelSpec.load(folder)
    graph = GraphFile(file=path.name, sha256=sha256_of(path))
    spec.model_copy(update={"int8": spec.int8.model_copy(update={"graph": graph})}).save(folder)
    options = ExportedOptions(path=folder, precision="int8", threads=1)
    assert verify(options).parity.deviation(1.0) != ""
    assert quick_parity(ExportedModel(options)).deviation(1.0) != ""


def test_frames_without_animals_prove_nothing(folder, frames):
    with pytest.raises(ModelDiffersError, match="nothing could be compared, because there is no animal"):
        quantise(folder, np.zeros_like(frames[:4]), {})


def test_the_reference_counts_too(folder, frames):
    reference = dict(np.load(folder / "reference.npz"))
    reference["xy"] += np.float32(3)
    np.savez(folder / "reference.npz", **reference)
    spec = ModelSpec.load(folder)
    changed = spec.reference.model_copy(update={"sha256": sha256_of(folder / "reference.npz")})
    spec.model_copy(update={"reference": changed}).save(folder)
    with pytest.raises(ModelDiffersError, match=r"integers on the model's reference points lie 3\.0"):
        quantise(folder, frames[:4], {})


@pytest.mark.parametrize(
    "given",
    [np.zeros((4, 100, 512), np.uint8), np.zeros((4, 512, 512), np.float32), np.zeros((1, 512, 512), np.uint8)],
    ids=["another size", "no integers", "one frame"],
)
def test_frames_that_the_model_does_not_take_are_refused(folder, given):
    with pytest.raises(ModelInputError) as error:
        quantise(folder, given, {})
    assert str(error.value) == (
        f"{folder}: frames: expected (2 or more, 512, 512) uint8, got {given.shape} {given.dtype}"
    )
