"""ExportedModel: a model folder (`model.json` and its graph), run by an engine on every frame."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

import models
from models.base import PoseModel
from models.decode.reading import pose_reader
from models.engines.base import BoundGraph
from models.engines.fastest import concrete, with_fastest
from models.engines.options import EngineOptions, Precision
from models.engines.registry import open_engine
from models.errors import ModelInputError, ModelNotOpenError
from models.poses import Poses
from models.skeleton import Skeleton
from models.spec import SPEC_FILE, ModelSpec, read_checked, sha256_of

ZOO = Path(models.__file__).parent / "zoo"
ZOO_PREFIX = "zoo:"
WARM_UP_RUNS = 5


class ExportedOptions(EngineOptions):
    """Settings of an exported model: those of its engine and its own.

    Attributes:
        path: The model's folder, or `zoo:NAME` for one that comes with the program.
        tolerance_px: A session does not start if, at the model's stored reference images, this engine finds a point
            farther than this from where it should be; None = what the precision needs, 0.1 px or, in `bf16` and
            `int8`, 1 px (see `models.parity.ROUNDING`). In those two a tenth of the points may lie farther: of two
            peaks that are almost the same, rounding may choose the other.
    """

    path: Annotated[Path, Field(strict=False)]
    tolerance_px: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class FolderModel(PoseModel):
    """What every way of running a model folder has in common.

    Attributes:
        spec: What `model.json` says.
        precision: What it computes in: as the options say, or what `auto` has become.

    Args:
        options: Which folder, and in which engine.

    Raises:
        ModelNotOpenError: The folder is missing, damaged or not what its `model.json` says; the skeleton of a
            `bottom_up` model is not a tree; it cannot be run in the precision.
    """

    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "fp16", "int8")
    """What this way of running it can compute in."""

    def __init__(self, options: ExportedOptions) -> None:
        self._folder = model_folder(options.path)
        self.spec = ModelSpec.load(self._folder)
        self._engine_options = self.in_precision(options, self.spec, self._folder)
        self.precision = concrete(self._engine_options)
        self._graphs = self.spec.graphs(self._folder, self.precision)
        self._skeleton = self.spec.plan()
        self._shape = self.spec.image.shape
        self._reader = pose_reader(self.spec)

    @classmethod
    def in_precision(cls, options: EngineOptions, spec: ModelSpec, folder: Path) -> EngineOptions:
        """Return the options with a precision in the place of `auto`.

        Raises:
            ModelNotOpenError: This way of running a model cannot compute in it.
        """
        offered = [one for one in cls.precisions if one != "int8" or spec.int8 is not None]
        chosen = with_fastest(options, offered)
        if concrete(chosen) not in cls.precisions:
            # OpenVINO keeps float32 from the last convolution on, but here there are coordinates between two networks.
            raise ModelNotOpenError(
                f"{folder}: precision: expected {', '.join(cls.precisions[:-1])} or {cls.precisions[-1]} for kind "
                f"exported, got {chosen.precision}; use kind guided"
            )
        return chosen

    @property
    def skeleton(self) -> Skeleton:
        """The animal's plan."""
        return self._skeleton

    @property
    def class_names(self) -> tuple[str, ...]:
        """Identities that the model tells apart."""
        return self.spec.class_names

    @property
    def max_instances(self) -> int:
        """Number of slots for animals."""
        return self.spec.max_instances

    @property
    def faults(self) -> int:
        """Things that no healthy network gives, so far; see `PoseReader`."""
        return self._reader.faults

    @property
    def overflows(self) -> int:
        """Images with more animals, or more peaks of a node, than there are slots, so far."""
        return self._reader.overflows

    @property
    @abstractmethod
    def outputs(self) -> Mapping[str, NDArray[Any]]:
        """What the graph put out for the last image that `predict` saw, each with a leading batch of 1."""

    def warm_up(self, height: int, width: int, channels: int) -> None:
        """Check the camera's image shape, then run a few times; an engine has warmed up when it was opened.

        Raises:
            ModelInputError: The model was exported for another image shape.
        """
        image = self.spec.image
        if (height, width, channels) != (image.height_px, image.width_px, image.channels):
            raise ModelInputError(
                f"{self._folder}: expected images of {image.width_px}×{image.height_px} px with {image.channels} "
                f"channel(s), got {width}×{height} px with {channels}; set the camera to that size or export the model "
                f"again for this one"
            )
        self._warm_up()

    @abstractmethod
    def _warm_up(self) -> None:
        """Run a few times."""

    def _check_image(self, image: NDArray[np.uint8]) -> None:
        if image.shape != self._shape or image.dtype != np.uint8:
            raise ModelInputError(
                f"{self._folder}: expected an image of shape {self._shape} uint8, got {image.shape} {image.dtype}"
            )


