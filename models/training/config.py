"""The training configuration: one TOML file, checked whole before anything starts."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from models.errors import TrainingInputError


def _in_order(frames: tuple[int, int]) -> tuple[int, int]:
    if not 0 <= frames[0] <= frames[1]:
        raise ValueError(f"expected [first, last] with 0 <= first <= last, got {list(frames)}")
    return frames


FrameRange = Annotated[tuple[int, int], Field(strict=False), AfterValidator(_in_order)]
"""First and last frame, both included."""

Stride = Literal[1, 2, 4, 8, 16, 32, 64]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataConfig(_Section):
    """Where the labels come from.

    Attributes:
        labels: A SLEAP `.slp` file.
        video: The video to read instead of the one that the labels name.
        use_predictions: Learn from predicted instances in frames that nobody labelled by hand.
        coordinate_offset_px: Added to x and y of every label; 0.5 for predictions of SLEAP's top-down models up to
            1.4, which report points 0.5 px too low.
        exclude: Frame ranges that are neither learnt nor evaluated.
        held_out: The frame range that is never learnt and that the exported model is evaluated on.
        every: Learn every n-th labelled frame. The frames to learn are held in memory, a byte a pixel.
        block_frames: Consecutive labelled frames that stay together when some are set aside for validation;
            neighbouring frames are too alike to tell learning from remembering.
        validate_every: Every n-th block is for validation.
    """

    labels: Annotated[Path, Field(strict=False)]
    video: Annotated[Path | None, Field(strict=False)] = None
    use_predictions: bool = False
    coordinate_offset_px: float = Field(0.0, ge=-1, le=1)
    exclude: tuple[FrameRange, ...] = Field((), strict=False)
    held_out: FrameRange | None = None
    every: int = Field(1, ge=1)
    block_frames: int = Field(50, ge=1)
    validate_every: int = Field(10, ge=2)


class UNetConfig(_Section):
    """A UNet and its maps; see `models.training.networks.unet` and `models.training.targets`.

    Attributes:
        filters: Channels of the finest block.
        filters_rate: Growth of the channels from block to block.
        max_stride: Stride of the coarsest block.
        output_stride: Stride of the maps.
        stem_stride: Stride of the convolution before the finest block, 1 = none.
        sigma_cells: Standard deviation of the maps' Gaussians in map cells. Sub-pixel decoding averages 5×5 cells,
            which cuts a Gaussian wider than about 1 cell off and pulls the result towards the cell's middle.
        shift_px: Training moves the image by up to this much along x and along y, px of the network's input.
        epochs: Most epochs of this network; the learning rate falls to 0 along a cosine over them.
    """

    filters: int = Field(16, ge=1)
    filters_rate: float = Field(1.5, ge=1)
    max_stride: Stride = 16
    output_stride: Stride = 4
    stem_stride: Stride = 1
    sigma_cells: float = Field(1.0, gt=0)
    shift_px: float = Field(10.0, ge=0)
    epochs: int = Field(60, ge=1)

    @model_validator(mode="after")
    def _strides_in_order(self) -> "UNetConfig":
        if not self.stem_stride <= self.output_stride <= self.max_stride or self.stem_stride == self.max_stride:
            raise ValueError(
                "expected stem_stride <= output_stride <= max_stride and stem_stride < max_stride, got "
                f"{self.stem_stride}, {self.output_stride}, {self.max_stride}"
            )
        return self


class DetectorConfig(UNetConfig):
    """The network that finds the animals in the whole image.

    Attributes:
        input_scale: The image is resized by this before the network.
    """

    input_scale: float = Field(0.5, gt=0, le=1)


class InstanceConfig(UNetConfig):
    """The network that finds the nodes of the animal in the middle of a crop.

    Attributes:
        anchor: The node that crops are centred on.
        crop_size_px: Side of a crop, a multiple of `max_stride`.
    """

    anchor: str
    crop_size_px: int = Field(ge=16)

    @model_validator(mode="after")
    def _crop_fits(self) -> "InstanceConfig":
        if self.crop_size_px % self.max_stride:
            raise ValueError(
                f"expected crop_size_px to be a multiple of max_stride {self.max_stride}, got {self.crop_size_px}"
            )
        return self


class AugmentConfig(_Section):
    """How far training images stray from the recorded ones.

    Attributes:
        rotation_deg: Largest rotation either way.
        scale: Largest relative change of size.
        mirror: Show half of the images mirrored; left and right nodes change places.
        symmetries: Left-right pairs of nodes, instead of those that the labels' skeleton has.
        contrast: Largest relative change of contrast.
        brightness: Largest change of brightness, 1 = from black to white.
        noise: Largest standard deviation of the camera noise, 1 = from black to white.
    """

    rotation_deg: float = Field(180.0, ge=0, le=180)
    scale: float = Field(0.1, ge=0, lt=1)
    mirror: bool = False
    symmetries: tuple[Annotated[tuple[str, str], Field(strict=False)], ...] = Field((), strict=False)
    contrast: float = Field(0.2, ge=0, lt=1)
    brightness: float = Field(0.05, ge=0, le=1)
    noise: float = Field(0.02, ge=0, le=1)


class FitConfig(_Section):
    """How fast to learn.

    Attributes:
        seed: Seed of the weights, the order and the augmentation.
        steps_per_epoch: Batches in one epoch.
        batch_size: Samples in one batch: whole images for the detector, crops for the instance network.
        learning_rate: Adam's rate at the start.
        stop_after: Epochs without a better validation loss before an early end.
    """

    seed: int = Field(0, ge=0)
    steps_per_epoch: int = Field(100, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    stop_after: int = Field(20, ge=1)


class ExportConfig(_Section):
    """What the model folder is made for.

    Attributes:
        max_instances: The most animals in one image.
        height_px: Height of the camera's image; None = the video's.
        width_px: Width of the camera's image; None = the video's.
        min_score: A detection or node below this is not reported.
    """

    max_instances: int = Field(2, ge=1)
    height_px: int | None = Field(None, ge=16)
    width_px: int | None = Field(None, ge=16)
    min_score: float = Field(0.2, ge=0, lt=1)


class TrainingConfig(_Section):
    """Everything that one training needs; `train.toml`, a section each."""

    data: DataConfig
    detector: DetectorConfig = DetectorConfig()
    instance: InstanceConfig
    augment: AugmentConfig = AugmentConfig()
    fit: FitConfig = FitConfig()
    export: ExportConfig = ExportConfig()


def load_config(path: Path) -> TrainingConfig:
    """Read a training configuration; its relative paths are relative to the file.

    Raises:
        TrainingInputError: The file cannot be read, or has unknown, missing or wrong keys (all are named at once).
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TrainingInputError(f"{path}: expected a TOML file that can be read, got: {error}") from error
    try:
        config = TrainingConfig.model_validate(document)
    except ValidationError as error:
        raise TrainingInputError("\n".join(f"{path}: {_message(e)}" for e in error.errors())) from error
    data = config.data.model_copy(
        update={
            "labels": path.parent / config.data.labels,
            "video": None if config.data.video is None else path.parent / config.data.video,
        }
    )
    return config.model_copy(update={"data": data})


def _message(error: ErrorDetails) -> str:
    where = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    match error["type"]:
        case "extra_forbidden":
            return f"{where}: expected no such key; known are {', '.join(_keys(error['loc'][:-1]))}"
        case "missing":
            return f"{where}: expected a value, got none"
        case "value_error":
            return f"{where}: {error['msg'].removeprefix('Value error, ')}"
        case _:
            return f"{where}: {error['msg'].replace('Input should be', 'expected')}, got {error['input']!r}"


def _keys(location: tuple[int | str, ...]) -> list[str]:
    model: Any = TrainingConfig
    for part in location:
        model = model.model_fields[part].annotation
    fields: Mapping[str, object] = model.model_fields
    return list(fields)
