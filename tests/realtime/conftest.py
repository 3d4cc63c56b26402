"""A loop made of parts that do what a test tells them, with a real stimulator and a real (recording) trigger."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from camera_drivers.frame import Frame
from models.poses import Poses
from realtime.decision import Decision, Edge, State
from realtime.loop import Parts, StopRequest
from realtime.stimulus import Stimulator, StimulusSpec
from realtime.tracking import GreedyTracker, TrackerOptions
from triggers.recording import RecordingOptions, RecordingTrigger

N_NODES = 3
PERIOD_NS = 10_000_000


@dataclass
class ScriptedCamera:
    """Gives `n_frames` frames that are all available at time 0, then has ended; fails at `fails_at`."""

    n_frames: int
    fails_at: int | None = None
    silent: bool = False
    next_id: int = 0
    closed: int = 0
    events: list = field(default_factory=list)
    drops: dict = field(default_factory=dict)

    @property
    def ended(self):
        return self.next_id >= self.n_frames

    def grab(self, timeout_s):
        if self.silent:
            return None
        if self.next_id == self.fails_at:
            raise OSError("camera unplugged")
        frame_id = self.next_id
        self.next_id += 1
        return Frame(frame_id, frame_id * PERIOD_NS, 0, None, np.zeros((8, 8), np.uint8))

    def close(self):
        self.closed += 1
        self.events.append("camera closed")


@dataclass
class StillModel:
    """Finds two animals that never move."""

    uses_expected_xy = False
    events: list = field(default_factory=list)

    def predict(self, image, frame_id, expected_xy=None):
        xy = np.array([[[0, 0], [10, 0], [20, 0]], [[100, 0], [110, 0], [120, 0]]], np.float32)
        return Poses(xy, np.ones((2, N_NODES), np.float32), np.ones(2, np.float32))

    def close(self):
        self.events.append("model closed")


@dataclass
class RisingRule:
    """Rises at the given frames."""

    at: tuple = ()

    def evaluate(self, tracks, frame_id, timestamp_ns):
        edge = Edge.RISING if frame_id in self.at else Edge.NONE
        return Decision("near", frame_id, timestamp_ns, State.ON, edge, (1, 2), (1.5,), ("mm",))


class ListSink:
    def __init__(self):
        self.frames = []

    def append(self, processed):
        self.frames.append(processed)


class FixedClock:
    def __init__(self, now_ns=0):
        self.time_ns = now_ns

    def now_ns(self):
        return self.time_ns


class NotingTrigger(RecordingTrigger):
    """Also notes the order of things."""

    def __init__(self, events):
        super().__init__(RecordingOptions())
        self.events = events

    def all_off(self):
        super().all_off()
        self.events.append("all off")

    def close(self):
        super().close()
        self.events.append("trigger closed")


@dataclass
class Bench:
    """A loop and everything that a test may want to look at or turn."""

    parts: Parts
    camera: ScriptedCamera
    trigger: NotingTrigger
    sink: ListSink
    clock: FixedClock
    events: list
    stop: StopRequest


@pytest.fixture
def make_bench():
    def make(*, n_frames=5, rising_at=(), deadline_ns=1_000_000, camera_lost_s=1.0, **camera):
        events = []
        scripted = ScriptedCamera(n_frames, events=events, **camera)
        trigger = NotingTrigger(events)
        trigger.open()
        stimulus = StimulusSpec(rule="near", triggers=("laser",), channel=0, duration_ms=10)
        sink = ListSink()
        clock = FixedClock()
        parts = Parts(
            camera=scripted,
            model=StillModel(events),
            tracker=GreedyTracker(TrackerOptions(), N_NODES),
            rules=(RisingRule(tuple(rising_at)),),
            stimulator=Stimulator({"light": stimulus}, {"laser": trigger}, {}, deadline_ns),
            clock=clock,
            sinks=(sink,),
            camera_lost_s=camera_lost_s,
        )
        return Bench(parts, scripted, trigger, sink, clock, events, StopRequest())

    return make
