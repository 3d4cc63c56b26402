"""Models that other programs trained, into a model folder of this program."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.decode.assembly import tree_walk
from models.errors import ModelInputError, ModelNotOpenError
from models.export.export import Crops, WholeImage, export_model
from models.export.graph import input_channels, max_stride
from models.export.reference import add_reference
from models.skeleton import Skeleton
from models.sources import sleap, sleap_nn
from models.sources.trained import CROPPED, Kind, TrainedModel
from models.spec import SPEC_FILE, TOP_DOWN, ModelSpec, ModelType, sha256_of

_TYPES: Mapping[tuple[Kind, ...], ModelType] = {
    ("single_instance",): "single_instance",
    ("centroid",): "centroid",
    ("centroid", "centered_instance"): "top_down",
    ("centroid", "multi_class_topdown"): "top_down_id",
    ("multi_instance",): "bottom_up",
    ("multi_class_bottomup",): "bottom_up_id",
}


_ANCHORED: tuple[Kind, ...] = ("centroid", *CROPPED)


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import.

    Attributes:
        spec: What was written to `model.json`.
        report: What was found, what is different from the program that trained it, and what is approximate, one line
            each.
    """

    spec: ModelSpec
    report: tuple[str, ...]


def import_models(
    folders: Sequence[Path],
    out: Path,
    image_shape: Sequence[int] | None = None,
    *,
    sleap_compat: bool = False,
    max_instances: int = 2,
    max_peaks: int | None = None,
    peak_threshold: float = 0.2,
    min_edge_score: float = 0.25,
) -> Imported:
    """Turn SLEAP's training folders, or sleap-nn's ONNX exports, into a model folder.

    Args:
        folders: One folder, or for a top-down model the folder of its centroid model and that of its centred-instance
            model (with or without identities), in any order; a combined export of sleap-nn is one folder.
        out: The folder to write.
        image_shape: `(height, width)` or `(height, width, 3)` of the camera's image, px; None = what the network that
            sees the whole image was trained at. Without a third number a network that was trained on colour gets it.
        sleap_compat: Reproduce SLEAP 1.4.1's points, with their biases, instead of true ones.
        max_instances: The most animals that are ever reported; of no meaning for `single_instance` and `bottom_up_id`.
        max_peaks: Slots for peaks, a node, of bottom-up models; None = `max_instances` + 2.
        peak_threshold: A confidence below this is not a detection.
        min_edge_score: An edge whose part affinity field agrees less than this does not join two peaks.

    Raises:
        ModelNotOpenError: A folder is damaged or not what it claims to be, the folders do not belong together, or the
            skeleton of a bottom-up model is not a tree.
        ModelInputError: The networks do not fit the options.
        ModelNotInstalledError: The extra `sleap` is missing.
    """
    found = [model for folder in folders for model in read_models(folder)]
    type_, whole, crops = _combined(found)
    if sleap_compat and any(model.program.startswith("sleap-nn") for model in found):
        raise ModelInputError(f"{whole.folder}: sleap_compat reproduces SLEAP ≤ 1.4, but this is an export of sleap-nn")
    nodes_of = crops or whole
    if type_ == "bottom_up":
        _check_tree(whole)
    spec = export_model(
        out,
        type_,
        skeleton=Skeleton((whole.anchor or "centroid",)) if type_ == "centroid" else nodes_of.skeleton,
        image_shape=_image_shape(whole, image_shape),
        whole_image=WholeImage(
            whole.network, whole.input_scale, math.lcm(whole.pad_to_stride, max_stride(whole.network))
        ),
        crops=_crops(crops) if crops else None,
        anchor=whole.anchor if type_ in ("centroid", *TOP_DOWN) else None,
        peak_threshold=peak_threshold,
        max_instances=max_instances,
        max_peaks=max_peaks,
        min_edge_score=min_edge_score,
        class_names=nodes_of.class_names,
        geometry="sleap_compat" if sleap_compat else "exact",
        provenance={"imported_from": whole.program, "models": [_provenance(model) for model in found]},
    )
    return Imported(add_reference(out), (*_found(found), *_differences(spec, whole, crops)))


def read_models(folder: Path) -> tuple[TrainedModel, ...]:
    """Read whatever is in a folder; a combined export of sleap-nn holds two models.

    Raises:
        ModelNotOpenError: It is nothing that can be read, or damaged.
        ModelNotInstalledError: The extra `sleap` is missing.
    """
    if (folder / sleap_nn.GRAPH_FILE).exists() and (folder / SPEC_FILE).exists():
        raise ModelNotOpenError(f"{folder}: this is a model folder of poseloop already: use it as it is")
    if (folder / sleap_nn.GRAPH_FILE).exists() or (folder / sleap_nn.METADATA_FILE).exists():
        return sleap_nn.read_sleap_nn_export(folder)
    if (folder / sleap.WEIGHTS_FILE).exists() or (folder / sleap.CONFIG_FILE).exists():
        return (sleap.read_sleap_model(folder),)
    expected = (
        f"expected {sleap.WEIGHTS_FILE} and {sleap.CONFIG_FILE} (SLEAP) or {sleap_nn.GRAPH_FILE} and "
        f"{sleap_nn.METADATA_FILE} (an export of sleap-nn)"
    )
    if not folder.is_dir():
        raise ModelNotOpenError(f"{folder}: no such folder; {expected}")
    if (folder / "best.ckpt").exists():
        raise ModelNotOpenError(
            f"{folder}: a training folder of sleap-nn: export it first with: sleap-nn export {folder}"
        )
    names = sorted(path.name for path in folder.iterdir())
    raise ModelNotOpenError(f"{folder}: {expected}, got {', '.join(names[:5]) or 'an empty folder'}")


