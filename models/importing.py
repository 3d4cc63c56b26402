"""SLEAP model folders into the model folder of this program."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import ModelNotOpenError
from models.export.graph import input_channels, max_stride
from models.export.top_down import export_top_down
from models.sources.sleap import CONFIG_FILE, WEIGHTS_FILE, Kind, SleapModel, read_sleap_model
from models.spec import ModelSpec, sha256_of

_LATER: tuple[Kind, ...] = ("single_instance", "multi_instance", "multi_class_bottomup", "multi_class_topdown")


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import.

    Attributes:
        spec: What was written to `model.json`.
        report: What was found and what is approximate, one line each.
    """

    spec: ModelSpec
    report: tuple[str, ...]


def import_sleap(
    folders: Sequence[Path],
    out: Path,
    image_shape: Sequence[int] | None = None,
    *,
    sleap_compat: bool = False,
    max_instances: int = 2,
    peak_threshold: float = 0.2,
) -> Imported:
    """Turn a SLEAP top-down pair into a model folder.

    Args:
        folders: The folder of the centroid model and that of the centred-instance model, in any order.
        out: The folder to write.
        image_shape: `(height, width)` or `(height, width, 3)` of the camera's image, px; None = what the centroid model
            was trained at.
        sleap_compat: Reproduce SLEAP 1.4.1's points, with their bias of −0.5 px in x and in y, instead of true ones.
        max_instances: The most animals that are ever reported.
        peak_threshold: A confidence below this is not a detection.

    Raises:
        ModelNotOpenError: A folder is damaged, of a kind that cannot be exported, or the two are no pair.
        ModelInputError: The networks do not fit the options.
        ModelNotInstalledError: The extra `sleap` is missing.
    """
    centroid, instance = _pair([read_sleap_model(folder) for folder in folders])
    spec = export_top_down(
        centroid.network,
        instance.network,
        out,
        skeleton=instance.skeleton,
        image_shape=image_shape or _trained_shape(centroid),
        crop_size_px=_crop_size_px(instance),
        detector_scale=centroid.input_scale,
        instance_scale=instance.input_scale,
        pad_to_stride=math.lcm(centroid.pad_to_stride, max_stride(centroid.network)),
        anchor=centroid.anchor,
        peak_threshold=peak_threshold,
        max_instances=max_instances,
        geometry="sleap_compat" if sleap_compat else "exact",
        provenance={
            "imported_from": "SLEAP",
            "models": {"detector": _provenance(centroid), "instances": _provenance(instance)},
        },
    )
    return Imported(spec, (*_found(centroid), *_found(instance), *_approximations(spec, centroid, instance)))


def _pair(found: Sequence[SleapModel]) -> tuple[SleapModel, SleapModel]:
    for model in found:
        if model.kind in _LATER:
            raise ModelNotOpenError(
                f"{model.folder}: models of type {model.kind} can be read but not exported yet: that arrives later; "
                f"give a centroid and a centered_instance model"
            )
    kinds = [model.kind for model in found]
    if sorted(kinds) != ["centered_instance", "centroid"]:
        raise ModelNotOpenError(
            f"{', '.join(str(model.folder) for model in found) or 'no folders'}: "
            f"expected one centroid and one centered_instance model, got {' and '.join(kinds) or 'none'}"
        )
    centroid, instance = sorted(found, key=lambda model: model.kind != "centroid")
    return centroid, instance


def _trained_shape(centroid: SleapModel) -> tuple[int, ...]:
    if centroid.image_size is None:
        raise ModelNotOpenError(
            f"{centroid.folder}: the model does not say at what image size it was trained: give the camera's size"
        )
    return centroid.image_size if input_channels(centroid.network) == 1 else (*centroid.image_size, 3)


def _crop_size_px(instance: SleapModel) -> int:
    """Return the side of the crop in px of the full frame; SLEAP counts it in scaled px."""
    assert instance.crop_size is not None  # noqa: S101  # read_sleap_model refuses a cropping model without it
    side = instance.crop_size / instance.input_scale
    if not math.isclose(side, round(side)):
        raise ModelNotOpenError(
            f"{instance.folder}: expected a crop of whole pixels, got {instance.crop_size} px at scale "
            f"{instance.input_scale} = {side} px"
        )
    return round(side)


def _provenance(model: SleapModel) -> dict[str, Any]:
    return {
        "folder": model.folder.name,
        "kind": model.kind,
        "sleap_version": model.version,
        "files": {name: sha256_of(model.folder / name) for name in (WEIGHTS_FILE, CONFIG_FILE)},
    }


def _found(model: SleapModel) -> list[str]:
    parameters = sum(int(np.size(weight)) for weight in model.network.weights.values())
    nodes = ", ".join(model.skeleton.nodes)
    return [
        f"{model.folder.name}: {model.kind}, SLEAP {model.version or '(version not given)'}, "
        f"{len(model.network.layers)} layers, {parameters:,} parameters, outputs {', '.join(model.network.outputs)}",
        f"{model.folder.name}: input scale {model.input_scale:g}, "
        f"anchor {model.anchor or '(middle of the bounding box)'}, "
        f"{f'crop {model.crop_size} px' if model.crop_size else 'whole image'}, nodes {nodes}",
    ]


def _approximations(spec: ModelSpec, centroid: SleapModel, instance: SleapModel) -> list[str]:
    size = (spec.image.height_px, spec.image.width_px)
    lines = [
        f"approximate: {model.folder.name} was trained on images brought to {model.target_size}, but the graph takes "
        f"{size} as they are: animals appear at another scale"
        for model in (centroid, instance)
        if model.target_size not in (None, size)
    ]
    if centroid.anchor != instance.anchor:
        lines.append(
            f"approximate: the detector points at {centroid.anchor}, but the crops of training were centred on "
            f"{instance.anchor}"
        )
    if spec.geometry == "exact":
        lines.append(
            "different from SLEAP: points lie about +0.5 px in x and in y from SLEAP's, where the image shows them; "
            "crops are whole pixels, not interpolated; equal neighbours count as one peak, not as none"
        )
    else:
        lines.append("as SLEAP 1.4.1: points lie −0.5 px in x and in y from where the image shows them")
        if spec.image.channels == 3:
            lines.append("approximate: gray from colour is not rounded to whole levels, as SLEAP does")
    return lines