class ExportedModel(FolderModel):
    """Any of the six types of model in the exported form.

    Raises:
        ModelNotOpenError: The folder is missing, damaged or not what its `model.json` says; the skeleton of a
            `bottom_up` model is not a tree.
        ModelNotInstalledError: The engine is not there.
    """

    Options: ClassVar[type[BaseModel]] = ExportedOptions

    def __init__(self, options: ExportedOptions) -> None:
        super().__init__(options)
        graph = read_checked(self._folder, self._graphs.graph, "the graph")
        self._engine = open_engine(graph, self._folder / self._graphs.graph.file, self._engine_options)
        self._bound: dict[int, _Bound] = {}
        self._bind(1)

    @property
    def source(self) -> Mapping[str, Any]:
        """Kind, folder, engine, and the SHA-256 of every file."""
        return {
            "kind": "exported",
            "path": str(self._folder),
            "engine": self._engine.description,
            "precision": self.precision,
            "files": {
                self._graphs.graph.file: self._graphs.graph.sha256,
                SPEC_FILE: sha256_of(self._folder / SPEC_FILE),
            },
        }

    @property
    def outputs(self) -> Mapping[str, NDArray[Any]]:
        """What the graph put out for the last image that `predict` saw, each with a leading batch of 1."""
        return self._bound[1].outputs

    def _warm_up(self) -> None:
        blank = np.zeros((1, *self._shape), np.uint8)
        for _ in range(WARM_UP_RUNS):
            self._bound[1].graph.run(blank)

    def predict(
        self,
        image: NDArray[np.uint8],
        frame_id: int,  # noqa: ARG002
        expected_xy: NDArray[np.float32] | None = None,  # noqa: ARG002
    ) -> Poses:
        """Return the poses in one image; `frame_id` and `expected_xy` are not needed.

        `instance_scores`: of top-down types the confidence of the detection, of `single_instance` the mean of the
        nodes' confidences, of bottom-up types what `models.decode` says. An animal without any node is not returned.

        Raises:
            ModelInputError: The image has another shape or type than the model was exported for.
            ModelFailedError: Inference failed.
        """
        self._check_image(image)
        bound = self._bound[1]
        bound.graph.run(image[np.newaxis])
        return self._reader.read(bound.outputs, 0)

    def predict_batch(self, images: NDArray[np.uint8]) -> list[Poses]:
        """Return the poses in several images, the same as `predict` gives for each.

        Args:
            images: `(n, height, width)` or `(n, height, width, 3)` uint8, C-contiguous. The first batch of every size
                takes longer, and memory is kept for each size.

        Raises:
            ModelInputError: The images have another shape or type than the model was exported for.
            ModelFailedError: Inference failed.
        """
        if images.shape[1:] != self._shape or images.dtype != np.uint8:
            raise ModelInputError(
                f"{self._folder}: expected images of shape (n, {', '.join(map(str, self._shape))}) uint8, "
                f"got {images.shape} {images.dtype}"
            )
        n = len(images)
        if n == 0:
            return []
        bound = self._bound.get(n) or self._bind(n)
        bound.graph.run(images)
        return [self._reader.read(bound.outputs, i) for i in range(n)]

    def close(self) -> None:
        """Release the engine."""
        self._engine.close()

    def _bind(self, batch: int) -> "_Bound":
        outputs = {name: np.zeros((batch, *of.shape), of.dtype) for name, of in self.spec.outputs.items()}
        self._bound[batch] = _Bound(self._engine.bind((batch, *self._shape), outputs), outputs)
        return self._bound[batch]


@dataclass(frozen=True, slots=True)
class _Bound:
    """A graph for one batch size and the arrays that it fills."""

    graph: BoundGraph
    outputs: Mapping[str, NDArray[Any]]


def model_folder(path: Path) -> Path:
    """Return the absolute folder of a model; `zoo:NAME`, wherever the rest of the path points, is one of ours.

    Raises:
        ModelNotOpenError: There is no such model.
    """
    if not path.name.startswith(ZOO_PREFIX):
        return path.absolute()
    name = path.name.removeprefix(ZOO_PREFIX)
    there = sorted(folder.name for folder in ZOO.iterdir() if (folder / SPEC_FILE).is_file())
    if name not in there:
        raise ModelNotOpenError(f"{ZOO_PREFIX}{name}: expected one of {', '.join(there) or '(none installed)'}")
    return ZOO / name
