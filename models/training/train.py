"""`poseloop train`: one configuration file into one model folder, evaluated on frames that it never saw."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.errors import TrainingInputError
from models.export.export import Crops, WholeImage, export_model
from models.export.reference import add_reference
from models.exported import ExportedModel, ExportedOptions
from models.network import Network
from models.spec import ModelSpec, sha256_of
from models.training import folder as folders
from models.training.backend import import_keras
from models.training.config import (
    AnyTraining,
    BottomUpExportConfig,
    BottomUpIdExportConfig,
    CentroidTraining,
    InstanceConfig,
    Role,
    TopDownExportConfig,
    TopDownIdTraining,
    TopDownTraining,
    WholeImageConfig,
)
from models.training.data import Dataset, LabelledFrame, read_dataset
from models.training.evaluation import evaluate_held_out
from models.training.fit import Epoch, Progress, Weights, fit
from models.training.loading import load_config
from models.training.pictures import loss_svg, overlay
from models.training.samples import Images, centres, samples_for
from models.training.starting import read_start, starting_weights
from models.training.tasks import Plan, Task, make_plan
from models.training.video import stream_frames

_N_OVERLAYS = 6
_N_REFERENCE_IMAGES = 16


def train(
    config_path: Path,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report: Callable[[Progress | str], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train a model and write its folder.

    Args:
        config_path: The training configuration; see `models.training.config`.
        out: The model folder; created if missing. Beside the model and its reference it receives `train.toml` (the
            configuration), `evaluation.json` where the configuration holds frames out, and in `training/` the
            checkpoints, `history.json` (losses of every epoch), `loss.svg` and `overlay_….png`.
        resume: Go on with the training that was interrupted in `out`; begin if there is none.
        overwrite: Replace the training in `out`.
        report: Told every step, and in words what is done between the fits.
        stop: Asked often whether to stop.

    Returns:
        `out`.

    Raises:
        TrainingInputError: The configuration, the labels or the video cannot be used, or `out` holds another training.
        LabelsError: The label file cannot be read.
        ModelNotInstalledError: Keras or its backend, sleap-io or onnx is not installed.
        KeyboardInterrupt: `stop` said so; the checkpoints hold everything.
    """
    config = load_config(config_path)
    dataset = read_dataset(config.data)
    plan = make_plan(config, dataset, config_path)
    weights = _weights_to_start_from(plan)
    import_keras()
    folder = folders.prepare(out, config, config_path, resume=resume, overwrite=overwrite)
    report("reading the video")
    images = _read_images(dataset, stop)
    networks = _fit_all(plan, weights, dataset, images, folder, report, stop)
    report("exporting")
    spec = _export(plan, networks, next(iter(images.values())).shape, out)
    shown = [frame for frame in dataset.validation if len(frame.points)]
    add_reference(out, _reference_images(shown, images, spec))
    report("evaluating")
    _draw_overlays(plan, shown, images, out)
    if len(dataset.held_out.frames):
        _write_json(out / folders.EVALUATION_FILE, evaluate_held_out(out, plan, dataset, stop).as_dict())
    return out


def _weights_to_start_from(plan: Plan) -> dict[Role, Weights]:
    if plan.config.start_from is None:
        return {}
    start = read_start(plan.config.start_from)
    return {
        task.role: starting_weights(start, task.role, task.network(), plan.skeleton, plan.class_names)
        for task in plan.tasks
    }


def _fit_all(
    plan: Plan,
    weights: Mapping[Role, Weights],
    dataset: Dataset,
    images: Images,
    folder: Path,
    report: Callable[[Progress | str], None],
    stop: Callable[[], bool],
) -> dict[Role, Network]:
    """Fit one network after the other, and write down and draw how they went."""
    networks: dict[Role, Network] = {}
    epochs: list[Epoch] = []
    for task in plan.tasks:
        training = samples_for(task, plan, dataset.training, images)
        validation = samples_for(task, plan, dataset.validation, images)
        if not len(training) or not len(validation):
            raise TrainingInputError(
                f"{plan.config.data.labels}: expected animals to learn and to validate on, got {len(training)} and "
                f"{len(validation)} for the {task.role}"
            )
        settings = plan.config.fit.changed_by(task.config.fit)
        checkpoint = folders.checkpoint_of(folder, task.role)
        networks[task.role], fitted = fit(
            task, training, validation, settings, checkpoint, report, stop, weights.get(task.role, {})
        )
        epochs += fitted
        _write_json(folder / folders.HISTORY_FILE, [dataclasses.asdict(epoch) for epoch in epochs])
        (folder / folders.LOSS_FILE).write_text(loss_svg(epochs), encoding="utf-8")
    return networks


