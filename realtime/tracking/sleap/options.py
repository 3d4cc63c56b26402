"""Options of SLEAP's tracker, with SLEAP's names and the defaults of its factory."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Similarity = Literal["instance", "normalized_instance", "centroid", "iou", "object_keypoint"]
Match = Literal["greedy", "hungarian"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SleapTrackerOptions(BaseModel):
    """How SLEAP's tracker follows animals.

    Attributes:
        tracker: `simple` compares with the earlier poses as they were, `flow` with these moved along with the picture.
        similarity: How two poses are compared.
        match: Cheapest pair first, or the least sum of costs.
        track_window: How many frames back it looks, those without an animal included.
        robust: Which quantile of a track's similarities counts; 1 = the best of them.
        min_new_track_points: Nodes that an instance must show to start a track; with fewer it is dropped.
        min_match_points: Nodes that an earlier pose must show to be a candidate (`simple`), or more than which must be
            found again (`flow`).
        img_scale: By how much images are scaled before `flow` looks at them.
        of_window_size: Side of the window of `flow`, px of the scaled image. OpenCV takes no less than 3.
        of_max_levels: Levels of the pyramid of `flow` above the image itself.
        oks_errors: For `object_keypoint`, the standard error of every node, px; a single one is that of all.
        oks_score_weighting: Whether `object_keypoint` weighs every node by the scores of both poses.
        oks_normalization: By how many nodes `object_keypoint` divides: `all`, those seen in the untracked instance
            (`ref`), or those seen in both (`union`, as SLEAP calls it).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    tracker: Literal["simple", "flow"] = "flow"
    similarity: Similarity = "instance"
    match: Match = "greedy"
    track_window: int = Field(5, ge=1)
    robust: float = Field(1.0, gt=0, le=1)
    min_new_track_points: int = Field(0, ge=0)
    min_match_points: int = Field(0, ge=0)
    img_scale: Positive = 1.0
    of_window_size: int = Field(21, ge=3)
    of_max_levels: int = Field(3, ge=0)
    oks_errors: tuple[Positive, ...] = Field((1.0,), min_length=1)
    oks_score_weighting: bool = False
    oks_normalization: Literal["all", "ref", "union"] = "all"
