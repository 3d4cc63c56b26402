"""Builds the parts of a loop from a rig: what a live session and a replay have in common."""

from collections.abc import Mapping

import models.registry
from camera_drivers.acquisition import Acquisition
from models.base import PoseModel
from realtime.rig import Rig, RigError
from realtime.rules import Rule, RuleContext, RuleError, compile_rule
from realtime.stimulus import Stimulator
from realtime.tracking import GreedyTracker
from triggers.base import Trigger


def make_camera(rig: Rig) -> Acquisition:
    """Build the rig's camera, still closed: its frames come from a process of its own."""
    return Acquisition(
        rig.camera.name,
        rig.camera.options,
        policy=rig.loop.frames,
        overflow="drop_oldest" if rig.loop.frames == "latest" else "wait",
        capacity=rig.loop.ring_frames,
    )


def load_model(rig: Rig) -> PoseModel:
    """Load the rig's model.

    Raises:
        ModelError: It is missing, damaged or needs a package that is not installed.
    """
    return models.registry.load(rig.model.name)(rig.model.options)


def make_tracker(rig: Rig, model: PoseModel) -> GreedyTracker:
    """Build the rig's tracker for the model's skeleton and identities, compiled and ready."""
    tracker = GreedyTracker(rig.tracker, len(model.skeleton.nodes), model.class_names)
    tracker.warm_up()
    return tracker


def make_rules(rig: Rig, model: PoseModel) -> tuple[Rule, ...]:
    """Compile the rig's rules for the model's skeleton and identities.

    Raises:
        RigError: A rule, or the animal's heading, names what is not there; all mistakes are listed.
    """
    try:
        context = RuleContext(
            node_names=model.skeleton.nodes,
            class_names=model.class_names,
            roles=rig.roles,
            front=rig.animal.front,
            back=rig.animal.back,
            centre=rig.animal.centre,
            px_per_mm=rig.calibration.px_per_mm,
        )
    except RuleError as error:
        raise RigError([f"{rig.path}: {line}" for line in str(error).splitlines()]) from error
    rules, mistakes = [], []
    for name, spec in rig.rules.items():
        try:
            rules.append(compile_rule(name, spec, context))
        except RuleError as error:
            mistakes.append(f"{rig.path}: {error}")
    if mistakes:
        raise RigError(mistakes)
    for rule in rules:
        rule.warm_up()
    return tuple(rules)


def make_stimulator(rig: Rig, outputs: Mapping[str, Trigger]) -> Stimulator:
    """Join the rig's stimuli, limits and deadline with open triggers."""
    return Stimulator(rig.stimuli, outputs, rig.limits, round(rig.loop.deadline_ms * 1e6))
