"""Replays a session folder: recorded frames, times and device answers through the identical loop."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from camera_drivers.session import SessionCamera, SessionOptions, TakenFrame
from models.base import PoseModel
from models.engines.options import EngineOptions
from models.recorded import PoseTable, RecordedModel
from models.skeleton import Skeleton
from realtime import folder as session_folder
from realtime import session
from realtime.assemble import load_model, make_leveller, make_lookahead, make_rules, make_stimulator, make_tracker
from realtime.loop import Parts, ProcessedFrame, Sink, StopRequest
from realtime.recording.log import read_log
from realtime.recording.records import FrameRecord, unpack_poses
from realtime.replay.compare import Comparer, Comparison
from realtime.rig import Rig, parse_rig
from realtime.rules import Rule
from realtime.stimulus import Action, Intent, Order, Receipt, ReplayedOrders, replayed_triggers
from realtime.timing import ReplayClock
from triggers.base import TriggerEvent

Source = Literal["auto", "frames", "poses"]


class ReplayError(ValueError):
    """A session that cannot be replayed as asked."""


class _Progress:
    """A sink that tells how many frames have been replayed."""

    def __init__(self, tell: Callable[[int, int], None], n_frames: int) -> None:
        self._tell = tell
        self._n_frames = n_frames

    def append(self, processed: ProcessedFrame) -> None:
        self._tell(processed.index + 1, self._n_frames)


def replay_session(
    folder: Path,
    *,
    rig: Rig | None = None,
    source: Source = "auto",
    progress: Callable[[int, int], None] | None = None,
    sinks: Sequence[Sink] = (),
) -> tuple[Comparison, str]:
    """Run the loop on what `folder` recorded and compare the outcome with the recording.

    Args:
        folder: A session folder.
        rig: Another rig: what would it have done? Its camera is ignored; its triggers answer perfectly.
        source: `frames` runs the model on the recorded pictures; `poses` takes the logged poses; `auto` takes the
            frames where they can be had exactly (a file, a seeded simulation, lossless video), otherwise the poses.
        progress: Called with (frames done, frames in all) after each frame.
        sinks: Further sinks for the replayed frames.

    Returns:
        The comparison, and where the frames came from: `source`, `video` or `poses`.

    Raises:
        ReplayError: The session has no frames, or the rig has no place for its poses.
        FolderError, RigError, CameraError, ModelError: As their makers say.
    """
    description = session_folder.read_description(folder, ("rig", "camera", "model"))
    records = [record for record in read_log(folder / session_folder.EVENTS) if isinstance(record, FrameRecord)]
    if not records:
        raise ReplayError(f"{folder}: nothing to replay: the log holds no frame")
    recorded_rig = parse_rig(description["rig"], Path(description.get("rig_path", folder / session_folder.RIG)))
    frames_from = _frames_from(description, recorded_rig, source)
    used_rig = _in_recorded_precision(rig or recorded_rig, recorded_rig, description)
    _check_tracker(used_rig, frames_from)
    comparer = Comparer(records)
    with_progress = () if progress is None else (_Progress(progress, len(records)),)
    parts, rules = _parts(folder, description, records, used_rig, frames_from, perfect_devices=rig is not None)
    end = session.run(replace(parts, sinks=(comparer, *sinks, *with_progress)), StopRequest())
    if end.error is not None:
        raise end.error
    return comparer.result(rules), frames_from


def _in_recorded_precision(rig: Rig, recorded_rig: Rig, description: Mapping[str, Any]) -> Rig:
    """Return the rig with what `precision = "auto"` was when the session was recorded, whatever is fastest here.

    Another model, or another way of running it, may not have that precision: there `auto` is chosen anew.
    """
    options, precision = rig.model.options, description["model"].get("precision")
    if not (isinstance(options, EngineOptions) and options.precision == "auto" and precision):
        return rig
    if _way_of_running(rig) != _way_of_running(recorded_rig):
        return rig
    return replace(rig, model=replace(rig.model, options=options.model_copy(update={"precision": precision})))


def _way_of_running(rig: Rig) -> tuple[str, dict[str, Any]]:
    return rig.model.name, rig.model.options.model_dump(include={"path", "engine"})


def _check_tracker(rig: Rig, frames_from: str) -> None:
    if frames_from == "poses" and rig.tracker.uses_flow:
        raise ReplayError(
            f'{rig.path}: $.tracker.motion: "{rig.tracker.motion}" needs the pictures, and this replay is from the '
            f'logged poses; use --from-frames, or "velocity"'
        )


def _frames_from(description: Mapping[str, Any], rig: Rig, source: Source) -> Literal["source", "video", "poses"]:
    if source == "poses":
        return "poses"
    if description["camera"]["reproducible"]:
        return "source"
    if rig.recording.video == "lossless" or (source == "frames" and rig.recording.video != "none"):
        return "video"
    if source == "frames":
        raise ReplayError('the session has no pictures: it was recorded with video = "none"; replay it from its poses')
    return "poses"


def _parts(
    folder: Path,
    description: Mapping[str, Any],
    records: Sequence[FrameRecord],
    rig: Rig,
    frames_from: Literal["source", "video", "poses"],
    *,
    perfect_devices: bool,
) -> tuple[Parts, tuple[Rule, ...]]:
    """Return the parts of the loop, and its rules as what they are."""
    images = "none" if frames_from == "poses" else frames_from
    camera = SessionCamera(
        SessionOptions(
            path=folder,
            taken=tuple(
                TakenFrame(record.frame_id, record.timestamp_ns, record.available_ns, record.device_timestamp_ns)
                for record in records
            ),
            images=images,
        )
    )
    info = camera.open()
    model = _recorded_model(description, records) if frames_from == "poses" else load_model(rig)
    model.warm_up(info.height, info.width, info.channels)
    rules = make_rules(rig, model)
    if not perfect_devices:
        _check_rules(folder, description, rules)
    actions = () if perfect_devices else tuple(_action(record) for record in records)
    infos = {} if perfect_devices else description.get("triggers", {})
    acknowledging_stops = [name for name, info in infos.items() if info.get("acknowledges_stop")]
    parts = Parts(
        camera=camera,
        model=model,
        tracker=make_tracker(rig, model),
        rules=rules,
        stimulator=make_stimulator(
            rig,
            replayed_triggers(rig.triggers, actions, acknowledging_stops),
            # Before there was arming, every session was armed; and "what would it have done?" means: armed.
            armed=perfect_devices or description.get("armed_at_start", True),
            orders=ReplayedOrders(action.orders for action in actions),
            extending=[name for name, info in infos.items() if info.get("extends")],
        ),
        clock=ReplayClock(record.decided_ns for record in records),
        sinks=(),
        camera_lost_s=rig.loop.camera_lost_s,
        lookahead=make_lookahead(rig, model),
        leveller=make_leveller(rig, model, info),
    )
    return parts, rules


def _check_rules(folder: Path, description: Mapping[str, Any], rules: Sequence[Rule]) -> None:
    """Refuse to replay with another version of a rule in Python than the session's own."""
    recorded = description.get("rules_in_python", {})
    for rule in rules:
        if rule.plugin is not None and rule.plugin.source != recorded.get(rule.name):
            was, now = _code_of(recorded.get(rule.name)), _code_of(rule.plugin.source)
            raise ReplayError(
                f"{folder}: rule {rule.name}: expected {was}, with which the session was recorded, got {now}; install "
                "the recorded one, or ask with --rig what this one would have done"
            )


def _code_of(source: Mapping[str, str] | None) -> str:
    return "no such rule" if source is None else f"{source['target']} of {source['package']} {source['version']}"


def _recorded_model(description: Mapping[str, Any], records: Sequence[FrameRecord]) -> PoseModel:
    model = description["model"]
    skeleton = Skeleton(
        nodes=tuple(model["skeleton"]["nodes"]), edges=tuple((a, b) for a, b in model["skeleton"]["edges"])
    )
    poses = {record.frame_id: unpack_poses(record.poses) for record in records}
    return RecordedModel.from_table(PoseTable(poses), skeleton, tuple(model["class_names"]))


def _action(record: FrameRecord) -> Action:
    return Action(
        intents=tuple(Intent(**msgspec.structs.asdict(intent)) for intent in record.intents),
        receipts=tuple(Receipt(**msgspec.structs.asdict(receipt)) for receipt in record.receipts),
        events=tuple(
            (
                event.trigger,
                TriggerEvent(event.kind, event.command_id, event.host_ns, event.device_us, event.detail, event.channel),
            )
            for event in record.trigger_events
        ),
        orders=tuple(Order(**msgspec.structs.asdict(order)) for order in record.orders),
    )
