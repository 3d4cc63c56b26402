"""The shipped fly models on the last third of the real recording, which they never saw."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from models.engines.options import PrecisionChoice
from models.evaluation import EvaluationOptions, evaluate
from models.evaluation.accuracy import PERCENTILES
from models.exported import ExportedModel, ExportedOptions
from models.labels import Labels, read_labels
from models.training.grid_pull import find_grid_pull, without_grid_pull
from models.training.video import stream_frames

FLIES = Path(__file__).parents[4] / "shared" / "data" / "flies_1024"
pytestmark = pytest.mark.skipif(not FLIES.is_dir(), reason="needs the shared data beside the checkout")

HELD_OUT = range(2000, 3000)
BODY = ("head", "thorax", "abdomen", "eyeL", "eyeR")


@pytest.fixture(scope="module")
def sleap() -> Labels:
    pytest.importorskip("sleap_io", reason="needs the extra sleap")
    return read_labels(FLIES / "session_a.predictions.slp")


def found_by(name: str, images: Iterable[tuple[int, np.ndarray]], precision: PrecisionChoice = "fp32") -> Labels:
    model = ExportedModel(ExportedOptions(path=Path(f"zoo:{name}"), precision=precision))
    poses = {index: model.predict(image, index) for index, image in images}
    model.close()
    return Labels.from_poses(model.skeleton, poses)


def test_sleaps_points_lie_near_the_middles_of_a_4_px_grid(sleap):
    pull = find_grid_pull(sleap.xy)
    assert pull is not None
    assert pull.stride_px == 4


# Every third frame of the slower one.
@pytest.mark.parametrize(
    ("name", "step", "p50_px", "p90_px"), [("fly_pair", 1, 1.2, 2.7), ("fly_pair_fast", 3, 1.0, 2.0)]
)
def test_both_flies_are_found_and_their_bodies_are_where_sleap_saw_them(sleap, name, step, p50_px, p90_px):
    frames = HELD_OUT[::step]
    options = EvaluationOptions(frames=(HELD_OUT[0], HELD_OUT[-1]), nodes=BODY)
    found = found_by(name, stream_frames(FLIES / "session_a.mp4", frames))
    evaluation = evaluate(without_grid_pull(sleap, 4).of_frames(np.array(frames)), found, options)
    assert evaluation.detection.frames == len(frames)
    assert evaluation.detection.frames_complete >= 0.995 * len(frames)
    errors = dict(zip(PERCENTILES, evaluation.all_nodes.percentiles_px, strict=True))
    assert errors[50] <= p50_px
    assert errors[90] <= p90_px
    assert max(abs(shift) for shift in evaluation.all_nodes.bias_px) < 0.25


def test_in_8_bit_integers_it_errs_no_more_than_in_float32(sleap):
    frames = range(2000, 2060)
    images = [(index, image.copy()) for index, image in stream_frames(FLIES / "session_a.mp4", frames)]
    options = EvaluationOptions(frames=(frames[0], frames[-1]), nodes=BODY)
    exact, rounded = (evaluate(sleap, found_by("fly_pair", images, p), options) for p in ("fp32", "int8"))
    assert rounded.detection.frames_complete == exact.detection.frames_complete == len(frames)
    before, after = (dict(zip(PERCENTILES, e.all_nodes.percentiles_px, strict=True)) for e in (exact, rounded))
    for percentile in (50, 95):
        assert after[percentile] <= 1.1 * before[percentile]
