"""The trained model on the frames that were held out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.evaluation import Evaluation, EvaluationOptions, evaluate
from models.exported import ExportedModel, ExportedOptions
from models.labels import Labels
from models.poses import Poses
from models.skeleton import Skeleton
from models.training.config import CentroidTraining
from models.training.data import Dataset
from models.training.samples import centres
from models.training.tasks import Plan
from models.training.video import stream_frames


def evaluate_held_out(folder: Path, plan: Plan, dataset: Dataset, stop: Callable[[], bool]) -> Evaluation:
    """Run an exported model on the frames that were held out and compare with their labels.

    Raises:
        KeyboardInterrupt: `stop` said so.
    """
    model = ExportedModel(ExportedOptions(path=folder))
    found: dict[int, Poses] = {}
    for index, image in stream_frames(dataset.video, dataset.held_out.frames.tolist()):
        found[index] = model.predict(image, index)
        if stop():
            raise KeyboardInterrupt
    model.close()
    predicted = Labels.from_poses(model.skeleton, found, plan.class_names)
    if isinstance(plan.config, CentroidTraining):
        return _evaluate_points(dataset.held_out, predicted, plan)
    return evaluate(dataset.held_out, predicted)


def _evaluate_points(truth: Labels, predicted: Labels, plan: Plan) -> Evaluation:
    points = centres(truth.xy.astype(np.float32), plan.anchor)[:, None]
    anchors = Labels.from_arrays(
        Skeleton(plan.skeleton.nodes), truth.frame_ids, points, frames=truth.frames, source=truth.source
    )
    sizes = np.nanmax(truth.xy, axis=1) - np.nanmin(truth.xy, axis=1)
    # Points have no size of their own; a quarter of the animals' is what counts as found for other types.
    return evaluate(anchors, predicted, EvaluationOptions(gate_px=max(float(np.nanmedian(sizes.max(axis=1))) / 4, 1.0)))