def _combined(found: Sequence[TrainedModel]) -> tuple[ModelType, TrainedModel, TrainedModel | None]:
    """Return what the models are together, the one that sees the whole image, and the one that sees crops."""
    ordered = sorted(found, key=lambda model: model.kind != "centroid")
    kinds = tuple(model.kind for model in ordered)
    if kinds in _TYPES:
        return _TYPES[kinds], ordered[0], ordered[1] if len(ordered) == 2 else None
    where = ", ".join(str(model.folder) for model in found) or "no folders"
    if kinds in (("centered_instance",), ("multi_class_topdown",)):
        raise ModelNotOpenError(
            f"{where}: a {kinds[0]} model sees crops and cannot find the animals: give the folder of the centroid "
            f"model that belongs to it too"
        )
    raise ModelNotOpenError(
        f"{where}: expected {' or '.join(' + '.join(wanted) for wanted in _TYPES)}, got {' + '.join(kinds) or 'none'}"
    )


def _check_tree(model: TrainedModel) -> None:
    try:
        tree_walk(model.skeleton)
    except ModelNotOpenError as error:
        raise ModelNotOpenError(f"{model.folder}: {error}") from error


def _image_shape(whole: TrainedModel, given: Sequence[int] | None) -> tuple[int, ...]:
    shape = given or whole.image_size
    if shape is None:
        raise ModelNotOpenError(
            f"{whole.folder}: the model does not say at what image size it was trained: give the camera's size (--size)"
        )
    color = (3,) if len(shape) == 2 and input_channels(whole.network) == 3 else ()
    return (*shape, *color)


def _crops(model: TrainedModel) -> Crops:
    assert model.crop_size_px is not None  # noqa: S101  # the readers refuse a cropping model without it
    return Crops(model.network, model.crop_size_px, model.input_scale)


def _provenance(model: TrainedModel) -> dict[str, Any]:
    return {
        "folder": model.folder.name,
        "kind": model.kind,
        "program": model.program,
        "files": {path.name: sha256_of(path) for path in model.files},
    }


def _found(found: Sequence[TrainedModel]) -> list[str]:
    lines = []
    for model in found:
        parameters = sum(int(np.size(weight)) for weight in model.network.weights.values())
        lines.append(
            f"{model.folder.name}: {model.kind}, {model.program}, {len(model.network.layers)} layers, "
            f"{parameters:,} parameters, heads {', '.join(model.network.outputs)}"
        )
        lines.append(
            f"{model.folder.name}: input scale {model.input_scale:g}, "
            f"{f'crop {model.crop_size_px} px' if model.crop_size_px else 'whole image'}, "
            + (f"anchor {model.anchor or '(middle of the animal)'}, " if model.kind in _ANCHORED else "")
            + f"nodes {', '.join(model.skeleton.nodes)}"
            + (f", identities {', '.join(model.class_names)}" if model.class_names else "")
        )
        lines += [f"{model.folder.name}: {note}" for note in model.notes]
    return lines


def _differences(spec: ModelSpec, whole: TrainedModel, crops: TrainedModel | None) -> list[str]:
    size = (spec.image.height_px, spec.image.width_px)
    lines = [
        f"approximate: {model.folder.name} was trained on images brought to {model.target_size}, but the graph takes "
        f"{size} as they are: animals appear at another scale"
        for model in (whole, crops)
        if model and model.target_size not in (None, size)
    ]
    if crops and whole.anchor != crops.anchor:
        lines.append(
            f"approximate: the detector points at {whole.anchor}, but the crops of training were centred on "
            f"{crops.anchor}"
        )
    scale = (crops or whole).input_scale
    if scale != 1.0:
        lines.append(
            f"approximate: labels were scaled by {scale:g} without regard to the half pixel between centres, so that "
            f"points lie about {0.5 / scale - 0.5 if spec.geometry == 'exact' else 0.5:+.2g} px in x and in y from "
            f"the labels"
        )
    if spec.geometry == "sleap_compat":
        if crops:
            lines.append("as SLEAP 1.4.1: points lie −0.5 px in x and in y from where the image shows them")
        if spec.image.channels == 3:
            lines.append("approximate: gray from colour is not rounded to whole levels, as SLEAP does")
        return lines
    differences = ["equal neighbours count as one peak, not as none"]
    if whole.program.startswith("sleap-nn"):
        differences = ["peaks are refined below a cell of the map, as in sleap-nn itself but not in its exports"]
        differences += ["crops are neither stretched nor shifted"] if crops else []
    elif crops:
        shift = "points lie about +0.5 px in x and in y from SLEAP's, where the image shows them"
        differences = [shift, "crops are whole pixels, not interpolated", *differences]
    if spec.peaks:
        differences.append(f"at most {spec.peaks.max_peaks} peaks a node")
    if spec.type == "bottom_up":
        differences.append("the score of an animal is the mean of its edges' scores, not their sum")
    if spec.class_names:
        differences.append("no two animals get one identity")
    return [*lines, f"different from {whole.program.split()[0]}: {'; '.join(differences)}"]
