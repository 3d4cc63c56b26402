"""ModelSpec: what is in an exported model folder, as its `model.json` says."""

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from models.errors import ModelNotOpenError
from models.skeleton import Skeleton

SPEC_FILE = "model.json"

Geometry = Literal["exact", "sleap_compat"]
GraphRole = Literal["detector", "instances"]
_Link = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]


def _file_of_folder(name: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*\.onnx", name):
        raise ValueError(f"expected the name of an .onnx file in this folder, got {name}")
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
    """The only camera image that the graphs take: `(height, width)` gray or `(height, width, 3)` RGB, uint8."""

    height_px: int = Field(gt=0)
    width_px: int = Field(gt=0)
    channels: Literal[1, 3]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the image array."""
        size = (self.height_px, self.width_px)
        return size if self.channels == 1 else (*size, self.channels)


class DetectorSpec(_Part):
    """Geometry of the network that finds the animals.

    Attributes:
        input_scale: Size of the network's input over size of the image.
        output_stride: Network input px per cell of the confidence map.
        pad_to_stride: The scaled image is padded at the bottom and right to a multiple of this.
    """

    input_scale: float = Field(gt=0)
    output_stride: int = Field(gt=0)
    pad_to_stride: int = Field(gt=0)


class InstanceSpec(_Part):
    """Geometry of the network that finds the nodes of one animal in a crop around it.

    Attributes:
        crop_size_px: Side of the square crop, px of the full frame.
        input_scale: Size of the network's input over size of the crop.
        output_stride: Network input px per cell of the confidence maps.
    """

    crop_size_px: int = Field(gt=0)
    input_scale: float = Field(gt=0)
    output_stride: int = Field(gt=0)


class GraphFile(_Part):
    """One ONNX graph of the folder."""

    file: Annotated[str, AfterValidator(_file_of_folder)]
    sha256: Annotated[str, AfterValidator(_hexadecimal)]


class ModelSpec(_Part):
    """Everything that has to be known about an exported model besides its weights.

    Attributes:
        format_version: Version of this file's format.
        type: How the graphs work together; `top_down` = find the animals, then the nodes of each.
        skeleton: The animal's plan.
        image: The camera image that the graphs were exported for.
        detector: The first stage.
        instance: The second stage.
        anchor: The node that the detector points at, or None for the middle of the animal's bounding box.
        peak_threshold: A confidence below this is not a detection.
        max_instances: Number of slots of the graphs.
        class_names: Identities that the model tells apart; empty for `top_down`.
        geometry: `exact`: map cells are traced back to pixels without bias. `sleap_compat`: SLEAP 1.4.1's own
            formulas, which shift every point of a top-down model by −0.5 px in x and in y.
        graphs: The graphs by their role.
        provenance: Where the weights come from, as free JSON.
    """

    format_version: Literal[1] = 1
    type: Literal["top_down"]
    skeleton: SkeletonSpec
    image: ImageSpec
    detector: DetectorSpec
    instance: InstanceSpec
    anchor: str | None
    peak_threshold: float = Field(ge=0, lt=1)
    max_instances: int = Field(gt=0)
    class_names: tuple[str, ...] = ()
    geometry: Geometry
    graphs: dict[GraphRole, GraphFile]
    provenance: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        self.plan()
        if self.anchor is not None and self.anchor not in self.skeleton.nodes:
            raise ValueError(f"anchor: expected one of {', '.join(self.skeleton.nodes)}, got {self.anchor}")
        if missing := {"detector", "instances"} - set(self.graphs):
            raise ValueError(f"graphs: expected detector and instances, got no {' and no '.join(sorted(missing))}")
        if self.class_names:
            raise ValueError(f"class_names: expected none for type top_down, got {', '.join(self.class_names)}")
        return self

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
