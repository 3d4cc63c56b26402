import itertools

import numpy as np
import pytest

from models.errors import ModelNotOpenError
from models.export.reference import add_reference
from models.spec import ModelSpec
from models.tuning import Candidate, Tuned, best, candidates, tune

SHAPE = (60, 70)


@pytest.fixture
def folder(tmp_path, export_spots, spots):
    export_spots(tmp_path, SHAPE, anchor="spot")
    add_reference(tmp_path, np.stack([spots(SHAPE, [(20 + k, 15), (50, 40 - k)], 3) for k in range(3)]))
    return tmp_path


def test_everything_that_makes_sense_is_tried(folder):
    ways = candidates(ModelSpec.load(folder), n_cores=6)
    on_cpu = [way for way in ways if way.settings.get("device", "cpu") == "cpu"]
    assert {(way.kind, way.settings.get("engine"), way.settings.get("precision")) for way in on_cpu} == {
        ("exported", None, None),
        ("guided", None, None),
        ("exported", "openvino", None),
        ("guided", "openvino", None),
        ("guided", "openvino", "bf16"),
    }
    assert {way.settings["threads"] for way in on_cpu} == {1, 2, 4, 6}
    assert all("threads" not in way.settings for way in ways if way not in on_cpu)
    whole = ModelSpec.load(folder).model_copy(update={"parts": None})
    assert {way.kind for way in candidates(whole, n_cores=1)} == {"exported"}


def test_the_times_are_those_of_the_frames_after_the_warm_up(folder):
    ticks = itertools.count(0, 1_000_000)
    (tuned,) = tune(folder, [Candidate("guided", {"threads": 1})], 10, clock_ns=lambda: next(ticks))
    assert (tuned.p50_ms, tuned.p99_ms, tuned.deviation) == (1.0, 1.0, "")
    assert next(ticks) == 2 * 15 * 1_000_000


def test_what_cannot_be_run_says_why(folder):
    told = []
    ways = [Candidate("exported", {"engine": "tensorrt", "device": "cuda"}), Candidate("exported", {})]
    broken, fine = tune(folder, ways, 10, told.append)
    assert np.isnan(broken.p50_ms)
    assert "tensorrt" in broken.deviation
    assert fine.deviation == ""
    assert told == ways
    assert best([broken, fine]) is fine


def test_what_finds_something_else_is_not_chosen(folder, copy_network, export_spots):
    spec = ModelSpec.load(folder)
    reference = (folder / "reference.npz").read_bytes()
    half_as_bright = copy_network(confmaps=((0.5,), (0.0,)))  # every score is another one
    export_spots(folder, SHAPE, crops=half_as_bright, anchor="spot")
    (folder / "reference.npz").write_bytes(reference)
    ModelSpec.load(folder).model_copy(update={"reference": spec.reference}).save(folder)
    (tuned,) = tune(folder, [Candidate("exported", {})], 10)
    assert tuned.p50_ms > 0
    assert tuned.deviation
    assert best([tuned]) is None


def test_a_model_without_reference_says_so(folder):
    ModelSpec.load(folder).model_copy(update={"reference": None}).save(folder)
    with pytest.raises(ModelNotOpenError, match="expected a reference"):
        tune(folder, [Candidate("exported", {})], 10)


def test_of_almost_equal_ones_the_fewest_threads_are_best():
    rows = {(1, 2.00): "", (2, 1.95): "", (4, 1.0): "other points", (2, 3.0): ""}
    tuned = [Tuned(Candidate("exported", {"threads": n}), ms, ms, why) for (n, ms), why in rows.items()]
    assert best(tuned) is tuned[0]
    assert best(tuned[1:]) is tuned[1]
    assert best([]) is None
