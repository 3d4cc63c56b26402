"""Builds the parts of a loop from a rig: what a live session and a replay have in common."""

import shlex
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from typing import Any

import models.registry
import triggers.registry
from camera_drivers.acquisition import Acquisition
from camera_drivers.base import CameraInfo
from camera_drivers.ring import Policy
from models.base import PoseModel
from models.errors import ModelDiffersError
from realtime.drill import DecisionDrill
from realtime.lookahead import LookAhead
from realtime.plane import Leveller, Plane
from realtime.rig import Choice, Rig, RigError
from realtime.rules import Rule, RuleContext, RuleError, compile_rules
from realtime.rules.errors import suggestion
from realtime.stimulus import Orders, Stimulator
from realtime.tracking import GreedyTracker
from triggers.base import Trigger, TriggerInfo
from triggers.lock import DeviceLock, device_of
from triggers.port_trigger import PortTrigger
from triggers.reopening import ReopeningTrigger


def make_camera(rig: Rig, policy: Policy | None = None) -> Acquisition:
    """Build the rig's camera, still closed: its frames come from a process of its own.

    Args:
        rig: The rig.
        policy: Which frames are taken; None for what the rig says.
    """
    frames = policy or rig.loop.frames
    return Acquisition(
        rig.camera.name,
        rig.camera.options,
        policy=frames,
        overflow="drop_oldest" if frames == "latest" else "wait",
        capacity=rig.loop.ring_frames,
        wait=rig.loop.wait,
    )


def open_trigger(choice: Choice, opened: ExitStack, *, reopens: bool = False) -> tuple[Trigger, TriggerInfo]:
    """Take the device of a rig's trigger for this program alone, and open it.

    Args:
        choice: The driver and its options.
        opened: Closes the trigger, which switches its outputs off, and gives the device back.
        reopens: Take a device on a port up again after it failed, see `ReopeningTrigger`.

    Raises:
        TriggerError: Another program drives the device, or it cannot be opened.
    """
    device = device_of(choice.options)
    if device is not None:
        opened.enter_context(DeviceLock(device))
    driver = triggers.registry.load(choice.name)
    is_on_a_port = issubclass(driver, PortTrigger)
    trigger = ReopeningTrigger(lambda: driver(choice.options)) if reopens and is_on_a_port else driver(choice.options)
    opened.callback(trigger.close)
    return trigger, trigger.open()


def load_model(rig: Rig) -> PoseModel:
    """Load the rig's model.

    Raises:
        ModelError: It is missing, damaged or needs a package that is not installed.
    """
    return models.registry.load(rig.model.name)(rig.model.options)


def check_parity(rig: Rig, model: PoseModel, *, fires: bool) -> dict[str, Any]:
    """Compare the loaded model, in the engine in use, with the reference in its folder; takes some milliseconds.

    Args:
        rig: Has the tolerance.
        model: Warmed up.
        fires: The session can switch outputs. Without a reference, such a session is refused.

    Returns:
        For the session's record, as JSON-able values: `checked`, and the numbers or the reason why there are none.

    Raises:
        ModelDiffersError: The poses differ from the reference by more than the tolerance, or there is no reference and
            outputs depend on the model.
        ModelError: The reference is damaged, or inference failed.
    """
    from models.exported import ExportedOptions, FolderModel  # noqa: PLC0415 - heavy, and not every kind needs it
    from models.verification import quick_parity  # noqa: PLC0415

    options = rig.model.options
    if not (isinstance(model, FolderModel) and isinstance(options, ExportedOptions)):
        return {"checked": False, "reason": f"a model of kind {rig.model.name} has no reference"}
    folder, parity = model.source["path"], quick_parity(model)
    if parity is None and fires:
        raise ModelDiffersError(
            f"{folder}: not armed: expected a reference (reference.npz) that proves what the engine finds, got none; "
            f"export the model again, or rehearse with --dry-run"
        )
    if parity is None:
        return {"checked": False, "reason": "the model's folder has no reference"}
    tolerance_px = parity.tolerance_px(options.tolerance_px)
    if deviation := parity.deviation(tolerance_px):
        numbers = (
            f"poseloop verify {shlex.quote(str(options.path))} --kind {rig.model.name} --engine {options.engine} "
            f"--device {options.device} --precision {options.precision}"
        )
        raise ModelDiffersError(
            f"{folder}: not armed: {deviation} (tolerance {tolerance_px:g} px; all numbers: {numbers})"
        )
    return {"checked": True, "tolerance_px": tolerance_px, **parity.as_dict()}


def identity_names(rig: Rig, model: PoseModel) -> tuple[str, ...]:
    """Return the names behind a track's class: those of the model, or those that the rig enrols.

    Raises:
        RigError: There are both, or more names than tracks.
    """
    if rig.identities is None:
        return model.class_names
    names = rig.identities.identities
    if model.class_names:
        raise RigError(
            [
                f"{rig.path}: $.identities: expected no enrolment, since the model tells the identities "
                f"{', '.join(model.class_names)}; remove the section, or use a model without identities"
            ]
        )
    if len(names) > rig.tracker.max_tracks:
        raise RigError(
            [
                f"{rig.path}: $.identities: expected at most {rig.tracker.max_tracks} names "
                f"($.tracker.max_tracks), got {len(names)} ({', '.join(names)})"
            ]
        )
    return names


