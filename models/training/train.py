"""`poseloop train`: one configuration file into one model folder, evaluated on frames that it never saw."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import TrainingInputError
from models.export.top_down import export_top_down
from models.network import Network
from models.skeleton import Skeleton
from models.spec import sha256_of
from models.training.config import TrainingConfig, UNetConfig, load_config
from models.training.data import Labels, read_labels, stream_frames
from models.training.evaluation import evaluate
from models.training.fit import Epoch, fit
from models.training.networks import import_keras, unet
from models.training.samples import DetectorSamples, InstanceSamples


def train(config_path: Path, out: Path, progress: Callable[[Epoch], None] = lambda _: None) -> Path:
    """Train a top-down model and write its folder.

    Args:
        config_path: The training configuration; see `models.training.config`.
        out: The model folder; created if missing. Beside the model it receives `train.toml` (the configuration),
            `detector.npz` and `instances.npz` (the best weights), `training.json` (losses of every epoch) and, where
            the configuration holds frames out, `evaluation.json`.
        progress: Called after every epoch.

    Returns:
        `out`.

    Raises:
        TrainingInputError: The configuration, the labels or the video cannot be used.
        ModelNotInstalledError: TensorFlow, sleap-io or onnx is not installed.
    """
    config = load_config(config_path)
    labels = read_labels(config.data)
    skeleton = _skeleton(config, labels, config_path)
    anchor = _index(skeleton, config.instance.anchor, config_path, "$.instance.anchor")
    import_keras()
    images = dict(stream_frames(labels.video, {frame.index for frame in (*labels.training, *labels.validation)}))
    out.mkdir(parents=True, exist_ok=True)
    detector, detector_epochs = _fit_detector(config, labels, images, anchor, progress)
    _save_weights(out / "detector.npz", detector)
    instances, instance_epochs = _fit_instances(config, labels, images, skeleton, anchor, progress)
    _save_weights(out / "instances.npz", instances)
    _write_json(out / "training.json", [dataclasses.asdict(epoch) for epoch in (*detector_epochs, *instance_epochs)])
    if config_path.resolve() != (out / "train.toml").resolve():
        shutil.copyfile(config_path, out / "train.toml")
    image_shape = next(iter(images.values())).shape
    export(config, skeleton, image_shape, detector, instances, out)
    if labels.held_out:
        _write_json(out / "evaluation.json", evaluate(out, labels.held_out, labels.video))
    return out


def export(
    config: TrainingConfig,
    skeleton: Skeleton,
    video_shape: tuple[int, ...],
    detector: Network,
    instances: Network,
    out: Path,
) -> None:
    """Write the model folder of two trained networks."""
    export_top_down(
        detector,
        instances,
        out,
        skeleton=skeleton,
        image_shape=(config.export.height_px or video_shape[0], config.export.width_px or video_shape[1]),
        crop_size_px=config.instance.crop_size_px,
        detector_scale=config.detector.input_scale,
        anchor=config.instance.anchor,
        peak_threshold=config.export.min_score,
        max_instances=config.export.max_instances,
        provenance={
            "labels": config.data.labels.name,
            "labels_sha256": sha256_of(config.data.labels),
            "held_out_frames": list(config.data.held_out or ()),
            "seed": config.fit.seed,
        },
    )


def _fit_detector(
    config: TrainingConfig,
    labels: Labels,
    images: dict[int, NDArray[np.uint8]],
    anchor: int,
    progress: Callable[[Epoch], None],
) -> tuple[Network, list[Epoch]]:
    training, validation = (
        DetectorSamples(frames, images, anchor, config.detector, config.augment)
        for frames in (labels.training, labels.validation)
    )
    network = _unet(config.detector, 1)
    return fit("detector", network, training, validation, config.detector.epochs, config.fit, progress)


def _fit_instances(
    config: TrainingConfig,
    labels: Labels,
    images: dict[int, NDArray[np.uint8]],
    skeleton: Skeleton,
    anchor: int,
    progress: Callable[[Epoch], None],
) -> tuple[Network, list[Epoch]]:
    swap = np.arange(len(skeleton.nodes))
    for left, right in skeleton.symmetries:
        swap[[left, right]] = right, left
    training, validation = (
        InstanceSamples(frames, images, anchor, swap, config.instance, config.augment)
        for frames in (labels.training, labels.validation)
    )
    network = _unet(config.instance, len(skeleton.nodes))
    return fit("instances", network, training, validation, config.instance.epochs, config.fit, progress)


def _unet(config: UNetConfig, channels: int) -> Network:
    return unet(
        channels,
        filters=config.filters,
        filters_rate=config.filters_rate,
        max_stride=config.max_stride,
        output_stride=config.output_stride,
        stem_stride=config.stem_stride,
    )


def _skeleton(config: TrainingConfig, labels: Labels, path: Path) -> Skeleton:
    """Return the labels' skeleton, with the configuration's symmetries where it names any."""
    pairs = config.augment.symmetries
    if not pairs:
        if config.augment.mirror and not labels.skeleton.symmetries:
            raise TrainingInputError(
                f"{path}: $.augment.mirror: expected left-right pairs in the labels or in $.augment.symmetries, "
                "got none"
            )
        return labels.skeleton
    symmetries = tuple(
        (
            _index(labels.skeleton, left, path, f"$.augment.symmetries[{i}][0]"),
            _index(labels.skeleton, right, path, f"$.augment.symmetries[{i}][1]"),
        )
        for i, (left, right) in enumerate(pairs)
    )
    return dataclasses.replace(labels.skeleton, symmetries=symmetries)


def _index(skeleton: Skeleton, node: str, path: Path, where: str) -> int:
    if node not in skeleton.nodes:
        raise TrainingInputError(
            f"{path}: {where}: expected a node of the labels ({', '.join(skeleton.nodes)}), got {node!r}"
        )
    return skeleton.nodes.index(node)


def _save_weights(path: Path, network: Network) -> None:
    arrays: dict[str, Any] = dict(network.weights)
    np.savez(path, **arrays)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
