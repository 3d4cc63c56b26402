"""What a rig file says of the look-ahead."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

EVERYTHING = "body"
"""The group of all nodes, where a rig names no groups."""

MAX_HORIZON_MS = 500.0
"""No animal keeps its velocity for longer; a longer latency is looked ahead this far."""

_Nodes = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]  # TOML has arrays, not tuples


class LookAheadOptions(BaseModel):
    """The `[lookahead]` table. Lengths are in body lengths: the diagonal of the box around an animal's nodes.

    Attributes:
        horizon_ms: How far to look ahead, from the time of a frame to that of its stimulus. By default it is measured:
            the running median of frame → command, and what the next two add.
        camera_latency_ms: What cannot be measured here: from the middle of the exposure to the frame's being available.
        device_latency_ms: The same, from the command to the stimulus; `poseloop looptest` measures it.
        groups: Nodes that move together, by the group's name, each with a velocity of its own; by default all nodes are
            one. Nodes in no group are not predicted.
        acceleration: Spectral density of the acceleration that the Kalman filter expects, (body lengths / s²)² s. More
            follows turns sooner and jitters more.
        noise: Error of a sighting as the filter takes it, body lengths.
        grade_s: Time over which predictions are compared with what came then.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    horizon_ms: float | None = Field(default=None, gt=0, le=MAX_HORIZON_MS, allow_inf_nan=False)
    camera_latency_ms: float = Field(default=0.0, ge=0, le=MAX_HORIZON_MS, allow_inf_nan=False)
    device_latency_ms: float = Field(default=0.0, ge=0, le=MAX_HORIZON_MS, allow_inf_nan=False)
    groups: dict[str, _Nodes] | None = Field(default=None, min_length=1)
    acceleration: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    noise: float = Field(default=0.02, gt=0, allow_inf_nan=False)
    grade_s: float = Field(default=5.0, ge=0.1, le=3600, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_horizon(self) -> Self:
        if self.horizon_ms is not None and (self.camera_latency_ms or self.device_latency_ms):
            raise ValueError(
                "expected either horizon_ms, which is the whole way from frame to stimulus, or camera_latency_ms and "
                "device_latency_ms, which are added to what is measured, got both; remove one"
            )
        return self

    @model_validator(mode="after")
    def _each_node_once(self) -> Self:
        seen: dict[str, str] = {}
        for group, nodes in (self.groups or {}).items():
            for node in nodes:
                if node in seen:
                    raise ValueError(
                        f"groups: expected each node in one group, got '{node}' in '{seen[node]}' and '{group}'"
                    )
                seen[node] = group
        return self

    def groups_of(self, node_names: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """Return the groups' nodes by name, for a skeleton."""
        return {EVERYTHING: tuple(node_names)} if self.groups is None else self.groups

    def predicted_nodes(self, node_names: Sequence[str]) -> tuple[str, ...]:
        """Return the nodes of a skeleton that are predicted."""
        return tuple(node for nodes in self.groups_of(node_names).values() for node in nodes)

    def strangers(self, node_names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield each (group, node) whose node the skeleton does not have."""
        for group, nodes in (self.groups or {}).items():
            yield from ((group, node) for node in nodes if node not in node_names)