def _read_images(dataset: Dataset, stop: Callable[[], bool]) -> Images:
    """Return the images of the frames to learn and to validate on."""
    frames = {frame.index: frame for frame in (*dataset.training, *dataset.validation)}
    images: dict[int, NDArray[np.uint8]] = {}
    n_inside = n_points = 0
    for index, image in stream_frames(dataset.video, frames):
        images[index] = image
        points = frames[index].points[np.isfinite(frames[index].points).all(axis=2)]
        n_inside += int(((points >= 0) & (points < image.shape[::-1])).all(axis=1).sum())
        n_points += len(points)
        if stop():
            raise KeyboardInterrupt
    if n_inside < 0.5 * n_points:
        height, width = image.shape
        raise TrainingInputError(
            f"{dataset.video}: expected images that the labels lie in, got {width}×{height} px and "
            f"{n_points - n_inside} of {n_points} labels outside; is it their video?"
        )
    return images


def _export(plan: Plan, networks: dict[Role, Network], video_shape: Sequence[int], out: Path) -> ModelSpec:
    config, export = plan.config, plan.config.export
    extra: dict[str, Any] = {}
    if isinstance(export, BottomUpExportConfig):
        extra = {"max_peaks": export.max_peaks, "min_edge_score": export.min_edge_score}
    elif isinstance(export, BottomUpIdExportConfig):
        extra = {"max_peaks": export.max_peaks}
    if isinstance(config, CentroidTraining | TopDownTraining | TopDownIdTraining):
        extra |= {"anchor": config.detector.anchor, "max_instances": config.export.max_instances}
    elif isinstance(export, BottomUpExportConfig):
        extra |= {"max_instances": export.max_instances}
    whole, crops = _parts(config, plan.tasks, networks)
    return export_model(
        out,
        config.type,
        skeleton=plan.skeleton,
        image_shape=(export.height_px or video_shape[0], export.width_px or video_shape[1]),
        whole_image=whole,
        crops=crops,
        peak_threshold=export.min_score,
        class_names=plan.class_names,
        provenance=_provenance(config),
        **extra,
    )


def _parts(
    config: AnyTraining, tasks: Sequence[Task], networks: dict[Role, Network]
) -> tuple[WholeImage, Crops | None]:
    views = config.export.views if isinstance(config.export, TopDownExportConfig) else 1
    whole: WholeImage | None = None
    crops: Crops | None = None
    for task in tasks:
        network = networks[task.role]
        match task.config:
            case WholeImageConfig(input_scale=scale):
                whole = WholeImage(network, scale)
            case InstanceConfig(crop_size_px=size_px, input_scale=scale):
                crops = Crops(network, size_px, scale, views)
    assert whole is not None  # noqa: S101 - every type has a network that sees the whole image
    return whole, crops


def _provenance(config: AnyTraining) -> dict[str, Any]:
    keras = import_keras()
    return {
        "labels": config.data.labels.name,
        "labels_sha256": sha256_of(config.data.labels),
        "held_out_frames": list(config.data.held_out or ()),
        "profile": config.profile,
        "seed": config.fit.seed,
        "trained_with": f"Keras {keras.__version__}, {keras.backend.backend()}",
        **({"started_from": folders.start_of(config.start_from)} if config.start_from else {}),
    }


def _reference_images(frames: Sequence[LabelledFrame], images: Images, spec: ModelSpec) -> NDArray[np.uint8] | None:
    """Return validation images if the model takes images of their size."""
    chosen = [images[frame.index] for frame in _spread(frames, _N_REFERENCE_IMAGES)]
    fits = bool(chosen) and spec.image.shape == chosen[0].shape
    return np.stack(chosen) if fits else None


def _draw_overlays(plan: Plan, frames: Sequence[LabelledFrame], images: Images, out: Path) -> None:
    model = ExportedModel(ExportedOptions(path=out))
    anchors_only = isinstance(plan.config, CentroidTraining)
    spans = [np.nanmax(frame.points, axis=1) - np.nanmin(frame.points, axis=1) for frame in frames]
    reach_px = max(0.75 * float(np.nanquantile(np.concatenate(spans).max(axis=1), 0.95)), 24.0) if spans else 24.0
    for frame in _spread(frames, _N_OVERLAYS):
        image = images[frame.index]
        if image.shape != model.spec.image.shape:
            break
        labelled = centres(frame.points, plan.anchor)[:, None] if anchors_only else frame.points
        drawn = overlay(image, labelled, model.predict(image, frame.index).xy, reach_px)
        cv2.imwrite(str(out / folders.TRAINING / f"overlay_{frame.index:06d}.png"), drawn)
    model.close()


def _spread(frames: Sequence[LabelledFrame], n: int) -> list[LabelledFrame]:
    """Return at most `n` frames, evenly spread."""
    return [frames[k] for k in np.unique(np.linspace(0, len(frames) - 1, n).astype(int))] if frames else []


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
