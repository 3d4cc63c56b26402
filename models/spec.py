"""ModelSpec: what is in an exported model folder, as its `model.json` says."""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from models.engines.options import Precision
from models.errors import ModelNotOpenError
from models.skeleton import Skeleton

SPEC_FILE = "model.json"
GRAPH_FILE = "model.onnx"
DETECTOR_FILE = "detector.onnx"
CROPS_FILE = "crops.onnx"
INT8_SUFFIX = ".int8.onnx"  # in the place of .onnx
REFERENCE_FILE = "reference.npz"
# How far outside the image a point may lie, px: SLEAP's own geometry puts points of the first pixel at −0.5.
MARGIN_PX = 1.0
# More views of a crop than this cost much and change nothing.
MAX_VIEWS = 16

Geometry = Literal["exact", "sleap_compat"]
ModelType = Literal["single_instance", "centroid", "top_down", "top_down_id", "bottom_up", "bottom_up_id"]
TOP_DOWN: tuple[ModelType, ...] = ("top_down", "top_down_id")
BOTTOM_UP: tuple[ModelType, ...] = ("bottom_up", "bottom_up_id")
WITH_IDENTITY: tuple[ModelType, ...] = ("top_down_id", "bottom_up_id")
_Link = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]


def _file_of_folder(name: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*\.(onnx|npz)", name):
        raise ValueError(f"expected the name of an .onnx or .npz file in this folder, got {name}")
    return name


def _hexadecimal(digest: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError(f"expected 64 hexadecimal digits, got {digest}")
    return digest


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SkeletonSpec(_Part):
    """A `Skeleton` in JSON."""

    nodes: tuple[str, ...] = Field(min_length=1)
    edges: tuple[_Link, ...] = ()
    symmetries: tuple[_Link, ...] = ()


class ImageSpec(_Part):
    """The only camera image that the graph takes: `(height, width)` gray or `(height, width, 3)` RGB, uint8."""

    height_px: int = Field(gt=0)
    width_px: int = Field(gt=0)
    channels: Literal[1, 3]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the image array."""
        size = (self.height_px, self.width_px)
        return size if self.channels == 1 else (*size, self.channels)


class WholeImageSpec(_Part):
    """Geometry of the network that sees the whole image; in a top-down model it finds the animals.

    Attributes:
        input_scale: Size of the network's input over size of the image.
        output_stride: Network input px per cell of the confidence maps.
        pad_to_stride: The scaled image is padded at the bottom and right to a multiple of this.
    """

    input_scale: float = Field(gt=0)
    output_stride: int = Field(gt=0)
    pad_to_stride: int = Field(gt=0)


class CropSpec(_Part):
    """Geometry of the network that finds the nodes of one animal in a crop around it (top-down models).

    Attributes:
        size_px: Side of the square crop, px of the full frame.
        input_scale: Size of the network's input over size of the crop.
        output_stride: Network input px per cell of the confidence maps.
        views: The network sees every crop so many times, turned by another of as many equal parts of a full turn, and
            the mean counts; see `models.export.views`.
    """

    size_px: int = Field(gt=0)
    input_scale: float = Field(gt=0)
    output_stride: int = Field(gt=0)
    views: int = Field(default=1, ge=1, le=MAX_VIEWS)

    @property
    def cut_px(self) -> int:
        """Side of the square that is cut from the image, px: with it all views lie inside, as much on every side."""
        if 4 % self.views == 0:
            return self.size_px
        angles = [2 * math.pi * k / self.views for k in range(self.views)]
        reach = (self.size_px - 1) / 2
        farthest = reach * max(abs(math.cos(angle)) + abs(math.sin(angle)) for angle in angles)
        # One more than is reached: a place between two pixels needs both.
        return self.size_px + 2 * (math.floor(farthest - reach) + 1)


class PeaksSpec(_Part):
    """How the peaks of a bottom-up model become animals.

    Attributes:
        max_peaks: Slots for peaks, a node.
        min_edge_score: An edge whose part affinity field agrees less than this does not join its two peaks; without
            meaning for `bottom_up_id`.
    """

    max_peaks: int = Field(gt=0)
    min_edge_score: float = 0.25


class GraphFile(_Part):
    """A file of the folder and what it must contain."""

    file: Annotated[str, AfterValidator(_file_of_folder)]
    sha256: Annotated[str, AfterValidator(_hexadecimal)]


class PartsSpec(_Part):
    """The two networks of a top-down model as graphs of their own, for who has a reason to run one without the other.

    Attributes:
        detector: Takes the camera's image, gives the animals' anchors: `ModelSpec.detector_outputs`.
        crops: Takes squares of whole pixels (`CropSpec.cut_px`), gives the nodes in them: `ModelSpec.crop_outputs`.
    """

    detector: GraphFile
    crops: GraphFile


class Int8Spec(_Part):
    """The same graphs with their networks in 8-bit integers; see `models.quantising`.

    Attributes:
        graph: As `ModelSpec.graph`.
        parts: As `ModelSpec.parts`.
        calibration: On which frames they were calibrated and how far from float32 they were then, as free JSON.
    """

    graph: GraphFile
    parts: PartsSpec | None = None
    calibration: dict[str, JsonValue] = Field(default_factory=dict)


class Output(NamedTuple):
    """An output of the graph: its shape for one image, its dtype."""

    shape: tuple[int, ...]
    dtype: type[np.generic]


class ModelSpec(_Part):
    """Everything that has to be known about an exported model besides its weights.

    Attributes:
        format_version: Version of this file's format.
        type: What comes out of the graph and how it becomes animals; see `models/README.md`.
        skeleton: The animal's plan; of type `centroid` only the anchor.
        image: The camera image that the graph was exported for.
        whole_image: The network that sees the whole image.
        crop: The second network of the top-down types; None elsewhere.
        peaks: For the bottom-up types; None elsewhere.
        anchor: The node that a detector points at, or None for the middle of the animal's bounding box.
        peak_threshold: A confidence below this is not a detection.
        max_instances: Number of slots for animals.
        class_names: Identities that the model tells apart; empty for types without `_id`.
        geometry: `exact`: map cells are traced back to pixels without bias. `sleap_compat`: SLEAP 1.4.1's own
            formulas, which shift every point of a top-down model by −0.5 px in x and in y.
        graph: The ONNX graph.
        parts: The same in two halves; for top-down models with geometry `exact`, None elsewhere and in older folders.
        int8: The same graphs in 8-bit integers, or None.
        reference: Images and what must come out for them (`reference.npz`), or None.
        provenance: Where the weights come from, as free JSON.
    """

    format_version: Literal[2] = 2
    type: ModelType
    skeleton: SkeletonSpec
    image: ImageSpec
    whole_image: WholeImageSpec
    crop: CropSpec | None = None
    peaks: PeaksSpec | None = None
    anchor: str | None = None
    peak_threshold: float = Field(ge=0, lt=1)
    max_instances: int = Field(gt=0)
    class_names: tuple[str, ...] = ()
    geometry: Geometry
    graph: GraphFile
    parts: PartsSpec | None = None
    int8: Int8Spec | None = None
    reference: GraphFile | None = None
    provenance: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        self.plan()
        if self.anchor is not None and self.anchor not in self.skeleton.nodes:
            raise ValueError(f"anchor: expected one of {', '.join(self.skeleton.nodes)}, got {self.anchor}")
        for name, wanted in (
            ("crop", self.type in TOP_DOWN),
            ("peaks", self.type in BOTTOM_UP),
            ("class_names", self.type in WITH_IDENTITY),
        ):
            if bool(getattr(self, name)) != wanted:
                raise ValueError(f"{name}: expected {'a value' if wanted else 'none'} for type {self.type}")
        if self.crop is not None and self.crop.views > 1 and self.geometry != "exact":
            raise ValueError(f"crop.views: expected 1 for geometry {self.geometry}, got {self.crop.views}")
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError(f"class_names: expected unique names, got {', '.join(self.class_names)}")
        slots = {"single_instance": 1, "bottom_up_id": len(self.class_names)}.get(self.type, self.max_instances)
        if self.max_instances != slots:
            raise ValueError(f"max_instances: expected {slots} for type {self.type}, got {self.max_instances}")
        return self

    @property
    def outputs(self) -> dict[str, Output]:
        """The graph's outputs, as they are for one image; in the graph each has a leading batch."""
        n_nodes, slots, n_classes = len(self.skeleton.nodes), self.max_instances, len(self.class_names)
        if self.peaks is None:
            found = {
                "xy": Output((slots, n_nodes, 2), np.float32),
                "node_scores": Output((slots, n_nodes), np.float32),
                "instance_scores": Output((slots,), np.float32),
                "valid": Output((slots,), np.bool_),
            }
            if n_classes:
                found["class_probs"] = Output((slots, n_classes), np.float32)
        else:
            n_peaks, n_edges = self.peaks.max_peaks, len(self.skeleton.edges)
            found = {
                "peaks": Output((n_nodes, n_peaks, 2), np.float32),
                "peak_scores": Output((n_nodes, n_peaks), np.float32),
                "peak_valid": Output((n_nodes, n_peaks), np.bool_),
            }
            if n_classes:
                found["class_probs"] = Output((n_nodes, n_peaks, n_classes), np.float32)
            else:
                found["edge_scores"] = Output((n_edges, n_peaks, n_peaks), np.float32)
        return found | {"overflow": Output((), np.bool_)}

    @property
    def detector_outputs(self) -> dict[str, Output]:
        """The outputs of the detector alone, for one image."""
        slots = self.max_instances
        return {
            "xy": Output((slots, 1, 2), np.float32),
            "instance_scores": Output((slots,), np.float32),
            "valid": Output((slots,), np.bool_),
            "overflow": Output((), np.bool_),
        }

    @property
    def crop_outputs(self) -> dict[str, Output]:
        """The outputs of the crops' half, for one square of `cut_px`: px from the centre of its upper left pixel."""
        n_nodes, n_classes = len(self.skeleton.nodes), len(self.class_names)
        found = {"xy": Output((n_nodes, 2), np.float32), "node_scores": Output((n_nodes,), np.float32)}
        return found | ({"class_probs": Output((n_classes,), np.float32)} if n_classes else {})

    def graphs(self, folder: Path, precision: Precision) -> "ModelSpec | Int8Spec":
        """Return what names the graphs that are run in a precision.

        Raises:
            ModelNotOpenError: The model has none.
        """
        if precision != "int8":
            return self
        if self.int8 is None:
            raise ModelNotOpenError(
                f"{folder}: precision int8: expected the model's graphs in 8-bit integers ({SPEC_FILE}: int8), got "
                f"none; make them with: poseloop quantise MODEL VIDEO"
            )
        return self.int8

    def plan(self) -> Skeleton:
        """The skeleton as the rest of the program knows it."""
        return Skeleton(self.skeleton.nodes, self.skeleton.edges, self.skeleton.symmetries)

    def save(self, folder: Path) -> None:
        """Write `model.json` into `folder`."""
        (folder / SPEC_FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read and check `model.json` of `folder`.

        Raises:
            ModelNotOpenError: There is none, or it is not valid; every fault is named.
        """
        path = folder / SPEC_FILE
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ModelNotOpenError(f"{path}: {reason}; expected the folder of an exported model") from error
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            others = [fault["input"] for fault in error.errors() if fault["loc"] == ("format_version",)]
            if others and isinstance(others[0], int):
                raise ModelNotOpenError(
                    f"{path}: $.format_version: expected 2, got {others[0]}; import or train the model again"
                ) from error
            raise ModelNotOpenError(listed_faults(str(path), error)) from error


def listed_faults(where: str, error: ValidationError) -> str:
    """Return one line for every fault that pydantic found: where, its path, expected against got."""
    return "\n".join(_fault(where, fault) for fault in error.errors())


def _fault(path: str, fault: Any) -> str:
    where = "$" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in fault["loc"] if key != "[key]")
    kind, message = fault["type"], fault["msg"]
    if kind == "missing":
        return f"{path}: {where}: expected a value, got none"
    if kind == "extra_forbidden":
        return f"{path}: {where}: unknown key"
    if kind == "json_invalid":
        return f"{path}: expected JSON, got a damaged file: {message.removeprefix('Invalid JSON: ')}"
    if kind == "value_error":
        return f"{path}: {where}: {message.removeprefix('Value error, ')}"
    expected = message.removeprefix("Input should be ").removeprefix("a valid ")
    return f"{path}: {where}: expected {expected}, got {json.dumps(fault['input'], default=str)}"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_checked(folder: Path, entry: GraphFile, role: str = "") -> bytes:
    """Return the content of a file that `model.json` names; what is checked is what is returned.

    Args:
        folder: The model's folder.
        entry: The file.
        role: What `model.json` names it as; only for the message.

    Raises:
        ModelNotOpenError: It is not there, or is another file than `model.json` says.
    """
    path = folder / entry.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelNotOpenError(f"{path}: {error.strerror}; {SPEC_FILE} names it{role and f' as {role}'}") from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != entry.sha256:
        what_to_do = "quantise" if entry.file.endswith(INT8_SUFFIX) else "export"
        raise ModelNotOpenError(
            f"{path}: expected SHA-256 {entry.sha256} as {SPEC_FILE} says, got {actual}; "
            f"the file was changed or damaged: {what_to_do} the model again"
        )
    return content
