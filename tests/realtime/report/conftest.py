"""Sessions made without a rig: simulated insects, real rules, the real stimulator, a real log."""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest
from pydantic import BaseModel

from camera_drivers.frame import Frame
from camera_drivers.frame_log import FrameLogWriter
from camera_drivers.sim import EDGES, NODE_NAMES, SimOptions, SimScene
from models.poses import Poses
from realtime.decision import Decision, Edge, State
from realtime.recording.log import LogWriter
from realtime.recording.records import (
    EndRecord,
    FrameRecord,
    IntentRecord,
    NoteRecord,
    ReceiptRecord,
    TriggerEventRecord,
    pack_decision,
    pack_poses,
    pack_tracks,
)
from realtime.recording.video import VideoWriter
from realtime.report import write_report
from realtime.report.gallery import Pictures
from realtime.report.session_data import SessionData
from realtime.rules import RoleSpec, RuleContext, RuleSpec, compile_rule
from realtime.stimulus import Action, LimitSpec, Stimulator, StimulusSpec
from realtime.tracks import Tracks
from triggers.base import FireReceipt, Trigger, TriggerEvent, TriggerInfo
from triggers.pulse import Pulse

MS = 1_000_000
PERIOD_NS = 16_666_667
START_NS = 5_000_000_000_000
SCENE = SimOptions(seed=7, body_px=60.0)

RIG: dict[str, Any] = {
    "camera": {"driver": "sim", **SCENE.model_dump()},
    "animal": {"front": "head", "back": "abdomen", "centre": "thorax"},
    "calibration": {"px_per_mm": 24.0},
    "loop": {"deadline_ms": 20.0},
    "roles": {"male": {"track": 1}, "female": {"track": 2}},
    "rules": {
        "courting": {
            "any_pair": ["a", "b"],
            "when": "distance(a.head, b.thorax) < 3.5 mm and facing(a, b) < 40 deg",
            "until": "distance(a.head, b.thorax) > 4.5 mm",
            "for_s": 0.05,
            "refractory_s": 0.5,
            "when_unknown": "release",
        },
        "contact": {"when": "distance(male, female) < 2.5 mm and score(female.head) > 0.3", "when_unknown": "hold"},
    },
    "triggers": {"laser": {"driver": "fake"}},
    "stimuli": {
        "light": {
            "rule": "courting",
            "triggers": ["laser"],
            "channel": 0,
            "duration_ms": 900.0,
            "stop_on_release": True,
        },
        "tone": {"rule": "contact", "triggers": ["laser"], "channel": 1, "duration_ms": 50.0},
    },
    "limits": {"laser": {"1": {"max_dose_s": 0.05}}},
}


TakePictures = Callable[[SessionData, Sequence[int]], Pictures]


class FakeTrigger(Trigger):
    """Acknowledges every command 0.3 ms after it was sent."""

    Options: ClassVar[type[BaseModel]] = BaseModel
    now_ns = 0

    def __init__(self) -> None:
        self.events: list[TriggerEvent] = []

    def open(self) -> TriggerInfo:
        return TriggerInfo("fake", "", {}, True, 100)

    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:
        self.events.append(TriggerEvent("ack", command_id, self.now_ns + 330_000, 7))
        return FireReceipt(command_id, self.now_ns + 30_000)

    def poll(self) -> tuple[TriggerEvent, ...]:
        events, self.events = tuple(self.events), []
        return events

    def stop(self, channel: int) -> None:
        pass

    def all_off(self) -> None:
        pass

    def close(self) -> None:
        pass


