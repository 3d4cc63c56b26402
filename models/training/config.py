"""The training configuration: what each section of `train.toml` may say; `loading` reads it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from models.spec import MAX_VIEWS

Role = Literal["network", "detector", "instance"]
Profile = Literal["fast", "baseline", "nano"]
Precision = Literal["fp32", "bf16"]
Stride = Literal[1, 2, 4, 8, 16, 32, 64]


def _in_order(frames: tuple[int, int]) -> tuple[int, int]:
    if not 0 <= frames[0] <= frames[1]:
        raise ValueError(f"expected [first, last] with 0 <= first <= last, got {list(frames)}")
    return frames


def _tolerance(value: object) -> object:
    for limit in value.values() if isinstance(value, dict) else (value,):
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit > 0:
            raise ValueError(f"expected px above 0, or a table of nodes with px above 0, got {value!r}")
    return value


FrameRange = Annotated[tuple[int, int], Field(strict=False), AfterValidator(_in_order)]
"""First and last frame, both included."""


class Section(BaseModel):
    """A table of the file: unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataConfig(Section):
    """Where the labels come from.

    Attributes:
        labels: A SLEAP `.slp` file.
        video: The video to read instead of the one that the labels name.
        use_predictions: Learn from predicted instances in frames that nobody labelled by hand.
        coordinate_offset_px: Added to x and y of every label; 0.5 for predictions of SLEAP's top-down models up to
            1.4, which report points 0.5 px too low.
        grid_pull_px: Undo the pull towards a grid of cells of this side that predictions have if their network's
            confidence maps were wide; its output stride in px of the image. See `models.training.grid_pull`. Labels
            that are held out stay as they are.
        clean_px: A label further than this from where its neighbours in time put it is not learnt, neither as there
            nor as absent; one number or a table node = px. See `models.training.cleaning`. None = learn all.
        class_names: The tracks that identity models tell apart, in this order; None = all tracks of the labels.
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
    grid_pull_px: float | None = Field(None, gt=0)
    clean_px: Annotated[float | dict[str, float] | None, BeforeValidator(_tolerance)] = None
    class_names: tuple[str, ...] | None = Field(None, strict=False, min_length=2)
    exclude: tuple[FrameRange, ...] = Field((), strict=False)
    held_out: FrameRange | None = None
    every: int = Field(1, ge=1)
    block_frames: int = Field(50, ge=1)
    validate_every: int = Field(10, ge=2)


class AugmentConfig(Section):
    """How far training images stray from the recorded ones.

    Attributes:
        rotation_deg: Largest rotation either way.
        scale: Largest relative change of size.
        mirror: Show half of the images mirrored; left and right nodes change places.
        symmetries: Left-right pairs of nodes, instead of those that the labels' skeleton has.
        contrast: Largest relative change of contrast.
        brightness: Largest change of brightness, 1 = from black to white.
        gamma: Largest logarithm, either way, of the power that brightness is raised to.
        noise: Largest standard deviation of the camera noise, 1 = from black to white.
        blur_px: Largest standard deviation of the blur that 3 in 10 samples get, px of the network's input.
    """

    rotation_deg: float = Field(180.0, ge=0, le=180)
    scale: float = Field(0.1, ge=0, lt=1)
    mirror: bool = False
    symmetries: tuple[Annotated[tuple[str, str], Field(strict=False)], ...] = Field((), strict=False)
    contrast: float = Field(0.2, ge=0, lt=1)
    brightness: float = Field(0.05, ge=0, le=1)
    gamma: float = Field(0.0, ge=0, le=1)
    noise: float = Field(0.02, ge=0, le=1)
    blur_px: float = Field(0.0, ge=0, le=10)


class FitConfig(Section):
    """How fast to learn. `[detector.fit]` and the like change single keys for one network.

    Attributes:
        seed: Seed of the weights, the order and the augmentation.
        epochs: Most epochs; 0 keeps the weights that `start_from` gives.
        steps_per_epoch: Batches in one epoch.
        batch_size: Samples in one batch: whole images, windows or crops.
        learning_rate: Adam's rate after the warm-up.
        warm_up_steps: The rate rises from 0 over these.
        schedule: `cosine`: the rate falls to 0 along a cosine over all epochs. `plateau`: it is multiplied by
            `drop_factor` after `drop_after` epochs without a better validation loss.
        drop_after: See `schedule`.
        drop_factor: See `schedule`.
        stop_after: Epochs without a better validation loss before an early end.
        validation_samples: The validation loss is measured on so many fixed samples, fewer if there are fewer.
        precision: `bf16` computes layers in bfloat16 with float32 weights and outputs: faster where the processor has
            instructions for it.
    """

    seed: int = Field(0, ge=0)
    epochs: int = Field(60, ge=0)
    steps_per_epoch: int = Field(100, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    warm_up_steps: int = Field(200, ge=0)
    schedule: Literal["cosine", "plateau"] = "cosine"
    drop_after: int = Field(5, ge=1)
    drop_factor: float = Field(0.5, gt=0, lt=1)
    stop_after: int = Field(20, ge=1)
    validation_samples: int = Field(256, ge=1)
    precision: Precision = "fp32"

    def changed_by(self, other: "FitConfig") -> "FitConfig":
        """Return these settings with those that `other` was given in their place."""
        return self.model_copy(update={key: getattr(other, key) for key in other.model_fields_set})


class UNetConfig(Section):
    """A UNet and its confidence maps; see `models.training.networks.unet` and `models.training.targets`.

    Attributes:
        filters: Channels of the finest block.
        filters_rate: Growth of the channels from block to block.
        max_stride: Stride of the coarsest block.
        output_stride: Stride of the confidence maps.
        stem_stride: Stride of the convolution before the finest block, 1 = none.
        sigma_cells: Standard deviation of the maps' Gaussians in map cells. Sub-pixel decoding fits a Gaussian of any
            width to the 3×3 cells around a peak; a wide one runs into its neighbours, a narrow one rests on few cells.
        offsets: Learn offset maps, which then refine the peaks instead of that fit.
        offsets_weight: Their share of the loss.
        shift_px: Training moves the image by up to this much along x and along y, px of the network's input.
        fit: Changes to `[fit]` for this network.
    """

    filters: int = Field(16, ge=1)
    filters_rate: float = Field(1.5, ge=1)
    max_stride: Stride = 16
    output_stride: Stride = 4
    stem_stride: Stride = 1
    sigma_cells: float = Field(1.0, gt=0)
    offsets: bool = False
    offsets_weight: float = Field(5.0, gt=0)
    shift_px: float = Field(10.0, ge=0)
    fit: FitConfig = FitConfig()

    @model_validator(mode="after")
    def _strides_in_order(self) -> "UNetConfig":
        if not self.stem_stride <= self.output_stride <= self.max_stride or self.stem_stride == self.max_stride:
            raise ValueError(
                "expected stem_stride <= output_stride <= max_stride and stem_stride < max_stride, got "
                f"{self.stem_stride}, {self.output_stride}, {self.max_stride}"
            )
        return self


class WholeImageConfig(UNetConfig):
    """A network that sees the whole image.

    Attributes:
        input_scale: The image is resized by this before the network.
        window_px: Learn square windows of this side instead of whole images, px of the network's input; most are
            centred on an animal. The network is convolutional throughout, so a window costs its share of the image.
    """

    input_scale: float = Field(1.0, gt=0, le=1)
    window_px: int | None = Field(None, ge=16)

    @model_validator(mode="after")
    def _window_fits(self) -> "WholeImageConfig":
        if self.window_px is not None and self.window_px % self.max_stride:
            raise ValueError(
                f"expected window_px to be a multiple of max_stride {self.max_stride}, got {self.window_px}"
            )
        return self


class DetectorConfig(WholeImageConfig):
    """The network that finds the animals in the whole image.

    Attributes:
        anchor: The node that it points at; None = the middle of the box around an animal's nodes.
    """

    input_scale: float = Field(0.5, gt=0, le=1)
    anchor: str | None = None


class BottomUpConfig(WholeImageConfig):
    """The network that finds the nodes of all animals, and part affinity fields along the edges of the skeleton.

    Attributes:
        paf_stride: Stride of the fields.
        paf_sigma_px2: Width of a field; its weight falls with the distance d from the edge as
            exp(−d⁴ / (2 paf_sigma_px2²)), d in px of the network's input: to a half at 1.09 √paf_sigma_px2.
        paf_weight: The fields' share of the loss.
    """

    paf_stride: Stride = 8
    paf_sigma_px2: float = Field(75.0, gt=0)
    paf_weight: float = Field(4.0, gt=0)

    @model_validator(mode="after")
    def _paf_stride_is_there(self) -> "BottomUpConfig":
        _check_decoded(self, "paf_stride", self.paf_stride)
        return self


class BottomUpIdConfig(WholeImageConfig):
    """The network that finds the nodes of all animals, and a map of where each identity is.

    Attributes:
        class_stride: Stride of the class maps.
        class_sigma_cells: Standard deviation of the Gaussians that they are made of, in their cells.
        class_weight: The class maps' share of the loss.
    """

    class_stride: Stride = 4
    class_sigma_cells: float = Field(2.0, gt=0)
    class_weight: float = Field(0.1, gt=0)

    @model_validator(mode="after")
    def _class_stride_is_there(self) -> "BottomUpIdConfig":
        _check_decoded(self, "class_stride", self.class_stride)
        return self


def _check_decoded(config: UNetConfig, key: str, stride: int) -> None:
    if not config.output_stride <= stride <= config.max_stride:
        raise ValueError(
            f"expected output_stride <= {key} <= max_stride, got {config.output_stride}, {stride}, {config.max_stride}"
        )


class InstanceConfig(UNetConfig):
    """The network that finds the nodes of the animal in the middle of a crop.

    Attributes:
        crop_size_px: Side of a crop, px of the image.
        input_scale: The crop is resized by this before the network; crop_size_px · input_scale is a multiple of
            `max_stride`.
    """

    crop_size_px: int = Field(ge=16)
    input_scale: float = Field(1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _crop_fits(self) -> "InstanceConfig":
        if self.crop_size_px * self.input_scale % self.max_stride:
            side = "crop_size_px" if self.input_scale == 1 else "crop_size_px · input_scale"
            raise ValueError(
                f"expected {side} to be a multiple of max_stride {self.max_stride}, "
                f"got {self.crop_size_px * self.input_scale:g}"
            )
        return self


class InstanceIdConfig(InstanceConfig):
    """The network that finds the nodes of the animal in a crop, and tells which animal it is.

    Attributes:
        class_layers: Dense layers between the coarsest block and the class probabilities.
        class_units: Their width.
        class_weight: The cross-entropy's share of the loss.
    """

    class_layers: int = Field(1, ge=0)
    class_units: int = Field(64, ge=1)
    class_weight: float = Field(1e-2, gt=0)


class ExportConfig(Section):
    """What the model folder is made for.

    Attributes:
        height_px: Height of the camera's image; None = the video's.
        width_px: Width of the camera's image; None = the video's.
        min_score: A detection or node below this is not reported.
    """

    height_px: int | None = Field(None, ge=16)
    width_px: int | None = Field(None, ge=16)
    min_score: float = Field(0.2, ge=0, lt=1)


class AnimalsExportConfig(ExportConfig):
    """For types that find several animals.

    Attributes:
        max_instances: The most animals in one image.
    """

    max_instances: int = Field(2, ge=1)


class TopDownExportConfig(AnimalsExportConfig):
    """For types that find the nodes of each animal in a crop.

    Attributes:
        views: Look at every crop so many times, turned by another of as many equal parts of a full turn, and report the
            mean. Errors become smaller, and crops cost as many times as much. The crops' network must have learnt
            animals in any direction: `rotation_deg = 180`.
    """

    views: int = Field(1, ge=1, le=MAX_VIEWS)


class BottomUpExportConfig(AnimalsExportConfig):
    """For type `bottom_up`.

    Attributes:
        max_peaks: The most peaks of one node; None = 2 more than animals.
        min_edge_score: Two peaks belong to one animal only where their part affinity field agrees at least this much.
    """

    max_peaks: int | None = Field(None, ge=1)
    min_edge_score: float = Field(0.25, ge=0, lt=1)


class BottomUpIdExportConfig(ExportConfig):
    """For type `bottom_up_id`, which has a slot for every identity.

    Attributes:
        max_peaks: The most peaks of one node; None = 2 more than identities.
    """

    max_peaks: int | None = Field(None, ge=1)


class TrainingConfig(Section):
    """What the files of every type have in common.

    Attributes:
        profile: Sizes for keys of the network sections that are not given; see `models.training.profiles`.
        start_from: A model folder or `zoo:NAME` whose networks the training goes on from, which takes fewer labels and
            epochs than to begin anew; the networks must have its sizes. See `models.training.starting`.
    """

    profile: Profile | None = None
    start_from: Annotated[Path | None, Field(strict=False)] = None
    data: DataConfig
    augment: AugmentConfig = AugmentConfig()
    fit: FitConfig = FitConfig()


class SingleInstanceTraining(TrainingConfig):
    """One animal in every image: its nodes."""

    type: Literal["single_instance"]
    network: WholeImageConfig = WholeImageConfig()
    export: ExportConfig = ExportConfig()


class CentroidTraining(TrainingConfig):
    """Where the animals are, without their nodes."""

    type: Literal["centroid"]
    detector: DetectorConfig = DetectorConfig()
    export: AnimalsExportConfig = AnimalsExportConfig()


class TopDownTraining(TrainingConfig):
    """Where the animals are, then the nodes of each."""

    type: Literal["top_down"]
    detector: DetectorConfig = DetectorConfig()
    instance: InstanceConfig
    export: TopDownExportConfig = TopDownExportConfig()


class TopDownIdTraining(TrainingConfig):
    """Where the animals are, then the nodes of each and who it is."""

    type: Literal["top_down_id"]
    detector: DetectorConfig = DetectorConfig()
    instance: InstanceIdConfig
    export: TopDownExportConfig = TopDownExportConfig()


class BottomUpTraining(TrainingConfig):
    """All nodes at once, joined along the skeleton's edges."""

    type: Literal["bottom_up"]
    network: BottomUpConfig = BottomUpConfig()
    export: BottomUpExportConfig = BottomUpExportConfig()


class BottomUpIdTraining(TrainingConfig):
    """All nodes at once, joined by identity."""

    type: Literal["bottom_up_id"]
    network: BottomUpIdConfig = BottomUpIdConfig()
    export: BottomUpIdExportConfig = BottomUpIdExportConfig()


AnyTraining = (
    SingleInstanceTraining
    | CentroidTraining
    | TopDownTraining
    | TopDownIdTraining
    | BottomUpTraining
    | BottomUpIdTraining
)

TRAININGS: Mapping[str, type[AnyTraining]] = {
    "single_instance": SingleInstanceTraining,
    "centroid": CentroidTraining,
    "top_down": TopDownTraining,
    "top_down_id": TopDownIdTraining,
    "bottom_up": BottomUpTraining,
    "bottom_up_id": BottomUpIdTraining,
}
