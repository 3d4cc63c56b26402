"""What a rig file says of rules and roles, and what a rule has to know of the rig."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from realtime.plane import Plane
from realtime.rules.errors import RuleError, suggestion
from realtime.rules.zones import ZoneSpec, encoded

_DAY_S = 86_400


class RuleSpec(BaseModel):
    """One `[rules.NAME]` table: a condition on animals, and when it turns on and off.

    Attributes:
        when: The condition that turns the rule on; or else `python`.
        python: The name of an installed rule in Python, see `base.PythonRule`. It is true as long as that answers True.
        options: What that rule lets one set.
        roles: The roles of the rig that it is about, after those of `any_pair`.
        max_ms: How long its answers on a frame may take together; 5 where nothing is said. Slower ones in
            `safety.bad_frames` frames in a row are a fault.
        until: The condition that turns it off again; without one the rule is off as soon as `when` is false. A second
            threshold here is a hysteresis. While `until` is true the rule does not turn on.
        any_pair: Two names that are bound to every ordered pair of tracks; the rule is on if it is on for any.
        for_s: How long `when` has to be true without a break before the rule turns on, in time of the frames.
        refractory_s: Time after a RISING in which the rule does not turn on again.
        when_unknown: What to do when an animal or a node that decides is not seen: "hold" stays on, "release" turns
            off. Either way the rule does not turn on by what it does not see.
        require_identity: The rule is held unknown while the tracker's identity confidence of an animal that it names is
            lower than this, 0–1, or while that animal is suspected of being another one, or is absent. With
            `any_pair` that is asked of each pair, with the other animals that the rule names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    when: str | None = None
    python: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    roles: Annotated[tuple[str, ...], Field(strict=False)] = ()
    max_ms: float | None = Field(default=None, gt=0, le=1000, allow_inf_nan=False)
    until: str | None = None
    any_pair: Annotated[tuple[str, str], Field(strict=False)] | None = None  # TOML has arrays, not tuples
    for_s: float = Field(default=0.0, ge=0, le=_DAY_S, allow_inf_nan=False)
    refractory_s: float = Field(default=0.0, ge=0, le=_DAY_S, allow_inf_nan=False)
    when_unknown: Literal["hold", "release"]
    require_identity: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.when is None) == (self.python is None):
            got = "neither" if self.when is None else "both"
            raise ValueError(f"expected either when or python, got {got}")
        for key, is_given in (("options", self.options), ("roles", self.roles), ("max_ms", self.max_ms is not None)):
            if is_given and self.python is None:
                raise ValueError(f"{key}: expected python with it, got none; it is for rules in Python")
        if self.until is not None and self.python is not None:
            raise ValueError("until: expected when with it, got python; when such a rule ends is its own affair")
        return self

    @model_validator(mode="after")
    def _two_names(self) -> Self:
        if self.any_pair is not None and self.any_pair[0] == self.any_pair[1]:
            raise ValueError(f"any_pair: expected two different names, got '{self.any_pair[0]}' twice")
        return self


class RoleSpec(BaseModel):
    """Which animal a role stands for: the one of an identity, or the one with a track id.

    Attributes:
        identity: A class name of the model's identities. While two tracks have it, the role has no animal.
        track: A track id.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    identity: str | None = None
    track: int | None = Field(default=None, ge=1, le=2**31 - 1)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.identity is None) == (self.track is None):
            raise ValueError('expected either identity or track, as in { identity = "male" } or { track = 1 }')
        return self


@dataclass(frozen=True, slots=True)
class RuleContext:
    """What names in a rule may refer to.

    Attributes:
        node_names: The skeleton's nodes, in its order.
        class_names: The model's identities, in its order; empty where it tells none.
        roles: The rig's roles.
        front, back: The nodes between which an animal's heading runs, back → front.
        centre: The node that stands for the animal where a rule names no node.
        px_per_mm: The calibration, or None.
        zones: The rig's zones.
        rules: All rules of the rig, as far as they may ask for one another.
        predicted_nodes: The nodes that the look-ahead predicts; None where the rig has none.
        plane: Where the tracks that rules are given are levelled: how, so that zones are too. None for tracks in px.

    Raises:
        RuleError: A name is not a node or a class, the calibration is not a positive number, or a zone in px is where
            nothing can be levelled.
    """

    node_names: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    roles: Mapping[str, RoleSpec] = field(default_factory=dict)
    front: str | None = None
    back: str | None = None
    centre: str | None = None
    px_per_mm: float | None = None
    zones: Mapping[str, ZoneSpec] = field(default_factory=dict)
    rules: Mapping[str, RuleSpec] = field(default_factory=dict)
    predicted_nodes: tuple[str, ...] | None = None
    plane: Plane | None = None

    def __post_init__(self) -> None:
        problems = [
            _unknown(f"$.animal.{part}", "a node", self.node_names, name)
            for part, name in (("front", self.front), ("back", self.back), ("centre", self.centre))
            if name is not None and name not in self.node_names
        ]
        problems += [
            _unknown(f"$.roles.{role}.identity", "an identity of the model", self.class_names, spec.identity)
            for role, spec in self.roles.items()
            if spec.identity is not None and spec.identity not in self.class_names
        ]
        if self.px_per_mm is not None and not (math.isfinite(self.px_per_mm) and self.px_per_mm > 0):
            problems.append(f"$.calibration.px_per_mm: expected a positive number, got {self.px_per_mm}")
        problems += [
            f"$.zones.{name}.unit: expected $.calibration.px_per_mm for 'mm', got none; calibrate the rig or write the "
            "zone in px"
            for name, zone in self.zones.items()
            if zone.unit == "mm" and self.px_per_mm is None
        ]
        problems += self._zones_off_the_plane()
        if problems:
            raise RuleError("\n".join(problems))

    def _zones_off_the_plane(self) -> Iterator[str]:
        for name, zone in self.zones.items():
            try:
                encoded(zone, self.px_per_mm, self.plane)
            except ValueError as error:
                yield f"$.zones.{name}: {error}"


def _unknown(key: str, what: str, known: tuple[str, ...], got: str) -> str:
    return f"{key}: expected {what} ({', '.join(known) or 'it has none'}), got '{got}'{suggestion(got, known)}"