class Session:
    """Writes a session folder frame by frame, as the loop would have."""

    def __init__(self, folder: Path, rig: dict[str, Any] = RIG) -> None:
        folder.mkdir()
        self.folder = folder
        self.rig = rig
        self.write_description()
        (folder / "rig.toml").write_text('[camera]\ndriver = "sim"\n', encoding="utf-8")
        self.log = LogWriter(folder / "events.log")
        self.encoder = msgspec.msgpack.Encoder()
        self.trigger = FakeTrigger()
        self.stimulator = Stimulator(
            {name: StimulusSpec.model_validate(spec) for name, spec in rig["stimuli"].items()},
            {"laser": self.trigger},
            {
                (name, int(channel)): LimitSpec.model_validate(limit)
                for name, channels in rig["limits"].items()
                for channel, limit in channels.items()
            },
            round(rig["loop"]["deadline_ms"] * MS),
            armed=True,
        )
        context = RuleContext(
            NODE_NAMES,
            ("male", "female"),
            {name: RoleSpec.model_validate(role) for name, role in rig["roles"].items()},
            **rig["animal"],
            **rig["calibration"],
        )
        self.rules = [compile_rule(name, RuleSpec.model_validate(spec), context) for name, spec in rig["rules"].items()]
        self.scene = SimScene(SCENE)
        self.random = np.random.default_rng(3)
        self.n_rising = 0
        self.last_seen_ns = np.zeros(2, np.int64)

    def write_description(self, **changes: Any) -> None:
        description = {
            "format_version": 1,
            "poseloop_version": "0.1.0",
            "started_wall": "2026-03-05T09:41:12.345+00:00",
            "started_ns": START_NS,
            "rig": self.rig,
            "rig_path": "/data/rigs/courtship.toml",
            "camera": {"height": 512, "width": 512, "channels": 1, "frame_rate_hz": 60.0, "reproducible": False},
            "model": {
                "kind": "exported",
                "path": "zoo:sim_pair",
                "skeleton": {"nodes": NODE_NAMES, "edges": EDGES},
                "class_names": ["male", "female"],
            },
            "triggers": {"laser": {"driver": "fake", "acknowledges": True, "dead_man_ms": 100}},
            "machine": {"cpu": "a CPU", "cores": 2, "os": "Linux", "python": "3.11.7", "packages": {"numpy": "2.4"}},
            "seed": 7,
            "ended": None,
        }
        (self.folder / "session.json").write_text(json.dumps(description | changes), encoding="utf-8")

    def frames(self, n_frames: int) -> None:
        for index in range(n_frames):
            self.frame(index)

    def frame(self, index: int) -> None:
        available_ns = START_NS + index * PERIOD_NS
        tracks = self._tracks(index, available_ns)
        decisions = tuple(rule.evaluate(tracks, index, available_ns) for rule in self.rules)
        rising = sum(decision.edge is Edge.RISING for decision in decisions)
        self.n_rising += rising
        stage_ns = self._stage_ns(slow=index % 400 == 250 or (rising > 0 and self.n_rising % 5 == 4))
        decided_ns = available_ns + sum(stage_ns[:4])
        self.trigger.now_ns = decided_ns
        self.stimulator.poll()
        action = self.stimulator.act(decisions, tracks, index, available_ns, available_ns, decided_ns)
        self.append(frame_record(index, available_ns, decided_ns, stage_ns, tracks, decisions, action))

    def append(self, record: FrameRecord | NoteRecord | EndRecord) -> None:
        self.log.append(self.encoder.encode(record))

    def end(self, drops: dict[str, int] | None = None) -> Path:
        self.append(EndRecord(START_NS, "camera ended", drops or {}))
        self.log.close()
        return self.folder

    def _tracks(self, index: int, timestamp_ns: int) -> Tracks:
        xy = self.scene.poses(index).astype(np.float32).copy()
        if 200 <= index < 260:
            xy[1] = np.nan
        seen = np.isfinite(xy[..., 0])
        self.last_seen_ns[seen.any(axis=1)] = timestamp_ns
        return Tracks(
            np.array([1, 2], np.int32),
            xy,
            seen.astype(np.float32),
            np.ones(2, np.float32),
            self.last_seen_ns.copy(),
            np.array([0, 1], np.int32),
            np.zeros(2, np.int32),
            np.zeros(2, np.int32),
        )

    def _stage_ns(self, *, slow: bool) -> tuple[int, int, int, int, int]:
        medians = np.array([0.08, 2.9, 0.12, 0.02, 0.015]) * MS
        drawn = medians * self.random.lognormal(0.0, (0.3, 0.08, 0.2, 0.2, 0.5))
        if slow:
            drawn[1] *= 8
        return tuple(int(value) for value in drawn)  # type: ignore[return-value]


