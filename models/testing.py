"""The contract of a pose model, as one function to run against any kind."""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.base import PoseModel
from models.poses import Poses


def check_model(model: PoseModel, images: Sequence[NDArray[np.uint8]]) -> None:
    """Warm a model up, predict every image twice, and close it.

    Args:
        model: A model; ends closed.
        images: Images of one shape that the model takes; image i is frame i.

    Raises:
        AssertionError: The model breaks the contract; the message says where.
        ModelError: It refuses the images.
    """
    json.dumps(dict(model.source), allow_nan=False)
    _expect("kind" in model.source, f"source: expected the kind, got {dict(model.source)}")
    height, width = images[0].shape[:2]
    model.warm_up(height, width, images[0].shape[2] if images[0].ndim == 3 else 1)
    try:
        first, kept = [], []
        for frame_id, image in enumerate(images):
            first.append(_predicted(model, image, frame_id))
            kept.append(_copied(first[-1]))
        again = [_predicted(model, image, frame_id) for frame_id, image in enumerate(images)]
        for frame_id in range(len(images)):
            _expect(
                _equal(first[frame_id], kept[frame_id]), f"frame {frame_id}: poses changed after they were returned"
            )
            _expect(_equal(first[frame_id], again[frame_id]), f"frame {frame_id}: poses differ when predicted again")
    finally:
        model.close()
        model.close()


def _predicted(model: PoseModel, image: NDArray[np.uint8], frame_id: int) -> Poses:
    read_only = image.copy()
    read_only.flags.writeable = False
    poses = model.predict(read_only, frame_id, np.zeros((1, 2), np.float32))
    _check_poses(model, poses, f"frame {frame_id}")
    return poses


def _check_poses(model: PoseModel, poses: Poses, where: str) -> None:
    n, n_nodes, n_classes = len(poses.xy), len(model.skeleton.nodes), len(model.class_names)
    _expect(n <= model.max_instances, f"{where}: expected at most {model.max_instances} instances, got {n}")
    shapes = {"xy": (n, n_nodes, 2), "node_scores": (n, n_nodes), "instance_scores": (n,)}
    for name, shape in shapes.items():
        array = getattr(poses, name)
        _expect(
            array.shape == shape and array.dtype == np.float32,
            f"{where}: {name}: expected {shape} float32, got {array.shape} {array.dtype}",
        )
    seen = np.all(np.isfinite(poses.xy), axis=2)
    _expect(bool(np.isnan(poses.xy[~seen]).all()), f"{where}: xy: expected both of x and y or NaN twice")
    _expect(bool(np.all(np.any(seen, axis=1))), f"{where}: xy: expected a node in every instance")
    _expect(not np.any(poses.node_scores[~seen]), f"{where}: node_scores: expected 0 where xy is NaN")
    in_range = (poses.node_scores >= 0) & (poses.node_scores <= 1)
    _expect(bool(in_range.all()), f"{where}: node_scores: expected numbers from 0 to 1")
    _expect(bool(np.isfinite(poses.instance_scores).all()), f"{where}: instance_scores: expected finite numbers")
    if n_classes == 0:
        _expect(poses.class_probs is None, f"{where}: class_probs: expected None without class names")
        return
    probs = poses.class_probs
    _expect(
        probs is not None and probs.shape == (n, n_classes), f"{where}: class_probs: expected shape {(n, n_classes)}"
    )
    _expect(
        probs is not None and np.allclose(probs.sum(axis=1), 1), f"{where}: class_probs: expected rows that sum to 1"
    )


def _copied(poses: Poses) -> Poses:
    probs = None if poses.class_probs is None else poses.class_probs.copy()
    return Poses(poses.xy.copy(), poses.node_scores.copy(), poses.instance_scores.copy(), probs)


def _equal(one: Poses, other: Poses) -> bool:
    arrays = ("xy", "node_scores", "instance_scores")
    same = all(np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in arrays)
    if one.class_probs is None or other.class_probs is None:
        return same and one.class_probs is other.class_probs
    return same and np.array_equal(one.class_probs, other.class_probs)


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