def make_tracker(rig: Rig, model: PoseModel) -> GreedyTracker:
    """Build the rig's tracker for the model's skeleton and identities, compiled and ready.

    Raises:
        RigError: See `identity_names`.
    """
    identity_names(rig, model)
    tracker = GreedyTracker(
        rig.tracker, len(model.skeleton.nodes), model.class_names, rig.identities, n_reused=rig.loop.ring_frames
    )
    tracker.warm_up()
    return tracker


def make_lookahead(rig: Rig, model: PoseModel, *, kept: bool = False) -> LookAhead | None:
    """Build the rig's look-ahead for the model's skeleton, compiled and ready; None where the rig has none.

    Args:
        rig: The rig.
        model: The model.
        kept: Whether what it says is kept; in the loop it is overwritten when the ring has gone round.

    Raises:
        RigError: A group names a node that the skeleton does not have; all of them are listed.
    """
    if rig.lookahead is None:
        return None
    nodes = model.skeleton.nodes
    mistakes = [
        f"{rig.path}: $.lookahead.groups.{group}: expected a node ({', '.join(nodes)}), got '{node}'"
        f"{suggestion(node, nodes)}"
        for group, node in rig.lookahead.strangers(nodes)
    ]
    if mistakes:
        raise RigError(mistakes)
    n_reused = 0 if kept else rig.loop.ring_frames
    lookahead = LookAhead(rig.lookahead, nodes, rig.tracker.max_tracks, rig.tracker.min_body_px, n_reused)
    lookahead.warm_up()
    return lookahead


def make_rules(rig: Rig, model: PoseModel) -> tuple[Rule, ...]:
    """Compile the rig's rules for the model's skeleton and identities.

    Raises:
        RigError: A rule, or the animal's heading, names what is not there; all mistakes are listed.
    """
    context = rule_context(rig, model)
    try:
        rules = compile_rules(rig.rules, context)
    except RuleError as error:
        raise RigError([f"{rig.path}: {problem}" for problem in error.problems]) from error
    for rule in rules:
        rule.warm_up()
    return rules


def make_drill(rig: Rig, model: PoseModel, camera_info: CameraInfo) -> DecisionDrill | None:
    """Build what the loop does while it waits awake for a frame; None where the rig sleeps or its tracker needs images.

    Raises:
        RigError: See `make_tracker`, `make_rules`, `make_lookahead` and `make_leveller`.
    """
    if rig.loop.wait != "spin" or rig.tracker.uses_flow:
        return None
    rules = make_rules(rig, model)
    return DecisionDrill(
        make_tracker(rig, model),
        () if any(rule.plugin is not None for rule in rules) else rules,
        make_lookahead(rig, model),
        make_leveller(rig, model, camera_info),
        min(rig.tracker.max_tracks, 2),  # a pair goes every way that a crowd does, and takes no time
        len(model.skeleton.nodes),
    )


def rule_context(rig: Rig, model: PoseModel) -> RuleContext:
    """Return what names in the rig's rules may refer to.

    Raises:
        RigError: The animal's heading, a role or a zone names what is not there; all mistakes are listed.
    """
    try:
        return RuleContext(
            node_names=model.skeleton.nodes,
            class_names=identity_names(rig, model),
            roles=rig.roles,
            front=rig.animal.front,
            back=rig.animal.back,
            centre=rig.animal.centre,
            px_per_mm=rig.calibration.px_per_mm,
            zones=rig.zones,
            rules=rig.rules,
            predicted_nodes=None if rig.lookahead is None else rig.lookahead.predicted_nodes(model.skeleton.nodes),
            plane=rig.calibration.plane,
        )
    except RuleError as error:
        raise RigError([f"{rig.path}: {line}" for line in str(error).splitlines()]) from error


def make_leveller(rig: Rig, model: PoseModel, camera: CameraInfo) -> Leveller | None:
    """Build what levels the tracks for the rig's rules, compiled and ready; None where they are in px.

    Raises:
        RigError: See `fitting_plane`.
    """
    plane = fitting_plane(rig, camera.width, camera.height)
    if plane is None:
        return None
    leveller = Leveller(plane, rig.tracker.max_tracks, len(model.skeleton.nodes))
    leveller.warm_up()
    return leveller


def fitting_plane(rig: Rig, width_px: int, height_px: int) -> Plane | None:
    """Return how the rig's pictures of this size are levelled; None where they are not.

    Raises:
        RigError: The calibration is for pictures of another size.
    """
    plane = rig.calibration.plane
    if plane is not None and (plane.width_px, plane.height_px) != (width_px, height_px):
        raise RigError(
            [
                f"{rig.path}: $.calibration: expected a calibration for pictures of {width_px}x{height_px} px, as the "
                f"camera gives them, got one for {plane.width_px}x{plane.height_px} px; calibrate with the camera as "
                "it is now, or write px_per_mm"
            ]
        )
    return plane


def make_stimulator(
    rig: Rig,
    outputs: Mapping[str, Trigger],
    *,
    armed: bool,
    orders: Orders | None = None,
    extending: Collection[str] = (),
) -> Stimulator:
    """Join the rig's stimuli, limits and deadline with open triggers; `extending` names those that extend pulses."""
    deadline_ns = round(rig.loop.deadline_ms * 1e6)
    return Stimulator(rig.stimuli, outputs, rig.limits, deadline_ns, armed=armed, orders=orders, extending=extending)
