"""EvaluationOptions: what is compared, and how strictly."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class EvaluationOptions(BaseModel):
    """Settings of `evaluate`.

    Attributes:
        frames: The first and the last frame to compare; all of the truth's by default.
        offset_px: Added to x and y of the truth, px. Labels made from SLEAP's top-down predictions lie −0.5 px from
            where the image shows the animal: 0.5 corrects them.
        grid_pull_px: Undo the pull towards a grid of cells of this side in what of the truth is predictions: their
            network's output stride in px of the image. See `models.training.grid_pull`. None = leave them as they are.
        nodes: The nodes to compare; all of the truth's by default. The animals' sizes and areas are taken over all
            nodes in any case.
        oks_sigma: Spread of a person's labels in the object keypoint similarity, in units of the animal's size.
        gate_px: The mean distance over the nodes at which a prediction is no longer the same animal; a quarter of the
            animals' median size by default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    frames: tuple[int, int] | None = None
    offset_px: float = Field(default=0.0, allow_inf_nan=False)
    grid_pull_px: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    nodes: tuple[str, ...] | None = Field(default=None, min_length=1)
    oks_sigma: float = Field(default=0.025, gt=0, allow_inf_nan=False)
    gate_px: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.frames is not None and self.frames[0] > self.frames[1]:
            raise ValueError(f"frames: expected the first before the last, got {self.frames[0]}-{self.frames[1]}")
        return self