def frame_record(
    index: int,
    available_ns: int,
    decided_ns: int,
    stage_ns: tuple[int, int, int, int, int],
    tracks: Tracks,
    decisions: tuple[Decision, ...],
    action: Action,
) -> FrameRecord:
    poses = Poses(tracks.xy, tracks.node_scores, np.ones(len(tracks.xy), np.float32))
    return FrameRecord(
        index=index,
        frame_id=index,
        timestamp_ns=available_ns,
        available_ns=available_ns,
        device_timestamp_ns=None,
        decided_ns=decided_ns,
        stage_ns=stage_ns,
        poses=pack_poses(poses),
        tracks=pack_tracks(tracks),
        decisions=tuple(pack_decision(decision) for decision in decisions),
        intents=tuple(IntentRecord(**msgspec.structs.asdict(intent)) for intent in action.intents),
        receipts=tuple(ReceiptRecord(**msgspec.structs.asdict(receipt)) for receipt in action.receipts),
        trigger_events=tuple(
            TriggerEventRecord(trigger=name, **dataclasses.asdict(event)) for name, event in action.events
        ),
    )


@pytest.fixture(scope="session")
def scene_pictures() -> TakePictures:
    """The images that the simulated camera took."""
    return lambda _, frame_ids: Pictures(
        {frame_id: SimScene(SCENE).image(frame_id) for frame_id in frame_ids}, "Drawn by the simulation."
    )


@pytest.fixture(scope="session")
def no_pictures() -> TakePictures:
    return lambda *_: Pictures({}, "No pictures here.")


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of 20 s: bouts, an animal that is lost for a second, and stimuli sent, late and limited."""
    session = Session(tmp_path_factory.mktemp("sessions") / "20260305-094112-courtship")
    session.frames(1200)
    session.append(NoteRecord(START_NS, "experimenter", "put the lid on <twice>"))
    return session.end({"skipped": 12, "overrun": 0})


@pytest.fixture(scope="session")
def page(recorded: Path, scene_pictures: TakePictures) -> str:
    """The page of the recorded session."""
    return write_report(recorded, pictures=scene_pictures, n_bouts=2).read_text(encoding="utf-8")


class Small(Session):
    """A session of frames that are written down by hand: one rule, no tracker, no stimulator."""

    start_ns = START_NS

    def row(self, index: int, state: State, *, stage_ms: tuple[float, ...] = (1, 2, 3, 4, 5), **changes: Any) -> None:
        available_ns = START_NS + index * 10 * MS
        tracks = self._tracks(0, available_ns)
        decision = Decision("contact", index, available_ns, state, Edge.NONE, (1, 2), (2.0, math.nan), ("mm", ""))
        stage_ns: Any = tuple(round(stage * MS) for stage in stage_ms)
        decided_ns = available_ns + sum(stage_ns[:4])
        record = frame_record(index, available_ns, decided_ns, stage_ns, tracks, (decision,), Action())
        self.append(msgspec.structs.replace(record, **changes))


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Small]:
    """Make a session with one letter a frame, 10 ms apart: `1` on, `0` off, `?` unknown."""

    def make(states: str, **changes: Any) -> Small:
        session = Small(tmp_path / "small")
        for index, letter in enumerate(states):
            session.row(index, State("01?".index(letter)), **changes)
        return session

    return make


@pytest.fixture(scope="session")
def intent() -> Callable[..., IntentRecord]:
    """Make what is logged of a stimulus: outcome, frame, (trigger, command id)…"""

    def make(outcome: str, row: int, *commands: tuple[str, int]) -> IntentRecord:
        return IntentRecord("tone", "contact", row, START_NS, 1, 50_000, 1.0, None, None, outcome, "why", commands)

    return make


@pytest.fixture
def film() -> Callable[..., None]:
    """Put the frame log, and the video of what the simulation shows, beside a session's log, without some frames."""

    def make(session: Session, n_frames: int, *, video: bool, lost: Sequence[int] = ()) -> None:
        log = FrameLogWriter(session.folder / "frames.log")
        writer = VideoWriter(
            session.folder / "frames.mkv", height=512, width=512, channels=1, mode="lossless", crf=1, threads=1
        )
        for video_index, index in enumerate(sorted(set(range(n_frames)) - set(lost))):
            image = session.scene.image(index)
            log.append(Frame(index, START_NS + index, START_NS + index, None, image), video_index)
            writer.append(image, START_NS + index * 10 * MS)
        log.close()
        writer.close()
        session.write_description(
            camera={
                "height": 512,
                "width": 512,
                "channels": 1,
                "frame_rate_hz": 60.0,
                "n_frames": None,
                "reproducible": True,
                "source": {"driver": "sim", "options": SCENE.model_dump()},
            }
        )
        if not video:
            (session.folder / "frames.mkv").unlink()

    return make
