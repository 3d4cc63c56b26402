"""Why a rule is on, off or unknown in one frame: every value of its expressions, and what holds it back beside them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from realtime.decision import State
from realtime.rules.explained import headline
from realtime.rules.functions import FUNCTIONS, needed_nodes
from realtime.rules.language import Call, Infix, point_of
from realtime.rules.recording import DecisionTable, TrackTable
from realtime.rules.rule import Progress
from realtime.rules.spec import RuleContext, RuleSpec
from realtime.rules.traced import CONDITION, Part, TracedRule, compile_traced
from realtime.tracks import Tracks

_WHEN = {State.OFF: 0.0, State.ON: 1.0, State.UNKNOWN: math.nan}
_COMPARISONS = ("<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Told:
    """One part of an expression in one frame.

    Attributes:
        key: `when` or `until`.
        depth: How many parts it is inside of.
        text: The part.
        value: The number in `unit`, or 1 for true and 0 for false; NaN = unknown.
        unit: Of the value; empty for none and for a condition.
        is_condition: Whether it is true or false.
        off_by: Of a comparison: how far the number is from its limit, 0 or more; NaN for anything else and unknown.
        off_unit: The unit of `off_by`.
    """

    key: str
    depth: int
    text: str
    value: float
    unit: str
    is_condition: bool
    off_by: float
    off_unit: str


@dataclass(frozen=True, slots=True)
class Why:
    """Why a rule is as it is in one frame, for its roles or for one pair.

    Attributes:
        rule: Its name.
        frame_id: The frame.
        at_s: Its time from the first frame, s.
        state: Of the rule as a whole.
        is_on: Whether it is on for these animals.
        animals: Which track each role is; 0 for none.
        parts: Every measured part of its expressions.
        reasons: What keeps it from being on, in words, the decisive first; empty where it is on.
    """

    rule: str
    frame_id: int
    at_s: float
    state: State
    is_on: bool
    animals: Mapping[str, int]
    parts: tuple[Told, ...]
    reasons: tuple[str, ...]

    @property
    def line(self) -> str:
        """One line for a status: the state and the first reason."""
        return f"{self.rule}: {self.state.name}{f', {self.reasons[0]}' if self.reasons else ''}"


def why(name: str, spec: RuleSpec, context: RuleContext, recording: TrackTable, index: int) -> list[Why]:
    """Say why a rule is as it is in one frame of a recording.

    Args:
        name: The rule's name.
        spec: Its table.
        context: What its names may refer to.
        recording: From the first frame of the session on, because a rule remembers.
        index: The frame's place in the recording.

    Returns:
        One for the rule's roles; with "any pair" one for each ordered pair of tracks of the frame.

    Raises:
        RuleError: Something is wrong with the rule.
    """
    traced = compile_traced(name, spec, context)
    past, tracks = recording.head(index + 1), recording.tracks(index)
    ids = tracks.track_ids.tolist()
    pairs: list[tuple[int, int] | None] = [(one, other) for one in ids for other in ids if one != other]
    if spec.any_pair is None or not pairs:
        pairs = [None]
    return [_frame(traced, spec, context, past, tracks, pair) for pair in pairs]


def _frame(
    traced: TracedRule,
    spec: RuleSpec,
    context: RuleContext,
    past: TrackTable,
    tracks: Tracks,
    pair: tuple[int, int] | None,
) -> Why:
    decisions, progress = traced.rule.follow(past, pair)
    now = len(decisions) - 1
    values = decisions.values[now]
    animals = dict(zip(traced.rule.roles, decisions.track_ids[now].tolist(), strict=True))
    parts = tuple(_told(part, traced.parts, values.tolist()) for part in traced.parts if part.column >= 0)
    state = State(decisions.states[now])
    reasons = (
        () if progress.is_latched else _reasons(traced, spec, context, decisions, progress, tracks, animals, parts)
    )
    at_s = float(past.timestamps_ns[now] - past.timestamps_ns[0]) * 1e-9
    return Why(
        traced.rule.name, int(past.frame_ids[now]), at_s, state, progress.is_latched, animals, parts, tuple(reasons)
    )


def _told(part: Part, parts: tuple[Part, ...], values: list[float]) -> Told:
    off_by, off_unit = math.nan, ""
    if isinstance(part.node, Infix) and part.node.operator in _COMPARISONS:
        sides = [other for other in parts if other.key == part.key and other.node in (part.node.left, part.node.right)]
        off_by, off_unit = abs(values[sides[0].column] - values[sides[1].column]), sides[0].unit
    is_condition = part.kind == CONDITION
    return Told(part.key, part.depth, headline(part), values[part.column], part.unit, is_condition, off_by, off_unit)


def _reasons(
    traced: TracedRule,
    spec: RuleSpec,
    context: RuleContext,
    decisions: DecisionTable,
    progress: Progress,
    tracks: Tracks,
    animals: Mapping[str, int],
    parts: tuple[Told, ...],
) -> list[str]:
    when = _WHEN[progress.answer] if progress.answer is not None else next(p.value for p in parts if p.key == "when")
    until = next((part.value for part in parts if part.key == "until"), 0.0)
    failing = [] if when == 1.0 else [*progress.told, *(_failing(part) for part in _blocking(parts, "when"))]
    if when != 1.0 and progress.answer is not None and not progress.told:
        failing = [f"the rule in Python answered {_truth(when)}"]
    absent = _absent(traced, spec, context, tracks, animals)
    doubts = [] if spec.require_identity is None else _doubts(spec.require_identity, tracks, animals)
    # Whatever is unknown, what is false decides; else what is unknown is explained by what is not seen.
    reasons = [*doubts, *failing, *absent] if when == 0.0 else [*doubts, *absent, *failing]
    if until != 0.0:
        reasons.append(f"'until' is {_truth(until)}, and while it is not false the rule does not turn on")
    if when == 1.0 and until == 0.0 and not doubts:
        reasons = [*_timing(spec, decisions, progress), *reasons]
    return reasons


def _timing(spec: RuleSpec, decisions: DecisionTable, progress: Progress) -> list[str]:
    told = []
    now_ns = int(decisions.timestamps_ns[-1])
    if progress.true_ns < round(spec.for_s * 1e9):
        told.append(f"it has been true for {progress.true_ns * 1e-9:.3f} s, and has to be for {spec.for_s:g} s (for_s)")
    was_on = len(decisions) > 1 and decisions.states[-2] == State.ON
    last_ns = progress.last_rising_ns
    if last_ns is not None and not was_on and now_ns - last_ns < round(spec.refractory_s * 1e9):
        start_ns = int(decisions.timestamps_ns[0])
        told.append(
            f"it turned on at {(last_ns - start_ns) * 1e-9:.3f} s, and does not again before "
            f"{(last_ns - start_ns) * 1e-9 + spec.refractory_s:.3f} s (refractory_s)"
        )
    return told


def _absent(
    traced: TracedRule, spec: RuleSpec, context: RuleContext, tracks: Tracks, animals: Mapping[str, int]
) -> list[str]:
    if spec.any_pair is not None and len(tracks.track_ids) < 2:
        return [f"there is no pair: animals in this frame: {len(tracks.track_ids)}"]
    told = []
    for role, track_id in animals.items():
        if track_id == 0 and role in context.roles:
            told.append(_no_animal(role, context, tracks))
        elif track_id != 0:
            told += _unseen(role, track_id, traced, context, tracks)
    return told


def _no_animal(role: str, context: RuleContext, tracks: Tracks) -> str:
    found = context.roles[role]
    if found.track is not None:
        return f"{role}: there is no track {found.track} in this frame"
    class_id = context.class_names.index(found.identity or "")
    count = int(np.count_nonzero(tracks.class_ids == class_id))
    return f"{role}: {count or 'no'} animals have the identity '{found.identity}' in this frame"


def _unseen(role: str, track_id: int, traced: TracedRule, context: RuleContext, tracks: Tracks) -> list[str]:
    points = tracks.xy[int(np.flatnonzero(tracks.track_ids == track_id)[0])]
    needed: set[str] = set()
    for part in traced.parts:
        if isinstance(part.node, Call):
            for argument, parameter in zip(part.node.arguments, FUNCTIONS[part.node.name].parameters, strict=False):
                if (point := point_of(argument)) is not None and point.role == role:
                    needed |= needed_nodes(point, parameter, context)
    unseen = [node for index, node in enumerate(context.node_names) if node in needed and np.isnan(points[index]).any()]
    return [f"{role} (track {track_id}): not seen: {', '.join(unseen)}"] if unseen else []


def _doubts(least: float, tracks: Tracks, animals: Mapping[str, int]) -> list[str]:
    told = []
    for role, track_id in animals.items():
        if track_id == 0:
            told.append(f"{role}: no animal whose identity could be sure (require_identity)")
            continue
        row = int(np.flatnonzero(tracks.track_ids == track_id)[0])
        confidence, suspect = float(tracks.identity_confidence[row]), int(tracks.suspect_ids[row])
        if not confidence >= float(np.float32(least)):
            told.append(
                f"{role} (track {track_id}): identity confidence {confidence:.3f}, below {least:g} (require_identity)"
            )
        if suspect:
            other = "another animal" if suspect == track_id else f"the animal of track {suspect}"
            told.append(f"{role} (track {track_id}): may be {other} (require_identity)")
    return told


def _blocking(parts: tuple[Told, ...], key: str) -> list[Told]:
    """Return the conditions below lists of "all of" and "any of" that are not true; a negated one as a whole."""
    found: list[Told] = []
    inside = math.inf  # depth of a part whose insides are not looked at
    for part in parts:
        if part.key != key or part.depth > inside:
            continue
        inside = math.inf
        if part.is_condition and part.text in {"all of", "any of"} and part.value != 1.0:
            continue
        inside = part.depth
        if part.is_condition and part.value != 1.0:
            found.append(part)
    return sorted(found, key=lambda part: math.isnan(part.value))  # what is false decides, whatever is unknown


def _failing(part: Told) -> str:
    off = "" if math.isnan(part.off_by) else f", off by {part.off_by:.4g} {part.off_unit}".rstrip()
    return f"{part.text} is {_truth(part.value)}{off}"


def _truth(value: float) -> str:
    return "unknown" if math.isnan(value) else "true" if value else "false"


def value_text(part: Told) -> str:
    """Return a part's value in words: `true`, `unknown`, `3.25 mm`."""
    if part.is_condition or math.isnan(part.value):
        return _truth(part.value)
    return f"{part.value:.4g} {part.unit}".rstrip()
